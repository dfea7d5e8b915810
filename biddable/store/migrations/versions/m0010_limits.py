"""Limits of work, sets and languages for some people only; tasks know the language of their prompt."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

LANGUAGE = {
    "sqlite": "json_extract(question, '$.prompt.language')",
    "postgresql": "CAST(question AS json) -> 'prompt' ->> 'language'",
}


def upgrade() -> None:
    op.add_column("tasks", sa.Column("language", sa.Text))
    op.execute(f"UPDATE tasks SET language = {LANGUAGE[op.get_bind().dialect.name]}")
    op.create_table(
        "work_limits",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("person", sa.Text, sa.ForeignKey("people.id"), index=True),
        sa.Column("task_set", sa.Text),
        sa.Column("language", sa.Text),
        sa.Column("most", sa.Integer, nullable=False),
        sa.Column("a_day", sa.Boolean, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
    )
    op.create_table(
        "work_assignments",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("person", sa.Text, sa.ForeignKey("people.id"), nullable=False, index=True),
        sa.Column("task_set", sa.Text),
        sa.Column("language", sa.Text),
        sa.Column("created", sa.Double, nullable=False),
    )
