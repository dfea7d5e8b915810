"""Invitations: links with which one person each can make an account."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.accounts import Accounts
from biddable.store.audit import add_audit_line
from biddable.store.store import Store
from biddable.store.tables import accounts, invitations
from biddable.store.tokens import hash_token, new_token
from biddable.store.types import Account, Invitation, Panel, Role

MOST_NOTE = 200
"""Characters of a note that are stored."""


def invite(store: Store, by: str, role: Role, panel: Panel, note: str = "", days: float = 7.0) -> str:
    """Make an invitation for one person; returns its token, which is part of the link and stored nowhere."""
    token = new_token()
    row = {"id": hash_token(token), "role": role, "panel": panel, "note": note[:MOST_NOTE], "inviter": by}

    def step(connection: sa.Connection) -> None:
        now = store.clock()
        connection.execute(sa.insert(invitations), {**row, "created": now, "until": now + days * 86400})
        add_audit_line(connection, now, by, "invited", f"{role}, {panel}: {note[:MOST_NOTE]}")

    store.write(step)
    return token


def list_invitations(store: Store) -> list[Invitation]:
    """Every invitation, the newest first."""
    with store.read() as connection:
        rows = connection.execute(sa.select(invitations).order_by(invitations.c.created.desc()))
        return [_invitation(row) for row in rows]


def find_invitation(store: Store, token: str) -> Invitation | None:
    """The open invitation behind a link; None when it was used or withdrawn, has expired, or comes from an
    admin whose account is closed."""
    query = sa.select(invitations).where(_is_open(hash_token(token), store.clock()))
    with store.read() as connection:
        row = connection.execute(query).first()
    return _invitation(row) if row else None


def _is_open(invitation: str, now: float) -> sa.ColumnElement[bool]:
    """Whether the invitation can still make an account. That it was used is a time of its own: the account
    that it made may be erased."""
    inviter = sa.exists().where(accounts.c.id == invitations.c.inviter, accounts.c.closed.is_(None))
    return (
        (invitations.c.id == invitation)
        & invitations.c.used.is_(None)
        & (invitations.c.until > now)
        & inviter
    )


def withdraw_invitation(store: Store, invitation: str, by: str) -> None:
    """Take an unused invitation back."""

    def step(connection: sa.Connection) -> None:
        unused = (invitations.c.id == invitation) & invitations.c.used.is_(None)
        connection.execute(sa.update(invitations).where(unused).values(until=0.0))
        add_audit_line(connection, store.clock(), by, "invitation taken back", invitation[:12])

    store.write(step)


def accept_invitation(known_accounts: Accounts, token: str, login: str, password: str) -> Account:
    """Make the account that an invitation promises. Raises UserError when the invitation is not open any
    more."""
    store = known_accounts.store
    not_open = UserError("this invitation was used, taken back, or is too old; ask for another one")
    if (invitation := find_invitation(store, token)) is None:
        raise not_open

    def use(connection: sa.Connection, account: Account) -> None:
        now = store.clock()
        # asked again within the transaction: of two who follow one link at once, only one gets an account
        still_open = _is_open(invitation.id, now)
        used = sa.update(invitations).where(still_open).values(account=account.id, used=now)
        if connection.execute(used.returning(invitations.c.id)).first() is None:
            raise not_open
        add_audit_line(connection, now, account.id, "invitation accepted", invitation.id[:12])

    return known_accounts.add_with(login, password, invitation.role, invitation.panel, use)


def _invitation(row: Any) -> Invitation:
    return Invitation(row.id, row.role, row.panel, row.note, row.created, row.until, row.used is not None)
