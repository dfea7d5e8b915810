"""What every site stands on: safe headers, sessions, form tokens, limits, templates, and errors in plain words.

A site is `app(...)` with routers made by `router()`; every page of such a router knows its `Visit` and refuses a form without its token.
Whether somebody must be logged in is said by the type of an endpoint's parameter:

    pages = web.router()

    @pages.get("/hello")
    def hello(request: Request, me: web.Member) -> Response:      # web.Admin: admins only; web.Visit: anybody
        return web.page(request, "hello.html", name=me.login)

    @pages.post("/hello")
    def greet(request: Request, me: web.Member, form: web.Form) -> Response:
        ...
        return web.go("/hello")

No page has script or style of its own: the Content-Security-Policy forbids it. Scripts are ES modules in the site's `static/`, forms work
without them. Every form holds `{{ token() }}`.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import time
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import jinja2
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from itsdangerous import BadSignature, Signer
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, Headers, MutableHeaders
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from biddable.run.config import UserError
from biddable.store.accounts import Accounts
from biddable.store.sessions import SESSION_SECONDS, TooManyAttempts, session_account
from biddable.store.types import Account

HERE = Path(__file__).parent
MOST_BYTES = 1 << 20
"""A request's body, unless a path has a limit of its own."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
SAFE = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
PLAIN = {
    400: ("This did not work", "The page sent something that cannot be understood."),
    403: ("Not allowed", "You may not do this."),
    404: ("Nothing here", "There is no such page, or it is not yours to see."),
    405: ("Not allowed", "This page cannot be used in that way."),
    413: ("Too long", "What you sent is too large."),
    422: ("This did not work", "The page sent something that cannot be understood."),
    429: ("Please wait", "Too many attempts. Wait a quarter of an hour and try again."),
    500: ("Our mistake", "Something went wrong on our side. What you sent before is kept. Please try again."),
}
"""Heading and sentence for each kind of error."""
log = logging.getLogger("biddable.web")


@dataclass(frozen=True)
class Visitor:
    """Who sends a request: the token of the browser's cookie, and the account it is logged in with."""

    token: str
    account: Account | None
    fresh: bool  # the browser does not have this token yet


def app(
    title: str, room: Path, accounts: Accounts, https: bool = False, limits: dict[str, int] | None = None
) -> FastAPI:
    """An empty site. `room` holds its `pages/` (templates) and `static/`; both may use those of this file's folder.

    `https`: browsers reach the site by https, so cookies and links may insist on it. `limits` maps beginnings of paths to the bytes that
    a request to them may have.
    """
    site = FastAPI(
        title=title, docs_url=None, redoc_url=None, openapi_url=None, default_response_class=HTMLResponse
    )
    site.state.title, site.state.accounts, site.state.https, site.state.secret = (
        title,
        accounts,
        https,
        accounts.cookie_secret(),
    )
    site.state.templates = _templates(room)
    site.mount("/static", StaticFiles(directory=room / "static"), name="static")
    site.mount("/base", StaticFiles(directory=HERE / "static"), name="base")
    for kind in (AnyHTTPException, RequestValidationError, UserError):
        site.add_exception_handler(kind, _told)
    site.add_middleware(_Limit, most=MOST_BYTES, paths=limits or {})
    site.add_middleware(_Headers, https=https)
    return site


def visit(request: Request) -> Visitor:
    """Who sends this request. A cookie that we did not sign counts as none."""
    if (known := getattr(request.state, "visit", None)) is None:
        known = request.state.visit = _visitor(request)
    assert isinstance(known, Visitor)
    return known


def _visitor(request: Request) -> Visitor:
    state = request.app.state
    kept = request.cookies.get(_cookie_name(request), "")
    try:
        token = Signer(state.secret, salt="cookie").unsign(kept).decode()
    except (BadSignature, UnicodeError):
        return Visitor(secrets.token_urlsafe(32), None, True)
    return Visitor(token, session_account(state.accounts.store, token), False)


