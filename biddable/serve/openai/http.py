"""HTTP under the protocol: bodies with a limit and a time, clients that hang up, streams of events, request ids, errors in one shape."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from biddable.serve.engine.requests import DeadlineExceeded, EngineClosed, QueueFull
from biddable.serve.openai.protocol import APIError

CLIENT_TIMEOUT_SECONDS = 30.0
"""So long a client may take to send its body, and to take one piece of an answer."""
REFUSALS = (APIError, QueueFull, DeadlineExceeded, EngineClosed)
"""What endpoints raise to say no."""
log = logging.getLogger("biddable.serve")
T = TypeVar("T")


async def read_body(request: Request, most: int) -> bytes:
    """A request's body. Raises APIError when it is larger than `most` bytes or takes too long."""
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > most:
        raise APIError(f"the body is larger than {most} bytes", 413, code="request_too_large")
    found = bytearray()
    try:
        async with asyncio.timeout(CLIENT_TIMEOUT_SECONDS):
            async for part in request.stream():
                found += part
                if len(found) > most:
                    raise APIError(f"the body is larger than {most} bytes", 413, code="request_too_large")
    except TimeoutError:
        raise APIError(
            f"the body did not come within {CLIENT_TIMEOUT_SECONDS:.0f} seconds", 408, code="request_timeout"
        ) from None
    return bytes(found)


async def wait_for_disconnect(receive: Receive) -> None:
    """Returns when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def cancel_on_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do the work unless the client hangs up before: then it is cancelled and ClientDisconnect raised."""
    task, leaving = asyncio.create_task(work), asyncio.create_task(wait_for_disconnect(receive))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for one in (task, leaving):
            one.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


class EventStream(Response):
    """A stream of server-sent events. `close` is called in the end, however that comes; a client that hangs up or stops reading ends it."""

    def __init__(self, events: AsyncGenerator[str], close: Callable[[bool], None]) -> None:
        super().__init__(
            media_type="text/event-stream", headers={"cache-control": "no-store", "x-accel-buffering": "no"}
        )
        del self.headers["content-length"]
        self.events, self.closing = events, close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        whole = False
        try:
            await cancel_on_disconnect(receive, self._write(send))
            whole = True
        except (ClientDisconnect, TimeoutError, OSError):
            pass
        finally:
            self.closing(whole)
            await self.events.aclose()

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for event in self.events:
            async with asyncio.timeout(CLIENT_TIMEOUT_SECONDS):
                await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def format_event(data: Any) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


def to_api_error(error: Exception) -> APIError | None:
    """An engine's no, as the protocol says it; None for a bug."""
    if isinstance(error, APIError):
        return error
    if isinstance(error, QueueFull):
        return APIError(
            "too many requests are waiting; try again later", 503, code="overloaded", retry=error.seconds
        )
    if isinstance(error, DeadlineExceeded):
        return APIError(f"{error}; try again later", 503, code="timeout", retry=5.0)
    if isinstance(error, EngineClosed):
        return APIError(str(error), 503, code="shutting_down", retry=10.0)
    if isinstance(error, HTTPException):
        return APIError(error.detail, error.status_code)
    return None


def error_response(_: Request, error: Exception) -> Response:
    """Any error in the protocol's shape."""
    said = to_api_error(error) or APIError("something went wrong on our side", 500, code="internal_error")
    headers = {} if said.retry is None else {"retry-after": str(math.ceil(said.retry))}
    if said.status in (408, 413):
        headers["connection"] = "close"
    return JSONResponse(said.body(), said.status, headers=headers)


class RequestLogMiddleware:
    """Around every request: its id, its line in the log, its count. A client that hung up before its answer began gets none."""

    def __init__(self, app: ASGIApp, count: Callable[[str, int], None]) -> None:
        self.app, self.count = app, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = Headers(scope=scope).get("x-request-id", "")
        mark = given if re.fullmatch(r"[\w.-]{1,64}", given) else f"req-{secrets.token_hex(8)}"
        scope.setdefault("state", {})["request_id"] = mark
        began, status, path = time.monotonic(), 499, scope["path"]  # 499: the client had gone

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = mark
                MutableHeaders(scope=message).setdefault("x-content-type-options", "nosniff")
            await send(message)

        try:
            await self.app(scope, receive, sent)
        except ClientDisconnect:
            pass
        except Exception as error:
            log.exception("%s %s %s", mark, scope["method"], path)
            if status == 499:
                await error_response(Request(scope), error)(scope, receive, sent)
        finally:
            self.count(path, status)
            log.info("%s %s %s %d %.3fs", mark, scope["method"], path, status, time.monotonic() - began)
