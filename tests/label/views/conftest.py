"""A site on a fresh store, browsers without script, and people who are logged in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import argon2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from biddable.label import site
from biddable.store.accounts import Accounts

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
