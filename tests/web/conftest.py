"""A small site of its own, on a fresh store, with three people."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.testclient import TestClient
from itsdangerous import Signer
from starlette.responses import PlainTextResponse, Response

from biddable.run.config import UserError
from biddable.store import sessions
from biddable.store.accounts import Accounts
from biddable.store.login_attempts import TooManyAttempts
from biddable.store.store import open_store
from biddable.web.app import create_app
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import render
from biddable.web.sessions import Admin, Member

PASSWORD = "nine quiet horses"


def add_routes(site: FastAPI) -> None:
    router = guarded_router()

    @router.get("/page")
    def page(request: Request) -> Response:
        return render(request, "page.html", text="<b>&")

    @router.get("/unknown")
    def unknown(request: Request) -> Response:
        return render(request, "unknown.html")

    @router.get("/member")
    def member(me: Member) -> Response:
        return PlainTextResponse(me.login)

    @router.get("/admin")
    def admin(me: Admin) -> Response:
        return PlainTextResponse(me.login)

    @router.post("/send")
    def send(form: Form) -> Response:
        return PlainTextResponse(str(form.get("text")))

    @router.post("/read")
    @router.post("/large/read")
    async def read(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    @router.get("/number/{number}")
    def number(number: int) -> Response:
        return PlainTextResponse(str(number + 1))

    @router.get("/refuse/{kind}")
    def refuse(kind: str) -> Response:
        errors = {
            "user": UserError(["first line", "second line"]),
            "attempts": TooManyAttempts("wait"),
            "sentence": HTTPException(404, "This is gone."),
            "phrase": HTTPException(404),
            "elsewhere": HTTPException(303, headers={"location": "/page"}),
            "bug": ZeroDivisionError("secret detail"),
        }
        raise errors[kind]

    site.include_router(router)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The site's own templates and static files."""
    for name, text in (
        (
            "templates/page.html",
            "{{ text }}|{{ 86400.0 | moment }}|{{ static('own.js') }}|{{ static('base.css') }}",
        ),
        ("templates/unknown.html", "{{ no_such_name }}"),
        ("static/own.js", "let x;"),
    ):
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "site"


@pytest.fixture
def make_site(tmp_path: Path, folder: Path) -> Iterator[Callable[..., FastAPI]]:
    with open_store(tmp_path / "store.db") as store:
        accounts = Accounts(store)
        accounts.add("boss", PASSWORD, "admin")
        accounts.add("ada", PASSWORD, "labeler")

        def make(https: bool = False, body_limits: dict[str, int] | None = None) -> FastAPI:
            address = "https://testserver" if https else None
            site = create_app("A site", folder, accounts, address, body_limits=body_limits)
            add_routes(site)
            return site

        yield make


@pytest.fixture
def site(make_site: Callable[..., FastAPI]) -> FastAPI:
    return make_site(body_limits={"/large/": 2_000_000})


class Client(TestClient):
    """A browser whose cookie and form token the tests make by themselves, from the site's secret."""

    def __init__(self, site: FastAPI, login: str | None = None) -> None:
        super().__init__(site, follow_redirects=False, raise_server_exceptions=False)
        self.secret: bytes = site.state.secret
        self.session = "a visitor without an account"
        if login is not None:
            self.session = sessions.log_in(site.state.accounts, login, PASSWORD, "10.0.0.1", "a test")
        self.cookies.set("biddable", Signer(self.secret, salt="cookie").sign(self.session).decode())

    @property
    def form_token(self) -> str:
        return hmac.new(self.secret, b"form " + self.session.encode(), hashlib.sha256).hexdigest()


@pytest.fixture
def client(site: FastAPI) -> Client:
    return Client(site)
