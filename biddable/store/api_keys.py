"""API keys: one for each person or program that may use the server. A key is shown once, when it is made; only its hash is kept.

A key is 256 random bits, so a fast hash is right for it. Records know its owner by a pseudonym that says nothing.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from dataclasses import dataclass

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.store import Store
from biddable.store.tables import api_keys

FRESH_SECONDS = 5.0
"""A key that was closed works at most so long: the keys are read from the store no more often."""


@dataclass(frozen=True)
class Key:
    """Somebody who may ask. `name` is what the operator calls them, `pseudonym` what records say."""

    id: str
    name: str
    pseudonym: str
    created: float
    closed: float | None = None


class Keys:
    """The keys of a store. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._known: dict[str, Key] = {}
        self._read = float("-inf")

    def add(self, name: str) -> str:
        """Make a key and return it: the only time that it can be seen. Raises UserError for a name that an open key has."""
        if not 1 <= len(name.strip()) <= 80 or not name.isprintable():
            raise UserError(
                f"{name!r}: a name of 1 to 80 visible characters was expected, such as 'ada' or 'nightly-tests'"
            )
        token = f"bid-{secrets.token_urlsafe(32)}"

        def step(connection: sa.Connection) -> str:
            mine = (api_keys.c.name == name) & api_keys.c.closed.is_(None)
            if connection.execute(sa.select(api_keys.c.id).where(mine)).first():
                raise UserError(f"{name} has a key already; close it first, or choose another name")
            row = {
                "id": _hash(token),
                "name": name,
                "pseudonym": f"key-{secrets.token_hex(6)}",
                "created": self.store.clock(),
            }
            connection.execute(sa.insert(api_keys), row)
            return token

        return self.store.write(step)

    def close(self, name: str) -> None:
        """The open key of this name works no more. Raises UserError when there is none."""

        def step(connection: sa.Connection) -> None:
            mine = sa.update(api_keys).where(api_keys.c.name == name, api_keys.c.closed.is_(None))
            if (
                connection.execute(mine.values(closed=self.store.clock()).returning(api_keys.c.id)).first()
                is None
            ):
                raise UserError(f"there is no open key of the name {name}")

        self.store.write(step)

    def all(self) -> list[Key]:
        """Every key, the oldest first."""
        query = sa.select(api_keys).order_by(api_keys.c.created, api_keys.c.id)
        with self.store.engine.connect() as connection:
            return [Key(r.id, r.name, r.pseudonym, r.created, r.closed) for r in connection.execute(query)]

    def fresh(self) -> bool:
        """Whether `find` will answer without reading the store."""
        return time.monotonic() - self._read < FRESH_SECONDS

    def find(self, token: str) -> Key | None:
        """Whose key this is; None for one that is unknown or closed. Reads the store every few seconds at most, whoever knocks."""
        if not self.fresh():
            with self._lock:
                if not self.fresh():
                    self._known = {key.id: key for key in self.all() if key.closed is None}
                    self._read = time.monotonic()
        return self._known.get(_hash(token))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