Visit = Annotated[Visitor, Depends(visit)]


async def _member(visit: Visit) -> Account:
    if visit.account is None:
        raise HTTPException(303, headers={"location": "/login"})
    return visit.account


async def _admin(account: Annotated[Account, Depends(_member)]) -> Account:
    if account.role != "admin":
        raise HTTPException(403)
    return account


async def _form(request: Request) -> FormData:
    return await request.form(max_files=4, max_fields=2000, max_part_size=MOST_BYTES)


async def _accounts(request: Request) -> Accounts:
    found = request.app.state.accounts
    assert isinstance(found, Accounts)
    return found


Known = Annotated[Accounts, Depends(_accounts)]
"""The site's accounts; `known.store` is its store."""
Member = Annotated[Account, Depends(_member)]
"""Somebody who is logged in; others are sent to the login page."""
Admin = Annotated[Account, Depends(_admin)]
"""An admin; for others the page does not exist."""
Form = Annotated[FormData, Depends(_form)]
"""The fields of a form that was sent."""


async def _guard(request: Request, visit: Visit) -> None:
    """Refuse what another site made the browser send: every change needs the token that only our own pages know."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    sent = request.headers.get("x-form-token") or str((await _form(request)).get("token", ""))
    elsewhere = request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
    if (
        visit.fresh
        or elsewhere
        or not hmac.compare_digest(sent.encode(), form_token(request, visit).encode())
    ):
        raise HTTPException(
            403,
            "This form is too old or came from another site. Go back, load the page again, and send it once more.",
        )


def router(**settings: Any) -> APIRouter:
    """A router whose pages are guarded against forged requests. The only way to make one."""
    return APIRouter(dependencies=[Depends(_guard)], **settings)


def form_token(request: Request, visit: Visitor) -> str:
    """What a form must send along: it belongs to this browser's cookie and to nothing else."""
    return hmac.new(request.app.state.secret, b"form " + visit.token.encode(), hashlib.sha256).hexdigest()


def page(request: Request, template: str, status: int = 200, /, **context: Any) -> Response:
    """A page from a template. It knows `me` (the account or none), `site`, `path`, `theme`, `keys` (whether single keys do
    something), `token()` and `static(FILE)`."""
    visitor = visit(request)
    token = Markup('<input type="hidden" name="token" value="{}">').format(form_token(request, visitor))
    known = {
        "me": visitor.account,
        "site": request.app.state.title,
        "path": request.url.path,
        "theme": theme if (theme := request.cookies.get("theme")) in ("light", "dark") else "",
        "keys": request.cookies.get("keys") != "off",
        "form_token": form_token(request, visitor),
        "token": lambda: token,
    }
    text = request.app.state.templates.get_template(template).render(known | context)
    response = HTMLResponse(text, status)
    if visitor.fresh:
        set_session_cookie(request, response, visitor.token, None)
    return response


def redirect(where: str) -> Response:
    """Send the browser to another page of this site, by GET."""
    return RedirectResponse(where, 303)


def set_session_cookie(
    request: Request, response: Response, token: str, seconds: float | None = SESSION_SECONDS
) -> None:
    """Give the browser its cookie: signed, out of reach of scripts, and sent with nothing that comes from another site but plain links."""
    response.set_cookie(
        _cookie_name(request),
        Signer(request.app.state.secret, salt="cookie").sign(token).decode(),
        max_age=None if seconds is None else int(seconds),
        httponly=True,
        secure=request.app.state.https,
        samesite="lax",
    )


def delete_session_cookie(request: Request, response: Response) -> None:
    """Take the cookie back."""
    response.delete_cookie(
        _cookie_name(request), httponly=True, secure=request.app.state.https, samesite="lax"
    )


def client_address(request: Request) -> str:
    """Where a request comes from; behind a proxy uvicorn has put the client's own address here."""
    return request.client.host if request.client else "unknown"


