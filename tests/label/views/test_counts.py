"""What pages count: gold among a labeler's own answers, gold by person, the parts of the screening; and that no page asks
the store once for each person."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from biddable.label import comparisons, queue, screening
from biddable.label.screening import decision
from biddable.label.views import quality_data
from biddable.store import gold as store_gold
from biddable.store import screening as store_screening
from biddable.store.accounts import Accounts
from biddable.store.store import Store
from biddable.store.types import Person, Task, TaskSet
from tests.label.test_screening import setting, work_through
from tests.label.views.conftest import Browser
from tests.label.views.test_oversight import question, rank

SET = TaskSet("run/set", "label.comparisons", "training", False, gold="run/set/gold", gold_share=1 - 1e-9)
GOLD = TaskSet("run/set/gold", "label.comparisons", "training", False)


def put(store: Store, gold: int, tasks: int) -> str:
    """A set whose gold comes before all else: three answers, of which the trusted ranking is 1 2 3. Returns
    the guideline's version."""
    key = comparisons.RankingAnswer(ranks=(1, 2, 3)).model_dump_json()
    rows = [(Task(f"run/set#g{n}", question(f"g{n}", 3)), key) for n in range(gold)]
    store_gold.put_gold(store, GOLD, rows)
    store.put_tasks(SET, [Task(f"run/set#t{n}", question(f"t{n}", 3), 20) for n in range(tasks)])
    return store.add_guideline("training", "be helpful")


@contextmanager
def statements(store: Store) -> Iterator[list[str]]:
    """The SQL that runs meanwhile."""
    ran: list[str] = []

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        ran.append(statement)

    sa.event.listen(store.engine, "before_cursor_execute", note)
    yield ran
    sa.event.remove(store.engine, "before_cursor_execute", note)


def test_a_labelers_gold_counts_as_theirs_and_not_in_the_sets_progress(
    accounts: Accounts, logged_in: Callable[[str], Browser]
) -> None:
    """Ada meets two gold tasks and then an ordinary one: three answers of hers, one of the set's two times
    twenty. Bob has none."""
    guideline = put(accounts.store, gold=2, tasks=2)
    ada = next(row.person.id for row in accounts.all() if row.login == "ada")
    for count in (1, 2, 3):
        rank(accounts.store, "run/set", ada, (1, 2, 3), guideline)
        page = logged_in("ada").get("/").text
        assert f"{count} by you" in page and "Continue" in page
        assert "<progress" not in page  # it would stand still at gold
    assert queue.progress(accounts.store, "run/set") == (40, 1)
    assert "by you" not in logged_in("bob").get("/").text
    assert "1 of 40" in logged_in("boss").get("/admin/dashboard").text


def test_gold_by_person_the_worst_first(accounts: Accounts, logged_in: Callable[[str], Browser]) -> None:
    """Four gold tasks with three pairs each. Ada has 3, 2, 1 and 0 of them alike: a mean of 1/2, and of her
    tasks those with 0, 1/3 and 2/3 are listed. Bob answers two, both right; eve is of another panel."""
    store = accounts.store
    guideline = put(store, gold=4, tasks=1)
    assert (
        "Nobody has met a gold task yet; 100 % of the work is gold"
        in logged_in("boss").get("/admin/gold").text
    )
    who = {row.login: row.person for row in accounts.all()}
    for ranks in ((1, 2, 3), (1, 3, 2), (3, 1, 2), (3, 2, 1)):
        rank(store, "run/set", who["ada"].id, ranks, guideline)
    for _ in range(2):
        rank(store, "run/set", who["bob"].id, (1, 2, 3), guideline)
    ada, bob = quality_data.gold(store, SET)
    assert (ada.pseudonym, ada.answered, ada.score) == (who["ada"].pseudonym, 4, pytest.approx(0.5))
    assert [task[-2:] for task, _ in ada.worst] == ["g3", "g2", "g1"]
    assert [score for _, score in ada.worst] == pytest.approx([0, 1 / 3, 2 / 3])
    assert (bob.pseudonym, bob.answered, bob.score) == (who["bob"].pseudonym, 2, 1.0)
    page = logged_in("boss").get("/admin/gold").text
    cells = [re.findall(r">([^<>]+)</(?:td|a)>", row) for row in page.split("<tr>")[2:]]
    assert cells == [[ada.pseudonym, "4", "50 %", "0 %", "33 %", "67 %"], [bob.pseudonym, "2", "100 %"]]
    assert quality_data.gold(store, TaskSet("other", "label.comparisons", "training", False)) == []


