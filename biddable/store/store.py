"""The store: the database of what people did. SQLite (WAL) by default, PostgreSQL by URL; only `database` beside it knows SQL.

Labels are only ever added: a correction is a new row that names the one it replaces, and the database itself refuses to change or
delete a label. Tasks are handed out by seats: a task that n people shall answer has n rows in `leases`, and taking one is a single
`UPDATE ... RETURNING`, which both databases know; so however many processes ask at once, a seat is never given twice. Every step is
one transaction: a process can be killed between any two and nothing is lost or doubled.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store import leases as seats
from biddable.store.database import disk_errors, engine_for, migrate
from biddable.store.tables import guidelines, labels, leases, people, sets, tasks
from biddable.store.types import Counts, Label, LeaseExpired, Person, Task, TaskSet

TRIES = 20
"""How often a step is begun anew when another process has just added the same row."""


Done = TypeVar("Done")


class Store:
    """An open store; see `open_store`. Safe to share between threads."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], float]) -> None:
        self.engine = engine
        self.clock = clock
        # what is read needs no transaction; on PostgreSQL one would be two more ways to the server and back
        self._reader = (
            engine.execution_options(isolation_level="AUTOCOMMIT")
            if engine.dialect.name == "postgresql"
            else engine
        )
        # SQLite lets one writer in at a time, and those who wait sleep longer and longer; threads of one process had better queue up here
        self._turn: AbstractContextManager[Any] = (
            nullcontext() if engine.dialect.name == "postgresql" else threading.Lock()
        )

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_people(self, rows: Iterable[Person]) -> None:
        """Add people who are not there yet. Raises UserError when one is there with another pseudonym, panel or nature."""

        def step(connection: sa.Connection) -> None:
            known = {row.id: _person(row) for row in connection.execute(sa.select(people))}
            wrong = [
                f"{p.id} is in the store as {known[p.id]}, not as {p}"
                for p in wanted
                if p.id in known and known[p.id] != p
            ]
            if wrong:
                raise UserError(wrong)
            new = [{**vars(p), "created": self.clock()} for p in wanted if p.id not in known]
            if new:
                connection.execute(sa.insert(people), new)

        wanted = list(rows)
        self.write(step)

    def people(self) -> list[Person]:
        """Everybody, in the order of their ids."""
        with self.read() as connection:
            return [_person(row) for row in connection.execute(sa.select(people).order_by(people.c.id))]

    def add_guideline(self, name: str, text: str) -> str:
        """Keep a guideline's text; returns its version, the name with a hash of the text."""
        version = f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

        def step(connection: sa.Connection) -> None:
            if not connection.execute(sa.select(guidelines).where(guidelines.c.version == version)).first():
                connection.execute(sa.insert(guidelines), {"version": version, "text": text})

        self.write(step)
        return version

    def put_tasks(self, task_set: TaskSet, wanted: Sequence[Task]) -> None:
        """Make a set ask exactly these tasks. What is there already stays, answers included; adding twice adds nothing.

        A task with a larger overlap than before gets more seats; seats that nobody sits on go where a task is no longer wanted, or wanted by
        fewer people.
        """

        def step(connection: sa.Connection) -> None:
            now = self.clock()
            rows = connection.execute(
                sa.select(tasks.c.id, tasks.c.overlap).where(tasks.c.task_set == task_set.name)
            )
            known = {row.id: row.overlap for row in rows}
            shared = {
                "task_set": task_set.name,
                "kind": task_set.kind,
                "panel": task_set.panel,
                "created": now,
            }
            new = [
                {**vars(t), **shared, "simulated": task_set.simulated} for t in wanted if t.id not in known
            ]
            if new:
                connection.execute(sa.insert(tasks), new)
            for task in wanted:
                if known.get(task.id, task.overlap) != task.overlap:
                    connection.execute(
                        sa.update(tasks).where(tasks.c.id == task.id).values(overlap=task.overlap)
                    )
            seats.upsert_task_set(connection, task_set, now)
            if not task_set.everybody:
                seats.fit_leases(connection, task_set.name, wanted, now)

        self.write(step)

    def tasks(self, task_set: str) -> list[str]:
        """The ids of a set's tasks, in their order."""
        query = sa.select(tasks.c.id).where(tasks.c.task_set == task_set).order_by(tasks.c.id)
        with self.read() as connection:
            return list(connection.execute(query).scalars())

    def question(self, task: str) -> tuple[str, str]:
        """A task's kind and question. Raises UserError for an unknown task."""
        with self.read() as connection:
            row = connection.execute(
                sa.select(tasks.c.kind, tasks.c.question).where(tasks.c.id == task)
            ).first()
        if row is None:
            raise UserError(f"there is no task {task}")
        return row.kind, row.question

    def lease(
        self, task_set: str, person: str, seconds: float, chance: Callable[[], float] = random.random
    ) -> tuple[str, float] | None:
        """Give a person the next task of a set: (task, until when), or None when there is nothing left for this person.

        Who holds a live lease gets the same task again, with the time prolonged. Nobody gets a task again that they answered
        or skipped. `chance`
        (uniform in [0, 1)) decides whether one of the set's gold tasks comes next.
        Raises UserError when the person is unknown or the set is for other people.
        """

        def step(connection: sa.Connection) -> tuple[str, float] | None:
            return seats.lease_next(connection, task_set, person, self.clock(), seconds, chance)

        return self.write(step)

    def add_label(
        self,
        task: str,
        person: str,
        answer: str,
        guideline: str,
        seconds: float | None = None,
        replaces: str | None = None,
    ) -> str:
        """Keep an answer; returns its id. The same answer again returns the same id and adds nothing.

        A first answer needs a live lease (else Lapsed); a correction names the person's newest label of the task in `replaces` (else UserError).
        """
        return self.write(
            lambda connection: self.label_step(connection, task, person, answer, guideline, seconds, replaces)
        )

    def label_step(
        self,
        connection: sa.Connection,
        task: str,
        person: str,
        answer: str,
        guideline: str,
        seconds: float | None,
        replaces: str | None,
        leased: bool = True,
    ) -> str:
        """`add_label` as a part of a transaction; not `leased`: no lease is needed and no seat is taken."""
        new, now = _label_id(task, person, replaces), self.clock()
        mine = (labels.c.task == task) & (labels.c.person == person)
        twin = labels.alias()
        replaced = sa.exists().where(twin.c.replaces == labels.c.id)
        newest = connection.execute(sa.select(labels).where(mine, ~replaced)).first()
        if newest is not None and newest.answer == answer and replaces in (None, newest.id, newest.replaces):
            return str(newest.id)
        if (newest is None and replaces is not None) or (newest is not None and newest.id != replaces):
            held = "none" if newest is None else newest.id
            raise UserError(
                f"task {task}: {person}'s newest label is {held}; a correction must replace that one"
            )
        row = {"id": new, "task": task, "person": person, "answer": answer, "guideline": guideline}
        connection.execute(
            sa.insert(labels), {**row, "seconds": seconds, "created": now, "replaces": replaces}
        )
        if newest is None and leased:
            seat = (leases.c.task == task) & (leases.c.person == person) & leases.c.label.is_(None)
            taken = (
                sa.update(leases).where(seat, leases.c.until > now).values(label=new).returning(leases.c.id)
            )
            if connection.execute(taken).first() is None:
                raise LeaseExpired(
                    f"task {task}: the time to answer is over, or it was never given to {person}"
                )
        return new

    def labels(self, task_set: str) -> list[Label]:
        """The labels of a set that no correction has replaced, with their questions, in the order of task and person."""
        twin = labels.alias()
        replaced = sa.exists().where(twin.c.replaces == labels.c.id)
        whole = labels.join(tasks, tasks.c.id == labels.c.task).join(people, people.c.id == labels.c.person)
        columns = (tasks.c.kind, tasks.c.question, people.c.pseudonym, people.c.panel, people.c.simulated)
        query = (
            sa.select(labels, *columns)
            .select_from(whole)
            .where(tasks.c.task_set == task_set, ~replaced)
            .order_by(labels.c.task, labels.c.person)
        )
        # a question comes with each of its labels: keep one string of it, not one for every person who answered
        questions: dict[str, str] = {}
        with self.read() as connection:
            return [
                Label(
                    row.id,
                    row.task,
                    row.kind,
                    questions.setdefault(row.task, row.question),
                    Person(row.person, row.pseudonym, row.panel, row.simulated),
                    row.answer,
                    row.guideline,
                    row.seconds,
                    row.created,
                    row.replaces,
                )
                for row in connection.execute(query)
            ]

    def task_sets(self) -> list[TaskSet]:
        """Every set, those of higher priority first, then in the order in which they were put; a set's gold is not among them."""
        hidden = sa.select(sets.c.gold).where(sets.c.gold.is_not(None))
        query = (
            sa.select(sets)
            .where(sets.c.name.not_in(hidden))
            .order_by(sets.c.priority.desc(), sets.c.created, sets.c.name)
        )
        with self.read() as connection:
            return [seats.task_set_from_row(row) for row in connection.execute(query)]

    def counts(self, task_set: str) -> Counts:
        """How far a set is."""
        known = {"task_set": task_set, "now": self.clock()}
        with self.read() as connection:
            total, done, waiting = (connection.execute(query, known).scalar_one() for query in _counting())
        return Counts(done, waiting, total - done - waiting)

    def read(self) -> sa.Connection:
        """A connection to read by, in a `with`: nothing may be written with it."""
        return self._reader.connect()

    def write(self, step: Callable[[sa.Connection], Done]) -> Done:
        """Run one step as one transaction; again when another process has just added one of its rows."""
        for attempt in range(TRIES):
            try:
                with (
                    self._turn,
                    disk_errors(),
                    self.engine.execution_options(write=True).begin() as connection,
                ):
                    return step(connection)
            except sa.exc.IntegrityError:
                if attempt == TRIES - 1:
                    raise
        raise AssertionError("not reached")


