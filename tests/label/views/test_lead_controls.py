"""What a lead can do to the work: invite many, pause, set quotas, assign, change role and panel."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable

import pytest
from fastapi import FastAPI

from biddable.store import audit, work_limits
from biddable.store.accounts import Accounts

from .conftest import PASSWORD, Browser
from .test_oversight import HOSTILE
from .test_tasks import put

Enter = Callable[[str], Browser]


def test_many_are_invited_at_once(app: FastAPI, accounts: Accounts, logged_in: Enter) -> None:
    boss = logged_in("boss")
    fields = {"role": "labeler", "panel": "held_out"}
    page = boss.post("/admin/invite-many", notes=f"cara\n\n  {HOSTILE}\n", action="page", **fields).text
    links = re.findall(r"http://testserver(/invitation/[\w-]+)", page)
    assert len(set(links)) == 2 and HOSTILE not in page
    response = boss.post("/admin/invite-many", notes="=1+1\ndan", action="csv", **fields)
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
    assert [row["note"] for row in rows] == ["'=1+1", "dan"]
    links += [row["link"].removeprefix("http://testserver") for row in rows]
    for number, link in enumerate(links):
        visitor = Browser(app)
        made = visitor.post(link, name=f"newcomer{number}", password=PASSWORD, again=PASSWORD)
        assert made.headers["location"] == "/"
    assert {row.person.panel for row in accounts.all() if row.login.startswith("newcomer")} == {"held_out"}
    for notes in ("", " \n ", "x\n" * 201):
        assert boss.post("/admin/invite-many", notes=notes, **fields).status_code == 400
    assert boss.post("/admin/invite-many", notes="x", role="king", panel="training").status_code == 400


def test_a_pause_is_set_and_ended_on_the_persons_page(accounts: Accounts, logged_in: Enter) -> None:
    put(accounts, "ratings")
    boss, ada = logged_in("boss"), logged_in("ada")
    name = next(row.person.pseudonym for row in accounts.all() if row.login == "ada")
    page = f"/admin/person?name={name}"
    assert ">Pause</button>" in boss.get(page).text and 'name="set"' in ada.get("/").text
    response = boss.post("/admin/limits/add", person=name, most="0", back=page)
    assert response.headers["location"] == page
    assert "Paused" in boss.get(page).text and "paused</span>" in boss.get("/admin/dashboard").text
    assert 'name="set"' not in ada.get("/").text
    assert (
        ada.post("/next", token=ada.token("/"), set="demo/label.ratings/abc").headers["location"]
        == "/?nothing=1"
    )
    rule = re.search(r'name="rule" value="(\w+)"', boss.get(page).text)
    assert rule is not None
    assert boss.post("/admin/limits/remove", rule=rule[1], back="https://e.vil/").headers["location"] == (
        "/admin/limits"
    )
    assert 'name="set"' in ada.get("/").text
    actions = [line.action for line in audit.audit_log(accounts.store)]
    assert actions[:2] == ["limit or assignment ended", "paused"]


def test_quotas_and_assignments(accounts: Accounts, logged_in: Enter) -> None:
    name = put(accounts, "ratings")
    boss = logged_in("boss")
    bob = next(row.person for row in accounts.all() if row.login == "bob")
    for path, fields in (
        ("add", {"most": "30", "period": "day", "set": name}),
        ("assign", {"set": name, "person": bob.pseudonym}),
    ):
        assert boss.post(f"/admin/limits/{path}", **fields).headers["location"] == "/admin/limits"
    page = boss.get("/admin/limits").text
    assert "30 a day" in page and page.count(bob.pseudonym) == 3  # in the table, and twice to choose from
    (limit,) = work_limits.list_limits(accounts.store)
    assert (limit.person, limit.task_set, limit.language, limit.most, limit.a_day) == (
        None,
        name,
        None,
        30,
        True,
    )
    assert (
        'name="set"' in logged_in("bob").get("/").text and 'name="set"' not in logged_in("ada").get("/").text
    )


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("add", {"most": "many"}, 400),
        ("add", {"most": "-1"}, 400),
        ("add", {"most": "1", "set": "nothing"}, 400),
        ("add", {"most": "1", "language": "xx"}, 400),
        ("add", {"most": "1", "person": "nobody"}, 404),
        ("assign", {"set": ""}, 400),
    ],
)
def test_mistakes_change_nothing(
    path: str, fields: dict[str, str], status: int, accounts: Accounts, logged_in: Enter
) -> None:
    boss = logged_in("boss")
    assert boss.post(f"/admin/limits/{path}", **fields).status_code == status
    assert work_limits.list_limits(accounts.store) == [] == work_limits.list_assignments(accounts.store)


def test_role_and_panel(accounts: Accounts, logged_in: Enter) -> None:
    boss = logged_in("boss")
    ids = {row.login: row.id for row in accounts.all()}
    assert boss.post("/admin/account", account=ids["ada"], action="role", role="admin").status_code == 303
    assert (
        boss.post("/admin/account", account=ids["bob"], action="panel", panel="held_out").status_code == 303
    )
    rows = {row.login: (row.role, row.person.panel) for row in accounts.all()}
    assert rows["ada"] == ("admin", "training") and rows["bob"] == ("labeler", "held_out")
    assert boss.post("/admin/account", account=ids["bob"], action="panel", panel="x").status_code == 400


def test_admins_only(logged_in: Enter) -> None:
    ada = logged_in("ada")
    assert ada.get("/admin/limits").status_code == 403
    for path in ("limits/add", "limits/assign", "limits/remove", "invite-many"):
        assert ada.post(f"/admin/{path}", token=ada.token("/profile"), most="0").status_code == 403
