"""Coming and going: the first admin, invitations, log in, log out, the profile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI

from biddable.label.views import profile
from biddable.store import invitations
from biddable.store.accounts import Accounts
from biddable.store.store import open_store

from .conftest import PASSWORD, Browser

Enter = Callable[[str], Browser]


def test_an_admin_invites_and_the_link_makes_one_account(app: FastAPI, logged_in: Enter) -> None:
    boss = logged_in("boss")
    shown = boss.post("/admin/invite", role="labeler", panel="held_out", note="Carol").text
    link = shown.split('<code class="long">')[1].split("<")[0]
    assert link.startswith("http://testserver/invitation/")
    path = link.removeprefix("http://testserver")
    carol = Browser(app)
    assert "You are invited as a labeler" in carol.get(path).text
    token = carol.token()
    differs = carol.post(path, token, name="Carol", password=PASSWORD, again="other words")
    assert differs.status_code == 400 and "the two passwords differ" in differs.text
    easy = carol.post(path, token, name="Carol", password="carol carol", again="carol carol")
    assert easy.status_code == 400 and "easy to guess" in easy.text
    taken = carol.post(path, token, name="ADA", password=PASSWORD, again=PASSWORD)
    assert taken.status_code == 400 and "is taken" in taken.text
    assert carol.post(path, token, name="Carol", password=PASSWORD, again=PASSWORD).headers["location"] == "/"
    assert carol.get("/").status_code == 200
    assert Browser(app).get(path).status_code == 404  # used
    (account,) = [one for one in app.state.accounts.all() if one.login == "carol"]
    assert (
        account.person.panel == "held_out"
        and not account.person.simulated
        and "carol" not in account.person.id
    )


def test_an_invitation_can_be_taken_back_and_grows_old(app: FastAPI, accounts: Accounts) -> None:
    (boss,) = [one for one in accounts.all() if one.login == "boss"]
    taken_back, old = (
        invitations.invite(accounts.store, boss.id, "labeler", "training"),
        invitations.invite(accounts.store, boss.id, "labeler", "training", days=0),
    )
    found = invitations.find_invitation(accounts.store, taken_back)
    assert found is not None
    invitations.withdraw_invitation(accounts.store, found.id, boss.id)
    for token in (taken_back, old, "nonsense"):
        assert Browser(app).get(f"/invitation/{token}").status_code == 404


def test_log_out_and_log_out_everywhere(app: FastAPI, logged_in: Enter) -> None:
    context, there = logged_in("ada"), logged_in("ada")
    assert context.get("/profile").text.count(">Another browser</td>") == 2
    context.post("/logout")
    assert context.get("/").headers["location"] == "/login"
    assert there.get("/").status_code == 200
    there.post("/profile/sessions")
    assert there.get("/").headers["location"] == "/login"


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36", "Chrome on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1", "Safari on an iPhone"),
        ("Mozilla/5.0 (Android 15; Mobile; rv:143.0) Gecko/143.0 Firefox/143.0", "Firefox on Android"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:143.0) Gecko/20100101 Firefox/143.0", "Firefox on a Mac"),
        ("<script>", "Another browser"),
    ],
)  # fmt: skip
def test_browsers_are_called_by_their_names(agent: str, words: str) -> None:
    assert profile.describe_browser(agent) == words


def test_another_password_ends_all_sessions(app: FastAPI, logged_in: Enter) -> None:
    context, there = logged_in("ada"), logged_in("ada")
    new = "eleven loud geese"
    assert context.post("/profile/password", old="wrong", password=new, again=new).status_code == 400
    changed = context.post("/profile/password", old=PASSWORD, password=new, again=new)
    assert changed.headers["location"] == "/login?changed=1"
    assert "Your new password is set" in context.get("/login?changed=1").text
    assert there.get("/").headers["location"] == "/login"
    assert Browser(app).login("ada").status_code == 403
    assert Browser(app).login("ada", new).status_code == 303


def test_a_closed_account_is_out_at_once(app: FastAPI, accounts: Accounts, logged_in: Enter) -> None:
    ada, boss = logged_in("ada"), logged_in("boss")
    (account,) = [one for one in accounts.all() if one.login == "ada"]
    boss.post("/admin/account", account=account.id, action="close")
    assert ada.get("/").headers["location"] == "/login"
    assert ada.login("ada").status_code == 403
    boss.post("/admin/account", account=account.id, action="reopen")
    assert ada.login("ada").status_code == 303
    assert "account closed" in boss.get("/admin/log").text


def test_sessions_end_by_themselves(app: FastAPI, accounts: Accounts, logged_in: Enter) -> None:
    ada = logged_in("ada")
    now = accounts.store.clock()
    accounts.store.clock = lambda: now + 11 * 3600
    assert ada.get("/").status_code == 200  # used: the twelve hours begin anew
    accounts.store.clock = lambda: now + 22 * 3600
    assert ada.get("/").status_code == 200
    accounts.store.clock = lambda: now + 35 * 3600
    assert ada.get("/").status_code == 303


def biddable(folder: Path, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "biddable.cli", *arguments]
    return subprocess.run(command, cwd=folder, input=typed, capture_output=True, text=True, check=False)


def test_the_first_admin_comes_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("", encoding="utf-8")
    none = biddable(tmp_path, "label.site", "my.toml")
    assert none.returncode == 2 and "biddable label.people my.toml ada" in none.stderr
    short = biddable(tmp_path, "label.people", "my.toml", "ada", typed="short\n")
    assert short.returncode == 2 and "at least 10 characters" in short.stderr
    done = biddable(tmp_path, "label.people", "my.toml", "ada", typed=PASSWORD + "\n")
    assert done.returncode == 0 and "added the admin ada" in done.stdout, done.stderr
    with open_store(tmp_path / "runs" / "my" / "store.db") as store:
        assert [one.role for one in Accounts(store).all()] == ["admin"]
        with store.engine.connect() as db:
            kept = " ".join(str(row) for row in db.exec_driver_sql("SELECT * FROM accounts"))
    assert "$argon2id$" in kept and "horses" not in kept
