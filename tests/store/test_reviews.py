"""Reviews: labels sent back, decisions on tasks, adjudication; as the queue sees them."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from biddable.label import queue
from biddable.run.config import UserError
from biddable.store import reviews
from biddable.store.store import Store, open_store
from biddable.store.types import Counts, Person, Task, TaskSet
from tests.conftest import WordAnswer

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
    return queue.submit(store, task, person, WordAnswer(word=word), version, 2.0, task.replaces)


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


def test_an_own_answer_stands_and_takes_nobodys_place(where: str) -> None:
    store, version = opened(where, tasks=1)
    first = answer(store, "ada", "a", version)
    answer(store, "bob", "b", version)
    store.add_people([Person("boss", "boss", "training", False)])
    decided = reviews.adjudicate(store, "t0", "boss", '{"answer": {}, "shown": []}', version, "admin")
    assert reviews.accepted_labels(store, "set", store.labels("set")) == {decided}
    assert reviews.labels_without_lease(store, "set") == {decided}
    assert store.counts("set") == Counts(done=2, waiting=0, open=0)
    store.put_tasks(SET, [Task("t0", '{"answers": [1, 2]}', 3)])  # another answer is wanted, not the admin's
    assert store.lease("set", "boss", 60.0) is None
    again = reviews.adjudicate(store, "t0", "boss", '{"answer": 1, "shown": []}', version, "admin")
    assert again != decided and reviews.labels_without_lease(store, "set") == {decided, again}
    reviews.review(store, "t0", "stands", first, "admin")
    assert reviews.accepted_labels(store, "set", store.labels("set")) == {first}
    store.close()


def test_who_has_a_task_as_a_labeler_can_not_adjudicate_it(where: str) -> None:
    store, version = opened(where, tasks=1)
    assert store.lease("set", "ada", 60.0) is not None
    with pytest.raises(UserError, match="you hold this task as a labeler"):
        reviews.adjudicate(store, "t0", "ada", "{}", version, "admin")
    assert store.labels("set") == [] and reviews.reviews_by_task(store, "set") == {}
    store.close()


def test_a_later_decision_takes_a_returned_label_back(where: str) -> None:
    store, version = opened(where, tasks=1)
    first, second = answer(store, "ada", "a", version), answer(store, "bob", "b", version)
    for label in (first, second):
        reviews.review(store, "t0", "returned", label, "admin", "say more")
    assert [row.label for row in reviews.returned_labels(store, "set")] == [first, second]
    assert [row.label for row in reviews.returned_labels(store, "set", "bob")] == [second]
    assert reviews.returned_labels(store, "next") == []
    reviews.review(store, "t0", "stands", second, "admin")
    assert reviews.returned_labels(store, "set") == []
    store.close()
