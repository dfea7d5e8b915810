"""Guidelines: which version of a text labelers are shown, from when on. Every version stays, with the labels
made under it."""

from __future__ import annotations

import secrets

import sqlalchemy as sa

from biddable.store.store import Store
from biddable.store.tables import guideline_editions, guidelines
from biddable.store.types import GuidelineEdition


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


def _editions() -> sa.Select[tuple[str, str, str, float]]:
    """Editions with their texts, the newest first."""
    edition = guideline_editions.c
    return (
        sa.select(edition.name, edition.version, guidelines.c.text, edition.created)
        .join(guidelines, guidelines.c.version == edition.version)
        .order_by(edition.created.desc(), edition.id.desc())
    )
