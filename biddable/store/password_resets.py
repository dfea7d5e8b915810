"""Links with which somebody who forgot their password sets another one. An admin makes and sends them."""

from __future__ import annotations

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.accounts import Accounts, account_from_row, accounts_with_people, check_password
from biddable.store.audit import add_audit_line
from biddable.store.store import Store
from biddable.store.tables import accounts, password_resets, sessions
from biddable.store.tokens import hash_token, new_token
from biddable.store.types import Account

HOURS = 24.0
"""How long a link works."""


def make_reset(store: Store, account: str, by: str) -> str:
    """Make a link for an open account; returns its token, which is stored nowhere. Earlier links of the
    account work no more. Raises UserError for a closed or unknown account."""
    token = new_token()

    def step(connection: sa.Connection) -> None:
        now = store.clock()
        is_open = sa.select(accounts.c.id).where(accounts.c.id == account, accounts.c.closed.is_(None))
        if connection.execute(is_open).first() is None:
            raise UserError("there is no such open account")
        earlier = (password_resets.c.account == account) & password_resets.c.used.is_(None)
        connection.execute(sa.update(password_resets).where(earlier).values(until=0.0))
        row = {"id": hash_token(token), "account": account, "created": now, "until": now + HOURS * 3600}
        connection.execute(sa.insert(password_resets), row)
        add_audit_line(connection, now, by, "link for another password made", account)

    store.write(step)
    return token


def find_reset(store: Store, token: str) -> Account | None:
    """Whose password a link sets; None when it was used, has expired, or the account is closed."""
    query = (
        accounts_with_people()
        .join(password_resets, password_resets.c.account == accounts.c.id)
        .where(_is_open(token, store.clock()), accounts.c.closed.is_(None))
    )
    with store.read() as connection:
        row = connection.execute(query).first()
    return None if row is None else account_from_row(row)


def _is_open(token: str, now: float) -> sa.ColumnElement[bool]:
    unused = password_resets.c.used.is_(None) & (password_resets.c.until > now)
    return (password_resets.c.id == hash_token(token)) & unused


def reset_password(known_accounts: Accounts, token: str, password: str) -> Account:
    """Set another password by a link, which is then spent, and end all sessions. Raises UserError when the
    link is not open any more, or the password too easy."""
    store = known_accounts.store
    not_open = UserError("this link was used or is too old; ask for another one")
    if (account := find_reset(store, token)) is None:
        raise not_open
    hashed = known_accounts.hash_password(check_password(account.login, password))

    def step(connection: sa.Connection) -> None:
        now = store.clock()
        used = sa.update(password_resets).where(_is_open(token, now)).values(used=now)
        if connection.execute(used.returning(password_resets.c.id)).first() is None:
            raise not_open  # somebody else was faster with the same link
        connection.execute(sa.update(accounts).where(accounts.c.id == account.id).values(password=hashed))
        connection.execute(sa.delete(sessions).where(sessions.c.account == account.id))
        add_audit_line(connection, now, account.id, "password set by a link", account.id)

    store.write(step)
    return account
