"""Leases: who works on which task, and until when. A lease is taken, extended, released, answered and lost
here.

A task to be answered by n people has n rows in `leases`. Each is in one of four states:

    free       no person, no label                 anybody who has no row at this task may take it
    live       a person, no label, until > now     nobody else can take it
    expired    a person, no label, until <= now    as free, and its person may return until somebody takes it
    answered   a person and a label                final

A lease runs out at the second `until` itself: at that instant it is free for the next and too late for an
answer. A task for everybody (`TaskSet.everybody`) has no rows until somebody comes; each person then gets a
row of their own, which nobody else may take.

These are steps of the store's transactions; nothing here opens or ends one. Taking a lease is a single
`UPDATE ... RETURNING`, so however many processes ask at once, none is given twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import count, islice
from typing import Any

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.tables import leases, people, skips, task_sets, tasks
from biddable.store.task_sets import find_task_set
from biddable.store.types import Counts, Lease, Task, TaskSet
from biddable.store.work_limits import closed_languages

CHUNK = 500
"""Rows deleted in one statement: databases limit how many parameters one may have."""
LONGEST_AHEAD = 86400.0
"""A lease that runs for longer than this, and longer than leases do now, was taken while the clock was wrong:
it is free."""


class LeaseExpired(UserError):
    """An answer came without a live lease: somebody else may have the task by now."""


def lease_next(
    connection: sa.Connection,
    name: str,
    person: str,
    now: float,
    seconds: float,
    chance: Callable[[], float],
    fresh: bool = False,
) -> Lease | None:
    """The next task of a set for a person; None when there is no such set, or nothing is left in it for them.

    Nothing is left for who is paused, has reached a quota, or is not among those whom the set is assigned to
    (`work_limits`). The task of a live lease comes again, for `seconds` from now; of several that whose lease runs longest,
    which the person worked on last. Not so when `fresh`: then the task is another one. Otherwise a gold task
    comes when `chance()`, uniform in [0, 1), is below the set's share of gold; otherwise a free task of the
    set. Raises UserError when the set is not for this person.
    """
    task_set = _task_set_for(connection, name, person)
    closed = None if task_set is None else closed_languages(connection, task_set, person, now)
    if task_set is None or closed is None:
        return None
    expires_at = now + seconds
    if not fresh and (lease := _renew_live_lease(connection, task_set, person, now, expires_at)):
        return lease
    if (
        task_set.gold is not None
        and chance() < task_set.gold_share
        and (lease := _lease_for_everybody(connection, task_set.gold, person, now, expires_at, closed))
    ):
        return lease
    if task_set.everybody:
        return _lease_for_everybody(connection, name, person, now, expires_at, closed)
    return _lease_free(connection, name, person, now, expires_at, closed)


def extend_lease(connection: sa.Connection, task: str, person: str, expires_at: float) -> bool:
    """Let a lease run until `expires_at`: also an expired one that nobody has taken since. False when it is
    gone, or answered."""
    extended = sa.update(leases).where(_unanswered(task, person)).values(until=expires_at)
    return connection.execute(extended.returning(leases.c.id)).first() is not None


def release_lease(connection: sa.Connection, task: str, person: str) -> None:
    """Give an unanswered task back: its place is free for the next at once. At a task for everybody the place
    was made for this person, and goes."""
    everybody = sa.select(task_sets.c.name).where(task_sets.c.everybody)
    connection.execute(sa.delete(leases).where(_unanswered(task, person), leases.c.task_set.in_(everybody)))
    connection.execute(sa.update(leases).where(_unanswered(task, person)).values(until=0.0, person=None))


def answer_lease(connection: sa.Connection, task: str, person: str, label: str, now: float) -> None:
    """Mark a live lease as answered by this label. Raises LeaseExpired when the person has none."""
    answered = sa.update(leases).where(_unanswered(task, person), leases.c.until > now).values(label=label)
    if connection.execute(answered.returning(leases.c.id)).first() is None:
        raise LeaseExpired(f"task {task}: the time to answer is over, or it was never given to {person}")


def has_lease(connection: sa.Connection, task: str, person: str) -> bool:
    """Whether the task is this person's: live, expired but not taken by another, or answered."""
    query = sa.select(leases.c.id).where(leases.c.task == task, leases.c.person == person)
    return connection.execute(query).first() is not None


def has_unanswered_lease(connection: sa.Connection, task: str, person: str) -> bool:
    """Whether the person could still answer the task, in time or late."""
    return connection.execute(sa.select(leases.c.id).where(_unanswered(task, person))).first() is not None


def _unanswered(task: str, person: str) -> sa.ColumnElement[bool]:
    return (leases.c.task == task) & (leases.c.person == person) & leases.c.label.is_(None)


