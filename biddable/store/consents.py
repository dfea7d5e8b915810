"""Consent: which users of the chat agreed to have what they write stored, and to which version of the text
they were shown."""

from __future__ import annotations

import secrets

import sqlalchemy as sa

from biddable.store.store import Store
from biddable.store.tables import consents


class Consents:
    """The users' answers to one consent text. Answers are only ever added; the newest counts."""

    def __init__(self, store: Store, text: str) -> None:
        self.store = store
        self.version = store.add_guideline("consent", text)

    def agreed_version(self, user: str) -> str | None:
        """The version of the text that a user agreed to; None when they refused, withdrew, were never asked,
        or agreed to another text."""
        query = (
            sa.select(consents.c.given, consents.c.version)
            .where(consents.c.user == user)
            .order_by(consents.c.at.desc(), consents.c.id.desc())
            .limit(1)
        )
        with self.store.read() as connection:
            newest = connection.execute(query).first()
        agreed = newest is not None and newest.given and newest.version == self.version
        return self.version if agreed else None

    def has_answered(self, user: str) -> bool:
        """Whether a user has answered the question as it is now, with yes or no."""
        query = sa.select(consents.c.id).where(consents.c.user == user, consents.c.version == self.version)
        with self.store.read() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def add(self, user: str, agreed: bool) -> None:
        """Store what a user answered; earlier answers stay."""
        row = {"id": secrets.token_hex(12), "user": user, "version": self.version, "given": agreed}
        row["at"] = self.store.clock()
        self.store.write(lambda connection: connection.execute(sa.insert(consents), row))
