"""The quality of labels: sets with gold, reviews, screening, grades, verdicts; indexes for a million
tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from biddable.store.triggers import append_only_v1

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    _sets()
    op.create_table(
        "answer_keys",
        sa.Column("task", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
        sa.Column("expected", sa.Text, nullable=False),
    )
    op.create_table(
        "reviews",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("task", sa.Text, sa.ForeignKey("tasks.id"), nullable=False, index=True),
        sa.Column("label", sa.Text, sa.ForeignKey("labels.id")),
        sa.Column("person", sa.Text, sa.ForeignKey("people.id"), index=True),
        sa.Column("decision", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("reviewer", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.CheckConstraint("decision IN ('stands', 'returned', 'open')", name="decision_known"),
    )
    op.create_table(
        "screening",
        sa.Column("task_set", sa.Text, sa.ForeignKey("sets.name"), primary_key=True),
        sa.Column("part", sa.Text, nullable=False),
        sa.Column("cutoff", sa.Double),
        sa.Column("created", sa.Double, nullable=False),
        sa.CheckConstraint(
            "part IN ('sensitive', 'rankings', 'demonstrations', 'groups')", name="part_known"
        ),
    )
    op.create_table(
        "grades",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("label", sa.Text, sa.ForeignKey("labels.id"), nullable=False, index=True),
        sa.Column("grade", sa.Integer, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("grader", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.CheckConstraint("grade BETWEEN 1 AND 7", name="grade_known"),
    )
    op.create_table(
        "verdicts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("person", sa.Text, sa.ForeignKey("people.id"), nullable=False, index=True),
        sa.Column("accepted", sa.Boolean, nullable=False),
        sa.Column("scores", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("judge", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
    )
    for table in ("answer_keys", "reviews", "grades", "verdicts"):
        append_only_v1(op.get_bind(), table)
    open_ = sa.text("label IS NULL")
    op.create_index(
        "leases_held", "leases", ["person", "task_set"], sqlite_where=open_, postgresql_where=open_
    )
    op.create_index("leases_of_set", "leases", ["task_set", "label"])
    op.create_index("labels_of_person", "labels", ["person", "created"])


def _sets() -> None:
    op.create_table(
        "sets",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("panel", sa.Text, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("everybody", sa.Boolean, nullable=False),
        sa.Column("gold", sa.Text),
        sa.Column("gold_share", sa.Double, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
    )
    op.execute(
        "INSERT INTO sets (name, kind, panel, simulated, everybody, gold_share, created) "
        "SELECT task_set, min(kind), min(panel), simulated, (1 = 0), 0.0, min(created) FROM tasks "
        "GROUP BY task_set, simulated"
    )
