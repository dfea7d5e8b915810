"""Screening: its parts, grades, and who may work on what."""

from __future__ import annotations

import pytest

from biddable.run.config import UserError
from biddable.store.gold import put_gold
from biddable.store.screening import (
    admissions_by_person,
    decide_admission,
    grade_label,
    grades_by_label,
    is_admitted,
    screening_parts,
    start_screening,
)
from biddable.store.store import Store
from biddable.store.types import Admission, Screening, Task, TaskSet
from tests.conftest import Clock


def put_screening(store: Store) -> list[Screening]:
    parts = [
        Screening("screen/texts", "demonstrations", None),
        Screening("screen/ranks", "rankings", 0.75),
        Screening("screen/flags", "sensitive", 0.5),
    ]
    for part in parts:
        task_set = TaskSet(part.task_set, "label.any", "training", False)
        put_gold(store, task_set, [(Task(f"{part.part}-0", "{}"), "{}")])
    start_screening(store, parts)
    return parts


def test_parts_come_in_the_order_of_the_paper_and_a_new_screening_ends_the_old(store: Store) -> None:
    assert screening_parts(store) == []
    texts, ranks, flags = put_screening(store)
    assert screening_parts(store) == [flags, ranks, texts]
    start_screening(store, [ranks])
    assert screening_parts(store) == [ranks]


def test_who_may_work(store: Store, clock: Clock) -> None:
    """The newest decision counts, also of two within one second."""
    assert is_admitted(store, "ada")  # no screening
    put_screening(store)
    assert not is_admitted(store, "ada") and not is_admitted(store, "ada", "set")
    assert is_admitted(store, "ada", "screen/ranks")
    assert is_admitted(store, "eve") and is_admitted(store, "sim")  # held out; simulated
    decide_admission(store, "ada", True, {"rankings": 0.8}, "boss", " good ")
    assert is_admitted(store, "ada") and not is_admitted(store, "bob")
    decide_admission(store, "ada", False, {"rankings": 0.8}, "boss", "left")
    assert not is_admitted(store, "ada")
    assert admissions_by_person(store) == {
        "ada": [
            Admission("ada", True, {"rankings": 0.8}, "good", "boss", 1000.0),
            Admission("ada", False, {"rankings": 0.8}, "left", "boss", 1000.0),
        ]
    }


def test_the_newest_grade_of_a_label_counts(store: Store) -> None:
    put_screening(store)
    assert store.lease("screen/texts", "ada", 60.0) is not None
    label = store.add_label(
        "demonstrations-0", "ada", "my text", store.add_guideline("training", "be helpful")
    )
    for grade in (7, 1, 6):
        grade_label(store, label, grade, "boss")
    assert (
        grades_by_label(store, "screen/texts") == {label: 6} and grades_by_label(store, "screen/ranks") == {}
    )
    for grade in (0, 8):
        with pytest.raises(UserError, match=f"grade {grade}: must be a whole number from 1 to 7"):
            grade_label(store, label, grade, "boss")
    with pytest.raises(UserError, match="no such text"):
        grade_label(store, "no such label", 5, "boss")
