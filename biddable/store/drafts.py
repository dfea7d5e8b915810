"""The desk: what somebody has begun, put aside, or given in at a site; and the guideline that lies beside it."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from biddable.store.leases import task_set_from_row
from biddable.store.reviews import Returned, find_returned
from biddable.store.store import Store
from biddable.store.tables import drafts, editions, guidelines, labels, leases, people, sets, skips, tasks
from biddable.store.types import TaskSet


@dataclass(frozen=True)
class Draft:
    """What a form held when it was last sent: name -> values. `seconds` of work on it without pauses; None: not measured."""

    fields: dict[str, list[str]]
    guideline: str
    seconds: float | None
    begun: float
    saved: float


@dataclass(frozen=True)
class Lease:
    """A person's place at a task, with all that a page needs to show it."""

    task: str
    kind: str
    question: str
    task_set: TaskSet  # for a gold task the set that it is mixed into
    until: float
    label: str | None  # the person's newest answer, if there is one
    returned: Returned | None  # that answer was sent back
    draft: Draft | None


@dataclass(frozen=True)
class SavedDraft:
    """What keeping a draft did: seconds of work so far (None: not measured), and whether the seat is still the person's."""

    seconds: float | None
    held: bool


@dataclass(frozen=True)
class Skip:
    """Who does not want a task, and why. With a flag an admin should look at it."""

    task: str
    pseudonym: str
    flag: bool
    reason: str
    created: float


@dataclass(frozen=True)
class OwnAnswer:
    """One of somebody's own answers: the newest of a task."""

    task: str
    kind: str
    created: float
    seconds: float | None
    corrected: bool


def find_lease(store: Store, task: str, person: str) -> Lease | None:
    """This person's place at a task; None when they have none: it is somebody else's task, or nobody's."""
    mine = (leases.c.task == task) & (leases.c.person == person)
    whole = leases.join(tasks, tasks.c.id == leases.c.task)
    columns = (leases.c.until, leases.c.label, leases.c.task_set, tasks.c.kind, tasks.c.question)
    with store.read() as connection:
        row = connection.execute(sa.select(*columns).select_from(whole).where(mine)).first()
        if row is None:
            return None
        among = sa.select(sets).where((sets.c.name == row.task_set) | (sets.c.gold == row.task_set))
        found = max(connection.execute(among), key=lambda one: one.gold == row.task_set)
        label, back = None, None
        if row.label is not None:
            label = (
                connection.execute(_newest().where(labels.c.task == task, labels.c.person == person)).one().id
            )
            back = next(
                (one for one in find_returned(connection, row.task_set, person) if one.label == label), None
            )
        begun = _draft(connection, task, person)
    return Lease(task, row.kind, row.question, task_set_from_row(found), row.until, label, back, begun)


def extend_lease(store: Store, task: str, person: str, seconds: float) -> bool:
    """Prolong a seat, also one that lapsed but that nobody has taken since. False when it is gone, or answered."""
    mine = (leases.c.task == task) & (leases.c.person == person) & leases.c.label.is_(None)
    longer = sa.update(leases).where(mine).values(until=store.clock() + seconds).returning(leases.c.id)
    return store.write(lambda connection: connection.execute(longer).first() is not None)


def save_draft(
    store: Store,
    task: str,
    person: str,
    fields: dict[str, list[str]],
    guideline: str,
    seconds: float | None = None,
    lease_seconds: float = 0.0,
) -> SavedDraft:
    """Keep what a form holds, and prolong the seat by `lease_seconds`: also one that lapsed but that nobody has taken since.

    `seconds` of work count from the beginning; they never go down, and never above the time that has passed.
    """

    def step(connection: sa.Connection) -> SavedDraft:
        now = store.clock()
        mine = (drafts.c.task == task) & (drafts.c.person == person)
        old = connection.execute(sa.select(drafts).where(mine)).first()
        worked = old.seconds if old else None
        if seconds is not None:
            worked = min(max(seconds, worked or 0.0), max(0.0, now - (old.begun if old else now)))
        row = {
            "content": json.dumps(fields, ensure_ascii=False),
            "guideline": guideline,
            "seconds": worked,
            "saved": now,
        }
        if old is None:
            connection.execute(sa.insert(drafts), {"task": task, "person": person, "begun": now, **row})
        else:
            connection.execute(sa.update(drafts).where(mine).values(row))
        find_lease = (leases.c.task == task) & (leases.c.person == person)
        if lease_seconds:
            connection.execute(
                sa.update(leases)
                .where(find_lease, leases.c.label.is_(None))
                .values(until=now + lease_seconds)
            )
        return SavedDraft(
            worked, connection.execute(sa.select(leases.c.id).where(find_lease)).first() is not None
        )

    return store.write(step)


def draft(store: Store, task: str, person: str) -> Draft | None:
    """What this person began to answer, or gave in last."""
    with store.read() as connection:
        return _draft(connection, task, person)


def _draft(connection: sa.Connection, task: str, person: str) -> Draft | None:
    row = connection.execute(
        sa.select(drafts).where(drafts.c.task == task, drafts.c.person == person)
    ).first()
    return Draft(json.loads(row.content), row.guideline, row.seconds, row.begun, row.saved) if row else None


