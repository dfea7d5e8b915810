"""Tables get the names used everywhere else: task_sets, admissions, guideline_editions, login_attempts."""

from __future__ import annotations

from alembic import op

from biddable.store.triggers import append_only_v1, drop_append_only_v1

revision = "0006"
down_revision = "0005"

RENAMED = {
    "sets": "task_sets",
    "verdicts": "admissions",
    "editions": "guideline_editions",
    "attempts": "login_attempts",
}
APPEND_ONLY = ("verdicts", "editions")


def upgrade() -> None:
    for table in APPEND_ONLY:
        drop_append_only_v1(op.get_bind(), table)
    op.drop_index("ix_verdicts_person", "verdicts")  # SQLite can't rename an index
    op.drop_index("attempts_recent", "attempts")
    for old, new in RENAMED.items():
        op.rename_table(old, new)
    op.create_index("ix_admissions_person", "admissions", ["person"])
    op.create_index("login_attempts_recent", "login_attempts", ["what", "at"])
    for table in APPEND_ONLY:
        append_only_v1(op.get_bind(), RENAMED[table])
