"""A link for another password: it works once, for a day, for an open account, and ends all sessions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import argon2
import pytest
from fastapi.testclient import TestClient

from biddable.label import site
from biddable.run.config import UserError
from biddable.store import password_resets, sessions
from biddable.store.accounts import Accounts
from biddable.store.store import open_store
from tests.conftest import Clock

OLD, NEW = "nine quiet horses", "seven loud geese fly"


@pytest.fixture
def accounts(where: str, clock: Clock) -> Iterator[Accounts]:
    with open_store(where, clock, durable=False) as store:
        accounts = Accounts(store)
        accounts._hasher = argon2.PasswordHasher(1, 64, 1)
        accounts.add("boss", OLD, "admin")
        accounts.add("ann", OLD, "labeler")
        yield accounts


def test_a_link_sets_a_password_once(accounts: Accounts) -> None:
    ann, boss = sorted(accounts.all(), key=lambda account: account.login)
    session = sessions.log_in(accounts, "ann", OLD, "10.0.0.1", "x")
    token = password_resets.make_reset(accounts.store, ann.id, boss.id)
    assert password_resets.find_reset(accounts.store, token) == ann
    with pytest.raises(UserError, match="at least 10 characters"):
        password_resets.reset_password(accounts, token, "short")
    password_resets.reset_password(accounts, token, NEW)
    assert accounts.password_matches("ann", NEW) and not accounts.password_matches("ann", OLD)
    assert accounts.password_matches("boss", OLD)
    assert sessions.session_account(accounts.store, session) is None
    assert password_resets.find_reset(accounts.store, token) is None
    with pytest.raises(UserError, match="was used"):
        password_resets.reset_password(accounts, token, OLD)


def test_a_link_works_for_a_day_for_an_open_account_and_the_newest_only(
    accounts: Accounts, clock: Clock
) -> None:
    ann, boss = sorted(accounts.all(), key=lambda account: account.login)
    first, second = (password_resets.make_reset(accounts.store, ann.id, boss.id) for _ in range(2))
    assert password_resets.find_reset(accounts.store, first) is None
    clock.now += 24 * 3600 - 1
    assert password_resets.find_reset(accounts.store, second) is not None
    clock.now += 1
    assert password_resets.find_reset(accounts.store, second) is None
    third = password_resets.make_reset(accounts.store, ann.id, boss.id)
    accounts.close(ann.id, boss.id)
    assert password_resets.find_reset(accounts.store, third) is None
    with pytest.raises(UserError, match="no such open account"):
        password_resets.make_reset(accounts.store, ann.id, boss.id)


def test_an_admin_makes_the_link_and_its_owner_follows_it(tmp_path: Path) -> None:
    app = site.application(site.Config(), tmp_path / "store.db")
    accounts = app.state.accounts
    accounts._hasher = argon2.PasswordHasher(1, 64, 1)
    accounts.add("boss", OLD, "admin")
    ann = accounts.add("ann", OLD, "labeler")

    def form_token(browser: TestClient, path: str) -> str:
        page = browser.get(path, follow_redirects=True).text
        match = re.search(r'name="form-token" content="(\w+)"', page)
        assert match
        return match[1]

    admin, owner = TestClient(app, follow_redirects=False), TestClient(app, follow_redirects=False)
    admin.post("/login", data={"token": form_token(admin, "/login"), "name": "boss", "password": OLD})
    fields = {"token": form_token(admin, "/admin"), "account": ann.id, "action": "reset"}
    page = admin.post("/admin/account", data=fields).text
    link = re.search(r"http://testserver(/password/[\w-]+)", page)
    assert link
    assert "ann" in owner.get(link[1]).text
    fields = {"token": form_token(owner, link[1]), "password": NEW, "again": "other"}
    assert owner.post(link[1], data=fields).status_code == 400
    assert owner.post(link[1], data={**fields, "again": NEW}).headers["location"] == "/login?changed=1"
    assert owner.get(link[1]).status_code == 404
    assert accounts.password_matches("ann", NEW)
    labeler = TestClient(app, follow_redirects=False)
    labeler.post("/login", data={"token": form_token(labeler, "/login"), "name": "ann", "password": NEW})
    fields = {"token": form_token(labeler, "/"), "account": ann.id, "action": "reset"}
    assert labeler.post("/admin/account", data=fields).status_code == 403
    accounts.store.close()
