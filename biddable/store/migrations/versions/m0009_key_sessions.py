"""Sessions of the chat page: browsers in which an API key was entered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "key_sessions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, sa.ForeignKey("api_keys.id"), nullable=False, index=True),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
    )
