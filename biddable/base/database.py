"""The database under the store: its tables, how a connection is opened, and its migrations. SQLite (WAL) or PostgreSQL."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from biddable.base.config import Refusal

MIGRATIONS = Path(__file__).with_name("migrations")
CONNECTIONS = 16
"""To PostgreSQL, of one process at most: four web processes stay well below the 100 that a server allows. They are kept: a new one costs more than a query."""
SQLITE_CONNECTIONS = 48
"""More than a web process has threads, so that nobody waits for one."""
MIGRATION_LOCK = 0x62696464  # any number that all processes agree on

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
attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)
sa.Index("attempts_recent", attempts.c.what, attempts.c.at)
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
editions = sa.Table(
    "editions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Text, sa.ForeignKey("guidelines.version"), nullable=False),
    sa.Column("account", sa.Text, sa.ForeignKey("accounts.id")),
    sa.Column("created", sa.Double, nullable=False),
)
sets = sa.Table(
    "sets",
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
    sa.Column("task_set", sa.Text, sa.ForeignKey("sets.name"), primary_key=True),
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
verdicts = sa.Table(
    "verdicts",
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
consents = sa.Table(
    "consents",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, nullable=False, index=True),
    sa.Column("version", sa.Text, sa.ForeignKey("guidelines.version"), nullable=False),
    sa.Column("given", sa.Boolean, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)


def engine_for(where: str | Path, durable: bool) -> sa.Engine:
    text = str(where)
    if "://" not in text:
        Path(where).parent.mkdir(parents=True, exist_ok=True)
        url = sa.URL.create("sqlite", database=str(where))
    else:
        try:
            url = sa.make_url(text)
        except sa.exc.ArgumentError:
            raise Refusal(
                f"{text}: not a database URL; a file or postgresql://user@host/name was expected"
            ) from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise Refusal(
            f"{text}: {url.get_backend_name()} is not supported; use a file (SQLite) or postgresql://..."
        )
    if url.get_backend_name() == "postgresql":
        try:
            url = url.set(drivername="postgresql+psycopg")
            return sa.create_engine(url, pool_pre_ping=True, pool_size=CONNECTIONS, max_overflow=0)
        except ModuleNotFoundError:
            raise Refusal(f"{text}: PostgreSQL needs the extra: pip install 'biddable[postgres]'") from None
    engine = sa.create_engine(url, poolclass=sa.QueuePool, pool_size=SQLITE_CONNECTIONS, max_overflow=0)

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin below, not by the driver's guess
        connection.execute("PRAGMA busy_timeout = 60000")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys = ON")

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def migrate(connection: sa.Connection, where: str | Path) -> None:
    newest = max(path.name for path in (MIGRATIONS / "versions").glob("m*.py"))[
        1:5
    ]  # m0002_site.py is revision 0002
    version = sa.text("SELECT version_num FROM alembic_version")
    if sa.inspect(connection).has_table("alembic_version") and connection.execute(
        version
    ).scalars().all() == [newest]:
        return  # Alembic takes a tenth of a second to load
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise Refusal(
            f"{where}: the store was made by a newer biddable ({error}); use that version"
        ) from error


@contextmanager
def disk_errors() -> Iterator[None]:
    """A full disk is told as the operating system would tell it."""
    try:
        yield
    except sa.exc.OperationalError as error:
        if "disk is full" in str(error.orig):
            raise OSError(errno.ENOSPC, "the disk is full") from error
        raise
