"""What admins judge, on both databases."""

from __future__ import annotations

import random

import pytest
import sqlalchemy as sa

from biddable.label import queue
from biddable.run.config import UserError
from biddable.store import assignments, gold, reviews, screening
from biddable.store.store import Store, open_store
from biddable.store.types import Counts, Person, Screening, Task, TaskSet
from tests.label.test_queue import Said

SET = TaskSet("set", "label.any", "training", False)
ADA, BOB = Person("ada", "ada", "training", False), Person("bob", "bob", "training", False)


def opened(where: str, overlap: int = 2, tasks: int = 2) -> tuple[Store, str]:
    store = open_store(where)
    store.add_people([ADA, BOB, Person("eve", "eve", "held_out", False)])
    store.put_tasks(SET, [Task(f"t{i}", '{"answers": [1, 2]}', overlap) for i in range(tasks)])
    return store, store.add_guideline("training", "be helpful")


def answer(store: Store, person: str, word: str, version: str, task_set: str = "set") -> str:
    task = queue.next_task(store, task_set, person)
    assert task is not None
    return queue.submit(store, task, person, Said(word=word), version, 2.0, task.replaces)


def test_a_label_that_is_sent_back_comes_first_and_is_missing_until_corrected(where: str) -> None:
    store, version = opened(where)
    first = answer(store, "ada", "hasty", version)
    with pytest.raises(UserError, match="say what is to be mended"):
        reviews.review(store, "t0", "returned", first, "admin", " ")
    reviews.review(store, "t0", "returned", first, "admin", "read the whole text")
    assert queue.progress(store, "set") == (4, 0)
    task = queue.next_task(store, "set", "ada")
    assert task is not None and (task.id, task.replaces, task.note) == ("t0", first, "read the whole text")
    assert queue.next_task(store, "set", "bob").replaces is None  # type: ignore[union-attr]
    second = answer(store, "ada", "careful", version)
    assert queue.progress(store, "set") == (4, 1)
    assert queue.next_task(store, "set", "ada").id == "t1"  # type: ignore[union-attr]
    with pytest.raises(UserError, match="was corrected meanwhile"):
        reviews.review(store, "t0", "stands", first, "admin")
    with store.engine.connect() as db:  # the original row stays
        assert {row[0] for row in db.execute(sa.text("SELECT id FROM labels"))} == {first, second}
    with pytest.raises(sa.exc.DBAPIError, match="append only"), store.engine.begin() as db:
        db.execute(sa.text("DELETE FROM reviews"))
    store.close()


def test_a_decision_chooses_what_goes_into_records(where: str) -> None:
    store, version = opened(where, tasks=1)
    mine, other = answer(store, "ada", "a", version), answer(store, "bob", "b", version)
    assert [row.stands for row in queue.collected_labels(store, "set")] == [True, True]
    reviews.review(store, "t0", "stands", other, "admin")
    assert [(row.id, row.stands) for row in queue.collected_labels(store, "set")] == [
        (mine, False),
        (other, True),
    ]
    reviews.review(store, "t0", "stands", mine, "admin")
    assert [row.stands for row in queue.collected_labels(store, "set")] == [True, False]
    reviews.review(store, "t0", "returned", mine, "admin", "once more")
    corrected = answer(
        store, "ada", "aa", version
    )  # the decision was for ada, and holds for what she says now
    assert [(row.id, row.stands) for row in queue.collected_labels(store, "set")] == [
        (corrected, True),
        (other, False),
    ]
    reviews.review(store, "t0", "open", None, "admin")
    assert [row.stands for row in queue.collected_labels(store, "set")] == [True, True]
    assert [one.decision for one in reviews.reviews_by_task(store, "set")["t0"]] == [
        "stands",
        "stands",
        "returned",
        "open",
    ]
    for task, decision, label in (("t0", "stands", "no such"), ("t9", "open", None), ("t0", "open", mine)):
        with pytest.raises(UserError):
            reviews.review(store, task, decision, label, "admin")  # type: ignore[arg-type]
    store.close()


