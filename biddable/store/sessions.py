"""Sessions: browsers that are logged in, and the limit on failed attempts to log in.

Log in here (`log_in`), find whose a session is (`session_account`), end one or all (`log_out`,
`revoke_sessions`). A session also ends when it is not used for `IDLE_SECONDS`, at the latest after
`SESSION_SECONDS`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.accounts import Accounts, account_from_row, accounts_with_people, fold_login
from biddable.store.audit import add_audit_line
from biddable.store.login_attempts import begin_attempt, forget_attempt
from biddable.store.second_factor import check_code
from biddable.store.store import Store
from biddable.store.tables import accounts, sessions
from biddable.store.tokens import hash_token, new_token
from biddable.store.types import Account, Session

IDLE_SECONDS = 12 * 3600.0
SESSION_SECONDS = 30 * 86400.0
LAST_USED_SECONDS = 60.0
"""How often the time of last use is written down: not at every request."""
MOST_ATTEMPTS = {"pair": 5, "login": 30, "address": 50}
"""Failed attempts allowed in that time: with one name from one address, with one name, from one address.
Somebody who guesses at a name from elsewhere thus does not lock its owner out at once."""
MOST_AGENT = 200
"""Characters of a browser's name that are stored."""


class CodeNeeded(Exception):
    """Name and password are right; the account asks for a code of its second factor too."""

    def __init__(self, account: str) -> None:
        self.account = account
        super().__init__("a code is needed")


def log_in(known_accounts: Accounts, login: str, password: str, address: str, agent: str) -> str:
    """Check name and password; returns the token of a new session.

    Raises TooManyAttempts after too many failed attempts, UserError, the same for an unknown name and a
    wrong password, and CodeNeeded for an account with a second factor.
    """
    store, login = known_accounts.store, fold_login(login)
    keys = {
        "pair": f"pair {hash_token(login + address)}",
        "login": f"login {hash_token(login)}",
        "address": f"address {address}",
    }
    attempt = begin_attempt(store, {key: MOST_ATTEMPTS[kind] for kind, key in keys.items()})
    if not known_accounts.password_matches(login, password):
        raise UserError("name or password is not right")
    token = new_token()

    def step(connection: sa.Connection) -> str | None:
        forget_attempt(connection, attempt, keys["pair"])
        columns = sa.select(accounts.c.id, accounts.c.totp)
        account = connection.execute(columns.where(accounts.c.login == login)).one()
        if account.totp is not None:
            return str(account.id)
        _start_session(connection, store.clock(), account.id, token, agent)
        return None

    if needs_code := store.write(step):
        raise CodeNeeded(needs_code)
    return token


def log_in_with_code(known_accounts: Accounts, account: str, code: str, address: str, agent: str) -> str:
    """The second half of `log_in` for an account whose password was right: check the code; returns the token of
    a new session. Raises UserError for a wrong code or a closed account, and TooManyAttempts."""
    store = known_accounts.store
    check_code(store, account, code, address)
    token = new_token()

    def step(connection: sa.Connection) -> None:
        is_open = sa.select(accounts.c.id).where(accounts.c.id == account, accounts.c.closed.is_(None))
        if connection.execute(is_open).first() is None:
            raise UserError("name or password is not right")
        _start_session(connection, store.clock(), account, token, agent)

    store.write(step)
    return token


def _start_session(connection: sa.Connection, now: float, account: str, token: str, agent: str) -> None:
    """Write down a session, and delete those that have ended. Within a step."""
    row = {"id": hash_token(token), "account": account, "agent": agent[:MOST_AGENT]}
    times = {"created": now, "seen": now, "until": now + SESSION_SECONDS}
    connection.execute(sa.insert(sessions), {**row, **times})
    ended = (sessions.c.until <= now) | (sessions.c.seen <= now - IDLE_SECONDS)
    connection.execute(sa.delete(sessions).where(ended))


def session_account(store: Store, token: str) -> Account | None:
    """The account of a session's token; None when the session has ended or never was."""
    now, session = store.clock(), hash_token(token)
    parameters = {"session": session, "now": now, "idle_since": now - IDLE_SECONDS}
    with store.read() as connection:
        row = connection.execute(_account_of_session(), parameters).first()
    if row is None:
        return None
    if now - row.seen > LAST_USED_SECONDS:
        used = sa.update(sessions).where(sessions.c.id == session).values(seen=now)
        store.write(lambda connection: connection.execute(used))
    return account_from_row(row)


@cache
def _account_of_session() -> sa.Select[Any]:
    """The account of a live session: asked at every request, so built once."""
    now, idle_since = sa.bindparam("now", type_=sa.Double), sa.bindparam("idle_since", type_=sa.Double)
    query: sa.Select[Any] = (
        accounts_with_people()
        .add_columns(sessions.c.seen)
        .join(sessions, sessions.c.account == accounts.c.id)
        .where(sessions.c.id == sa.bindparam("session"), accounts.c.closed.is_(None))
        .where(sessions.c.until > now, sessions.c.seen > idle_since)
    )
    return query


def list_sessions(store: Store, account: str) -> list[Session]:
    """The browsers in which an account is logged in, the one last used first."""
    now = store.clock()
    query = (
        sa.select(sessions)
        .where(sessions.c.account == account, sessions.c.until > now, sessions.c.seen > now - IDLE_SECONDS)
        .order_by(sessions.c.seen.desc())
    )
    with store.read() as connection:
        return [Session(row.id, row.agent, row.created, row.seen) for row in connection.execute(query)]


def log_out(store: Store, token: str) -> None:
    """End the session of this token."""
    ended = sa.delete(sessions).where(sessions.c.id == hash_token(token))
    store.write(lambda connection: connection.execute(ended))


def revoke_sessions(store: Store, account: str, session: str | None, by: str) -> None:
    """End one session of an account by its id, or all of them (None)."""
    revoked = sa.delete(sessions).where(sessions.c.account == account)
    if session is not None:
        revoked = revoked.where(sessions.c.id == session)

    def step(connection: sa.Connection) -> None:
        connection.execute(revoked)
        add_audit_line(connection, store.clock(), by, "sessions ended", account)

    store.write(step)
