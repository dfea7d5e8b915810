"""People far ahead wait no longer than others: indexes of what somebody had or skipped. Sets have a
priority."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_index("leases_of_person", "leases", ["person", "task_set", "task"])
    op.create_index("skips_of_person", "skips", ["person", "task"])
    op.add_column("sets", sa.Column("priority", sa.Integer, nullable=False, server_default="0"))
