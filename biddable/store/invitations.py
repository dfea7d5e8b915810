"""Invitations: links with which one person each can make an account."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.accounts import Accounts
from biddable.store.audit import add_audit_line
from biddable.store.store import Store
from biddable.store.tables import invitations
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
    """The open invitation behind a link; None when it was used or withdrawn, or has expired."""
    query = sa.select(invitations).where(invitations.c.id == hash_token(token))
    with store.read() as connection:
        row = connection.execute(query).first()
    return _invitation(row) if row and row.account is None and row.until > store.clock() else None


def withdraw_invitation(store: Store, invitation: str, by: str) -> None:
    """Take an unused invitation back."""

    def step(connection: sa.Connection) -> None:
        unused = (invitations.c.id == invitation) & invitations.c.account.is_(None)
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
        still_open = (invitations.c.id == invitation.id) & invitations.c.account.is_(None)
        used = sa.update(invitations).where(still_open, invitations.c.until > now).values(account=account.id)
        if connection.execute(used.returning(invitations.c.id)).first() is None:
            raise not_open
        add_audit_line(connection, now, account.id, "invitation accepted", invitation.id[:12])

    return known_accounts.add_with(login, password, invitation.role, invitation.panel, use)


def _invitation(row: Any) -> Invitation:
    return Invitation(row.id, row.role, row.panel, row.note, row.created, row.until, row.account is not None)
