"""The audit log: what was done with accounts, guidelines and labels, and by whom. It can only grow."""

from __future__ import annotations

import sqlalchemy as sa

from biddable.store.database import time_ordered_id
from biddable.store.store import Store
from biddable.store.tables import accounts, audit
from biddable.store.types import AuditLine

MOST_ABOUT = 2000
"""Characters of a line that are stored."""


def log_action(store: Store, account: str | None, action: str, about: str = "") -> None:
    """Add a line to the audit log. `account` is None for what was done on the command line."""
    store.write(lambda connection: add_audit_line(connection, store.clock(), account, action, about))


def add_audit_line(
    connection: sa.Connection, at: float, account: str | None, action: str, about: str
) -> None:
    """As `log_action`, within a step."""
    row = {"id": time_ordered_id(), "at": at, "account": account, "action": action}
    connection.execute(sa.insert(audit), {**row, "about": about[:MOST_ABOUT]})


def audit_log(store: Store, limit: int | None = 200) -> list[AuditLine]:
    """The newest lines of the audit log, or all (None), the newest first."""
    query = (
        sa.select(audit.c.at, accounts.c.login, audit.c.action, audit.c.about)
        .select_from(audit)
        .outerjoin(accounts, accounts.c.id == audit.c.account)
        .order_by(audit.c.at.desc())
        .limit(limit)
    )
    with store.read() as connection:
        return [AuditLine(row.at, row.login, row.action, row.about) for row in connection.execute(query)]
