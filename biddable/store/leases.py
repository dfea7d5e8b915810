"""Seats: who may sit down at which task. Steps of the store's transactions; nothing here opens or ends one.

A task that n people shall answer has n rows in `leases`. A task for everybody has none until somebody comes: then one for this person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.tables import leases, people, sets, skips, tasks
from biddable.store.types import Task, TaskSet

Leased = tuple[str, float]
"""A task and until when it may be answered."""


def task_set_from_row(row: Any) -> TaskSet:
    """A row of `sets` as what it is."""
    fixed = (row.name, row.kind, row.panel, bool(row.simulated), bool(row.everybody))
    return TaskSet(*fixed, row.gold, row.gold_share, row.priority)


def upsert_task_set(connection: sa.Connection, wanted: TaskSet, now: float) -> None:
    """Note a set, or what has changed of it. Raises UserError when it is there for other people."""
    row = connection.execute(sa.select(sets).where(sets.c.name == wanted.name)).first()
    if row is None:
        connection.execute(sa.insert(sets), {**vars(wanted), "created": now})
        return
    there = task_set_from_row(row)
    if (there.kind, there.panel, there.simulated) != (wanted.kind, wanted.panel, wanted.simulated):
        raise UserError(f"{wanted.name} is in the store as {there}, not as {wanted}")
    if there != wanted:
        changed = {
            "everybody": wanted.everybody,
            "gold": wanted.gold,
            "gold_share": wanted.gold_share,
            "priority": wanted.priority,
        }
        connection.execute(sa.update(sets).where(sets.c.name == wanted.name).values(changed))


def lease_next(
    connection: sa.Connection, name: str, person: str, now: float, seconds: float, chance: Callable[[], float]
) -> Leased | None:
    """The seat this person holds, its time prolonged; else a new one; None when nothing is left for this person."""
    asked = _invited(connection, name, person)
    if asked is None:
        return None
    until = now + seconds
    among = [name] if asked.gold is None else [name, asked.gold]
    mine = (leases.c.person == person) & leases.c.task_set.in_(among) & leases.c.label.is_(None)
    held = sa.update(leases).where(mine, leases.c.until > now).values(until=until)
    if row := connection.execute(held.returning(leases.c.task)).first():
        return row.task, until
    if (
        asked.gold is not None
        and chance() < asked.gold_share
        and (given := _own(connection, asked.gold, person, until))
    ):
        return given
    if asked.everybody:
        return _own(connection, name, person, until)
    return _free(connection, name, person, now, until)


def _invited(connection: sa.Connection, name: str, person: str) -> TaskSet | None:
    """The set; None when there is none of this name. Raises UserError when it is not for this person.

    On PostgreSQL the person's row is locked: two requests of one person at once do not get two tasks. SQLite lets one writer in at a time.
    """
    who = connection.execute(sa.select(people).where(people.c.id == person).with_for_update()).first()
    if who is None:
        raise UserError(f"there is nobody called {person} in the store")
    row = connection.execute(sa.select(sets).where(sets.c.name == name)).first()
    if row is None:
        return None
    asked = task_set_from_row(row)
    if (asked.panel, asked.simulated) != (who.panel, bool(who.simulated)):
        kind = "simulated" if asked.simulated else "real"
        raise UserError(f"{name} is for {kind} people of the panel {asked.panel}; {who.pseudonym} is not one")
    return asked


def _free(connection: sa.Connection, name: str, person: str, now: float, until: float) -> Leased | None:
    """A free seat at a task where this person has none: the highest priority first. A seat of their own that lapsed is free too.

    What the person had or put aside is read once, by an index, and free seats are gone through in their order until one fits. Asked seat by
    seat (`NOT EXISTS`), PostgreSQL without statistics looks at all free seats of the set and sorts them.
    """
    twin = leases.alias()
    had = sa.select(twin.c.task).where(twin.c.person == person, twin.c.task_set == name)
    put_aside = sa.select(skips.c.task).where(skips.c.person == person)
    fits = sa.or_(leases.c.person == person, leases.c.task.not_in(had)) & leases.c.task.not_in(put_aside)
    first = (
        sa.select(leases.c.id)
        .where(leases.c.task_set == name, leases.c.label.is_(None), leases.c.until <= now, fits)
        .order_by(leases.c.priority.desc(), leases.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    given = sa.update(leases).where(leases.c.id == first.scalar_subquery(), leases.c.label.is_(None))
    row = connection.execute(given.values(person=person, until=until).returning(leases.c.task)).first()
    return None if row is None else (row.task, until)


def _skipped(task: Any, person: str) -> Any:
    """Whether this person does not want the task."""
    return sa.exists().where(skips.c.task == task, skips.c.person == person)


def _own(connection: sa.Connection, name: str, person: str, until: float) -> Leased | None:
    """A seat of this person's own at a task for everybody: one left lapsed, else at the first task where there is none yet."""
    mine = (leases.c.person == person) & (leases.c.task_set == name)
    left = mine & leases.c.label.is_(None) & ~_skipped(leases.c.task, person)
    again = sa.select(sa.func.min(leases.c.id)).where(left).scalar_subquery()
    taken = sa.update(leases).where(leases.c.id == again).values(until=until).returning(leases.c.task)
    if row := connection.execute(taken).first():
        return row.task, until
    sat = sa.exists().where(leases.c.task == tasks.c.id, leases.c.person == person)
    fresh = sa.select(tasks.c.id, tasks.c.priority).where(
        tasks.c.task_set == name, ~sat, ~_skipped(tasks.c.id, person)
    )
    row = connection.execute(fresh.order_by(tasks.c.priority.desc(), tasks.c.id).limit(1)).first()
    if row is None:
        return None
    seat = {"id": f"{row.id}/{person}", "task": row.id, "task_set": name, "priority": row.priority}
    connection.execute(sa.insert(leases), {**seat, "person": person, "until": until})
    return row.id, until


def fit_leases(connection: sa.Connection, name: str, wanted: Sequence[Task], now: float) -> None:
    """Give every wanted task as many seats as people shall answer it; take away free seats beyond that."""
    rows = connection.execute(sa.select(leases).where(leases.c.task_set == name).order_by(leases.c.id)).all()
    places: dict[str, set[int]] = {}
    for row in rows:
        places.setdefault(row.task, set()).add(int(row.id.rsplit("/", 1)[1]))
    missing = {task.id: task.overlap for task in wanted}
    missing = dict(Counter(missing) | Counter())  # every task once, with its overlap
    for row in rows:
        if row.label is not None or row.until > now:
            missing[row.task] = missing.get(row.task, 0) - 1
    spare = []
    for row in rows:
        if row.label is None and row.until <= now:
            missing[row.task] = missing.get(row.task, 0) - 1
            if missing[row.task] < 0:
                spare.append(row.id)
    for begin in range(0, len(spare), 500):
        connection.execute(sa.delete(leases).where(leases.c.id.in_(spare[begin : begin + 500])))
    new = []
    for task in wanted:
        taken = places.get(task.id, set())
        free = (place for place in range(task.overlap + len(taken)) if place not in taken)
        for place, _ in zip(free, range(max(0, missing[task.id])), strict=False):
            new.append(
                {"id": f"{task.id}/{place}", "task": task.id, "task_set": name, "priority": task.priority}
            )
    if new:
        connection.execute(sa.insert(leases), [{**row, "until": 0.0} for row in new])
