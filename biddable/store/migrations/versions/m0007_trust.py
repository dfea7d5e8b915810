"""Invitations that were used stay used, whoever is deleted; links for another password; second factors."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("invitations", sa.Column("used", sa.Double))
    op.execute("UPDATE invitations SET used = created WHERE account IS NOT NULL")
    op.add_column("accounts", sa.Column("totp", sa.Text))
    op.add_column("accounts", sa.Column("totp_step", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "password_resets",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account", sa.Text, sa.ForeignKey("accounts.id"), nullable=False, index=True),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.Column("used", sa.Double),
    )
