"""Sessions of the chat page: browsers in which somebody has entered an API key. The browser holds a token of its
own and never the key; the store holds the token's hash.

A session ends when its browser leaves, when the key's owner leaves everywhere, when the key is closed, and after
`SESSION_SECONDS`.
"""

from __future__ import annotations

import sqlalchemy as sa

from biddable.store.store import Store
from biddable.store.tables import api_keys, key_sessions
from biddable.store.tokens import hash_token, new_token
from biddable.store.types import Key

SESSION_SECONDS = 30 * 86400.0


def start_session(store: Store, key: Key) -> str:
    """Begin a session for a key's owner; returns its token."""
    token = new_token()

    def step(connection: sa.Connection) -> None:
        now = store.clock()
        connection.execute(sa.delete(key_sessions).where(_has_ended(now)))
        row = {"id": hash_token(token), "key": key.id, "created": now, "until": now + SESSION_SECONDS}
        connection.execute(sa.insert(key_sessions), row)

    store.write(step)
    return token


def find_session_key(store: Store, token: str) -> Key | None:
    """The key that was entered in the session of this token; None when the session has ended or never was."""
    query = (
        sa.select(api_keys)
        .join(key_sessions, key_sessions.c.key == api_keys.c.id)
        .where(
            key_sessions.c.id == hash_token(token), ~_has_ended(store.clock()), api_keys.c.closed.is_(None)
        )
    )
    with store.read() as connection:
        row = connection.execute(query).first()
    return None if row is None else Key(row.id, row.name, row.pseudonym, row.created, row.closed)


def _has_ended(now: float) -> sa.ColumnElement[bool]:
    # a session of the future comes from a clock that was wrong; clocks of several servers differ a little
    return (key_sessions.c.until <= now) | (key_sessions.c.created > now + 3600)


def end_session(store: Store, token: str, everywhere: bool = False) -> None:
    """End the session of this token; `everywhere`: all sessions of its key."""
    session = key_sessions.c.id == hash_token(token)
    if everywhere:
        session = key_sessions.c.key.in_(sa.select(key_sessions.c.key).where(session))
    store.write(lambda connection: connection.execute(sa.delete(key_sessions).where(session)))
