"""Sites: accounts, invitations, sessions, attempts to log in, an audit log, drafts, skips, guideline
editions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from biddable.store.triggers import append_only_v1

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _people()
    _work()
    for table in ("audit", "skips", "editions"):
        append_only_v1(op.get_bind(), table)


def _people() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("login", sa.Text, nullable=False, unique=True),
        sa.Column("password", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("person", sa.Text, sa.ForeignKey("people.id"), nullable=False, unique=True),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("closed", sa.Double),
        sa.CheckConstraint("role IN ('admin', 'labeler')", name="role_known"),
    )
    op.create_table(
        "invitations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("panel", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("inviter", sa.Text, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.Column("account", sa.Text, sa.ForeignKey("accounts.id"), unique=True),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account", sa.Text, sa.ForeignKey("accounts.id"), nullable=False, index=True),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("seen", sa.Double, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
    )
    op.create_table(
        "attempts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_index("attempts_recent", "attempts", ["what", "at"])
    op.create_table(
        "audit",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.Double, nullable=False, index=True),
        sa.Column("account", sa.Text, sa.ForeignKey("accounts.id")),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )


def _work() -> None:
    op.create_table(
        "drafts",
        sa.Column("task", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
        sa.Column("person", sa.Text, sa.ForeignKey("people.id"), primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("guideline", sa.Text, sa.ForeignKey("guidelines.version"), nullable=False),
        sa.Column("seconds", sa.Double),
        sa.Column("begun", sa.Double, nullable=False),
        sa.Column("saved", sa.Double, nullable=False),
    )
    op.create_table(
        "skips",
        sa.Column("task", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
        sa.Column("person", sa.Text, sa.ForeignKey("people.id"), primary_key=True),
        sa.Column("flag", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
    )
    op.create_table(
        "editions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Text, sa.ForeignKey("guidelines.version"), nullable=False),
        sa.Column("account", sa.Text, sa.ForeignKey("accounts.id")),
        sa.Column("created", sa.Double, nullable=False),
    )