def _task_set_for(connection: sa.Connection, name: str, person: str) -> TaskSet | None:
    """The set; None when there is none of this name, or it is another set's gold. Raises UserError when it is not for this person.

    On PostgreSQL the person's row is locked, so that two requests of one person at once do not get two tasks.
    SQLite lets one writer in at a time anyway.
    """
    who = connection.execute(sa.select(people).where(people.c.id == person).with_for_update()).first()
    if who is None:
        raise UserError(f"there is nobody called {person} in the store")
    task_set = find_task_set(connection, name)
    if (
        task_set is None
        or connection.execute(sa.select(task_sets.c.name).where(task_sets.c.gold == name)).first()
    ):
        return None  # gold comes mixed into its set: nobody can ask for it, and so learn what it is
    if (task_set.panel, task_set.simulated) != (who.panel, bool(who.simulated)):
        sort = "simulated" if task_set.simulated else "real"
        raise UserError(
            f"{name} is for {sort} people of the panel {task_set.panel}; {who.pseudonym} is not one"
        )
    return task_set


def _renew_live_lease(
    connection: sa.Connection, task_set: TaskSet, person: str, now: float, expires_at: float
) -> Lease | None:
    """The person's live lease in this set or its gold, its time begun anew."""
    names = [task_set.name] if task_set.gold is None else [task_set.name, task_set.gold]
    latest = (
        sa.select(leases.c.id)
        .where(_live(names, person, now))
        .order_by(leases.c.until.desc(), leases.c.id)
        .limit(1)
    )
    renewed = sa.update(leases).where(leases.c.id == latest.scalar_subquery()).values(until=expires_at)
    row = connection.execute(renewed.returning(leases.c.task)).first()
    return None if row is None else Lease(row.task, expires_at)


def _live(names: Sequence[str], person: str, now: float) -> sa.ColumnElement[bool]:
    of_person = (leases.c.person == person) & leases.c.task_set.in_(names) & leases.c.label.is_(None)
    return of_person & (leases.c.until > now)


def has_place(connection: sa.Connection, task_set: TaskSet, person: str, now: float) -> bool:
    """Whether `lease_next` would have a task for this person, gold aside."""
    closed = closed_languages(connection, task_set, person, now)
    if closed is None:
        return False
    names = [task_set.name] if task_set.gold is None else [task_set.name, task_set.gold]
    places = [sa.select(leases.c.id).where(_live(names, person, now))]
    if task_set.everybody:
        places += [_expired_places(task_set.name, person, now), _new_tasks(task_set.name, person, closed)]
    else:
        places.append(_free_places(task_set.name, person, now, now, closed))
    return any(connection.execute(query.limit(1)).first() is not None for query in places)


def _lease_free(
    connection: sa.Connection,
    task_set: str,
    person: str,
    now: float,
    expires_at: float,
    closed: frozenset[str],
) -> Lease | None:
    """A free place, that of the highest priority first, then by id."""
    first = (
        _free_places(task_set, person, now, expires_at, closed)
        .order_by(leases.c.priority.desc(), leases.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)  # who comes at the same time on PostgreSQL takes the next row
    )
    lease = sa.update(leases).where(leases.c.id == first.scalar_subquery(), leases.c.label.is_(None))
    row = connection.execute(lease.values(person=person, until=expires_at).returning(leases.c.task)).first()
    return None if row is None else Lease(row.task, expires_at)


def _free_places(
    task_set: str, person: str, now: float, expires_at: float, closed: frozenset[str]
) -> sa.Select[Any]:
    """Free places: at tasks where the person has no row, or at the expired row that is theirs.

    The second case is needed because `leases` allows one row for a task and person: a person with an expired
    row cannot take a second one beside it.

    The tasks that a person had or skipped are read once, by an index, and free rows are gone through in order
    until one fits. With a correlated `NOT EXISTS` for each row, PostgreSQL without statistics reads all free
    rows of the set and sorts them.
    """
    twin = leases.alias()
    had_before = sa.select(twin.c.task).where(twin.c.person == person, twin.c.task_set == task_set)
    skipped = sa.select(skips.c.task).where(skips.c.person == person)
    fits = sa.or_(leases.c.person == person, leases.c.task.not_in(had_before)) & leases.c.task.not_in(skipped)
    if closed:
        fits &= ~sa.exists().where(tasks.c.id == leases.c.task, tasks.c.language.in_(closed))
    return (
        sa.select(leases.c.id)
        .where(leases.c.task_set == task_set, leases.c.label.is_(None), fits)
        .where(sa.or_(leases.c.until <= now, leases.c.until > max(now + LONGEST_AHEAD, expires_at)))
    )


