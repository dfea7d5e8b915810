"""Finding answers again: a labeler's own, and tasks in the review; the matrix of who says what."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from typing import Any

from biddable.label import comparisons, queue
from biddable.store import gold as store_gold
from biddable.store.store import Store
from biddable.store.types import Task, TaskSet

from .conftest import Browser
from .test_oversight import HOSTILE, question, rank, worked  # noqa: F401  (a fixture)

Enter = Callable[[str], Browser]


def rows(page: str) -> list[str]:
    """The first cells of a page's tables, as text."""
    cells = re.findall(r'<td class="long" data-label="Task"><a[^>]*>(.*?)</a>', page)
    cells += re.findall(r'<td data-label="Task" class="long"><a[^>]*>(.*?)</a>', page)
    return [cell.rsplit(" ", 1)[-1] for cell in cells]


def test_own_answers_are_found_by_text_and_set(worked: Any, logged_in: Enter) -> None:  # noqa: F811
    _, _, labels = worked
    ada = logged_in("ada")
    page = ada.get("/mine").text
    assert sorted(rows(page)) == ["p0", "p1"] and HOSTILE not in page and "secret" not in page
    assert rows(ada.get("/mine?q=P1").text) == ["p1"]
    assert rows(ada.get("/mine?q=%3Cscript%3Ealert(1)%3C/script%3E p0").text) == ["p0"]
    nothing = ada.get("/mine?q=%25").text
    assert "Nothing that fits" in nothing and rows(nothing) == []
    assert len(labels) == 4 and "Minutes" in page


def test_gold_is_listed_like_its_set(worked: Any, logged_in: Enter) -> None:  # noqa: F811
    accounts, who, _ = worked
    store: Store = accounts.store
    key = comparisons.RankingAnswer(ranks=(1, 2, 3)).model_dump_json()
    gold = TaskSet("run/set/gold", "label.comparisons", "training", False)
    store_gold.put_gold(store, gold, [(Task("run/set#g", question("g", 3)), key)])
    tasks = [Task(f"run/set#t{i}", question(f"p{i}", 3), 2) for i in range(3)]
    store.put_tasks(
        TaskSet("run/set", "label.comparisons", "training", False, gold=gold.name, gold_share=1 - 1e-9), tasks
    )
    rank(store, "run/set", who, (1, 2, 3), store.add_guideline("training", "be helpful"))
    page = logged_in("ada").get("/mine?set=run/set").text
    assert sorted(rows(page)) == ["g", "p0", "p1"] and "gold" not in page.casefold()


def test_the_review_is_searched_and_filtered(worked: Any, logged_in: Enter) -> None:  # noqa: F811
    accounts, _, labels = worked
    boss = logged_in("boss")
    names = {row.login: row.person.pseudonym for row in accounts.all()}
    assert rows(boss.get("/admin/review").text) == ["p1", "p0"]
    assert rows(boss.get("/admin/review?q=P0").text) == ["p0"]
    assert rows(boss.get(f"/admin/review?person={names['ada']}").text) == ["p1", "p0"]
    assert rows(boss.get(f"/admin/review?person={names['eve']}").text) == []
    boss.post("/admin/review", action="stands", task="run/set#t1", label=labels[1])
    assert rows(boss.get("/admin/review?state=open").text) == ["p0"]
    assert rows(boss.get("/admin/review?state=decided").text) == ["p1"]


def test_who_says_what_as_a_matrix(worked: Any, logged_in: Enter) -> None:  # noqa: F811
    """t0: 1 2 3 and 1 3 2, the ranks of the answers as stored: mean ranks 1.0, 2.5, 2.5."""
    accounts, _, _ = worked
    boss = logged_in("boss")
    page = boss.get("/admin/review/task", params={"task": "run/set#t0"}).text
    matrix = re.search(r'<table class="matrix">(.*?)</table>', page, re.S)
    assert matrix is not None
    found = {
        re.sub(r"<.*?>", "", row[0]).strip(): [re.sub(r"<.*?>", "", cell) for cell in row[1]]
        for row in (
            (line.split("</th>")[0], re.findall(r'<td class="number[^"]*">(.*?)</td>', line))
            for line in re.findall(r'<tr><th scope="row">(.*?)</tr>', matrix[1], re.S)
        )
    }
    names = {row.login: row.person.pseudonym for row in accounts.all()}
    assert found == {
        names["ada"]: ["1", "2", "3"],
        names["bob"]: ["1", "3", "2"],
        "Mean rank": ["1.0", "2.5", "2.5"],
    }
    text = boss.get("/admin/review/matrix.csv").text
    lines = [row for row in csv.DictReader(io.StringIO(text)) if row["task"] == "run/set#t0"]
    assert {(row["pseudonym"], row["answer"]): row["rank"] for row in lines} == {
        (names[login], str(place + 1)): str(ranks[place])
        for login, ranks in (("ada", (1, 2, 3)), ("bob", (1, 3, 2)))
        for place in range(3)
    }
    assert logged_in("ada").get("/admin/review/matrix.csv").status_code == 403


def test_scores_stand_in_the_matrix_too(accounts: Any, logged_in: Enter) -> None:
    store = accounts.store
    store.put_tasks(
        TaskSet("run/set", "label.comparisons", "training", False), [Task("run/set#t0", question("p", 2), 1)]
    )
    who = next(row.person.id for row in accounts.all() if row.login == "ada")
    task = queue.next_task(store, "run/set", who)
    assert task is not None
    scores = tuple((2, 6)[i] for i in task.shown)
    answer = comparisons.RankingAnswer(ranks=None, overall=scores, metadata=({}, {}))
    queue.submit(store, task, who, answer, store.add_guideline("training", "be helpful"), 9.0)
    page = logged_in("boss").get("/admin/review/task", params={"task": "run/set#t0"}).text
    assert re.search(r"–.*score 2.*–.*score 6", page, re.S) and "Mean rank" not in page
