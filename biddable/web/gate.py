"""What no honest client sends is refused before anything else looks at it: a body with two lengths, a request
for another host, and what another site made somebody's browser send."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
ANY_HOST_PATHS = ("/health", "/metrics")
"""What machines of the same house ask for by whatever name they have for the server."""
DEFAULT_PORTS = {"http": 80, "https": 443}


def host_name(host: str) -> str:
    """The name in a Host header, without its port; "" for what is none."""
    match = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::\d+)?", host.lower(), re.ASCII)
    return (match[1] or match[2]).rstrip(".") if match else ""


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port; None for what is no URL."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None


class Gate:
    """Refuses by raising nothing further in: `refuse` turns an HTTPException into the response.

    `address`: how browsers reach the server. `hosts`: the names that a request may be for; none: any. Without
    such names a page of another site whose name is made to point here would count as ours.
    """

    def __init__(
        self,
        app: ASGIApp,
        refuse: Callable[[Request, Exception], Awaitable[Response]],
        address: str | None = None,
        hosts: frozenset[str] | None = None,
    ) -> None:
        self.app, self.refuse, self.hosts = app, refuse, hosts
        self.origin = None if address is None else _origin(address)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if (problem := self._problem(scope, Headers(scope=scope))) is None:
            return await self.app(scope, receive, send)
        response = await self.refuse(Request(scope), problem)
        await response(scope, receive, send)

    def _problem(self, scope: Scope, headers: Headers) -> HTTPException | None:
        if "transfer-encoding" in headers and "content-length" in headers:
            # a proxy in front may believe the other one, and take the rest of the body for a request of its own
            close = {"connection": "close"}
            return HTTPException(400, "A body has a length or comes in chunks, not both.", close)
        host = headers.get("host", "")
        for_any_host = self.hosts is None or scope["path"] in ANY_HOST_PATHS
        if not for_any_host and host_name(host) not in (self.hosts or ()):
            return HTTPException(421, "This request is for another host.")
        if scope["method"] not in SAFE_METHODS and self._is_cross_site(headers, host):
            return HTTPException(403, "This request came from another site.")
        return None

    def _is_cross_site(self, headers: Headers, host: str) -> bool:
        """Whether the browser says so, by Sec-Fetch-Site or by Origin; programs send neither.

        "null" says nothing: our own forms send it too, because of their Referrer-Policy. They are known by
        their token, and JSON of another site's page by the browser's question before it, which we never
        answer.
        """
        if (site := headers.get("sec-fetch-site")) is not None:
            return site not in ("same-origin", "none")
        origin = headers.get("origin", "null")
        if origin == "null":
            return False
        if self.origin is not None:
            return _origin(origin) != self.origin
        return origin.partition("://")[2].lower() != host.lower()
