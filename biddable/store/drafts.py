"""Drafts: answers that somebody has begun at a site; and skips: tasks that somebody gave back."""

from __future__ import annotations

import json

import sqlalchemy as sa

from biddable.store.leases import extend_lease, has_lease, release_lease
from biddable.store.store import Store
from biddable.store.tables import drafts, people, skips, tasks
from biddable.store.types import Draft, SavedDraft, Skip
from biddable.store.work_days import count_work

MOST_REASON = 2000
"""Characters of a skip's reason that are stored."""


def save_draft(
    store: Store,
    task: str,
    person: str,
    fields: dict[str, list[str]],
    guideline: str,
    seconds: float | None = None,
    lease_seconds: float = 0.0,
) -> SavedDraft:
    """Save what a form holds, and let the lease run for `lease_seconds` from now: also an expired one that
    nobody has taken since.

    `seconds` of work count from the beginning; they never fall, and never exceed the time that has passed
    since the draft was begun.
    """

    def step(connection: sa.Connection) -> SavedDraft:
        now = store.clock()
        stored = find_draft(connection, task, person)
        worked = stored.seconds if stored else None
        if seconds is not None:
            elapsed = max(0.0, now - (stored.started_at if stored else now))
            worked = min(max(seconds, worked or 0.0), elapsed)
        row = {
            "content": json.dumps(fields, ensure_ascii=False),
            "guideline": guideline,
            "seconds": worked,
            "saved": now,
        }
        if stored is None:
            connection.execute(sa.insert(drafts), {"task": task, "person": person, "begun": now, **row})
        else:
            connection.execute(sa.update(drafts).where(_of(task, person)).values(row))
        if lease_seconds:
            extend_lease(connection, task, person, now + lease_seconds)
        return SavedDraft(worked, has_lease(connection, task, person))

    return store.write(step)


def load_draft(store: Store, task: str, person: str) -> Draft | None:
    """What this person began to answer, or sent last."""
    with store.read() as connection:
        return find_draft(connection, task, person)


def find_draft(connection: sa.Connection, task: str, person: str) -> Draft | None:
    """As `load_draft`, within a step."""
    row = connection.execute(sa.select(drafts).where(_of(task, person))).first()
    return Draft(json.loads(row.content), row.guideline, row.seconds, row.begun, row.saved) if row else None


def _of(task: str, person: str) -> sa.ColumnElement[bool]:
    return (drafts.c.task == task) & (drafts.c.person == person)


def skip_task(store: Store, task: str, person: str, flag: bool, reason: str) -> None:
    """Give a task back: this person never gets it again, and its place is free for the next."""

    def step(connection: sa.Connection) -> None:
        now = store.clock()
        if add_skip(connection, task, person, flag, reason, now):
            draft = find_draft(connection, task, person)
            task_set = connection.execute(sa.select(tasks.c.task_set).where(tasks.c.id == task)).scalar_one()
            count_work(connection, person, task_set, now, draft.seconds if draft else None, skips=1)
        release_lease(connection, task, person)

    store.write(step)


def add_skip(connection: sa.Connection, task: str, person: str, flag: bool, reason: str, now: float) -> bool:
    """This person never gets the task again. The first skip counts: a second one changes nothing, and returns
    False."""
    stored = sa.select(skips.c.task).where(skips.c.task == task, skips.c.person == person)
    if connection.execute(stored).first():
        return False
    row = {"task": task, "person": person, "flag": flag, "reason": reason[:MOST_REASON], "created": now}
    connection.execute(sa.insert(skips), row)
    return True


def list_skips(store: Store, task_set: str | None = None) -> list[Skip]:
    """Tasks that people gave back, of one set or of all: flagged ones first, then the newest."""
    query = (
        sa.select(skips, people.c.pseudonym)
        .join(tasks, tasks.c.id == skips.c.task)
        .join(people, people.c.id == skips.c.person)
        .order_by(skips.c.flag.desc(), skips.c.created.desc())
    )
    if task_set is not None:
        query = query.where(tasks.c.task_set == task_set)
    with store.read() as connection:
        rows = connection.execute(query)
        return [Skip(row.task, row.pseudonym, bool(row.flag), row.reason, row.created) for row in rows]
