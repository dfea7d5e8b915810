"""Consent: who agreed to have what they ask kept, and to which version of the text that they were shown."""

from __future__ import annotations

import secrets

import sqlalchemy as sa

from biddable.store.store import Store
from biddable.store.tables import consents


class Consents:
    """Who agreed to have their questions and answers kept, and to which text. Answers are only ever added; the newest counts."""

    def __init__(self, store: Store, text: str) -> None:
        self.store = store
        self.version = store.add_guideline("consent", text)

    def agreed(self, user: str) -> str | None:
        """The version of the text that a user agreed to; None for who said no, took it back, was never asked, or agreed to another text."""
        query = sa.select(consents.c.given, consents.c.version).where(consents.c.user == user)
        with self.store.engine.connect() as connection:
            newest = connection.execute(
                query.order_by(consents.c.at.desc(), consents.c.id.desc()).limit(1)
            ).first()
        return (
            self.version if newest is not None and newest.given and newest.version == self.version else None
        )

    def asked(self, user: str) -> bool:
        """Whether a user has answered the question as it is now."""
        query = sa.select(consents.c.id).where(consents.c.user == user, consents.c.version == self.version)
        with self.store.engine.connect() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def note(self, user: str, given: bool) -> None:
        """Write down what a user answered; earlier answers stay."""
        row = {
            "id": secrets.token_hex(12),
            "user": user,
            "version": self.version,
            "given": given,
            "at": self.store.clock(),
        }
        self.store.write(lambda connection: connection.execute(sa.insert(consents), row))
