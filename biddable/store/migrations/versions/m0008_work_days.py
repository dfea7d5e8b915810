"""Work by person, set and day has a table of its own, filled from the labels and skips that are there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

DAY = "CAST(FLOOR({time} / 86400) AS INTEGER)"
FROM_LABELS = f"""
INSERT INTO work_days (person, task_set, day, answers, corrections, skips, seconds, unmeasured)
SELECT labels.person, tasks.task_set, {DAY.format(time="labels.created")},
    SUM(CASE WHEN labels.replaces IS NULL THEN 1 ELSE 0 END),
    SUM(CASE WHEN labels.replaces IS NULL THEN 0 ELSE 1 END),
    0,
    COALESCE(SUM(labels.seconds - COALESCE(earlier.seconds, 0)), 0),
    SUM(CASE WHEN labels.replaces IS NULL AND labels.seconds IS NULL THEN 1 ELSE 0 END)
FROM labels
JOIN tasks ON tasks.id = labels.task
LEFT JOIN labels AS earlier ON earlier.id = labels.replaces
WHERE EXISTS (SELECT 1 FROM leases WHERE leases.task = labels.task AND leases.person = labels.person)
GROUP BY 1, 2, 3
"""
FROM_SKIPS = f"""
INSERT INTO work_days (person, task_set, day, answers, corrections, skips, seconds, unmeasured)
SELECT skips.person, tasks.task_set, {DAY.format(time="skips.created")},
    0, 0, COUNT(*), COALESCE(SUM(drafts.seconds), 0), 0
FROM skips
JOIN tasks ON tasks.id = skips.task
LEFT JOIN drafts ON drafts.task = skips.task AND drafts.person = skips.person
WHERE NOT EXISTS (SELECT 1 FROM labels WHERE labels.task = skips.task AND labels.person = skips.person)
GROUP BY 1, 2, 3
ON CONFLICT (person, task_set, day) DO UPDATE SET
    skips = work_days.skips + excluded.skips, seconds = work_days.seconds + excluded.seconds
"""


def upgrade() -> None:
    op.create_table(
        "work_days",
        sa.Column("person", sa.Text, sa.ForeignKey("people.id"), primary_key=True),
        sa.Column("task_set", sa.Text, primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True),
        sa.Column("answers", sa.Integer, nullable=False),
        sa.Column("corrections", sa.Integer, nullable=False),
        sa.Column("skips", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("unmeasured", sa.Integer, nullable=False),
    )
    op.create_index("work_days_of_set", "work_days", ["task_set", "day"])
    op.create_index("labels_newest", "labels", ["created"])
    op.execute(FROM_LABELS)
    op.execute(FROM_SKIPS)
