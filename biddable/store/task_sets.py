"""Task sets: what one stage asks, and of whom. These are steps of the store's transactions."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.tables import task_sets
from biddable.store.types import TaskSet


def task_set_from_row(row: Any) -> TaskSet:
    """A row of `task_sets` as a value."""
    return TaskSet(
        row.name,
        row.kind,
        row.panel,
        bool(row.simulated),
        bool(row.everybody),
        row.gold,
        row.gold_share,
        row.priority,
    )


def find_task_set(connection: sa.Connection, name: str) -> TaskSet | None:
    """The set of this name; None when there is none."""
    row = connection.execute(sa.select(task_sets).where(task_sets.c.name == name)).first()
    return None if row is None else task_set_from_row(row)


def upsert_task_set(connection: sa.Connection, task_set: TaskSet, now: float) -> None:
    """Add a set, or update what may change of it. Raises UserError when it exists with another kind, panel or
    sort of people."""
    stored = find_task_set(connection, task_set.name)
    if stored is None:
        connection.execute(sa.insert(task_sets), {**vars(task_set), "created": now})
        return
    if (stored.kind, stored.panel, stored.simulated) != (task_set.kind, task_set.panel, task_set.simulated):
        raise UserError(f"{task_set.name} is in the store as {stored}, not as {task_set}")
    if stored != task_set:
        changes = {
            "everybody": task_set.everybody,
            "gold": task_set.gold,
            "gold_share": task_set.gold_share,
            "priority": task_set.priority,
        }
        connection.execute(sa.update(task_sets).where(task_sets.c.name == task_set.name).values(changes))
