"""Guidelines: which version of a text labelers are shown, from when on. Every version stays, with the labels
made under it."""

from __future__ import annotations

import secrets

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.store import Store
from biddable.store.tables import consents, guideline_editions, guidelines, labels
from biddable.store.types import GuidelineEdition, Person


def publish_guideline(store: Store, name: str, text: str, account: str | None = None) -> str:
    """Put a guideline in force from now on; returns its version. `account`: the admin who does it."""
    version = store.add_guideline(name, text)
    row = {"id": secrets.token_hex(12), "name": name, "version": version, "account": account}

    def step(connection: sa.Connection) -> None:
        connection.execute(sa.insert(guideline_editions), {**row, "created": store.clock()})

    store.write(step)
    return version


def current_guideline(store: Store, name: str) -> tuple[str, str] | None:
    """Version and text of the guideline in force; None when none was ever published."""
    query = _editions().where(guideline_editions.c.name == name).limit(1)
    with store.read() as connection:
        row = connection.execute(query).first()
    return (row.version, row.text) if row else None


def guideline_history(store: Store) -> list[GuidelineEdition]:
    """Every edition of every guideline, the newest first."""
    with store.read() as connection:
        rows = connection.execute(_editions())
        return [GuidelineEdition(row.name, row.version, row.text, row.created) for row in rows]


def guideline_exists(store: Store, version: str) -> bool:
    """Whether this version of a guideline was ever stored, in force or not."""
    query = sa.select(guidelines.c.version).where(guidelines.c.version == version)
    with store.read() as connection:
        return connection.execute(query).first() is not None


def version_read(store: Store, person: Person, name: str) -> str | None:
    """The version of a guideline that somebody read last: they said so, or answered a task under it. None for
    who has done neither."""
    confirmed = (
        sa.select(consents.c.version, consents.c.at.label("at"))
        .where(consents.c.user == person.pseudonym, consents.c.version.startswith(f"{name}-"))
        .order_by(consents.c.at.desc(), consents.c.id.desc())
        .limit(1)
    )
    answered = (
        sa.select(labels.c.guideline.label("version"), labels.c.created.label("at"))
        .where(labels.c.person == person.id, labels.c.guideline.startswith(f"{name}-"))
        .order_by(labels.c.created.desc())
        .limit(1)
    )
    with store.read() as connection:
        rows = [row for query in (confirmed, answered) if (row := connection.execute(query).first())]
    return max(rows, key=lambda row: row.at).version if rows else None


def mark_read(store: Store, person: Person, version: str) -> None:
    """Store that somebody says to have read a version. Raises UserError for an unknown one."""
    if not guideline_exists(store, version):
        raise UserError("there is no such guideline")
    row = {"id": secrets.token_hex(12), "user": person.pseudonym, "version": version, "given": True}
    store.write(lambda connection: connection.execute(sa.insert(consents), row | {"at": store.clock()}))


def guideline_text(store: Store, version: str) -> str:
    """The text of a version; empty for an unknown one."""
    query = sa.select(guidelines.c.text).where(guidelines.c.version == version)
    with store.read() as connection:
        return str(connection.execute(query).scalar() or "")


def _editions() -> sa.Select[tuple[str, str, str, float]]:
    """Editions with their texts, the newest first."""
    edition = guideline_editions.c
    return (
        sa.select(edition.name, edition.version, guidelines.c.text, edition.created)
        .join(guidelines, guidelines.c.version == edition.version)
        .order_by(edition.created.desc(), edition.id.desc())
    )