def skip(store: Store, task: str, person: str, flag: bool, reason: str) -> None:
    """Give a task back: this person never gets it again, its seat is free for the next."""

    def step(connection: sa.Connection) -> None:
        mine = (skips.c.task == task) & (skips.c.person == person)
        if not connection.execute(sa.select(skips.c.task).where(mine)).first():
            row = {
                "task": task,
                "person": person,
                "flag": flag,
                "reason": reason[:2000],
                "created": store.clock(),
            }
            connection.execute(sa.insert(skips), row)
        find_lease = (leases.c.task == task) & (leases.c.person == person) & leases.c.label.is_(None)
        connection.execute(sa.update(leases).where(find_lease).values(until=0.0, person=None))

    store.write(step)


def list_skips(store: Store, task_set_from_row: str | None = None) -> list[Skip]:
    """Tasks that people gave back, flagged ones first, the newest first."""
    whole = skips.join(tasks, tasks.c.id == skips.c.task).join(people, people.c.id == skips.c.person)
    query = sa.select(skips, people.c.pseudonym).select_from(whole)
    if task_set_from_row is not None:
        query = query.where(tasks.c.task_set == task_set_from_row)
    with store.read() as connection:
        rows = connection.execute(query.order_by(skips.c.flag.desc(), skips.c.created.desc()))
        return [Skip(row.task, row.pseudonym, bool(row.flag), row.reason, row.created) for row in rows]


def own_answers(store: Store, person: str, limit: int = 100) -> list[OwnAnswer]:
    """Somebody's own answers, the newest first; without what an admin decided in the review."""
    query = _newest().add_columns(tasks.c.kind).join(tasks, tasks.c.id == labels.c.task)
    query = (
        query.join(leases, (leases.c.task == labels.c.task) & (leases.c.person == labels.c.person))
        .where(labels.c.person == person)
        .order_by(labels.c.created.desc())
        .limit(limit)
    )
    with store.read() as connection:
        rows = connection.execute(query)
        return [
            OwnAnswer(row.task, row.kind, row.created, row.seconds, row.replaces is not None) for row in rows
        ]


def answers_per_day(store: Store, person: str) -> list[tuple[int, int, float | None]]:
    """(day since 1970 in UTC, answers, seconds of work) of one person, the newest first; corrections are not counted."""
    day = sa.cast(sa.func.floor(labels.c.created / 86400), sa.Integer)
    query = sa.select(day, sa.func.count(), sa.func.sum(labels.c.seconds))
    query = (
        query.where(labels.c.person == person, labels.c.replaces.is_(None)).group_by(day).order_by(day.desc())
    )
    with store.read() as connection:
        return [(int(row[0]), int(row[1]), row[2]) for row in connection.execute(query)]


def answers_per_set(store: Store, person: str) -> dict[str, int]:
    """How many tasks of each set somebody has answered."""
    query = sa.select(leases.c.task_set, sa.func.count()).where(
        leases.c.person == person, leases.c.label.is_not(None)
    )
    with store.read() as connection:
        return {row[0]: int(row[1]) for row in connection.execute(query.group_by(leases.c.task_set))}


def publish_guideline(store: Store, name: str, text: str, account: str | None = None) -> str:
    """Put a guideline in force from now on; returns its version. Earlier versions stay, with the labels made under them."""
    version = store.add_guideline(name, text)
    row = {"id": secrets.token_hex(12), "name": name, "version": version, "account": account}

    def step(connection: sa.Connection) -> None:
        connection.execute(sa.insert(editions), {**row, "created": store.clock()})

    store.write(step)
    return version


def current_guideline(store: Store, name: str) -> tuple[str, str] | None:
    """Version and text of the guideline in force."""
    whole = editions.join(guidelines, guidelines.c.version == editions.c.version)
    query = sa.select(guidelines).select_from(whole).where(editions.c.name == name)
    with store.read() as connection:
        row = connection.execute(
            query.order_by(editions.c.created.desc(), editions.c.id.desc()).limit(1)
        ).first()
    return (row.version, row.text) if row else None


def guideline_history(store: Store) -> list[dict[str, Any]]:
    """Every edition, the newest first: name, version, text, created."""
    whole = editions.join(guidelines, guidelines.c.version == editions.c.version)
    query = sa.select(editions.c.name, editions.c.version, guidelines.c.text, editions.c.created).select_from(
        whole
    )
    with store.read() as connection:
        return [dict(row._mapping) for row in connection.execute(query.order_by(editions.c.created.desc()))]


def guideline_exists(store: Store, version: str) -> bool:
    """Whether this version of a guideline was ever kept."""
    with store.read() as connection:
        return (
            connection.execute(sa.select(guidelines.c.version).where(guidelines.c.version == version)).first()
            is not None
        )


def _newest() -> Any:
    """Labels that no correction has replaced."""
    later = labels.alias()
    return sa.select(labels).where(~sa.exists().where(later.c.replaces == labels.c.id))
