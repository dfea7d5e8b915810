"""The store: the database of what people did. SQLite (WAL) by default, PostgreSQL by URL; only this room
knows SQL.

Labels are only ever added: a correction is a new row that names the one it replaces, and the database itself
refuses to change or delete a label (`triggers`). Tasks are handed out by leases (`leases`), so however many
processes ask at once, a task never goes to more people than it should. Every step is one transaction: a
process can be killed between any two and nothing is lost or doubled.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.run.redaction import redact_url
from biddable.store.database import create_engine, disk_errors, migrate, unindexed
from biddable.store.leases import answer_lease, count_leases, extend_lease, fit_leases, lease_next
from biddable.store.tables import guidelines, labels, people, task_sets, tasks
from biddable.store.task_sets import task_set_from_row, upsert_task_set
from biddable.store.types import Counts, Label, Lease, Person, Task, TaskSet
from biddable.store.work_days import count_work, days_of_newest

TRIES = 20
"""How often a step is tried again when another process has just added the same row."""

Result = TypeVar("Result")


class Store:
    """An open store; see `open_store`. Safe to share between threads."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], float]) -> None:
        self.engine = engine
        self.clock = clock
        # reading needs no transaction; on PostgreSQL one would cost two more round trips to the server
        self._reader = (
            engine.execution_options(isolation_level="AUTOCOMMIT")
            if engine.dialect.name == "postgresql"
            else engine
        )
        # SQLite lets one writer in at a time, and waiting writers sleep longer and longer: threads of one
        # process queue up here instead
        self._writer_lock: AbstractContextManager[Any] = (
            nullcontext() if engine.dialect.name == "postgresql" else threading.Lock()
        )

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self) -> sa.Connection:
        """A connection for reading only, to be used in a `with`."""
        return self._reader.connect()

    def write(self, step: Callable[[sa.Connection], Result]) -> Result:
        """Run one step as one transaction; again when another process has just added one of its rows."""
        for attempt in range(TRIES):
            try:
                with (
                    self._writer_lock,
                    disk_errors(),
                    self.engine.execution_options(write=True).begin() as connection,
                ):
                    return step(connection)
            except sa.exc.IntegrityError:
                if attempt == TRIES - 1:
                    raise
        raise AssertionError("not reached")

    def add_people(self, rows: Iterable[Person]) -> None:
        """Add the people who are new. Raises UserError when one is stored with another pseudonym, panel or
        nature."""
        people_to_add = list(rows)

        def step(connection: sa.Connection) -> None:
            stored = {row.id: _person(row) for row in connection.execute(sa.select(people))}
            errors = [
                f"{person.id} is in the store as {stored[person.id]}, not as {person}"
                for person in people_to_add
                if stored.get(person.id, person) != person
            ]
            if errors:
                raise UserError(errors)
            now = self.clock()
            new = [{**vars(person), "created": now} for person in people_to_add if person.id not in stored]
            if new:
                connection.execute(sa.insert(people), new)

        self.write(step)

    def people(self) -> list[Person]:
        """Everybody, ordered by id."""
        with self.read() as connection:
            return [_person(row) for row in connection.execute(sa.select(people).order_by(people.c.id))]

    def add_guideline(self, name: str, text: str) -> str:
        """Store a guideline's text; returns its version, the name with a hash of the text."""
        version = f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

        def step(connection: sa.Connection) -> None:
            if not connection.execute(sa.select(guidelines).where(guidelines.c.version == version)).first():
                connection.execute(sa.insert(guidelines), {"version": version, "text": text})

        self.write(step)
        return version

    def put_tasks(self, task_set: TaskSet, members: Sequence[Task]) -> None:
        """Make a set consist of exactly these tasks. Stored tasks and labels stay; adding twice adds nothing.

        A task with a larger overlap than before gets more places. Where a task is no longer wanted, or wanted
        by fewer people, places that nobody works at are removed.
        """

        def step(connection: sa.Connection) -> None:
            now = self.clock()
            rows = connection.execute(
                sa.select(tasks.c.id, tasks.c.overlap).where(tasks.c.task_set == task_set.name)
            )
            overlaps = {row.id: row.overlap for row in rows}
            shared = {
                "task_set": task_set.name,
                "kind": task_set.kind,
                "panel": task_set.panel,
                "simulated": task_set.simulated,
                "created": now,
            }
            new = [{**vars(task), **shared} for task in members if task.id not in overlaps]
            if new:
                connection.execute(sa.insert(tasks), new)
            for task in members:
                if overlaps.get(task.id, task.overlap) != task.overlap:
                    changed = sa.update(tasks).where(tasks.c.id == task.id).values(overlap=task.overlap)
                    connection.execute(changed)
            upsert_task_set(connection, task_set, now)
            if not task_set.everybody:
                fit_leases(connection, task_set.name, members, now)

        self.write(step)

    def tasks(self, task_set: str) -> list[str]:
        """The ids of a set's tasks, sorted."""
        query = sa.select(tasks.c.id).where(tasks.c.task_set == task_set).order_by(tasks.c.id)
        with self.read() as connection:
            return list(connection.execute(query).scalars())

    def question(self, task: str) -> tuple[str, str]:
        """A task's kind and question. Raises UserError for an unknown task."""
        row = self._task(task, tasks.c.kind, tasks.c.question)
        return row.kind, row.question

    def task_set_name(self, task: str) -> str:
        """The name of a task's set. Raises UserError for an unknown task."""
        return str(self._task(task, tasks.c.task_set).task_set)

    def _task(self, task: str, *columns: sa.Column[Any]) -> Any:
        with self.read() as connection:
            row = connection.execute(sa.select(*columns).where(tasks.c.id == task)).first()
        if row is None:
            raise UserError(f"there is no task {task}")
        return row

    def task_sets(self) -> list[TaskSet]:
        """All sets: those of higher priority first, then the older ones. Gold is part of the set it is mixed
        into, not listed itself."""
        gold = sa.select(task_sets.c.gold).where(task_sets.c.gold.is_not(None))
        query = (
            sa.select(task_sets)
            .where(task_sets.c.name.not_in(gold))
            .order_by(task_sets.c.priority.desc(), task_sets.c.created, task_sets.c.name)
        )
        with self.read() as connection:
            return [task_set_from_row(row) for row in connection.execute(query)]

    def lease(
        self,
        task_set: str,
        person: str,
        seconds: float,
        chance: Callable[[], float] = random.random,
        fresh: bool = False,
    ) -> Lease | None:
        """Lease a person the next task of a set for `seconds`; None when nothing is left for them.

        Who has a live lease gets the same task again, its time begun anew, unless `fresh`. Nobody gets a task
        they answered or skipped. `chance`, uniform in [0, 1), decides whether one of the set's gold tasks
        comes next. Raises UserError when the person is unknown or the set is for other people.
        """
        return self.write(
            lambda connection: lease_next(connection, task_set, person, self.clock(), seconds, chance, fresh)
        )

    def extend_lease(self, task: str, person: str, seconds: float) -> bool:
        """Let a lease run for `seconds` from now: also an expired one that nobody has taken since. False when
        it is gone, or answered."""
        return self.write(lambda connection: extend_lease(connection, task, person, self.clock() + seconds))

    def counts(self, task_set: str) -> Counts:
        """How far a set is."""
        with self.read() as connection:
            return count_leases(connection, task_set, self.clock())

    def add_label(
        self,
        task: str,
        person: str,
        answer: str,
        guideline: str,
        seconds: float | None = None,
        replaces: str | None = None,
    ) -> str:
        """Store an answer; returns the label's id. The same answer again returns the same id and adds
        nothing.

        A first answer needs a live lease (else LeaseExpired); a correction names the person's newest label of
        the task in `replaces` (else UserError).
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
        """`add_label` as a part of a transaction; not `leased`: no lease is needed and none is marked as
        answered."""
        label, now = _label_id(task, person, replaces), self.clock()
        of_person = (labels.c.task == task) & (labels.c.person == person)
        newest = connection.execute(newest_labels().where(of_person)).first()
        # a form that is sent twice: the first time its answer became the newest label
        if newest is not None and newest.answer == answer and replaces in (None, newest.id, newest.replaces):
            return str(newest.id)
        if replaces != (None if newest is None else newest.id):
            name = "none" if newest is None else newest.id
            raise UserError(
                f"task {task}: {person}'s newest label is {name}; a correction must replace that one"
            )
        row = {"id": label, "task": task, "person": person, "answer": answer, "guideline": guideline}
        connection.execute(
            sa.insert(labels), {**row, "seconds": seconds, "created": now, "replaces": replaces}
        )
        if newest is None and leased:
            answer_lease(connection, task, person, label, now)  # raises, and the label is rolled back
        if leased:
            name = connection.execute(sa.select(tasks.c.task_set).where(tasks.c.id == task)).scalar_one()
            if newest is None:
                count_work(connection, person, name, now, seconds, answers=1)
            else:  # seconds count from the beginning of the task
                more = max(0.0, (seconds or 0.0) - (newest.seconds or 0.0))
                count_work(connection, person, name, now, more, corrections=1)
        return label

    def labels(self, task_set: str, *, newest: int | None = None, task: str | None = None) -> list[Label]:
        """The labels of a set that no correction has replaced, with their questions, in the order of task and
        person. Of `task` only, or so many of the `newest`, the newest first."""
        columns = (tasks.c.kind, tasks.c.question, people.c.pseudonym, people.c.panel, people.c.simulated)
        query = newest_labels()
        if task is not None:
            query = query.where(labels.c.task == task)
        with self.read() as connection:
            days = None if newest is None else days_of_newest(connection, task_set, newest)
        of_set = tasks.c.task_set == task_set
        if days is not None:  # labels are gone through by their time, not by the set's tasks
            query = query.where(labels.c.created.between(*days))
            of_set = unindexed(tasks.c.task_set) == task_set
        query = (
            query.add_columns(*columns)
            .join(tasks, tasks.c.id == labels.c.task)
            .join(people, people.c.id == labels.c.person)
            .where(of_set)
        )
        if newest is None:
            query = query.order_by(labels.c.task, labels.c.person)
        else:
            query = query.order_by(labels.c.created.desc()).limit(newest)
        # a question comes with each of its labels: keep one string of it, not one for every person who
        # answered
        questions: dict[str, str] = {}
        with self.read() as connection:
            return [
                Label(
                    row.id,
                    row.task,
                    row.kind,
                    questions.setdefault(row.task, row.question),
                    Person(row.person, row.pseudonym, row.panel, bool(row.simulated)),
                    row.answer,
                    row.guideline,
                    row.seconds,
                    row.created,
                    row.replaces,
                )
                for row in connection.execute(query)
            ]


def newest_labels() -> sa.Select[Any]:
    """Labels that no correction has replaced."""
    correction = labels.alias()
    return sa.select(labels).where(~sa.exists().where(correction.c.replaces == labels.c.id))


def _person(row: Any) -> Person:
    return Person(row.id, row.pseudonym, row.panel, bool(row.simulated))


def _label_id(task: str, person: str, replaces: str | None) -> str:
    """The same for the same step: a label that two processes add at once has one id."""
    return hashlib.sha256("\x1f".join([task, person, replaces or ""]).encode()).hexdigest()[:24]


def open_store(where: str | Path, clock: Callable[[], float] = time.time, durable: bool = True) -> Store:
    """Open a store and bring its tables up to date. `where` is a file for SQLite or a URL
    (postgresql://user@host/name).

    `clock` gives seconds since 1970. Not `durable`: a power cut (a killed process can't) may take back the
    last writes to SQLite, which is several times faster and right for what can be made again. Raises
    UserError when there is no such database, or one of a newer version.
    """
    engine = create_engine(where, durable)
    try:
        with disk_errors(), engine.execution_options(write=True).begin() as connection:
            migrate(connection, where)
    except sa.exc.DBAPIError as error:
        engine.dispose()
        reason = str(error.orig).strip().split("\n")[0]
        raise UserError(f"{redact_url(str(where))}: cannot be opened as a store: {reason}") from error
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, clock)