def test_how_far_somebody_is_in_each_part(
    accounts: Accounts, logged_in: Callable[[str], Browser], tmp_path: Path
) -> None:
    """Four texts, one ranking, two demonstrations, one question about groups. Ada flags two texts and stops;
    bob does all, flags one text of four as trusted people did, and one of his demonstrations is graded 5."""
    cfg, _ = setting(tmp_path)
    store = accounts.store
    screening.put_parts(store, cfg, "run/label.screening", 3)
    guideline = store.add_guideline("training", "be helpful")
    who = {row.login: row.person for row in accounts.all()}
    flags, *_ = store_screening.screening_parts(store)
    for _ in range(2):
        task = queue.next_task(store, flags.task_set, who["ada"].id)
        assert task is not None
        answer = screening.KIND.answer_type(sensitive=True)
        queue.submit(store, task, who["ada"].id, answer, guideline, 3.0)
    work_through(store, who["bob"].id, {"x0": False, "x1": True, "x2": True, "x3": True}, (1, 2, 2))
    written = next(p.task_set for p in store_screening.screening_parts(store) if p.part == "demonstrations")
    label = min(row.id for row in store.labels(written))
    store_screening.grade_label(store, label, 5, "boss")
    rows = {candidate.person: candidate for candidate in decision.candidates(store)}
    ada, bob = rows[who["ada"].id], rows[who["bob"].id]
    assert {part: (s.answered, s.task_count) for part, s in ada.parts.items()} == {
        "sensitive": (2, 4),
        "rankings": (0, 1),
        "demonstrations": (0, 2),
        "groups": (0, 1),
    }
    assert not ada.finished and ada.suggested is None and ada.groups == {}
    assert bob.parts["sensitive"] == (0.25, 4, 4, 4, False)
    assert bob.parts["rankings"] == (1.0, 1, 1, 1, True)
    assert bob.parts["demonstrations"] == (5.0, 2, 2, 1, None)
    assert bob.finished and bob.suggested is None
    page = logged_in("boss").get("/admin/screening").text
    mine, theirs = (re.search(rf"{row.pseudonym}</a>(.*?)</tr>", page, re.S) for row in (ada, bob))
    assert mine and theirs
    assert all(f"{n} of {of}" in mine[1] for n, of in ((2, 4), (0, 1), (0, 2)))
    assert "25 %" in theirs[1] and "below" in theirs[1] and "(1 graded)" in theirs[1]
    assert "1 known well" in theirs[1]
    store_screening.grade_label(store, max(row.id for row in store.labels(written)), 7, "boss")
    bob = next(row for row in decision.candidates(store) if row.person == bob.person)
    assert bob.parts["demonstrations"] == (6.0, 2, 2, 2, True)
    assert bob.suggested is False  # one part is below its cut-off


def test_pages_ask_the_store_as_often_for_twelve_people_as_for_two(
    accounts: Accounts, logged_in: Callable[[str], Browser], tmp_path: Path
) -> None:
    store = accounts.store
    guideline = put(store, gold=1, tasks=1)
    cfg, _ = setting(tmp_path)
    screening.put_parts(store, cfg, "run/label.screening", 3)
    flags = dict.fromkeys(("x0", "x1", "x2", "x3"), True)
    boss, paths = logged_in("boss"), ("gold", "dashboard", "agreement", "review", "screening")

    def asked() -> dict[str, int]:
        counts = {}
        for path in paths:
            with statements(store) as ran:
                assert boss.get(f"/admin/{path}").status_code == 200
            counts[path] = len(ran)
        return counts

    counts: list[dict[str, int]] = []
    for number in range(12):
        person = Person(f"p{number}", f"person-{number}", "training", False)
        store.add_people([person])
        work_through(store, person.id, flags, (1, 2, 3))
        store_screening.decide_admission(store, person.id, True, {}, "boss")
        for _ in range(2):
            rank(store, "run/set", person.id, (1, 2, 3), guideline)
        if number in (1, 11):
            counts.append(asked())
    assert len(quality_data.gold(store, SET)) == len(decision.candidates(store)) == 12
    assert min(counts[0].values()) > 3 and counts[0] == counts[1]
