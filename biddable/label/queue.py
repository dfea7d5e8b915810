"""The queue: who gets which task next. The same for people and for simulated labelers.

A task goes to `overlap` different people of its panel. Taking one is a lease: it lapses, and the place is free again, when no answer came in time.
Places are counted inside the store's single write, so that no task is ever given to more people than asked, whatever is killed meanwhile.
"""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import BaseModel

from biddable.base.config import Refusal
from biddable.base.records import fraction
from biddable.base.store import Store, labels, leases, people, tasks


class Task(NamedTuple):
    """A task as one person holds it."""

    task_set: str
    id: str
    kind: str
    question: str  # a record as JSON, with everything: a kind's `question` makes the blind view of it
    shown: tuple[int, ...]  # shown[i] is the stored number of the answer that this person sees at place i


class Label(NamedTuple):
    """What one person said about one task, corrections applied."""

    task: str
    question: str
    answer: str
    shown: tuple[int, ...]
    person: str
    panel: str
    simulated: bool
    guideline: str
    seconds: float


def next_task(store: Store, task_set: str, person: str, lease_seconds: float = 1800.0) -> Task | None:
    """The task this person still holds (its lease begins anew), else the next free one; None when there is none.

    Raises Refusal for a person the store does not know.
    """
    now = time.time()
    with store.writing() as db:
        _lapse(db, task_set, now)
        mine = (leases.c.task_set == task_set) & (leases.c.person == person)
        held = db.execute(
            sa.select(tasks.c.id, tasks.c.kind, tasks.c.question, leases.c.shown)
            .join(leases, (leases.c.task_set == tasks.c.task_set) & (leases.c.task == tasks.c.id))
            .where(mine)
            .order_by(tasks.c.id)
        ).first()
        if held:
            db.execute(sa.update(leases).where(mine, leases.c.task == held.id).values(until=now + lease_seconds))
            return Task(task_set, held.id, held.kind, held.question, tuple(json.loads(held.shown)))
        panel = db.execute(sa.select(people.c.panel).where(people.c.id == person)).scalar()
        if panel is None:
            raise Refusal(f"store {store.where}: there is no person {person}")
        found = _first_free(db, task_set, person, panel)
        if found is None:
            return None
        shown = order(found.id, person, found.width)
        db.execute(
            sa.update(tasks).where(tasks.c.task_set == task_set, tasks.c.id == found.id).values(free=tasks.c.free - 1)
        )
        db.execute(
            leases.insert().values(
                task_set=task_set, task=found.id, person=person, shown=json.dumps(shown), until=now + lease_seconds
            )
        )
        return Task(task_set, found.id, found.kind, found.question, shown)


def order(task: str, person: str, width: int) -> tuple[int, ...]:
    """The order in which a person sees a task's answers: by hash, so neither the place nor the neighbours tell the model."""
    return tuple(sorted(range(width), key=lambda i: fraction("shown", task, person, i)))


def submit(
    store: Store,
    task: Task,
    person: str,
    answer: BaseModel,
    guideline: str,
    seconds: float,
    replaces: int | None = None,
) -> int:
    """Keep a person's answer; returns the label's number. The same answer sent twice is kept once.

    A correction names in `replaces` the label it takes the place of. Raises Refusal without a live lease, and for another answer to a task
    that this person answered before.
    """
    now = time.time()
    text = answer.model_dump_json()
    with store.writing() as db:
        earlier = db.execute(
            _current(sa.select(labels)).where(
                labels.c.task_set == task.task_set, labels.c.task == task.id, labels.c.person == person
            )
        ).first()
        if earlier and earlier.answer == text:
            return int(earlier.id)
        if earlier and replaces != earlier.id:
            raise Refusal(
                f"task {task.id}: {person} has answered it (label {earlier.id}); a correction says which label it replaces"
            )
        if earlier:
            shown = earlier.shown
        else:
            if replaces is not None:
                raise Refusal(f"task {task.id}: {person} has no label {replaces} to replace")
            mine = (leases.c.task_set == task.task_set) & (leases.c.task == task.id) & (leases.c.person == person)
            shown = db.execute(sa.delete(leases).where(mine, leases.c.until > now).returning(leases.c.shown)).scalar()
            if shown is None:
                raise Refusal(f"task {task.id}: {person} does not hold it, or held it too long; take the next task")
        row = {"task_set": task.task_set, "task": task.id, "person": person, "answer": text, "shown": shown}
        row |= {"guideline": guideline, "seconds": seconds, "replaces": replaces, "added": now}
        kept = db.execute(labels.insert().values(**row).returning(labels.c.id)).scalar_one()
    return int(kept)


