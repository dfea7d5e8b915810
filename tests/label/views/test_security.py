"""What somebody with bad intentions may try: forged forms, scripts in every text, stolen cookies, others'
tasks, too much, odd paths, guessing."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from biddable.label.views import markup
from biddable.store.accounts import Accounts
from biddable.store.sessions import MOST_ATTEMPTS
from biddable.web.forms import MAX_BODY_BYTES
from biddable.web.middleware import CONTENT_SECURITY_POLICY

from .conftest import PASSWORD, Browser
from .test_tasks import begin, put

Enter = Callable[[str], Browser]
SCRIPT = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}"
OPEN = {"/login", "/login/code", "/theme", "/invitation/{token}", "/password/{token}"}
"""Pages for who is not logged in; the code is asked for on the way, behind a token of its own."""


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Every (method, path) of the site, wherever routers keep them."""
    found, waiting = [], list(app.routes)
    while waiting:
        one = waiting.pop()
        if isinstance(one, APIRoute):
            found += [(method, one.path) for method in one.methods]
        else:
            inner = getattr(one, "original_router", None) or getattr(one, "router", None)
            prefix = getattr(getattr(one, "include_context", None), "prefix", "")
            assert not prefix
            waiting += list(getattr(inner, "routes", ()))
    return found


def test_no_form_works_without_its_token(app: FastAPI, logged_in: Enter) -> None:
    boss, posts = logged_in("boss"), [path for method, path in routes(app) if method == "POST"]
    assert len(posts) > 10
    for path in posts:
        where = path.replace("{token}", "x")
        assert boss.client.post(where, data={}).status_code == 403, path
        assert boss.client.post(where, data={"token": "0" * 64}).status_code == 403, path
        assert (
            boss.client.post(
                where, data={"token": boss.token()}, headers={"sec-fetch-site": "cross-site"}
            ).status_code
            == 403
        ), path
    other = logged_in("ada").token()
    assert (
        boss.post("/admin/invite", other, role="admin", panel="training").status_code == 403
    )  # a token belongs to one session


def test_no_page_opens_without_a_session_and_admins_pages_for_admins_only(
    app: FastAPI, logged_in: Enter
) -> None:
    nobody, ada = Browser(app), logged_in("ada")
    for method, path in routes(app):
        if path in OPEN or method not in ("GET", "POST"):
            continue
        where = re.sub(r"\{.*?\}", "x", path)
        for browser, expected in ((nobody, (303,)), (ada, (403,))):
            if browser is ada and not path.startswith("/admin"):
                continue
            token = browser.token()
            said = browser.get(where) if method == "GET" else browser.post(where, token)
            assert said.status_code in expected, (path, said.status_code)


def test_every_response_has_the_safe_headers(app: FastAPI, logged_in: Enter) -> None:
    ada = logged_in("ada")
    for path in ("/", "/nowhere", "/static/task.js", "/web/base.css", "/login"):
        headers = ada.get(path).headers
        assert (
            headers["content-security-policy"] == CONTENT_SECURITY_POLICY
            and "unsafe" not in CONTENT_SECURITY_POLICY
        )
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
    for path in ("/", "/profile", "/mine", "/guideline"):
        text = ada.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|javascript:", text), path