def _cookie_name(request: Request) -> str:
    return "__Host-biddable" if request.app.state.https else "biddable"


def _templates(room: Path) -> jinja2.Environment:
    loader = jinja2.FileSystemLoader([room / "pages", HERE / "pages"])
    found = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,  # each is compiled once
    )

    @cache
    def static(name: str) -> str:
        """The address of a static file; it changes with the content, so that browsers may keep it for long."""
        where, folder = ("/static", room) if (room / "static" / name).is_file() else ("/base", HERE)
        return f"{where}/{name}?{hashlib.sha256((folder / 'static' / name).read_bytes()).hexdigest()[:12]}"

    found.globals["static"] = static
    found.filters["moment"] = lambda at: time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
    return found


def _error(request: Request, status: int, said: list[str], headers: dict[str, str] | None = None) -> Response:
    """An error for a person as a page, for a script as JSON."""
    heading, sentence = PLAIN.get(status, PLAIN[400])
    lines = said or [sentence]
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse({"error": lines}, status, headers=headers)
    response = page(request, "error.html", status, heading=heading, lines=lines)
    response.headers.update(headers or {})
    return response


async def _told(request: Request, error: Exception) -> Response:
    """What a page may raise to say that it will not: an HTTPException, a UserError, or a form with missing fields."""
    if isinstance(error, UserError):
        return await run_in_threadpool(
            _error, request, 429 if isinstance(error, TooManyAttempts) else 400, error.lines
        )
    if not isinstance(error, AnyHTTPException):
        return await run_in_threadpool(_error, request, 422, [])
    headers = dict(error.headers or {})
    if 300 <= error.status_code < 400:
        return Response(status_code=error.status_code, headers=headers)
    own = [] if error.detail == HTTPStatus(error.status_code).phrase else [error.detail]
    return await run_in_threadpool(_error, request, error.status_code, own, headers)


class _Headers:
    """Puts the safe headers on every response, also on the page that tells of a bug. Pages are kept by nobody; static files, whose
    address holds their hash, for long."""

    def __init__(self, app: ASGIApp, https: bool) -> None:
        self.app = app
        self.safe = SAFE | ({"strict-transport-security": "max-age=31536000"} if https else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        static = scope["path"].startswith(("/static/", "/base/"))
        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in self.safe.items():
                    headers.setdefault(name, value)
                lasting = static and message["status"] in (200, 304)
                headers.setdefault("cache-control", "public, max-age=31536000" if lasting else "no-store")
            await send(message)

        try:
            await self.app(scope, receive, sent)
        except Exception:
            log.exception("%s %s", scope["method"], scope["path"])
            if started:
                raise
            response = await run_in_threadpool(_error, Request(scope), 500, [])
            await response(scope, receive, sent)


class _Limit:
    """Refuses a body that is too large, whether its length is told or not, before anything keeps it in memory."""

    def __init__(self, app: ASGIApp, most: int, paths: dict[str, int]) -> None:
        self.app, self.most, self.paths = app, most, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        most = next(
            (limit for path, limit in self.paths.items() if scope["path"].startswith(path)), self.most
        )
        told = Headers(scope=scope).get("content-length", "0")
        if not told.isdigit() or int(told) > most:
            return await _too_large(scope, receive, send)
        read = 0

        async def received() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                raise _TooLarge
            return message

        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, received, sent)
        except _TooLarge:
            if started:
                raise
            await _too_large(scope, receive, send)


class _TooLarge(Exception):
    """A body went on for longer than its limit."""


async def _too_large(scope: Scope, receive: Receive, send: Send) -> None:
    text = "<!doctype html><title>Too long</title><h1>Too long</h1><p>What you sent is too large. Go back and send less.</p>"
    await HTMLResponse(text, 413, headers={"connection": "close"})(scope, receive, send)
