"""The lead's dashboard: what it shows is what the store holds, and its files hold the same."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from typing import Any

import pytest

from biddable.label import comparisons, queue
from biddable.label.views import dashboard_data
from biddable.store import drafts
from biddable.store.accounts import Accounts
from biddable.store.store import Store
from biddable.store.types import Task, TaskSet
from tests.conftest import Clock

from .conftest import Browser
from .test_oversight import HOSTILE, question

Enter = Callable[[str], Browser]
DAY = 86400.0
NAME = "demo/label.comparisons.second/0f45"


@pytest.fixture
def clock(accounts: Accounts) -> Clock:
    """The site's clock stands still, at the beginning of a day."""
    clock = Clock()
    clock.now = 20_000 * DAY + 3600
    accounts.store.clock = clock
    return clock


def rank(store: Store, person: str, ranks: tuple[int, ...], seconds: float | None) -> str:
    """Answer the next task; ranks belong to the answers as stored."""
    task = queue.next_task(store, NAME, person, 1e6)
    assert task is not None
    answer = comparisons.RankingAnswer(ranks=tuple(ranks[i] for i in task.shown))
    version = store.add_guideline("training", "be helpful")
    return queue.submit(store, task, person, answer, version, seconds)


@pytest.fixture
def people(accounts: Accounts, clock: Clock) -> dict[str, Any]:
    """Ada and bob rank two tasks on a day, ada one more on the next and then skips one; 8 places are open."""
    store = accounts.store
    tasks = [Task(f"{NAME}#t{i}", question(f"p{i}", 3), 2) for i in range(6)]
    store.put_tasks(TaskSet(NAME, "label.comparisons", "training", False), tasks)
    persons = {account.login: account.person for account in accounts.all()}
    rank(store, persons["ada"].id, (1, 2, 3), 1800.0)
    rank(store, persons["ada"].id, (1, 2, 3), 1800.0)
    rank(store, persons["bob"].id, (1, 3, 2), 900.0)
    rank(store, persons["bob"].id, (3, 2, 1), None)
    clock.now += DAY
    rank(store, persons["ada"].id, (1, 2, 3), 3600.0)
    task = queue.next_task(store, NAME, persons["ada"].id)
    assert task is not None
    version = store.add_guideline("training", "be helpful")
    drafts.save_draft(store, task.id, persons["ada"].id, {}, version)
    clock.now += 400
    drafts.save_draft(store, task.id, persons["ada"].id, {}, version, 360.0)
    drafts.skip_task(store, task.id, persons["ada"].id, True, f"=1+1 {HOSTILE}")
    return persons


def rows_of(browser: Browser, path: str) -> list[dict[str, str]]:
    response = browser.get(path)
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(response.text, newline="")))


def test_people_and_sets(people: dict[str, Any], logged_in: Enter) -> None:
    """Ada: 3 answers, a skip, (1800 + 1800 + 3600 + 360) s = 2.1 h; bob: 2 answers, 0.25 h and one answer
    without a time. Pairs: 2 of 3 alike and 0 of 3: 33 %."""
    boss = logged_in("boss")
    text = boss.get("/admin/dashboard").text
    assert "Rank the answers (demo, second)" in text and "0f45</" not in text
    assert "<strong>5</strong> of 12 answers; 0 in work, 7 open; 2.4 hours so far." in text
    assert "No forecast yet" in text and HOSTILE not in text
    for login, cells in (("ada", ("3", "1", "2.1", "33 %")), ("bob", ("2", "0", "0.2", "33 %"))):
        row = re.search(rf">{login}</a>(.*?)</tr>", text, re.S)
        assert row is not None
        found = [re.sub(r"<.*?>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", row[1], re.S)]
        assert (found[0], found[1], found[2].split(" ")[0], " ".join(found[5].split(" ")[:2])) == cells
    assert "+ 1 unmeasured" in text
    assert re.search(r"Where people differ most.*p1.*100 %.*p0.*33 %", text, re.S)
    assert boss.get("/admin/dashboard?set=nothing").status_code == 404
    assert boss.get("/admin/dashboard?days=3").status_code == 404


