"""The first tables: people, guidelines, tasks, leases, labels."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "people",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("panel", sa.Text, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("added", sa.Double, nullable=False),
    )
    op.create_table(
        "guidelines",
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("added", sa.Double, nullable=False),
    )
    op.create_table(
        "tasks",
        sa.Column("task_set", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("panel", sa.Text, nullable=False),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("overlap", sa.Integer, nullable=False),
        sa.Column("free", sa.Integer, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("place", sa.BigInteger, nullable=False),
        sa.CheckConstraint("free >= 0", name="never_over_assigned"),
    )
    free = sa.text("free > 0")
    columns = ["task_set", sa.text("priority DESC"), "place"]
    op.create_index("tasks_free", "tasks", columns, sqlite_where=free, postgresql_where=free)
    _leases()
    _labels()


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("task_set", sa.Text, primary_key=True),
        sa.Column("task", sa.Text, primary_key=True),
        sa.Column("person", sa.Text, sa.ForeignKey("people.id"), primary_key=True),
        sa.Column("shown", sa.Text, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.ForeignKeyConstraint(["task_set", "task"], ["tasks.task_set", "tasks.id"]),
    )
    op.create_index("leases_until", "leases", ["task_set", "until"])
    op.create_index("leases_person", "leases", ["task_set", "person"])


def _labels() -> None:
    op.create_table(
        "labels",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("task_set", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("person", sa.Text, sa.ForeignKey("people.id"), nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("shown", sa.Text, nullable=False),
        sa.Column("guideline", sa.Text, sa.ForeignKey("guidelines.version"), nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("replaces", sa.Integer, sa.ForeignKey("labels.id"), unique=True),
        sa.Column("added", sa.Double, nullable=False),
        sa.ForeignKeyConstraint(["task_set", "task"], ["tasks.task_set", "tasks.id"]),
    )
    first = sa.text("replaces IS NULL")
    columns = ["task_set", "task", "person"]
    op.create_index("labels_once", "labels", columns, unique=True, sqlite_where=first, postgresql_where=first)
