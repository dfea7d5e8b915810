"""Work by person, set and day: answers, corrections, skips and the time they took.

Each answer and skip is counted here in its own transaction, so that hours can be paid without reading a
million labels. What is counted stays when a task is erased later: it was worked on.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from biddable.store.tables import people, work_days

if TYPE_CHECKING:
    from biddable.store.store import Store

DAY_SECONDS = 86400


class WorkDay(NamedTuple):
    """What one person did in one set on one day."""

    person: str
    pseudonym: str
    task_set: str
    day: int  # since 1970, UTC
    answers: int
    corrections: int
    skips: int
    seconds: float  # of all of them
    unmeasured: int  # answers whose time was not measured

    @property
    def date(self) -> str:
        """The day as 2026-11-26."""
        return date_of(self.day)


def date_of(day: int) -> str:
    """A day since 1970 as 2026-11-26."""
    return time.strftime("%Y-%m-%d", time.gmtime(day * DAY_SECONDS))


def day_of(seconds: float) -> int:
    """The day (UTC) of a time since 1970."""
    return int(seconds // DAY_SECONDS)


def count_work(
    connection: sa.Connection,
    person: str,
    task_set: str,
    now: float,
    seconds: float | None,
    *,
    answers: int = 0,
    corrections: int = 0,
    skips: int = 0,
) -> None:
    """Add to a person's day. `seconds`: None when the time was not measured."""
    counts = {
        "answers": answers,
        "corrections": corrections,
        "skips": skips,
        "seconds": seconds or 0.0,
        "unmeasured": answers if seconds is None else 0,
    }
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    row = {"person": person, "task_set": task_set, "day": day_of(now)}
    insert = dialect.insert(work_days).values(row | counts)
    sums = {name: work_days.c[name] + insert.excluded[name] for name in counts}
    connection.execute(insert.on_conflict_do_update(index_elements=list(row), set_=sums))


def days_of_newest(connection: sa.Connection, task_set: str, newest: int) -> tuple[float, float] | None:
    """The time (from, until) in which a set got at least so many of its newest answers, in whole days; None
    when it has no more than that."""
    answers = sa.func.sum(work_days.c.answers + work_days.c.corrections)
    query = (
        sa.select(work_days.c.day, answers)
        .where(work_days.c.task_set == task_set)
        .group_by(work_days.c.day)
        .order_by(work_days.c.day.desc())
    )
    last, total = None, 0
    for day, count in connection.execute(query):
        last, total = day if last is None else last, total + count
        if total > newest:
            return float(day * DAY_SECONDS), float((last + 1) * DAY_SECONDS)
    return None


def list_work(
    store: Store, *, since: int = 0, task_sets: list[str] | None = None, person: str | None = None
) -> list[WorkDay]:
    """Real people's days from the day `since` on, of some sets or all, of one person or all; the oldest
    first."""
    query = (
        sa.select(work_days, people.c.pseudonym)
        .join(people, people.c.id == work_days.c.person)
        .where(work_days.c.day >= since, ~people.c.simulated)
        .order_by(work_days.c.day, people.c.pseudonym, work_days.c.task_set)
    )
    if task_sets is not None:
        query = query.where(work_days.c.task_set.in_(task_sets))
    if person is not None:
        query = query.where(work_days.c.person == person)
    names = WorkDay._fields
    with store.read() as connection:
        return [WorkDay(*(getattr(row, name) for name in names)) for row in connection.execute(query)]
