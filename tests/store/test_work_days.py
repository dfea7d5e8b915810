"""Work by person, set and day: answers, corrections and skips count when they are stored."""

from __future__ import annotations

import pytest

from biddable.store import drafts
from biddable.store.leases import LeaseExpired
from biddable.store.store import Store
from biddable.store.types import Task, TaskSet
from biddable.store.work_days import WorkDay, day_of, list_work
from tests.conftest import Clock

DAY = 86400.0


def lease(store: Store, person: str) -> str:
    leased = store.lease("set", person, 3600.0)
    assert leased is not None
    return leased.task


def test_work_by_day_person_and_set(store: Store, clock: Clock) -> None:
    """Days are those of UTC: a second before midnight is the day before. A correction adds the seconds that
    it took, a skip those of its draft; the same answer or skip sent twice counts once."""
    store.put_tasks(TaskSet("set", "label.any", "training", False), [Task(task, "{}", 2) for task in "abcd"])
    version = store.add_guideline("training", "be helpful")
    labels = []
    for now, person, seconds in (
        (4 * DAY - 1, "ada", 2.0),
        (4 * DAY, "ada", 3.0),
        (4 * DAY + 1, "ada", 4.0),
        (4 * DAY + 2, "bob", None),
    ):
        clock.now = now
        task = lease(store, person)
        labels.append(store.add_label(task, person, "yes", version, seconds))
        assert store.add_label(task, person, "yes", version, seconds) == labels[-1]
    store.add_label("a", "ada", "no", version, 9.5, replaces=labels[0])
    skipped = lease(store, "bob")
    drafts.save_draft(store, skipped, "bob", {}, version)
    clock.now += 60
    drafts.save_draft(store, skipped, "bob", {}, version, 30.0)
    for _ in range(2):
        drafts.skip_task(store, skipped, "bob", True, "odd")
    days = [
        WorkDay("ada", "ada-1", "set", 3, 1, 0, 0, 2.0, 0),
        WorkDay("ada", "ada-1", "set", 4, 2, 1, 0, 3.0 + 4.0 + 7.5, 0),
        WorkDay("bob", "bob-1", "set", 4, 1, 0, 1, 30.0, 1),
    ]
    assert list_work(store) == list_work(store, task_sets=["set", "next"]) == days
    assert days[0].date == "1970-01-04" and day_of(clock.now) == 4
    assert list_work(store, since=4) == days[1:]
    assert list_work(store, person="bob") == days[2:]
    assert list_work(store, task_sets=["next"]) == []


def test_an_answer_that_is_refused_is_no_work(store: Store, clock: Clock) -> None:
    store.put_tasks(TaskSet("set", "label.any", "training", False), [Task("a", "{}", 1)])
    version = store.add_guideline("training", "be helpful")
    task = lease(store, "ada")
    clock.now += 7200
    with pytest.raises(LeaseExpired):
        store.add_label(task, "ada", "yes", version, 5.0)
    assert list_work(store) == []


def test_simulated_people_do_not_work_for_pay(store: Store) -> None:
    store.put_tasks(TaskSet("sims", "label.any", "training", True), [Task("s", "{}", 1)])
    leased = store.lease("sims", "sim", 60.0)
    assert leased is not None
    store.add_label("s", "sim", "yes", store.add_guideline("training", "be helpful"), 0.0)
    assert list_work(store) == []
