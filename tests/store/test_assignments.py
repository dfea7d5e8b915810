"""Assignments, and what was answered on which day."""

from __future__ import annotations

from biddable.store.assignments import labels_per_day
from biddable.store.store import Store
from biddable.store.types import Task, TaskSet
from tests.conftest import Clock

DAY = 86400.0


def test_labels_by_day_and_person(store: Store, clock: Clock) -> None:
    """Days are those of UTC: a second before midnight is the day before. Corrections are not counted."""
    store.put_tasks(TaskSet("set", "label.any", "training", False), [Task(task, "{}", 2) for task in "abc"])
    version = store.add_guideline("training", "be helpful")
    labels = []
    for now, person, seconds in (
        (4 * DAY - 1, "ada", 2.0),
        (4 * DAY, "ada", 3.0),
        (4 * DAY + 1, "ada", 4.0),
        (4 * DAY + 2, "bob", None),
    ):
        clock.now = now
        lease = store.lease("set", person, 60.0)
        assert lease is not None
        labels.append(store.add_label(lease.task, person, "yes", version, seconds))
    store.add_label("a", "ada", "no", version, 99.0, replaces=labels[0])
    assert labels_per_day(store, "set") == [
        ("1970-01-04", "ada-1", 1, 2.0),
        ("1970-01-05", "ada-1", 2, 3.5),
        ("1970-01-05", "bob-1", 1, None),
    ]
    assert labels_per_day(store, "next") == []
