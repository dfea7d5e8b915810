"""A site on a fresh store, browsers without script, and people who are logged in."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import argon2
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from biddable.label import site
from biddable.store.accounts import Accounts

from .browser import CHROMIUM, TIMEOUT_MS

PASSWORD = "nine quiet horses"


class Browser:
    """A browser without script: it keeps its cookie, and fills in a page's forms."""

    def __init__(self, app: FastAPI, agent: str = "a test") -> None:
        self.client = TestClient(
            app, base_url="http://testserver", headers={"user-agent": agent}, follow_redirects=False
        )

    def get(self, path: str, **settings: Any) -> Any:
        return self.client.get(path, **settings)

    def token(self, path: str = "/login") -> str:
        found = re.search(r'name="form-token" content="(\w+)"', self.get(path, follow_redirects=True).text)
        assert found
        return found[1]

    def post(self, path: str, token: str | None = None, **fields: Any) -> Any:
        """Send a form, with the token of the login page (or of the first page, once logged in) unless another
        is given."""
        return self.client.post(path, data={"token": self.token() if token is None else token, **fields})

    def login(self, name: str, password: str = PASSWORD) -> Any:
        return self.post("/login", name=name, password=password)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FastAPI]:
    made = site.application(site.Config(), tmp_path / "store.db")
    made.state.accounts._hasher = argon2.PasswordHasher(1, 64, 1)  # as safe as a test needs it, and fast
    yield made
    made.state.accounts.store.close()


@pytest.fixture
def accounts(app: FastAPI) -> Accounts:
    found = app.state.accounts
    assert isinstance(found, Accounts)
    found.add("boss", PASSWORD, "admin")
    found.add("ada", PASSWORD, "labeler")
    found.add("bob", PASSWORD, "labeler")
    found.add("eve", PASSWORD, "labeler", "held_out")
    return found


@pytest.fixture
def logged_in(app: FastAPI, accounts: Accounts) -> Callable[[str], Browser]:
    def enter(name: str) -> Browser:
        browser = Browser(app)
        assert browser.login(name).headers["location"] == "/"
        return browser

    return enter


@pytest.fixture
def address(app: FastAPI, accounts: Accounts) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        threading.Event().wait(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any, address: str) -> Iterator[Callable[..., Any]]:
    """A page of somebody who is logged in; whatever breaks the Content-Security-Policy or throws an error
    fails the test."""
    contexts, problems = [], []

    def enter(name: str, **settings: Any) -> Any:
        context = chromium.new_context(base_url=address, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda said: (
                problems.append(said.text) if said.type == "error" and "status of" not in said.text else None
            ),
        )
        page.goto("/login")
        page.fill("#name", name)
        page.fill("#password", PASSWORD)
        page.click("text=Log in >> nth=-1")
        page.wait_for_url("**/")
        return page

    yield enter
    for context in contexts:
        context.close()
    assert not problems
