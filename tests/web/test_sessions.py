"""Who may come: the signed cookie, members, admins."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from itsdangerous import Signer

from biddable.store import sessions

from .conftest import PASSWORD, Client


def test_pages_for_members_and_for_admins(site: FastAPI) -> None:
    nobody, ada, boss = Client(site), Client(site, "ada"), Client(site, "boss")
    for path in ("/member", "/admin"):
        assert nobody.get(path).status_code == 303 and nobody.get(path).headers["location"] == "/login"
    assert (ada.get("/member").text, ada.get("/admin").status_code) == ("ada", 403)
    assert (boss.get("/member").text, boss.get("/admin").text) == ("boss", "boss")


def test_a_revoked_session_is_out_at_once(site: FastAPI) -> None:
    ada = Client(site, "ada")
    (account,) = [one for one in site.state.accounts.all() if one.login == "ada"]
    sessions.revoke_sessions(site.state.accounts.store, account.id, None, account.id)
    assert ada.get("/member").status_code == 303


@pytest.mark.parametrize("secret", [b"another secret", None])
def test_a_cookie_that_we_did_not_sign_is_none(site: FastAPI, secret: bytes | None) -> None:
    ada, thief = Client(site, "ada"), TestClient(site, follow_redirects=False)
    cookie = ada.session if secret is None else Signer(secret, salt="cookie").sign(ada.session).decode()
    thief.cookies.set("biddable", cookie)
    assert thief.get("/member").status_code == 303
    thief.cookies.set("biddable", Signer(site.state.secret, salt="other").sign(ada.session).decode())
    assert thief.get("/member").status_code == 303
    thief.cookies.set("biddable", Signer(site.state.secret, salt="cookie").sign(ada.session).decode())
    assert thief.get("/member").text == "ada"


def test_a_new_visitor_gets_a_cookie_until_the_browser_closes_and_keeps_it(site: FastAPI) -> None:
    browser = TestClient(site)
    cookie = browser.get("/page").headers["set-cookie"]
    assert cookie.startswith("biddable=") and "HttpOnly" in cookie and "samesite=lax" in cookie.lower()
    assert "max-age" not in cookie.lower() and "secure" not in cookie.lower()
    assert "set-cookie" not in browser.get("/page").headers


def test_with_https_the_cookie_is_for_this_host_and_https_alone(make_site: Callable[..., FastAPI]) -> None:
    cookie = (
        TestClient(make_site(https=True), base_url="https://testserver").get("/page").headers["set-cookie"]
    )
    assert cookie.startswith("__Host-biddable=") and "Secure" in cookie and "Path=/" in cookie
    assert PASSWORD not in cookie
