"""Store: the database of what people did. SQLite (write-ahead log) in a file by default, PostgreSQL by URL.

Append only: a label is never changed, a correction is a new row that names the one it replaces. There is one writer at a time on either
database (`writing`), so a rule checked inside a write holds for everybody; each write is a few rows. The only things updated in place are a task's
number of free places and the leases, which are nobody's work.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from biddable.base.config import Refusal

Panel = Literal["training", "held_out"]

VERSION = "0001"
"""The newest migration in `migrations/versions`: the schema that this code reads and writes."""

SCHEMA = sa.MetaData()

people = sa.Table(
    "people",
    SCHEMA,
    sa.Column("id", sa.Text, primary_key=True),  # a pseudonym
    sa.Column("panel", sa.Text, nullable=False),  # training or held_out: nobody is in both
    sa.Column("simulated", sa.Boolean, nullable=False),
    sa.Column("added", sa.Double, nullable=False),  # seconds since 1970, UTC, as in all tables
)

guidelines = sa.Table(
    "guidelines",
    SCHEMA,
    sa.Column("version", sa.Text, primary_key=True),  # name@hash of the text
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("added", sa.Double, nullable=False),
)

tasks = sa.Table(
    "tasks",
    SCHEMA,
    sa.Column("task_set", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),  # the stage that asks, e.g. label.comparisons
    sa.Column("panel", sa.Text, nullable=False),
    sa.Column("question", sa.Text, nullable=False),  # a record as JSON, with the model names that people do not see
    sa.Column("width", sa.Integer, nullable=False),  # answers shown, in an order drawn for each person
    sa.Column("overlap", sa.Integer, nullable=False),  # how many people answer
    sa.Column("free", sa.Integer, nullable=False),  # overlap less labels less leases
    sa.Column("priority", sa.Integer, nullable=False),  # higher comes first
    sa.Column("place", sa.BigInteger, nullable=False),  # order among equals: a hash, so that neighbours in a file part
    sa.CheckConstraint("free >= 0", name="never_over_assigned"),
)
sa.Index(
    "tasks_free",
    tasks.c.task_set,
    tasks.c.priority.desc(),
    tasks.c.place,
    sqlite_where=sa.text("free > 0"),
    postgresql_where=sa.text("free > 0"),
)

leases = sa.Table(
    "leases",
    SCHEMA,
    sa.Column("task_set", sa.Text, primary_key=True),
    sa.Column("task", sa.Text, primary_key=True),
    sa.Column("person", sa.Text, sa.ForeignKey("people.id"), primary_key=True),
    sa.Column("shown", sa.Text, nullable=False),  # JSON: shown[i] is the stored number of the answer at place i
    sa.Column("until", sa.Double, nullable=False),
    sa.ForeignKeyConstraint(["task_set", "task"], ["tasks.task_set", "tasks.id"]),
)
sa.Index("leases_until", leases.c.task_set, leases.c.until)
sa.Index("leases_person", leases.c.task_set, leases.c.person)

labels = sa.Table(
    "labels",
    SCHEMA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("task_set", sa.Text, nullable=False),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("person", sa.Text, sa.ForeignKey("people.id"), nullable=False),
    sa.Column("answer", sa.Text, nullable=False),  # the kind's Answer as JSON, in the order shown
    sa.Column("shown", sa.Text, nullable=False),
    sa.Column("guideline", sa.Text, sa.ForeignKey("guidelines.version"), nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),  # time taken
    sa.Column("replaces", sa.Integer, sa.ForeignKey("labels.id"), unique=True),
    sa.Column("added", sa.Double, nullable=False),
    sa.ForeignKeyConstraint(["task_set", "task"], ["tasks.task_set", "tasks.id"]),
)
sa.Index(
    "labels_once",
    labels.c.task_set,
    labels.c.task,
    labels.c.person,
    unique=True,
    sqlite_where=sa.text("replaces IS NULL"),
    postgresql_where=sa.text("replaces IS NULL"),
)


class NewTask(NamedTuple):
    """A question to be put to `overlap` people of a panel."""

    id: str
    question: str  # a record as JSON
    width: int = 0  # answers shown in an order drawn for each person; 0: nothing to shuffle
    overlap: int = 1
    priority: int = 0


class Store:
    """An open store. Threads may share one; processes open their own."""

    def __init__(self, where: str | Path) -> None:
        """Open a store by path or SQLAlchemy URL, making or migrating its tables. Raises Refusal when that fails."""
        self.where = str(where)
        url = self.where if "://" in self.where else f"sqlite:///{self.where}"
        if url.startswith(("postgresql://", "postgres://")):
            url = "postgresql+psycopg://" + url.split("://", 1)[1]
        try:
            self._engine = sa.create_engine(url, pool_size=4, max_overflow=60)
            if self._engine.dialect.name == "sqlite":
                sa.event.listen(self._engine, "connect", _sqlite_connect)
                sa.event.listen(self._engine, "begin", _sqlite_begin)
            with self.reading() as db:
                version = _version(db)
            if version != VERSION:
                with self.writing() as db:
                    _migrate(db)
        except ModuleNotFoundError as error:
            raise Refusal(
                f"store {self.where}: {error.name} is not installed; pip install 'biddable[postgres]'"
            ) from error
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as error:
            raise Refusal(f"store {self.where}: not a database's URL or path ({error})") from error
        except (sa.exc.OperationalError, sa.exc.DatabaseError) as error:
            raise Refusal(f"store {self.where}: cannot be opened ({str(error.orig).strip()})") from error

    def close(self) -> None:
        """Let the database go."""
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A consistent view, taken without waiting for writers."""
        with self._engine.connect() as db, db.begin():
            yield db

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """The only write under way: committed at the end of the block, taken back when an exception leaves it. Keep it short."""
        with self._engine.connect().execution_options(writing=True) as db, db.begin():
            if db.dialect.name == "postgresql":
                db.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.labels'))"))
            yield db

    def add_people(self, ids: Sequence[str], panel: Panel, simulated: bool) -> None:
        """Enter people; those who are there already stay. Raises Refusal for one who is in the other panel or of the other sort."""
        with self.writing() as db:
            known = {row.id: row for row in db.execute(sa.select(people).where(people.c.id.in_(list(ids))))}
            wrong = [
                f"store {self.where}: {row.id} is {'simulated' if row.simulated else 'a person'} in the panel {row.panel}, "
                f"not {'simulated' if simulated else 'a person'} in {panel}; take another id"
                for row in known.values()
                if (row.panel, row.simulated) != (panel, simulated)
            ]
            if wrong:
                raise Refusal(wrong)
            rows = [
                {"id": one, "panel": panel, "simulated": simulated, "added": time.time()}
                for one in ids
                if one not in known
            ]
            if rows:
                db.execute(people.insert(), rows)

    def guideline(self, name: str, text: str) -> str:
        """Keep a guideline's text; returns its version, `name@hash`, which is stamped on each label given under it."""
        version = f"{name}@{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        with self.writing() as db:
            if not db.execute(sa.select(guidelines.c.version).where(guidelines.c.version == version)).first():
                db.execute(guidelines.insert().values(version=version, name=name, text=text, added=time.time()))
        return version

    def add_tasks(self, task_set: str, kind: str, panel: Panel, new: Sequence[NewTask]) -> int:
        """Enter tasks; those whose id is in the set already stay as they are. Returns how many were new."""
        with self.writing() as db:
            known = set(db.execute(sa.select(tasks.c.id).where(tasks.c.task_set == task_set)).scalars())
            rows = [
                task._asdict()
                | {"task_set": task_set, "kind": kind, "panel": panel, "free": task.overlap, "place": _place(task.id)}
                for task in new
                if task.id not in known
            ]
            if rows:
                db.execute(tasks.insert(), rows)
        return len(rows)


def _place(task: str) -> int:
    return int.from_bytes(hashlib.sha256(task.encode()).digest()[:6], "big")


def _sqlite_connect(connection: Any, _: Any) -> None:
    # The driver would begin transactions late and by itself; `_sqlite_begin` does it instead.
    connection.isolation_level = None
    for line in ("busy_timeout = 60000", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {line}").close()


def _sqlite_begin(db: sa.Connection) -> None:
    # IMMEDIATE takes the write lock at once; a read that turns into a write later would fail instead of waiting.
    db.exec_driver_sql("BEGIN IMMEDIATE" if db.get_execution_options().get("writing") else "BEGIN")


def _version(db: sa.Connection) -> str | None:
    if not sa.inspect(db).has_table("alembic_version"):
        return None
    return db.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(db: sa.Connection) -> None:
    """Bring the tables up to VERSION. Raises Refusal for a store that newer code wrote."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = db
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise Refusal(f"store {db.engine.url}: made by a newer biddable ({error}); update biddable") from error
