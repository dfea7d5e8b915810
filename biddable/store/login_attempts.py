"""The limit on passwords that may be tried: every attempt is written down before its password is checked, so
however many come at once, no more are checked than the limit allows."""

from __future__ import annotations

import secrets as random

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.store import Store
from biddable.store.tables import login_attempts

WINDOW_SECONDS = 900.0
"""How long a failed attempt counts."""
ATTEMPTS_LOCK = 0x62696465  # any number that all processes agree on


class TooManyAttempts(UserError):
    """Too many failed attempts to log in."""


def begin_attempt(store: Store, limits: dict[str, int]) -> list[str]:
    """Count an attempt for each of the keys; returns the ids of its rows, for `forget_attempt`.

    `limits` maps a key to how many failed attempts are allowed for it. Raises TooManyAttempts when a key has
    reached its limit; the attempt is then not counted.
    """

    def step(connection: sa.Connection) -> list[str]:
        if connection.dialect.name == "postgresql":  # one after the other; SQLite lets one writer in anyway
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ATTEMPTS_LOCK)))
        now = (
            store.clock()
        )  # only now: who waited for the lock must not take others' attempts for the future's
        # attempts of the future come from a clock that was wrong
        old = (login_attempts.c.at <= now - WINDOW_SECONDS) | (login_attempts.c.at > now)
        connection.execute(sa.delete(login_attempts).where(old))
        query = (
            sa.select(login_attempts.c.what, sa.func.count())
            .where(login_attempts.c.what.in_(limits))
            .group_by(login_attempts.c.what)
        )
        counts = {row[0]: row[1] for row in connection.execute(query)}
        if any(counts.get(key, 0) >= limit for key, limit in limits.items()):
            raise TooManyAttempts("too many attempts; wait a quarter of an hour and try again")
        ids = {key: random.token_hex(12) for key in limits}
        rows = [{"id": ids[key], "what": key, "at": now} for key in limits]
        connection.execute(sa.insert(login_attempts), rows)
        return list(ids.values())

    return store.write(step)


def forget_attempt(connection: sa.Connection, attempt: list[str], key: str) -> None:
    """The password was right: its attempt was no failed one, and those before it under `key` are forgiven.
    Within a step."""
    is_its_own = login_attempts.c.id.in_(attempt) | (login_attempts.c.what == key)
    connection.execute(sa.delete(login_attempts).where(is_its_own))