def progress(store: Store, task_set: str) -> tuple[int, int]:
    """(labels wanted, labels there) of a task set."""
    with store.reading() as db:
        wanted = db.execute(sa.select(sa.func.sum(tasks.c.overlap)).where(tasks.c.task_set == task_set)).scalar()
        there = sa.select(sa.func.count()).where(labels.c.task_set == task_set, labels.c.replaces.is_(None))
        return int(wanted or 0), int(db.execute(there).scalar_one())


def given(store: Store, task_set: str) -> dict[str, int]:
    """How many tasks of the set each person has answered."""
    with store.reading() as db:
        rows = db.execute(
            sa.select(labels.c.person, sa.func.count())
            .where(labels.c.task_set == task_set, labels.c.replaces.is_(None))
            .group_by(labels.c.person)
        )
        return {person: count for person, count in rows}


def collected(store: Store, task_set: str) -> list[Label]:
    """All labels of a task set, of corrected ones the last, in the order of task and person."""
    with store.reading() as db:
        rows = db.execute(
            _current(
                sa.select(labels.c.task, tasks.c.question, labels.c.answer, labels.c.shown, labels.c.person)
                .add_columns(people.c.panel, people.c.simulated, labels.c.guideline, labels.c.seconds)
                .join(tasks, (tasks.c.task_set == labels.c.task_set) & (tasks.c.id == labels.c.task))
                .join(people, people.c.id == labels.c.person)
            ).where(labels.c.task_set == task_set)
        ).all()
    found = [Label(**(row._asdict() | {"shown": tuple(json.loads(row.shown))})) for row in rows]
    return sorted(found, key=lambda one: (one.task, one.person))  # here: databases sort text in different ways


def _current(query: sa.Select[Any]) -> sa.Select[Any]:
    """Only labels that no other label replaces."""
    later = labels.alias("later")
    return query.where(~sa.exists().where(later.c.replaces == labels.c.id))


def _lapse(db: sa.Connection, task_set: str, now: float) -> None:
    """Free the places of leases that ran out."""
    gone = sa.delete(leases).where(leases.c.task_set == task_set, leases.c.until <= now).returning(leases.c.task)
    for task in db.execute(gone).scalars().all():
        db.execute(
            sa.update(tasks).where(tasks.c.task_set == task_set, tasks.c.id == task).values(free=tasks.c.free + 1)
        )


def _first_free(db: sa.Connection, task_set: str, person: str, panel: str) -> sa.Row[Any] | None:
    """The first task with a free place that this person has not answered."""
    answered = sa.exists().where(
        labels.c.task_set == tasks.c.task_set,
        labels.c.task == tasks.c.id,
        labels.c.person == person,
        labels.c.replaces.is_(None),
    )
    return db.execute(
        sa.select(tasks.c.id, tasks.c.kind, tasks.c.question, tasks.c.width)
        # written out, not bound: SQLite uses the partial index only when it can read the condition
        .where(tasks.c.task_set == task_set, sa.text("tasks.free > 0"), tasks.c.panel == panel, ~answered)
        .order_by(tasks.c.priority.desc(), tasks.c.place, tasks.c.id)
        .limit(1)
    ).first()
