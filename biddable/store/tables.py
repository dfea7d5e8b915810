"""The store's tables. `docs/flow.md` says what each holds; `migrations/` makes them."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()
people = sa.Table(
    "people",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("pseudonym", sa.Text, nullable=False, unique=True),
    sa.Column("panel", sa.Text, nullable=False),
    sa.Column("simulated", sa.Boolean, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
)
guidelines = sa.Table(
    "guidelines",
    metadata,
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)
tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("task_set", sa.Text, nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("panel", sa.Text, nullable=False),
    sa.Column("simulated", sa.Boolean, nullable=False),
    sa.Column("overlap", sa.Integer, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("language", sa.Text),
)
labels = sa.Table(
    "labels",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("task", sa.Text, sa.ForeignKey("tasks.id"), nullable=False, index=True),
    sa.Column("person", sa.Text, sa.ForeignKey("people.id"), nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("guideline", sa.Text, sa.ForeignKey("guidelines.version"), nullable=False),
    sa.Column("seconds", sa.Double),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("replaces", sa.Text, sa.ForeignKey("labels.id"), unique=True),
)
sa.Index(
    "labels_one_first",
    labels.c.task,
    labels.c.person,
    unique=True,
    sqlite_where=labels.c.replaces.is_(None),
    postgresql_where=labels.c.replaces.is_(None),
)
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("task", sa.Text, sa.ForeignKey("tasks.id"), nullable=False),
    sa.Column("task_set", sa.Text, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("person", sa.Text, sa.ForeignKey("people.id")),
    sa.Column("until", sa.Double, nullable=False),
    sa.Column("label", sa.Text, sa.ForeignKey("labels.id"), unique=True),
    sa.UniqueConstraint("task", "person", name="leases_nobody_twice"),
)
sa.Index(
    "leases_open",
    leases.c.task_set,
    leases.c.priority.desc(),
    leases.c.id,
    sqlite_where=leases.c.label.is_(None),
    postgresql_where=leases.c.label.is_(None),
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("login", sa.Text, nullable=False, unique=True),
    sa.Column("password", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("person", sa.Text, sa.ForeignKey("people.id"), nullable=False, unique=True),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("closed", sa.Double),
    sa.Column("totp", sa.Text),  # JSON: the second factor's secret, and hashes of the recovery codes
    sa.Column("totp_step", sa.Integer, nullable=False, server_default="0"),
)
password_resets = sa.Table(
    "password_resets",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, sa.ForeignKey("accounts.id"), nullable=False, index=True),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
    sa.Column("used", sa.Double),
)
invitations = sa.Table(
    "invitations",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("panel", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("inviter", sa.Text, sa.ForeignKey("accounts.id"), nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
    sa.Column("account", sa.Text, sa.ForeignKey("accounts.id"), unique=True),
    sa.Column("used", sa.Double),
)
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, sa.ForeignKey("accounts.id"), nullable=False, index=True),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("seen", sa.Double, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
)
login_attempts = sa.Table(
    "login_attempts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)
sa.Index("login_attempts_recent", login_attempts.c.what, login_attempts.c.at)
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("at", sa.Double, nullable=False, index=True),
    sa.Column("account", sa.Text, sa.ForeignKey("accounts.id")),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("about", sa.Text, nullable=False),
)
secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
drafts = sa.Table(
    "drafts",
    metadata,
    sa.Column("task", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("person", sa.Text, sa.ForeignKey("people.id"), primary_key=True),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("guideline", sa.Text, sa.ForeignKey("guidelines.version"), nullable=False),
    sa.Column("seconds", sa.Double),
    sa.Column("begun", sa.Double, nullable=False),
    sa.Column("saved", sa.Double, nullable=False),
)
skips = sa.Table(
    "skips",
    metadata,
    sa.Column("task", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("person", sa.Text, sa.ForeignKey("people.id"), primary_key=True),
    sa.Column("flag", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
)
guideline_editions = sa.Table(
    "guideline_editions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Text, sa.ForeignKey("guidelines.version"), nullable=False),
    sa.Column("account", sa.Text, sa.ForeignKey("accounts.id")),
    sa.Column("created", sa.Double, nullable=False),
)
task_sets = sa.Table(
    "task_sets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("panel", sa.Text, nullable=False),
    sa.Column("simulated", sa.Boolean, nullable=False),
    sa.Column("everybody", sa.Boolean, nullable=False),
    sa.Column("gold", sa.Text),
    sa.Column("gold_share", sa.Double, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
)
sa.Index(
    "leases_held",
    leases.c.person,
    leases.c.task_set,
    sqlite_where=leases.c.label.is_(None),
    postgresql_where=leases.c.label.is_(None),
)
sa.Index("leases_of_person", leases.c.person, leases.c.task_set, leases.c.task)
sa.Index("skips_of_person", skips.c.person, skips.c.task)
sa.Index("leases_of_set", leases.c.task_set, leases.c.label)
sa.Index("labels_of_person", labels.c.person, labels.c.created)
answer_keys = sa.Table(
    "answer_keys",
    metadata,
    sa.Column("task", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("expected", sa.Text, nullable=False),
)
reviews = sa.Table(
    "reviews",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("task", sa.Text, sa.ForeignKey("tasks.id"), nullable=False, index=True),
    sa.Column("label", sa.Text, sa.ForeignKey("labels.id")),
    sa.Column("person", sa.Text, sa.ForeignKey("people.id"), index=True),
    sa.Column("decision", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("reviewer", sa.Text, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
)
screening = sa.Table(
    "screening",
    metadata,
    sa.Column("task_set", sa.Text, sa.ForeignKey("task_sets.name"), primary_key=True),
    sa.Column("part", sa.Text, nullable=False),
    sa.Column("cutoff", sa.Double),
    sa.Column("created", sa.Double, nullable=False),
)
grades = sa.Table(
    "grades",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("label", sa.Text, sa.ForeignKey("labels.id"), nullable=False, index=True),
    sa.Column("grade", sa.Integer, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("grader", sa.Text, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
)
admissions = sa.Table(
    "admissions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("person", sa.Text, sa.ForeignKey("people.id"), nullable=False, index=True),
    sa.Column("accepted", sa.Boolean, nullable=False),
    sa.Column("scores", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("judge", sa.Text, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
)
api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("pseudonym", sa.Text, nullable=False, unique=True),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("closed", sa.Double),
)
key_sessions = sa.Table(
    "key_sessions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, sa.ForeignKey("api_keys.id"), nullable=False, index=True),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
)
consents = sa.Table(
    "consents",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, nullable=False, index=True),
    sa.Column("version", sa.Text, sa.ForeignKey("guidelines.version"), nullable=False),
    sa.Column("given", sa.Boolean, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)
work_days = sa.Table(
    "work_days",
    metadata,
    sa.Column("person", sa.Text, sa.ForeignKey("people.id"), primary_key=True),
    sa.Column("task_set", sa.Text, primary_key=True),
    sa.Column("day", sa.Integer, primary_key=True),  # days since 1970, UTC
    sa.Column("answers", sa.Integer, nullable=False),
    sa.Column("corrections", sa.Integer, nullable=False),
    sa.Column("skips", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("unmeasured", sa.Integer, nullable=False),  # answers without seconds
)
sa.Index("work_days_of_set", work_days.c.task_set, work_days.c.day)
sa.Index("labels_newest", labels.c.created)
work_limits = sa.Table(
    "work_limits",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("person", sa.Text, sa.ForeignKey("people.id"), index=True),
    sa.Column("task_set", sa.Text),
    sa.Column("language", sa.Text),
    sa.Column("most", sa.Integer, nullable=False),
    sa.Column("a_day", sa.Boolean, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
)
work_assignments = sa.Table(
    "work_assignments",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("person", sa.Text, sa.ForeignKey("people.id"), nullable=False, index=True),
    sa.Column("task_set", sa.Text),
    sa.Column("language", sa.Text),
    sa.Column("created", sa.Double, nullable=False),
)
