"""Everything: people, guidelines, tasks, their leases, labels; labels and guidelines can only be added to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from biddable.store.triggers import append_only_v1

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "people",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("pseudonym", sa.Text, nullable=False, unique=True),
        sa.Column("panel", sa.Text, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.CheckConstraint("panel IN ('training', 'held_out')", name="panel_known"),
    )
    op.create_table(
        "guidelines",
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("task_set", sa.Text, nullable=False, index=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("panel", sa.Text, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("overlap", sa.Integer, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.CheckConstraint("overlap >= 1", name="overlap_positive"),
    )
    op.create_table(
        "labels",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("task", sa.Text, sa.ForeignKey("tasks.id"), nullable=False, index=True),
        sa.Column("person", sa.Text, sa.ForeignKey("people.id"), nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("guideline", sa.Text, sa.ForeignKey("guidelines.version"), nullable=False),
        sa.Column("seconds", sa.Double),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("replaces", sa.Text, sa.ForeignKey("labels.id"), unique=True),
    )
    op.create_index(
        "labels_one_first",
        "labels",
        ["task", "person"],
        unique=True,
        sqlite_where=sa.text("replaces IS NULL"),
        postgresql_where=sa.text("replaces IS NULL"),
    )
    op.create_table(
        "leases",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("task", sa.Text, sa.ForeignKey("tasks.id"), nullable=False),
        sa.Column("task_set", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("person", sa.Text, sa.ForeignKey("people.id")),
        sa.Column("until", sa.Double, nullable=False),
        sa.Column("label", sa.Text, sa.ForeignKey("labels.id"), unique=True),
        sa.UniqueConstraint("task", "person", name="leases_nobody_twice"),
    )
    op.create_index(
        "leases_open",
        "leases",
        ["task_set", sa.text("priority DESC"), "id"],
        sqlite_where=sa.text("label IS NULL"),
        postgresql_where=sa.text("label IS NULL"),
    )
    for table in ("labels", "guidelines"):
        append_only_v1(op.get_bind(), table)
