"""Around every request of a site: security headers on each response, and a limit on the size of request
bodies."""

from __future__ import annotations

import logging

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from biddable.run.output import printable
from biddable.web.errors import error_page

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
STATIC_PATHS = ("/static/", "/web/")
log = logging.getLogger("biddable.web")


def hsts(https: bool) -> dict[str, str]:
    """The header by which browsers stay on https, where they came by it."""
    return {"strict-transport-security": "max-age=31536000"} if https else {}


class SecurityHeaders:
    """Puts the security headers on every response, also on the page for a bug. Browsers cache no page, but
    keep static files, whose addresses hold their hash, for a year."""

    def __init__(self, app: ASGIApp, https: bool) -> None:
        self.app = app
        self.headers = SECURITY_HEADERS | hsts(https)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        is_static = scope["path"].startswith(STATIC_PATHS)
        response_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal response_started
            if message["type"] == "http.response.start":
                response_started = True
                cacheable = is_static and message["status"] in (200, 304)
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "public, max-age=31536000" if cacheable else "no-store")
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception:
            # the route, where there is one: an invitation's path is its secret
            route = scope.get("route")
            path = scope["path"] if route is None else route.path
            log.exception("%s %s", scope["method"], printable(path))
            if response_started:
                raise
            response = await run_in_threadpool(error_page, Request(scope), 500, [])
            await response(scope, receive, send_with_headers)


class HeadRequests:
    """Answers HEAD as GET without the body: link checkers and load balancers ask so."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            return await self.app(scope, receive, send)

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self.app({**scope, "method": "GET"}, receive, send_without_body)


class BodyLimit:
    """Answers 413 to a body that is too large, before anything holds it in memory: by its declared length, or
    else while it arrives.

    `path_limits` maps prefixes of paths to limits of their own, in bytes.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, path_limits: dict[str, int]) -> None:
        self.app, self.max_bytes, self.path_limits = app, max_bytes, path_limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        max_bytes = self._limit(scope["path"])
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdigit() or int(declared) > max_bytes:
            return await _send_too_large(scope, receive, send)
        received_bytes = 0
        response_started = False

        async def receive_limited() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > max_bytes:
                raise _BodyTooLarge
            return message

        async def send_watched(message: Message) -> None:
            nonlocal response_started
            response_started = True
            await send(message)

        try:
            await self.app(scope, receive_limited, send_watched)
        except _BodyTooLarge:
            if response_started:
                raise
            await _send_too_large(scope, receive, send)

    def _limit(self, path: str) -> int:
        matching = (limit for prefix, limit in self.path_limits.items() if path.startswith(prefix))
        return next(matching, self.max_bytes)


class _BodyTooLarge(Exception):
    """A body without a declared length went on for longer than its limit."""


async def _send_too_large(scope: Scope, receive: Receive, send: Send) -> None:
    text = (
        "<!doctype html><title>Too long</title><h1>Too long</h1><p>What you sent is too large. Go back "
        "and send less.</p>"
    )
    # The rest of the body is never read, so the connection cannot be used again.
    await HTMLResponse(text, 413, headers={"connection": "close"})(scope, receive, send)