def test_the_page_for_a_bug_tells_nothing_and_is_safe_too(
    app: FastAPI, logged_in: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = logged_in("ada")
    monkeypatch.setattr("biddable.label.views.home._offers", lambda store, me: 1 / 0)
    said = ada.get("/")
    assert said.status_code == 500 and "Our mistake" in said.text and "division" not in said.text
    assert said.headers["content-security-policy"] == CONTENT_SECURITY_POLICY


def test_scripts_in_every_text_field_stay_text(app: FastAPI, accounts: Accounts, logged_in: Enter) -> None:
    ada, boss = logged_in("ada"), logged_in("boss")
    pages = [
        Browser(app).login(SCRIPT).text,
        boss.post("/admin/invite", role="labeler", panel="training", note=SCRIPT).text,
    ]
    pages.append(
        boss.post("/admin/guidelines", name="training", text=SCRIPT).text
        + boss.get("/admin/guidelines").text
        + ada.get("/guideline").text
    )
    for kind, field in (
        ("comparisons", "better"),
        ("comparisons", "comment"),
        ("demonstrations", "text"),
        ("prompts", "query"),
        ("probes", "message"),
        ("turns", "message"),
    ):
        name = (
            put(accounts, kind)
            if kind != "comparisons" or field == "better"
            else "demo/label.comparisons/abc"
        )
        task, _, version = begin(ada, name)
        pages.append(ada.post("/draft", id=task, guideline=version, **{field: SCRIPT}).text)
        pages.append(ada.get("/task", params={"id": task}).text)
    ada.post("/skip", id=task, action="flag", reason=SCRIPT)
    pages += [boss.get(path).text for path in ("/admin", "/admin/guidelines", "/admin/log")]
    agent = Browser(app, agent=SCRIPT)
    agent.login("ada")
    pages.append(agent.get("/profile").text)
    for page in pages:
        assert "<script>alert" not in page and "<img" not in page
    assert sum("&lt;script&gt;" in page for page in pages) >= 9


def test_texts_cannot_hide_turn_round_or_reach_out() -> None:
    for text in (
        SCRIPT,
        "[a](javascript:alert(1))",
        "![x](http://evil/x.png)",
        "<http://evil>",
        "[a]: http://evil\n[a]",
        "`<b>`",
        "```<b>\nx\n```",
    ):
        made = str(markup.rich(text))
        assert not re.search(r"<(script|img|a|b|iframe)\b|href|src=\"", made.replace("src=x", "")), made
    assert str(markup.rich("a\u202eb\u200bc")).count('class="odd"') == 2
    assert "right-to-left override" in markup.plain("\u202e")
    assert "\U0001f469\u200d\U0001f680" in markup.rich(
        "\U0001f469\u200d\U0001f680"
    )  # joined emoji stay joined
    assert "700,000 more characters are not shown" in markup.rich("x" * 1_000_000)
    for nasty in ("*" * 30_000, "[" * 30_000, "> " * 15_000, "`" * 30_000 + "a", "\ue000202E\ue001"):
        assert 'class="odd"' not in markup.rich(nasty)


def test_a_stolen_cookie_is_worth_nothing_after_log_out(app: FastAPI, logged_in: Enter) -> None:
    ada, thief = logged_in("ada"), Browser(app)
    cookie = ada.client.cookies["biddable"]
    thief.client.cookies.set("biddable", cookie)
    assert thief.get("/mine").status_code == 200
    ada.post("/logout")
    assert thief.get("/mine").status_code == 303
    thief.client.cookies.set("biddable", cookie[:-2] + "xx")
    assert thief.get("/mine").status_code == 303


def test_logging_in_gives_a_new_session(app: FastAPI, accounts: Accounts) -> None:
    browser = Browser(app)
    browser.token()
    before = browser.client.cookies["biddable"]
    said = browser.login("ada")
    assert browser.client.cookies["biddable"] != before
    assert "HttpOnly" in said.headers["set-cookie"] and "samesite=lax" in said.headers["set-cookie"].lower()


def test_too_much_is_refused(app: FastAPI, accounts: Accounts, logged_in: Enter) -> None:
    ada = logged_in("ada")
    assert ada.post("/profile/password", old="x" * (MAX_BODY_BYTES + 1)).status_code == 413

    def endless() -> object:
        for _ in range(40):
            yield b"a=" + b"x" * 65536

    told = ada.client.post(
        "/profile/password", content=endless(), headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert told.status_code == 413
    task, _, version = begin(ada, put(accounts, "demonstrations"))
    assert ada.post("/answer", id=task, guideline=version, text="x" * 150_000).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/static/../site.py",
        "/static/%2e%2e/site.py",
        "/web/..%2fapp.py",
        "/static//etc/passwd",
        "/invitation/..%2f..%2fadmin",
    ],
)
def test_paths_lead_nowhere_else(path: str, logged_in: Enter) -> None:
    said = logged_in("boss").get(path)
    assert said.status_code in (404, 405) and "import" not in said.text


def test_sql_is_text(accounts: Accounts, logged_in: Enter) -> None:
    ada, bad = logged_in("ada"), "x'; DROP TABLE labels; --"
    assert ada.get("/task", params={"id": bad}).status_code == 404
    assert ada.post("/next", set=bad).headers["location"] == "/?nothing=1"
    task, _, version = begin(ada, put(accounts, "demonstrations"))
    ada.post("/answer", id=task, guideline=bad, text=bad)
    assert accounts.store.labels("demo/label.demonstrations/abc")[0].guideline == version
    assert ada.login(bad).status_code == 403


def test_guessing_passwords_is_slowed_down(app: FastAPI, accounts: Accounts) -> None:
    browser = Browser(app)
    said = [browser.login("ada", f"wrong {i}").status_code for i in range(MOST_ATTEMPTS["pair"] + 1)]
    assert said == [403] * MOST_ATTEMPTS["pair"] + [429]
    assert browser.login("ada", PASSWORD).status_code == 429  # also the right one, for a while
    now = accounts.store.clock()
    accounts.store.clock = lambda: now + 901
    assert browser.login("ada", PASSWORD).status_code == 303


def test_with_https_the_cookie_goes_over_https_only(tmp_path_factory: pytest.TempPathFactory) -> None:
    from biddable.label import site

    app = site.application(
        site.Config(address="https://label.example.org"), tmp_path_factory.mktemp("https") / "store.db"
    )
    browser = Browser(app)
    browser.client.base_url = browser.client.base_url.copy_with(scheme="https", host="label.example.org")
    said = browser.get("/login")
    assert (
        said.headers["set-cookie"].startswith("__Host-biddable=") and "Secure" in said.headers["set-cookie"]
    )
    assert "strict-transport-security" in said.headers
    assert browser.get("/login", headers={"host": "evil.example"}).status_code == 421
    app.state.accounts.store.close()
