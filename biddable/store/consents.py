"""Consent: which users agreed to have what they write stored, and to which version of the text they were
shown."""

from __future__ import annotations

import secrets
from typing import Any

import sqlalchemy as sa

from biddable.store.store import Store
from biddable.store.tables import consents

STEP = 1e-6
"""Seconds by which a user's later answer is later at least, also when the clock was set back."""


class Consents:
    """The users' answers to one consent text. Answers are only ever added; the newest counts, and a no to any
    text is a no to all."""

    def __init__(self, store: Store, text: str) -> None:
        self.store = store
        self.version = store.add_guideline("consent", text)

    def agreement(self, user: str) -> str | None:
        """The id of the answer by which a user agrees to this text; None when they refused, withdrew, were
        never asked, or agreed to another text only.

        Whoever agrees again after a no has another one: while it stays the same, nothing was taken back.
        """
        with self.store.read() as connection:
            return self._agreement(connection, user)

    def _agreement(self, connection: sa.Connection, user: str) -> str | None:
        about_this_text = (consents.c.version == self.version) | consents.c.given.is_(False)
        newest = connection.execute(_newest(user).where(about_this_text)).first()
        return newest.id if newest is not None and newest.given else None

    def has_answered(self, user: str) -> bool:
        """Whether a user has answered the question as it is now, with yes or no."""
        query = sa.select(consents.c.id).where(consents.c.user == user, consents.c.version == self.version)
        with self.store.read() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def add(self, user: str, agreed: bool) -> str:
        """Store what a user answered; earlier answers stay. Returns the answer's id. Who says again what counts
        already adds nothing."""

        def step(connection: sa.Connection) -> str:
            newest = connection.execute(_newest(user)).first()
            if agreed and (standing := self._agreement(connection, user)):
                return standing
            if newest is not None and (newest.given, newest.version) == (agreed, self.version):
                return str(newest.id)
            now = self.store.clock()
            at = now if newest is None else max(now, newest.at + STEP)
            row = {"id": secrets.token_hex(12), "user": user, "version": self.version, "given": agreed}
            connection.execute(sa.insert(consents), {**row, "at": at})
            return str(row["id"])

        return self.store.write(step)


def _newest(user: str) -> sa.Select[Any]:
    return (
        sa.select(consents)
        .where(consents.c.user == user)
        .order_by(consents.c.at.desc(), consents.c.id.desc())
        .limit(1)
    )
