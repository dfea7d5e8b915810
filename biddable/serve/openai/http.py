"""HTTP beneath the protocol: bodies with limits, clients that hang up, streams of events, request ids, errors
in one shape."""

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

from biddable.run.output import printable
from biddable.serve.engine.requests import DeadlineExceeded, EngineClosed, QueueFull
from biddable.serve.openai.bodies import APIError
from biddable.web.middleware import hsts

CLIENT_TIMEOUT_SECONDS = 30.0
"""How long a client may take to send its body, and to accept one piece of an answer."""
CLIENT_GONE = 499
"""The status in log and metrics of a request whose client hung up before its answer began (nginx's
convention)."""
REFUSALS = (APIError, QueueFull, DeadlineExceeded, EngineClosed)
"""What endpoints raise to refuse a request."""
log = logging.getLogger("biddable.serve")
T = TypeVar("T")


async def read_body(request: Request, max_bytes: int) -> bytes:
    """A request's JSON. Raises APIError when it does not say that it is JSON (415), is larger than `max_bytes`
    (413) or takes too long (408)."""
    # another site's page can make a browser send text/plain, but not application/json without asking us first
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise APIError(
            f"the body must be JSON: send `Content-Type: application/json`, not {media_type[:80]!r}",
            415,
            code="unsupported_media_type",
        )
    too_large = APIError(f"the body is larger than {max_bytes} bytes", 413, code="request_too_large")
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(CLIENT_TIMEOUT_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > max_bytes:
                    raise too_large
    except TimeoutError:
        raise APIError(
            f"the body did not come within {CLIENT_TIMEOUT_SECONDS:.0f} seconds", 408, code="request_timeout"
        ) from None
    return bytes(body)


async def wait_for_disconnect(receive: Receive) -> None:
    """Returns when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def cancel_on_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do the work, unless the client hangs up first: then the work is cancelled and ClientDisconnect
    raised."""
    task, disconnect = asyncio.create_task(work), asyncio.create_task(wait_for_disconnect(receive))
    try:
        await asyncio.wait({task, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        disconnect.cancel()
        await asyncio.gather(task, disconnect, return_exceptions=True)


class EventStream(Response):
    """A stream of server-sent events. A client that hangs up or stops reading ends it.

    `on_close` is called in the end, however that comes about; with True when the client got everything.
    """

    def __init__(self, events: AsyncGenerator[str], on_close: Callable[[bool], None]) -> None:
        super().__init__(
            media_type="text/event-stream", headers={"cache-control": "no-store", "x-accel-buffering": "no"}
        )
        del self.headers["content-length"]
        self.events, self.on_close = events, on_close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        finished = False
        try:
            await cancel_on_disconnect(receive, self._write(send))
            finished = True
        except (ClientDisconnect, TimeoutError, OSError):
            pass
        finally:
            self.on_close(finished)
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
    """What raised, as the protocol puts it; None for a bug."""
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


async def error_response(_: Request, error: Exception) -> Response:
    """Any error in the protocol's shape; of a bug it says nothing but that there is one."""
    api_error = to_api_error(error)
    if api_error is None:
        api_error = APIError("something went wrong on our side", 500, code="internal_error")
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if api_error.retry is not None:
        headers["retry-after"] = str(math.ceil(api_error.retry))
    if api_error.status in (408, 413):
        headers["connection"] = "close"  # the rest of the body is never read
    return JSONResponse(api_error.body(), api_error.status, headers=headers)


class RequestLogMiddleware:
    """Around every request: its id, its line in the log, its count, and the headers of every response. A client
    that hung up before its answer began gets none."""

    def __init__(self, app: ASGIApp, count: Callable[[str, int], None], https: bool = False) -> None:
        self.app, self.count = app, count
        self.headers = {"x-content-type-options": "nosniff"} | hsts(https)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request_id, path = _request_id(scope), printable(scope["path"])
        scope.setdefault("state", {})["request_id"] = request_id
        began, status = time.monotonic(), CLIENT_GONE

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers.update(self.headers)
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            pass
        except Exception as error:
            log.exception("%s %s %s", request_id, scope["method"], path)
            if status == CLIENT_GONE:  # no response has begun
                response = await error_response(Request(scope), error)
                await response(scope, receive, send_with_id)
        finally:
            self.count(path, status)
            seconds = time.monotonic() - began
            log.info("%s %s %s %d %.3fs", request_id, scope["method"], path, status, seconds)


def _request_id(scope: Scope) -> str:
    """The id that the client chose, if it is harmless in a log and in a header; else a new one."""
    chosen = Headers(scope=scope).get("x-request-id", "")
    return chosen if re.fullmatch(r"[\w.-]{1,64}", chosen) else f"req-{secrets.token_hex(8)}"
