"""Assignments: whether there is one more for somebody."""

from __future__ import annotations

from biddable.store.assignments import has_task
from biddable.store.drafts import skip_task
from biddable.store.store import Store
from biddable.store.types import Task, TaskSet
from tests.conftest import Clock


def test_whether_a_set_has_a_task_for_somebody(store: Store, clock: Clock) -> None:
    """As long as a place is free, or theirs; a skipped one is not, nor one that another holds."""
    task_set = TaskSet("set", "label.any", "training", False)
    store.put_tasks(task_set, [Task("a", "{}"), Task("b", "{}")])
    version = store.add_guideline("training", "be helpful")

    def has(person: str) -> bool:
        return has_task(store, task_set, person)

    assert has("ada") and has("bob")
    lease = store.lease("set", "ada", 60.0)
    assert lease is not None and lease.task == "a" and has("ada")
    skip_task(store, "b", "bob", False, "")
    assert not has("bob")
    store.add_label("a", "ada", "yes", version, 1.0)
    assert store.lease("set", "ada", 60.0) is not None and has("ada")  # b
    clock.now += 60.0  # the time for b is over: it is free again, except for bob
    assert has("ada") and not has("bob")
    skip_task(store, "b", "ada", False, "")
    assert not has("ada")


def test_whether_a_set_for_everybody_has_a_task(store: Store, clock: Clock) -> None:
    task_set = TaskSet("set", "label.any", "training", False, everybody=True)
    store.put_tasks(task_set, [Task("a", "{}")])
    version = store.add_guideline("training", "be helpful")
    assert store.lease("set", "ada", 60.0) is not None
    assert has_task(store, task_set, "ada") and has_task(store, task_set, "bob")
    store.add_label("a", "ada", "yes", version, 1.0)
    assert not has_task(store, task_set, "ada") and has_task(store, task_set, "bob")
