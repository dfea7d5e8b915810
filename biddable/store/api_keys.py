"""API keys: one for each person or program that may use the server. A key is shown once, when it is made;
only its hash is stored.

Records know its owner by a random pseudonym.
"""

from __future__ import annotations

import secrets
import threading
import time

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.store import Store
from biddable.store.tables import api_keys
from biddable.store.tokens import hash_token, new_token
from biddable.store.types import Key

FRESH_SECONDS = 5.0
"""How often keys are read from the store at most; a key that was closed still works for as long."""


class Keys:
    """The keys of a store. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._open_keys: dict[str, Key] = {}  # by hash
        self._read_at = float("-inf")  # on the monotonic clock

    def add(self, name: str) -> str:
        """Make a key and return it: it can't be shown again. Raises UserError for a name that an open key
        has."""
        if not 1 <= len(name.strip()) <= 80 or not name.isprintable():
            raise UserError(
                f"{name!r}: a name must have 1 to 80 visible characters, such as 'ada' or 'nightly-tests'"
            )
        token = f"bid-{new_token()}"

        def step(connection: sa.Connection) -> str:
            open_key = (api_keys.c.name == name) & api_keys.c.closed.is_(None)
            if connection.execute(sa.select(api_keys.c.id).where(open_key)).first():
                raise UserError(f"{name} has a key already; close it first, or choose another name")
            row = {
                "id": hash_token(token),
                "name": name,
                "pseudonym": f"key-{secrets.token_hex(6)}",
                "created": self.store.clock(),
            }
            connection.execute(sa.insert(api_keys), row)
            return token

        return self.store.write(step)

    def close(self, name: str) -> None:
        """Close the open key of this name. Raises UserError when there is none."""

        def step(connection: sa.Connection) -> None:
            open_key = sa.update(api_keys).where(api_keys.c.name == name, api_keys.c.closed.is_(None))
            closed = open_key.values(closed=self.store.clock()).returning(api_keys.c.id)
            if connection.execute(closed).first() is None:
                raise UserError(f"there is no open key of the name {name}")

        self.store.write(step)

    def all(self) -> list[Key]:
        """Every key, the oldest first."""
        query = sa.select(api_keys).order_by(api_keys.c.created, api_keys.c.id)
        with self.store.read() as connection:
            rows = connection.execute(query)
            return [Key(row.id, row.name, row.pseudonym, row.created, row.closed) for row in rows]

    def fresh(self) -> bool:
        """Whether `find` will answer without reading the store."""
        return time.monotonic() - self._read_at < FRESH_SECONDS

    def find(self, token: str) -> Key | None:
        """Whose key this is; None for one that is unknown or closed. Reads the store every few seconds at
        most, however many ask."""
        if not self.fresh():
            with self._lock:
                if not self.fresh():
                    self._open_keys = {key.id: key for key in self.all() if key.closed is None}
                    self._read_at = time.monotonic()
        return self._open_keys.get(hash_token(token))