@cache
def _counting() -> tuple[sa.Select[Any], ...]:
    """All seats of a set, those with an answer, those that somebody holds: each is read from an index of its own."""
    every = sa.select(sa.func.count()).where(leases.c.task_set == sa.bindparam("task_set"))
    held = every.where(
        leases.c.label.is_(None),
        leases.c.person.is_not(None),
        leases.c.until > sa.bindparam("now", type_=sa.Double),
    )
    return every, every.where(leases.c.label.is_not(None)), held


def _person(row: Any) -> Person:
    return Person(row.id, row.pseudonym, row.panel, bool(row.simulated))


def _label_id(task: str, person: str, replaces: str | None) -> str:
    return hashlib.sha256("\x1f".join([task, person, replaces or ""]).encode()).hexdigest()[:24]


def open_store(where: str | Path, clock: Callable[[], float] = time.time, durable: bool = True) -> Store:
    """Open a store and bring its tables up to date. `where` is a file for SQLite or a URL (postgresql://user@host/name).

    `clock` gives seconds since 1970. Not `durable`: a power cut, unlike a killed process, may take the last writes to SQLite back, which is
    several times faster and right for what can be made again. Raises UserError when there is no such database, or one of a newer version.
    """
    engine = engine_for(where, durable)
    try:
        with disk_errors(), engine.execution_options(write=True).begin() as connection:
            migrate(connection, where)
    except sa.exc.DBAPIError as error:
        engine.dispose()
        raise UserError(
            f"{where}: cannot be opened as a store: {str(error.orig).strip().splitlines()[0]}"
        ) from error
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, clock)