def test_the_files_hold_the_same(people: dict[str, Any], logged_in: Enter) -> None:
    boss = logged_in("boss")
    table = {row["name"]: row for row in rows_of(boss, "/admin/people.csv")}
    assert (table["ada"]["answers"], table["ada"]["skips"], table["ada"]["hours"]) == ("3", "1", "2.1")
    assert (table["bob"]["answers"], table["bob"]["answers_without_time"]) == ("2", "1")
    assert float(table["ada"]["agreement"]) == pytest.approx(2 / 6, abs=1e-4)
    assert table["ada"]["last_answer"] == "2024-10-05T01:00:00Z" and table["eve"]["answers"] == "0"
    hours = rows_of(boss, "/admin/hours.csv")
    found = {(row["name"], row["day"]): (row["answers"], row["skips"], row["hours"]) for row in hours}
    assert found == {
        ("ada", "2024-10-04"): ("2", "0", "1.0"),
        ("bob", "2024-10-04"): ("2", "0", "0.25"),
        ("ada", "2024-10-05"): ("1", "1", "1.1"),
    }
    assert {row["title"] for row in hours} == {"Rank the answers (demo, second)"}
    assert rows_of(boss, f"/admin/hours.csv?name={people['bob'].pseudonym}") == [
        row for row in hours if row["name"] == "bob"
    ]
    (sets,) = rows_of(boss, "/admin/sets.csv")
    assert (sets["needed"], sets["done"], sets["open"], sets["days_left"]) == ("12", "5", "7", "")
    disputes = rows_of(boss, "/admin/review/disputes.csv")
    assert [(row["task"], row["apart"]) for row in disputes] == [
        (f"{NAME}#t1", "1.0"),
        (f"{NAME}#t0", "0.3333"),
    ]
    (skip,) = rows_of(boss, "/admin/skips.csv")
    assert skip["reason"] == f"'=1+1 {HOSTILE}" and skip["reported"] == "yes"
    figures = {row["what"]: row for row in rows_of(boss, "/admin/agreement.csv")}
    assert float(figures["pairs ordered alike"]["value"]) == pytest.approx(1 / 3, abs=1e-4)
    assert {row["name"] for row in rows_of(boss, "/admin/accounts.csv")} == {"boss", "ada", "bob", "eve"}
    assert rows_of(boss, "/admin/gold.csv") == [] == rows_of(boss, "/admin/screening.csv")
    assert rows_of(boss, "/admin/log.csv")[0]["action"] == "account added"


def test_a_person_and_a_set_have_pages(people: dict[str, Any], logged_in: Enter) -> None:
    boss = logged_in("boss")
    page = boss.get("/admin/person", params={"name": people["ada"].pseudonym}).text
    assert "<h1>ada</h1>" in page and "2024-10-05" in page and HOSTILE not in page
    assert page.count("/admin/review/task?task=") == 3
    assert boss.get("/admin/person?name=nobody").status_code == 404
    page = boss.get("/admin/set", params={"name": NAME}).text
    assert "Rank the answers (demo, second)" in page and "reported" in page and HOSTILE not in page
    assert ">eve<" not in page
    assert boss.get("/admin/set?name=").status_code == boss.get("/admin/set?name=x").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        *("dashboard", "set?name=x", "person?name=x", "people.csv", "hours.csv", "sets.csv", "skips.csv"),
        *("review/disputes.csv", "agreement.csv", "gold.csv", "log.csv", "accounts.csv", "screening.csv"),
    ],
)
def test_admins_only(path: str, logged_in: Enter) -> None:
    assert logged_in("ada").get(f"/admin/{path}").status_code == 403


def test_pace_is_beside_what_is_usual_in_the_same_set() -> None:
    """Nine people take 90 to 110 s; one 30 s, and one 10 s in half of the answers."""
    seconds = {f"p{i}": [("easy", 90.0 + 2.5 * i), ("hard", 900.0 + 25 * i)] * 15 for i in range(9)}
    seconds["fast"] = [("easy", 30.0), ("hard", 300.0)] * 15
    seconds["hurried"] = [("easy", 10.0), ("hard", 1000.0), ("hard", 1000.0)] * 10
    seconds["new"] = [("easy", 1.0)] * 19
    paces = dashboard_data.paces(seconds)
    assert "new" not in paces and paces["p4"].ratio == pytest.approx(1.0, abs=0.02)
    assert paces["fast"].ratio == pytest.approx(0.3, abs=0.02) and paces["fast"].seconds == 165.0
    assert {name: pace.outlier for name, pace in paces.items() if pace.outlier} == {"fast": "fast"}
    assert paces["hurried"].hurried == pytest.approx(1 / 3) and paces["fast"].hurried == 0


def test_outliers_need_three_people_and_twice_the_time() -> None:
    assert dashboard_data.speed_outliers({"a": 1.0, "b": 9.0}) == {}
    assert dashboard_data.speed_outliers({"a": 1.0, "b": 1.01, "c": 0.99, "d": 1.9}) == {}
    ratios = {"a": 1.0, "b": 1.01, "c": 0.99, "d": 2.1, "e": 1.0}
    assert dashboard_data.speed_outliers(ratios) == {"d": "slow"}
