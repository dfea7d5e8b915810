"""The second factor: what RFC 6238 says, each code once, limits, recovery codes, who may remove it, and that no
page opens before it where a site asks for one."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import argon2
import pyotp
import pytest
from fastapi import FastAPI

from biddable.label import site
from biddable.run.config import UserError
from biddable.store import audit, second_factor, sessions
from biddable.store.accounts import Accounts
from biddable.store.login_attempts import TooManyAttempts
from biddable.store.store import Store, open_store
from biddable.store.types import Account
from tests.conftest import Clock
from tests.label.views.conftest import Browser

PASSWORD = "nine quiet horses"
SECRET = base64.b32encode(b"12345678901234567890").decode()
"""Of RFC 6238, appendix B, whose table for SHA-1 says 94287082 at second 59 and 07081804 at 1111111109: the last
six of these eight digits."""


@pytest.fixture
def store(where: str, clock: Clock) -> Iterator[Store]:
    clock.now = 1111111109.0
    with open_store(where, clock, durable=False) as opened:
        yield opened


@pytest.fixture
def ann(store: Store) -> Account:
    return accounts_of(store).add("ann", PASSWORD, "labeler")


def accounts_of(store: Store) -> Accounts:
    accounts = Accounts(store)
    accounts._hasher = argon2.PasswordHasher(1, 64, 1)
    return accounts


def enrolled(store: Store, ann: Account, clock: Clock) -> list[str]:
    """Adds the factor with the code of the step before, so that the present one is still unused."""
    code = pyotp.TOTP(SECRET).at(int(clock.now) - 30)
    return second_factor.enrol(store, ann.id, SECRET, code, "session")


@pytest.mark.parametrize(("at", "code"), [(1111111109.0, "081804"), (1234567890.0, "005924")])
def test_codes_are_those_of_the_standard(
    at: float, code: str, store: Store, ann: Account, clock: Clock
) -> None:
    clock.now = at
    assert len(second_factor.enrol(store, ann.id, SECRET, code, "session")) == second_factor.RECOVERY_CODES
    assert accounts_of(store).find("ann").second_factor
    with pytest.raises(UserError, match="was used before"):
        second_factor.check_code(store, ann.id, code, "10.0.0.1")


def test_a_code_of_another_secret_adds_nothing(store: Store, ann: Account) -> None:
    with pytest.raises(UserError, match="not right"):
        second_factor.enrol(store, ann.id, SECRET, "000000", "session")
    assert not accounts_of(store).find("ann").second_factor


def test_the_password_alone_opens_nothing(store: Store, ann: Account, clock: Clock) -> None:
    accounts = accounts_of(store)
    before = sessions.log_in(accounts, "ann", PASSWORD, "10.0.0.1", "x")
    enrolled(store, ann, clock)
    assert sessions.session_account(store, before) is None, "other browsers are logged out"
    with pytest.raises(sessions.CodeNeeded) as needed:
        sessions.log_in(accounts, "ann", PASSWORD, "10.0.0.1", "x")
    assert needed.value.account == ann.id and sessions.list_sessions(store, ann.id) == []
    token = sessions.log_in_with_code(accounts, ann.id, "081804", "10.0.0.1", "x")
    assert sessions.session_account(store, token) is not None


@pytest.mark.parametrize("steps", [-2, -1, 0, 1, 2])
def test_a_phone_may_be_half_a_minute_off(steps: int, store: Store, ann: Account, clock: Clock) -> None:
    enrolled(store, ann, clock)
    clock.now += 300
    code = pyotp.TOTP(SECRET).at(int(clock.now) + 30 * steps)
    if abs(steps) == 2:
        with pytest.raises(UserError):
            second_factor.check_code(store, ann.id, code, "10.0.0.1")
    else:
        second_factor.check_code(store, ann.id, f" {code[:3]} {code[3:]} ", "10.0.0.1")


def test_each_code_works_once_however_many_come_at_once(store: Store, ann: Account, clock: Clock) -> None:
    recovery = enrolled(store, ann, clock)
    for code in ("081804", recovery[0]):
        start, wrong = threading.Barrier(4), []

        def use(code: str, start: threading.Barrier, wrong: list[UserError]) -> None:
            start.wait()
            try:
                second_factor.check_code(store, ann.id, code, "10.0.0.1")
            except UserError as error:
                wrong.append(error)

        threads = [threading.Thread(target=use, args=(code, start, wrong)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(wrong) == 3
        clock.now += 1000
    with pytest.raises(UserError):  # nor an earlier one after a later one
        second_factor.check_code(store, ann.id, "081804", "10.0.0.1")


def test_recovery_codes_are_spent_and_replaced(store: Store, ann: Account, clock: Clock) -> None:
    codes = enrolled(store, ann, clock)
    assert len(set(codes)) == 10 and all(re.fullmatch("[a-z2-9]{16}", code) for code in codes)
    typed = f"{codes[3][:4].upper()}-{codes[3][4:8]} {codes[3][8:]}"
    second_factor.check_code(store, ann.id, typed, "10.0.0.1")
    assert second_factor.recovery_codes_left(store, ann.id) == 9
    second_factor.renew_recovery_codes(store, ann.id)
    for code in codes[:2]:
        with pytest.raises(UserError):
            second_factor.check_code(store, ann.id, code, "10.0.0.1")
    assert second_factor.recovery_codes_left(store, ann.id) == 10


def test_nothing_stored_is_a_recovery_code(store: Store, ann: Account, clock: Clock) -> None:
    codes = enrolled(store, ann, clock)
    with store.read() as connection:
        row = second_factor._row(connection, ann.id)
    assert not any(code in row.totp for code in codes)


def test_codes_are_limited_like_passwords(store: Store, ann: Account, clock: Clock) -> None:
    enrolled(store, ann, clock)
    for address in ("10.0.0.1", "10.0.0.2"):
        for _ in range(5):
            with pytest.raises(UserError, match="not right"):
                second_factor.check_code(store, ann.id, "123456", address)
        with pytest.raises(TooManyAttempts):
            second_factor.check_code(store, ann.id, "081804", address)
    with pytest.raises(TooManyAttempts):  # ten for the account, wherever they came from
        second_factor.check_code(store, ann.id, "081804", "10.0.0.3")
    clock.now += 1000
    second_factor.check_code(store, ann.id, pyotp.TOTP(SECRET).at(int(clock.now)), "10.0.0.1")


def test_right_codes_are_no_attempts(store: Store, ann: Account, clock: Clock) -> None:
    enrolled(store, ann, clock)
    for _ in range(20):
        second_factor.check_code(store, ann.id, pyotp.TOTP(SECRET).at(int(clock.now)), "10.0.0.1")
        clock.now += 30


def test_a_clock_that_jumped_blocks_no_code(store: Store, ann: Account, clock: Clock) -> None:
    enrolled(store, ann, clock)
    right = clock.now
    clock.now = right + 10 * 365 * 86400
    second_factor.check_code(store, ann.id, pyotp.TOTP(SECRET).at(int(clock.now)), "10.0.0.1")
    clock.now = right
    second_factor.check_code(store, ann.id, "081804", "10.0.0.1")


def test_a_closed_account_gets_no_session(store: Store, ann: Account, clock: Clock) -> None:
    accounts = accounts_of(store)
    boss = accounts.add("boss", PASSWORD, "admin")
    enrolled(store, ann, clock)
    accounts.close(ann.id, boss.id)
    with pytest.raises(UserError):
        sessions.log_in_with_code(accounts, ann.id, "081804", "10.0.0.1", "x")
    assert sessions.list_sessions(store, ann.id) == []


@pytest.mark.parametrize("code", ["", "\x00", "\ud800", "１２３４５６", "9" * 100_000, "' or 1=1"])
def test_any_text_may_be_sent_as_a_code(code: str, store: Store, ann: Account, clock: Clock) -> None:
    enrolled(store, ann, clock)
    with pytest.raises(UserError, match="not right"):
        second_factor.check_code(store, ann.id, code, "10.0.0.1")


# --- the pages ---


@pytest.fixture
def app(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FastAPI]:
    made = site.application(
        site.Config(second_factor=getattr(request, "param", "optional")), tmp_path / "store.db"
    )
    made.state.accounts._hasher = argon2.PasswordHasher(1, 64, 1)
    for name, role in (("boss", "admin"), ("eve", "admin"), ("ann", "labeler")):
        made.state.accounts.add(name, PASSWORD, role)
    yield made
    made.state.accounts.store.close()


def hidden(page: str, name: str) -> str:
    match = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert match
    return match[1]


def enter(app: FastAPI, name: str) -> Browser:
    browser = Browser(app)
    assert browser.login(name).headers["location"] == "/"
    return browser


def add_factor(browser: Browser) -> tuple[str, list[str]]:
    """Goes through the page; returns the secret and the recovery codes."""
    page = browser.get("/second-factor").text
    match = re.search(r'<code class="long">([A-Z2-7 ]+)</code>', page)
    assert match
    secret = match[1].replace(" ", "")
    token, offer = browser.token("/second-factor"), hidden(page, "offer")
    wrong = browser.post("/second-factor/enrol", token, offer=offer, code="000000")
    assert wrong.status_code == 400 and match[1] in wrong.text, "the same key is offered again"
    done = browser.post("/second-factor/enrol", token, offer=offer, code=pyotp.TOTP(secret).now())
    codes = re.findall(r"<li><code>([a-z2-9-]{19})</code></li>", done.text)
    assert done.status_code == 200 and len(codes) == 10
    return secret, codes


def proof_of(browser: Browser, name: str) -> str:
    asked = browser.login(name)
    assert asked.status_code == 200 and "recovery code" in asked.text
    return hidden(asked.text, "proof")


def test_somebody_adds_it_and_logs_in_with_it(app: FastAPI) -> None:
    ann = enter(app, "ann")
    secret, recovery = add_factor(ann)
    assert ann.get("/").status_code == 200, "this browser stays logged in"
    phone = Browser(app)
    proof = proof_of(phone, "ann")
    assert phone.get("/").headers["location"] == "/login"
    next_code = pyotp.TOTP(secret).at(int(app.state.accounts.store.clock()) + 30)
    assert phone.post("/login/code", proof=proof, code="000000").status_code == 403
    assert phone.post("/login/code", proof=proof, code=next_code).headers["location"] == "/"
    assert phone.get("/").status_code == 200
    again = Browser(app)
    proof = proof_of(again, "ann")
    assert again.post("/login/code", proof=proof, code=next_code).status_code == 403, "used before"
    assert again.post("/login/code", proof=proof, code=recovery[0]).headers["location"] == "/"
    assert "9 have not been used" in again.get("/second-factor").text


def test_the_proof_of_a_password_is_of_one_browser_and_one_moment(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, recovery = add_factor(enter(app, "ann"))
    ann, other = Browser(app), Browser(app)
    proof = proof_of(ann, "ann")
    other.get("/login")
    for stolen in (proof, "", "x", proof[:-1], app.state.accounts.find("ann").id):
        assert other.post("/login/code", proof=stolen, code=recovery[0]).status_code == 403
    import itsdangerous.timed

    later = itsdangerous.timed.time.time() + 301
    monkeypatch.setattr(itsdangerous.timed.time, "time", lambda: later)
    late = ann.post("/login/code", proof=proof, code=recovery[0])
    assert late.status_code == 403 and "too long" in late.text


def test_only_a_key_that_the_page_drew_is_added(app: FastAPI) -> None:
    ann = enter(app, "ann")
    offer = hidden(enter(app, "eve").get("/second-factor").text, "offer")
    token = ann.token("/second-factor")
    for planted in (offer, SECRET, "", "\x00"):
        refused = ann.post(
            "/second-factor/enrol", token, offer=planted, code=pyotp.TOTP(offer.split(".")[0]).now()
        )
        assert refused.status_code == 400
    assert not app.state.accounts.find("ann").second_factor


def test_password_and_not_session_alone_removes_it(app: FastAPI) -> None:
    ann = enter(app, "ann")
    _, recovery = add_factor(ann)
    token = ann.token("/second-factor")
    for path in ("/second-factor/remove", "/second-factor/codes"):
        assert ann.post(path, token, password="wrong").status_code == 400
    renewed = ann.post("/second-factor/codes", token, password=PASSWORD).text
    assert recovery[0] not in renewed and "10 have not been used" in renewed
    assert ann.post("/second-factor/remove", token, password=PASSWORD).headers["location"] == "/login"
    assert ann.get("/").headers["location"] == "/login", "logged out everywhere"
    enter(app, "ann")


def test_an_admin_removes_anothers_but_not_their_own(app: FastAPI) -> None:
    _, _ = add_factor(enter(app, "ann"))
    boss, ids = enter(app, "boss"), {account.login: account.id for account in app.state.accounts.all()}
    add_factor(boss)
    assert "Remove second factor" in boss.get("/admin").text
    token = boss.token("/admin")
    assert boss.post("/admin/account", token, account=ids["boss"], action="factor").status_code == 400
    assert boss.post("/admin/account", token, account=ids["eve"], action="factor").status_code == 400
    assert boss.post("/admin/account", token, account=ids["ann"], action="factor").status_code == 303
    enter(app, "ann")
    lines = [(line.login, line.action) for line in audit.audit_log(app.state.accounts.store)]
    assert ("boss", "second factor removed") in lines and ("ann", "second factor added") in lines


@pytest.mark.parametrize("app", ["admins", "everybody"], indirect=True)
def test_a_site_may_ask_for_it(app: FastAPI) -> None:
    boss, asked = enter(app, "boss"), app.state.second_factor
    for path in ("/", "/admin", "/profile", "/mine", "/admin/log", "/admin/guidelines"):
        assert boss.get(path).headers["location"] == "/second-factor", path
    token = boss.token("/second-factor")
    assert boss.post("/admin/invite", token, role="admin", panel="training").status_code == 303
    assert "add it to go on" in boss.get("/second-factor").text
    assert boss.get("/", headers={"accept": "application/json"}).status_code == 403
    add_factor(boss)
    assert boss.get("/admin").status_code == 200
    refused = boss.post("/second-factor/remove", boss.token("/"), password=PASSWORD)
    assert refused.status_code == 400 and "asks you" in refused.text
    ann = enter(app, "ann")
    location = ann.get("/").headers.get("location")
    assert location == ("/second-factor" if asked == "everybody" else None)
    assert boss.post("/logout", boss.token("/")).headers["location"] == "/login"


def test_the_page_asks_nobody_else_for_the_picture(app: FastAPI) -> None:
    page = enter(app, "ann").get("/second-factor")
    (picture,) = re.findall(r'<img[^>]* src="([^"]+)"', page.text)
    svg = base64.b64decode(picture.removeprefix("data:image/svg+xml;base64,")).decode()
    assert svg.startswith("<svg") and "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    assert "style=" not in page.text


def test_the_command_line_helps_the_only_admin(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text('[label.site]\nstore = "store.db"\n', encoding="utf-8")
    with open_store(tmp_path / "store.db") as store:
        boss = accounts_of(store).add("boss", PASSWORD, "admin")
        second_factor.enrol(store, boss.id, SECRET, pyotp.TOTP(SECRET).now(), "x")

    def people(*arguments: str) -> Any:
        command = [sys.executable, "-m", "biddable.cli", "label.people", "my.toml", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    unknown = people("bosss", "--remove-second-factor")
    assert unknown.returncode == 2 and unknown.stderr == "there is no account called bosss\n"
    assert people("boss", "--remove-second-factor").returncode == 0
    twice = people("boss", "--remove-second-factor")
    assert twice.returncode == 2 and twice.stderr == "this account has no second factor\n"
    with open_store(tmp_path / "store.db") as store:
        assert sessions.log_in(accounts_of(store), "boss", PASSWORD, "10.0.0.1", "x")