def _lease_for_everybody(
    connection: sa.Connection,
    task_set: str,
    person: str,
    now: float,
    expires_at: float,
    closed: frozenset[str],
) -> Lease | None:
    """A place at a task for everybody: the person's own that expired, else a new one at the first task they
    have not had."""
    expired = _expired_places(task_set, person, now).order_by(leases.c.id).limit(1)
    renewed = sa.update(leases).where(leases.c.id == expired.scalar_subquery()).values(until=expires_at)
    if row := connection.execute(renewed.returning(leases.c.task)).first():
        return Lease(row.task, expires_at)
    fresh = _new_tasks(task_set, person, closed)
    row = connection.execute(fresh.order_by(tasks.c.priority.desc(), tasks.c.id).limit(1)).first()
    if row is None:
        return None
    place = {"id": f"{row.id}/{person}", "task": row.id, "task_set": task_set, "priority": row.priority}
    connection.execute(sa.insert(leases), {**place, "person": person, "until": expires_at})
    return Lease(row.id, expires_at)


def _expired_places(task_set: str, person: str, now: float) -> sa.Select[Any]:
    """The person's own places of a set whose time is over."""
    of_person = (leases.c.person == person) & (leases.c.task_set == task_set) & leases.c.label.is_(None)
    return sa.select(leases.c.id).where(of_person, leases.c.until <= now, ~_skipped(leases.c.task, person))


def _new_tasks(task_set: str, person: str, closed: frozenset[str]) -> sa.Select[Any]:
    """Tasks for everybody that the person has not had, but for languages that are closed to them."""
    had_before = sa.exists().where(leases.c.task == tasks.c.id, leases.c.person == person)
    return sa.select(tasks.c.id, tasks.c.priority).where(
        tasks.c.task_set == task_set,
        ~had_before,
        ~_skipped(tasks.c.id, person),
        sa.or_(tasks.c.language.is_(None), tasks.c.language.not_in(closed)) if closed else sa.true(),
    )


def _skipped(task: sa.ColumnElement[str], person: str) -> sa.ColumnElement[bool]:
    return sa.exists().where(skips.c.task == task, skips.c.person == person)


def fit_leases(connection: sa.Connection, task_set: str, members: Sequence[Task], now: float) -> None:
    """Give every task of a set as many rows as people shall answer it, and delete free rows beyond that.

    Answered rows and live leases always stay, even where that leaves a task with more than its overlap.
    """
    query = sa.select(leases).where(leases.c.task_set == task_set).order_by(leases.c.id)
    rows = connection.execute(query).all()
    missing = {task.id: task.overlap for task in members}
    surplus = []
    # answered rows and live leases first: what is left of the overlap goes to free rows, in their order
    for row in sorted(rows, key=lambda row: row.label is None and row.until <= now):
        missing[row.task] = missing.get(row.task, 0) - 1
        if row.label is None and row.until <= now and missing[row.task] < 0:
            surplus.append(row.id)
    for begin in range(0, len(surplus), CHUNK):
        connection.execute(sa.delete(leases).where(leases.c.id.in_(surplus[begin : begin + CHUNK])))
    numbers: dict[str, set[int]] = {}  # of rows that were there, deleted ones too: none is used twice
    for row in rows:
        numbers.setdefault(row.task, set()).add(int(row.id.rsplit("/", 1)[1]))
    new = [
        {"id": f"{task.id}/{number}", "task": task.id, "task_set": task_set, "priority": task.priority}
        for task in members
        for number in islice(_unused(numbers.get(task.id, set())), max(0, missing[task.id]))
    ]
    if new:
        connection.execute(sa.insert(leases), [{**row, "until": 0.0} for row in new])


def _unused(numbers: set[int]) -> Iterator[int]:
    return (number for number in count() if number not in numbers)


def count_leases(connection: sa.Connection, task_set: str, now: float) -> Counts:
    """How many of a set's rows are answered, live, free or expired."""
    parameters = {"task_set": task_set, "now": now}
    total, answered, live = (connection.execute(query, parameters).scalar_one() for query in _counts())
    return Counts(done=answered, waiting=live, open=total - answered - live)


@cache
def _counts() -> tuple[sa.Select[Any], ...]:
    """All rows of a set, the answered ones, the live ones: three queries, as each is read from an index of
    its own."""
    every = sa.select(sa.func.count()).where(leases.c.task_set == sa.bindparam("task_set"))
    live = every.where(
        leases.c.label.is_(None),
        leases.c.person.is_not(None),
        leases.c.until > sa.bindparam("now", type_=sa.Double),
    )
    return every, every.where(leases.c.label.is_not(None)), live
