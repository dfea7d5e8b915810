"""Admins' pages on the work: who may see them, and that they show what the store holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biddable.label import comparisons, queue, ratings, screening
from biddable.label.views import agreement_tables, quality_data
from biddable.run.records import Answer, Message, Prompt, Replies
from biddable.store import audit, drafts
from biddable.store import gold as store_gold
from biddable.store import screening as store_screening
from biddable.store.accounts import Accounts
from biddable.store.store import Store
from biddable.store.types import Person, Task, TaskSet
from tests.label.test_screening import setting, work_through
from tests.label.views.conftest import Browser

PATHS = ("/admin/agreement", "/admin/dashboard", "/admin/gold", "/admin/review", "/admin/screening")
HOSTILE = "<script>alert(1)</script>"


def question(name: str, answers: int) -> str:
    prompt = Prompt(id=name, messages=(Message(role="user", content=f"{HOSTILE} {name}"),), user="u")
    given = tuple(Answer(text=f"{HOSTILE} answer {i}", model="secret") for i in range(answers))
    return Replies(prompt=prompt, answers=given).model_dump_json(exclude_none=True)


def rank(store: Store, task_set: str, person: str, ranks: tuple[int, ...], guideline: str) -> str:
    """Answer the next task; ranks belong to the answers as stored."""
    task = queue.next_task(store, task_set, person)
    assert task is not None
    said = comparisons.RankingAnswer(ranks=tuple(ranks[i] for i in task.shown))
    return queue.submit(store, task, person, said, guideline, 20.0, task.replaces)


@pytest.fixture
def worked(accounts: Accounts) -> tuple[Accounts, str, list[str]]:
    """Two people ranked three answers to t0 (1 2 3 and 1 3 2) and t1 (the opposite of each other)."""
    store = accounts.store
    store.put_tasks(
        TaskSet("run/set", "label.comparisons", "training", False),
        [Task(f"run/set#t{i}", question(f"p{i}", 3), 2) for i in range(3)],
    )
    guideline = store.add_guideline("training", "be helpful")
    who = [one.person.id for one in accounts.all() if one.login in ("ada", "bob")]
    labels = [rank(store, "run/set", who[0], ranks, guideline) for ranks in ((1, 2, 3), (1, 2, 3))]
    labels += [rank(store, "run/set", who[1], ranks, guideline) for ranks in ((1, 3, 2), (3, 2, 1))]
    return accounts, who[0], labels


@pytest.mark.parametrize("path", PATHS)
def test_admins_only(path: str, app: Any, logged_in: Callable[[str], Browser]) -> None:
    assert Browser(app).get(path).headers["location"] == "/login"
    assert logged_in("ada").get(path).status_code == 403
    assert logged_in("boss").get(path).status_code == 200


def test_agreement_is_shown_with_its_interval(worked: Any, logged_in: Callable[[str], Browser]) -> None:
    """t0: 2 of 3 pairs alike; t1: none of 3. Together 2 of 6, 33.3 %; resamples are 0, 1/3 or 2/3. tau: (1/3
    - 1) / 2 = -0.33."""
    text = logged_in("boss").get("/admin/agreement").text
    row = re.search(r"pairs ordered alike</th>(.*?)</tr>", text, re.S)
    assert row and re.search(r"33\.3 %.*0\.0 to 66\.7.*<svg.*>6<.*>2<", row[1], re.S)
    assert "-0.33" in text and "simulated" not in text
    assert "style=" not in text and "<script>" not in text  # the policy forbids both
    assert logged_in("boss").get("/admin/agreement?set=nothing").status_code == 404


def test_progress_and_what_was_given_back(worked: Any, logged_in: Callable[[str], Browser]) -> None:
    accounts, who, _ = worked
    task = queue.next_task(accounts.store, "run/set", who)
    assert task is not None
    drafts.skip_task(accounts.store, task.id, who, True, f"{HOSTILE} broken")
    text = logged_in("boss").get("/admin/set?name=run/set").text
    assert "<strong>4</strong> of 6 answers; 0 in work, 2 open" in text
    assert (
        "reported" in text and "&lt;script&gt;alert(1)&lt;/script&gt; broken" in text and HOSTILE not in text
    )
    assert "Flagged by people" in logged_in("boss").get("/admin/review").text


def test_an_admin_decides_and_sends_back(worked: Any, logged_in: Callable[[str], Browser]) -> None:
    accounts, who, labels = worked
    boss, store = logged_in("boss"), accounts.store
    listed = boss.get("/admin/review").text
    assert listed.index("p1") < listed.index("p0") and HOSTILE not in listed  # those furthest apart first
    assert "100 %" in listed and "33 %" in listed
    page = boss.get("/admin/review/task", params={"task": "run/set#t1"})
    assert page.status_code == 200 and HOSTILE not in page.text and "secret" not in page.text
    fields = {"task": "run/set#t1", "label": labels[1]}
    assert boss.post("/admin/review", action="stands", **fields).status_code == 303
    standing = {(row.task, row.id): row.stands for row in queue.collected_labels(store, "run/set")}
    assert standing[("run/set#t1", labels[1])] and not standing[("run/set#t1", labels[3])]
    assert boss.post("/admin/review", action="returned", **fields).status_code == 400  # a reason is needed
    assert boss.post("/admin/review", action="returned", note="read again", **fields).status_code == 303
    back = queue.next_task(store, "run/set", who)
    assert back is not None and (back.id, back.note) == ("run/set#t1", "read again")
    assert "sent back" in boss.get("/admin/review/task", params={"task": "run/set#t1"}).text
    assert boss.post("/admin/review", action="open", task="run/set#t1").status_code == 303
    assert all(row.stands for row in queue.collected_labels(store, "run/set"))
    assert boss.post("/admin/review", action="stands", task="run/set#t0", label=labels[1]).status_code == 400
    assert boss.get("/admin/review/task", params={"task": "nothing"}).status_code == 400
    assert (
        next(line.action for line in audit.audit_log(accounts.store) if line.action.startswith("review"))
        == "review: open"
    )
    ada = logged_in("ada")
    assert (
        ada.post("/admin/review", token=ada.token("/profile"), action="stands", **fields).status_code == 403
    )


def test_an_admins_own_answer_stands(worked: Any, logged_in: Callable[[str], Browser]) -> None:
    """It alone goes into the records; the others' rows stay, and agreement is still what they say of each
    other."""
    accounts, _, labels = worked
    boss, store = logged_in("boss"), accounts.store
    before = agreement_tables.ranking_tables(
        agreement_tables.rankings(queue.collected_labels(store, "run/set"))
    )
    path = "/admin/review/own?task=run/set%23t1"
    assert path in boss.get("/admin/review/task", params={"task": "run/set#t1"}).text
    page = boss.get(path).text
    assert "Your answer alone" in page or "your answer alone" in page
    assert HOSTILE not in page and "secret" not in page
    version = re.search(r'name="guideline" value="([^"]*)"', page)
    assert version
    sent = {"id": "run/set#t1", "guideline": version[1]}
    assert "no rank yet" in boss.post("/admin/review/own", **sent).text
    ranks = {"rank-0": "1", "rank-1": "2", "rank-2": "2"}
    assert (
        boss.post("/admin/review/own", **sent, **ranks)
        .headers["location"]
        .startswith("/admin/review/task?task=")
    )
    rows = queue.collected_labels(store, "run/set")
    assert set(labels) < {row.id for row in rows}
    (own,) = [row for row in rows if row.decided]
    assert own.person.id not in {row.person.id for row in rows if not row.decided}
    assert [row for row in rows if row.task == "run/set#t1" and row.stands] == [own]
    (record,) = comparisons.KIND.records(own)
    assert tuple(record.ranks[i] for i in own.shown) == (1, 2, 2)
    assert (
        agreement_tables.ranking_tables(agreement_tables.rankings(queue.collected_labels(store, "run/set")))
        == before
    )
    assert queue.progress(store, "run/set") == (6, 4)  # it took nobody's place
    again = {"rank-0": "2", "rank-1": "1", "rank-2": "1"}
    assert boss.post("/admin/review/own", **sent, **again).status_code == 303
    (standing,) = [
        row for row in queue.collected_labels(store, "run/set") if row.task == "run/set#t1" and row.stands
    ]
    (record,) = comparisons.KIND.records(standing)
    assert tuple(record.ranks[i] for i in own.shown) == (2, 1, 1)
    task = queue.next_task(store, "run/set", own.person.id)
    assert task is not None and task.id != "run/set#t1"  # not asked as a labeler any more
    assert logged_in("ada").get(path).status_code == 403
    store.put_tasks(
        TaskSet("run/held", "label.comparisons", "held_out", False), [Task("run/held#t", question("h", 3))]
    )
    refused = boss.get("/admin/review/own", params={"task": "run/held#t"})
    assert refused.status_code == 400 and "the panel held out" in refused.text


def test_gold(worked: Any, logged_in: Callable[[str], Browser]) -> None:
    """Trusted people rank 1 2 3; ada ranks 1 1 2: a tie counts half: 2.5 of 3."""
    accounts, who, _ = worked
    store = accounts.store
    one = TaskSet(
        "run/set", "label.comparisons", "training", False, gold="run/set/gold", gold_share=1.0 - 1e-9
    )
    key = comparisons.RankingAnswer(ranks=(1, 2, 3)).model_dump_json()
    gold = TaskSet("run/set/gold", "label.comparisons", "training", False)
    store_gold.put_gold(store, gold, [(Task("run/set#g", question("g", 3)), key)])
    store.put_tasks(one, [Task(f"run/set#t{i}", question(f"p{i}", 3), 2) for i in range(3)])
    rank(store, "run/set", who, (1, 1, 2), store.add_guideline("training", "be helpful"))
    (found,) = quality_data.gold(store, one)
    assert found.score == pytest.approx(2.5 / 3) and found.worst == [("run/set#g", found.score)]
    text = logged_in("boss").get("/admin/gold").text
    assert found.pseudonym in text and "83 %" in text


def test_screening_is_graded_and_decided(
    accounts: Accounts, logged_in: Callable[[str], Browser], tmp_path: Path
) -> None:
    cfg, _ = setting(tmp_path)
    screening.put_parts(accounts.store, cfg, "run/label.screening", 3)
    ada = next(one.person for one in accounts.all() if one.login == "ada")
    work_through(accounts.store, ada.id, {"x0": True, "x1": True, "x2": False, "x3": False}, (1, 2, 2))
    boss = logged_in("boss")
    listed = boss.get("/admin/screening").text
    assert "to be graded" in listed and "100 %" in listed and ada.pseudonym in listed
    page = boss.get("/admin/screening/person", params={"name": ada.pseudonym}).text
    labels = set(re.findall(r'name="label" value="(\w+)"', page))
    assert len(labels) == 2
    for label in labels:
        assert (
            boss.post("/admin/screening/grade", name=ada.pseudonym, label=label, grade="7").status_code == 303
        )
    assert (
        boss.post("/admin/screening/grade", name=ada.pseudonym, label=labels.pop(), grade="9").status_code
        == 400
    )
    assert boss.post("/admin/screening/grade", name=ada.pseudonym, label="none", grade="5").status_code == 400
    assert "take on" in boss.get("/admin/screening").text
    assert (
        boss.post("/admin/screening/verdict", name=ada.pseudonym, accepted="yes", note="fine").status_code
        == 303
    )
    assert store_screening.is_admitted(accounts.store, ada.id)
    assert boss.post("/admin/screening/verdict", name="nobody", accepted="yes").status_code == 400
    assert boss.get("/admin/screening/person?name=nobody").status_code == 404


def test_alpha_of_ratings_and_of_simulated_sets(
    accounts: Accounts, logged_in: Callable[[str], Browser]
) -> None:
    store = accounts.store
    store.add_people([Person(name, name, "training", True) for name in ("sim-1", "sim-2")])
    store.put_tasks(
        TaskSet("s", "label.ratings", "training", True),
        [Task(f"s#t{i}", question(f"p{i}", 1), 2) for i in range(4)],
    )
    guideline = store.add_guideline("training", "be helpful")
    for person in ("sim-1", "sim-2"):
        for number in range(4):
            task = queue.next_task(store, "s", person)
            assert task is not None
            said = ratings.RatingAnswer(
                overall=1 + number + (person == "sim-2"), metadata={"fails_task": number > 1}
            )
            queue.submit(store, task, person, said, guideline, 0.0)
    text = logged_in("boss").get("/admin/agreement").text
    assert "<strong>simulated</strong>" in text and "overall, 1 to 7 (ordinal)" in text
    assert re.search(r"fails task</th>.*?1\.00", text, re.S)


def test_how_far_people_are_apart() -> None:
    person = Person("a", "a", "training", False), Person("b", "b", "training", False)

    def label(kind: str, who: int, answer: str, shown: tuple[int, ...] = (0, 1, 2)) -> queue.CollectedLabel:
        return queue.CollectedLabel("t", f"label.{kind}", "", answer, shown, person[who], "g")

    # ranks 1 2 3 in stored order, and the same seen in another order: nothing apart; reversed: everything
    first = label("comparisons", 0, '{"ranks": [1, 2, 3]}')
    assert quality_data.distance([first, label("comparisons", 1, '{"ranks": [3, 1, 2]}', (2, 0, 1))]) == 0
    assert quality_data.distance([first, label("comparisons", 1, '{"ranks": [3, 2, 1]}')]) == 1
    assert quality_data.distance([first]) == 0
    two, five, seven = (label("ratings", n % 2, f'{{"overall": {n}}}') for n in (2, 5, 7))
    assert quality_data.distance([two, five]) == 0.5
    # three people: (3 + 5 + 2) / 6 over three couples
    assert quality_data.distance([two, five, seven]) == pytest.approx(10 / 18)
    texts = [label("demonstrations", n, f'{{"text": "{n}"}}') for n in (0, 1)]
    assert quality_data.distance(texts) == 0


def test_scores_beside_a_ranking_count_and_unranked_answers_do_not(accounts: Accounts) -> None:
    """Two people score both answers of one question 2 and 6, and one of them does not rank: no couple of
    rankings, two items of scores."""
    store = accounts.store
    one = TaskSet("run/set", "label.comparisons", "training", False)
    store.put_tasks(one, [Task("run/set#t0", question("p0", 2), 2)])
    guideline = store.add_guideline("training", "be helpful")
    for person in [row.person.id for row in accounts.all() if row.login in ("ada", "bob")]:
        task = queue.next_task(store, "run/set", person)
        assert task is not None
        scores = tuple((2, 6)[i] for i in task.shown)
        ranks = (
            None
            if person.startswith(min(r.person.id for r in accounts.all() if r.login in ("ada", "bob")))
            else (1, 2)
        )
        queue.submit(
            store, task, person, comparisons.RankingAnswer(ranks=ranks, overall=scores), guideline, 9.0
        )
    assert len(agreement_tables.rankings(queue.collected_labels(store, "run/set"))) == 1
    (table,) = agreement_tables.rating_tables(queue.collected_labels(store, "run/set"))
    assert (
        table.rows[0].figure is not None
        and table.rows[0].figure.value == 1
        and table.rows[0].figure.items == 2
    )
    ((_, dispute),) = quality_data.disputes(store, quality_data.newest_labels(store, [one]))
    assert dispute.distance == 0
