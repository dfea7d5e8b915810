"""Serving: API keys as hashes, and what people agreed to; who agreed when can only be added to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from biddable.store.triggers import append_only_v1

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("pseudonym", sa.Text, nullable=False, unique=True),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("closed", sa.Double),
    )
    op.create_table(
        "consents",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, nullable=False, index=True),
        sa.Column("version", sa.Text, sa.ForeignKey("guidelines.version"), nullable=False),
        sa.Column("given", sa.Boolean, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    append_only_v1(op.get_bind(), "consents")
