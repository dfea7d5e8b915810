"""Who may work on what, and how much: pauses, quotas, and sets or languages for some people only.

A limit says how many answers somebody (or everybody, each for themselves) may give: of a set or of all, in a
language or in any, a day or in all. A pause is a limit of none. A set or language that is assigned to people
goes to nobody else. What somebody holds already they may still answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.database import time_ordered_id
from biddable.store.tables import labels, people, tasks, work_assignments, work_days, work_limits
from biddable.store.types import TaskSet
from biddable.store.work_days import DAY_SECONDS, day_of

if TYPE_CHECKING:
    from biddable.store.store import Store


class WorkLimit(NamedTuple):
    """At most so many answers; None stands for everybody, all sets, any language."""

    id: str
    person: str | None
    pseudonym: str | None
    task_set: str | None
    language: str | None
    most: int
    a_day: bool


class WorkAssignment(NamedTuple):
    """A set or a language that goes to this person, and to others only if it is theirs too."""

    id: str
    person: str
    pseudonym: str
    task_set: str | None
    language: str | None


def closed_languages(
    connection: sa.Connection, task_set: TaskSet, person: str, now: float
) -> frozenset[str] | None:
    """The languages in which a person gets no tasks of this set; None when they get none of it at all."""
    closed: set[str] = set()
    for is_theirs, name, language in _assigned(connection, person):
        if is_theirs or (name is not None and name != task_set.name):
            continue
        if language is None:
            return None
        closed.add(language)
    applies = sa.or_(work_limits.c.person.is_(None), work_limits.c.person == person)
    of_set = sa.or_(work_limits.c.task_set.is_(None), work_limits.c.task_set == task_set.name)
    for limit in connection.execute(sa.select(work_limits).where(applies, of_set)).all():
        sets = None if limit.task_set is None else [task_set.name, task_set.gold or task_set.name]
        since = day_of(now) if limit.a_day else 0
        if limit.most <= _answers(connection, person, sets, limit.language, since):
            if limit.language is None:
                return None
            closed.add(limit.language)
    return frozenset(closed)


def _assigned(connection: sa.Connection, person: str) -> Iterator[tuple[bool, str | None, str | None]]:
    """(whether to this person too, set, language) of everything that is assigned to somebody."""
    to_them = sa.func.max(sa.case((work_assignments.c.person == person, 1), else_=0))
    where = (work_assignments.c.task_set, work_assignments.c.language)
    for name, language, is_mine in connection.execute(sa.select(*where, to_them).group_by(*where)):
        yield bool(is_mine), name, language


def _answers(
    connection: sa.Connection, person: str, sets: list[str] | None, language: str | None, since: int
) -> int:
    """How many answers somebody gave, of these sets or all, in this language or any, since a day."""
    if language is None:
        query = sa.select(sa.func.coalesce(sa.func.sum(work_days.c.answers), 0)).where(
            work_days.c.person == person, work_days.c.day >= since
        )
        task_set = work_days.c.task_set
    else:
        query = (
            sa.select(sa.func.count())
            .select_from(labels)
            .join(tasks, tasks.c.id == labels.c.task)
            .where(labels.c.person == person, labels.c.created >= since * DAY_SECONDS)
            .where(labels.c.replaces.is_(None), tasks.c.language == language)
        )
        task_set = tasks.c.task_set
    if sets is not None:
        query = query.where(task_set.in_(sets))
    return int(connection.execute(query).scalar_one())


def add_limit(
    store: Store,
    *,
    most: int,
    a_day: bool = False,
    person: str | None = None,
    task_set: str | None = None,
    language: str | None = None,
) -> None:
    """From now on at most so many answers; 0 is a pause. The same limit with another number takes its place.
    Raises UserError for a negative number."""
    if most < 0:
        raise UserError(f"at most {most} answers: must be 0 (a pause) or more")
    scope = {"person": person, "task_set": task_set, "language": language, "a_day": a_day}

    def step(connection: sa.Connection) -> None:
        same = [work_limits.c[name].is_not_distinct_from(value) for name, value in scope.items()]
        # a pause stands beside a quota, so that it can be ended by itself
        is_pause = (work_limits.c.most == 0) if most == 0 else (work_limits.c.most > 0)
        connection.execute(sa.delete(work_limits).where(is_pause, *same))
        row = {"id": time_ordered_id(), "most": most, "created": store.clock()}
        connection.execute(sa.insert(work_limits), row | scope)

    store.write(step)


def assign(store: Store, person: str, *, task_set: str | None = None, language: str | None = None) -> None:
    """Give a set or a language to a person: from now on it goes to those only whom it was given to. Raises
    UserError when neither is named."""
    if task_set is None and language is None:
        raise UserError("name a set or a language to be assigned")
    scope = {"person": person, "task_set": task_set, "language": language}

    def step(connection: sa.Connection) -> None:
        same = [work_assignments.c[name].is_not_distinct_from(value) for name, value in scope.items()]
        connection.execute(sa.delete(work_assignments).where(*same))
        row = {"id": time_ordered_id(), "created": store.clock()}
        connection.execute(sa.insert(work_assignments), row | scope)

    store.write(step)


def remove_rule(store: Store, rule: str) -> None:
    """End a limit or an assignment."""

    def step(connection: sa.Connection) -> None:
        for table in (work_limits, work_assignments):
            connection.execute(sa.delete(table).where(table.c.id == rule))

    store.write(step)


def list_limits(store: Store) -> list[WorkLimit]:
    """Every limit, the oldest first."""
    query = (
        sa.select(work_limits, people.c.pseudonym)
        .outerjoin(people, people.c.id == work_limits.c.person)
        .order_by(work_limits.c.id)
    )
    with store.read() as connection:
        return [
            WorkLimit(
                row.id, row.person, row.pseudonym, row.task_set, row.language, row.most, bool(row.a_day)
            )
            for row in connection.execute(query)
        ]


def pauses(store: Store) -> list[WorkLimit]:
    """The pauses of a person at everything, and of a set for everybody, in any language."""
    return [
        limit
        for limit in list_limits(store)
        if limit.most == 0 and limit.language is None and (limit.person is None) != (limit.task_set is None)
    ]


def list_assignments(store: Store) -> list[WorkAssignment]:
    """Everything that is assigned, the oldest first."""
    query = (
        sa.select(work_assignments, people.c.pseudonym)
        .join(people, people.c.id == work_assignments.c.person)
        .order_by(work_assignments.c.id)
    )
    with store.read() as connection:
        return [
            WorkAssignment(row.id, row.person, row.pseudonym, row.task_set, row.language)
            for row in connection.execute(query)
        ]


def languages(store: Store) -> list[str]:
    """The languages of the tasks in a store."""
    query = sa.select(tasks.c.language).where(tasks.c.language.is_not(None)).distinct()
    with store.read() as connection:
        return sorted(connection.execute(query).scalars())