def test_gold_is_mixed_in_once_a_person_and_counts_for_nothing(where: str) -> None:
    store, version = opened(where, overlap=1, tasks=40)
    known = [(Task(f"g{i}", '{"answers": [1, 2]}'), f'{{"word": "{i}"}}') for i in range(3)]
    gold.put_gold(store, TaskSet("set/gold", "label.any", "training", False), known)
    gold.put_gold(store, TaskSet("set/gold", "label.any", "training", False), known)  # twice is once
    mixed = TaskSet("set", "label.any", "training", False, gold="set/gold", gold_share=0.4)
    store.put_tasks(mixed, [Task(f"t{i}", '{"answers": [1, 2]}') for i in range(40)])
    assert store.task_sets() == [mixed]
    chance = random.Random(1)
    had: dict[str, list[str]] = {"ada": [], "bob": []}
    for turn in range(43 + 3):
        person = ("ada", "bob")[turn % 2]
        leased = store.lease("set", person, 60.0, chance.random)
        assert leased is not None
        had[person].append(leased[0])
        store.add_label(leased[0], person, '{"answer": {"word": "x"}, "shown": []}', version)
    assert {name: sorted(one for one in tasks if one[0] == "g") for name, tasks in had.items()} == {
        "ada": ["g0", "g1", "g2"],
        "bob": ["g0", "g1", "g2"],
    }
    assert all(tasks.index("g2") < 20 for tasks in had.values())  # among the rest, not after it
    assert store.lease("set", "ada", 60.0) is None
    assert store.counts("set") == Counts(40, 0, 0) and len(queue.collected_labels(store, "set")) == 40
    assert gold.gold_answers(store, "set/gold") == {task.id: key for task, key in known}
    with pytest.raises(UserError, match="another answer is known already"):
        gold.put_gold(store, TaskSet("set/gold", "label.any", "training", False), [(known[0][0], "{}")])
    store.close()


def test_a_lapsed_seat_at_a_task_for_everybody_waits_for_its_person(where: str) -> None:
    store, version = opened(where)
    gold.put_gold(
        store, TaskSet("all", "label.any", "training", False), [(Task("g", '{"answers": []}'), "{}")]
    )
    assert store.lease("all", "ada", -1.0) is not None
    assert store.lease("all", "ada", 60.0) is not None
    assert store.lease("all", "bob", 60.0) is not None
    answer(store, "ada", "x", version, "all")
    assert store.lease("all", "ada", 60.0) is None
    with pytest.raises(UserError, match="of the panel training"):
        store.lease("all", "eve", 60.0)
    store.close()


def test_verdicts_and_who_may_work(where: str) -> None:
    store, version = opened(where)
    assert screening.is_admitted(store, "ada")
    everybody = TaskSet("screen", "label.any", "training", False)
    gold.put_gold(store, everybody, [(Task("s", '{"answers": []}'), "{}")])
    screening.start_screening(store, [Screening("screen", "rankings", 0.75)])
    assert screening.screening_parts(store) == [Screening("screen", "rankings", 0.75)]
    assert not screening.is_admitted(store, "ada") and screening.is_admitted(
        store, "eve"
    )  # held-out people are not screened
    screening.decide_admission(store, "ada", True, {"rankings": 0.8}, "admin", "good")
    assert screening.is_admitted(store, "ada") and not screening.is_admitted(store, "bob")
    screening.decide_admission(store, "ada", False, {"rankings": 0.8}, "admin", "left")
    assert not screening.is_admitted(store, "ada")
    assert [(v.accepted, v.scores, v.note) for v in screening.admissions_by_person(store)["ada"]] == [
        (True, {"rankings": 0.8}, "good"),
        (False, {"rankings": 0.8}, "left"),
    ]
    with pytest.raises(UserError, match="the screening comes first"):
        queue.next_task(store, "set", "ada")
    label = answer(store, "ada", "my text", version, "screen")
    screening.grade_label(store, label, 5, "admin")
    screening.grade_label(store, label, 6, "admin", "better than I thought")
    assert screening.grades_by_label(store, "screen") == {label: 6}
    with pytest.raises(UserError, match="from 1 to 7"):
        screening.grade_label(store, label, 8, "admin")
    store.close()


def test_answers_by_day_and_person(where: str) -> None:
    now = [86400.0 * 3 + 5]
    store = open_store(where, clock=lambda: now[0])
    store.add_people([ADA, BOB])
    store.put_tasks(SET, [Task(f"t{i}", '{"answers": []}', 2) for i in range(3)])
    version = store.add_guideline("training", "be helpful")
    answer(store, "ada", "x", version)
    answer(store, "ada", "x", version)
    now[0] += 86400
    answer(store, "bob", "x", version)
    assert assignments.labels_per_day(store, "set") == [
        ("1970-01-04", "ada", 2, 2.0),
        ("1970-01-05", "bob", 1, 2.0),
    ]
    store.close()


def test_what_is_migrated_is_what_the_code_expects(where: str) -> None:
    """Tables, columns and indexes after all migrations are those that the code was written for."""
    from biddable.store.tables import metadata

    with open_store(where) as store:
        seen = sa.inspect(store.engine)
        for name, table in metadata.tables.items():
            columns = {c["name"]: c["nullable"] for c in seen.get_columns(name)}
            assert columns == {c.name: bool(c.nullable) for c in table.columns}, name
            assert {i["name"] for i in seen.get_indexes(name) if not i.get("duplicates_constraint")} >= {
                i.name for i in table.indexes
            }, name
        assert set(seen.get_table_names()) == {*metadata.tables, "alembic_version"}
