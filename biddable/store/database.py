"""The database under the store: how it is opened and migrated. SQLite (WAL) or PostgreSQL."""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.run.redaction import redact_url

MIGRATIONS = Path(__file__).with_name("migrations")
CONNECTIONS = 16
"""To PostgreSQL, of one process at most: four web processes stay well below the 100 that a server allows.
They stay open, as a new one costs more than a query."""
SQLITE_CONNECTIONS = 48
"""More than a web process has threads, so that nobody waits for one."""
MIGRATION_LOCK = 0x62696464  # any number that all processes agree on


def create_engine(where: str | Path, durable: bool) -> sa.Engine:
    """Connections to a file (SQLite) or URL (PostgreSQL). Raises UserError for another URL, or without the
    extra for PostgreSQL."""
    text = str(where)
    if "://" not in text:
        Path(where).parent.mkdir(parents=True, exist_ok=True)
        _keep_private(Path(where))
        url = sa.URL.create("sqlite", database=str(where))
    else:
        url = _read_url(text)
    shown = redact_url(text)
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise UserError(
            f"{shown}: {url.get_backend_name()} is not supported; use a file (SQLite) or postgresql://..."
        )
    if url.get_backend_name() == "postgresql":
        try:
            url = url.set(drivername="postgresql+psycopg")
            engine = sa.create_engine(
                url, pool_pre_ping=True, pool_size=CONNECTIONS, max_overflow=0, hide_parameters=True
            )
            sa.event.listen(engine, "handle_error", _hide_values)
            sa.event.listen(engine, "before_cursor_execute", _with_storable_texts, retval=True)
            return engine
        except ModuleNotFoundError:
            raise UserError(
                f"{shown}: PostgreSQL needs the extra: pip install 'biddable[postgres]'"
            ) from None
    engine = sa.create_engine(
        url, poolclass=sa.QueuePool, pool_size=SQLITE_CONNECTIONS, max_overflow=0, hide_parameters=True
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin below, not by the driver's guess
        connection.execute("PRAGMA busy_timeout = 60000")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys = ON")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # a transaction that begins as a reader and then writes can fail at once when another one writes:
        # writers queue up from the start
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    sa.event.listen(engine, "before_cursor_execute", _with_storable_texts, retval=True)
    return engine


UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""Characters that a database has no room for: PostgreSQL stores no NUL, UTF-8 has no half of a pair."""


def _with_storable_texts(
    connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
) -> tuple[str, Any]:
    """The one place where texts of any form or file meet the database. What cannot be stored is replaced by U+FFFD,
    which readers see; left out, `ab` would be found by whoever asks for `a\\0b`."""
    return statement, _storable(parameters)


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {name: _storable(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_storable, value))
    return value


def _read_url(text: str) -> sa.URL:
    """A URL's parts. Raises UserError when it is none, or would be read otherwise than it was meant."""
    shown = redact_url(text)
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):  # of no port it repeats what stands in its place
        raise UserError(
            f"{shown}: not a database URL; expected a file or postgresql://user:password@host:port/name"
        ) from None
    if "@" in (url.host or ""):
        raise UserError(f"{shown}: a password's @ must be written %40")
    return url


def _hide_values(context: sa.engine.ExceptionContext) -> None:
    """Take rows' values out of PostgreSQL's errors, which end up in logs: its lines after the first (DETAIL:
    Key (login)=(ada) ...), and all of a complaint about a value (SQLSTATE 22...)."""
    error, wrapped = context.original_exception, context.sqlalchemy_exception
    state = getattr(error, "sqlstate", None)
    if state is None:
        return  # not the server's: the connection's, or the driver's
    before = str(error)
    after = f"SQLSTATE {state}" if state.startswith("22") else before.split("\n")[0]
    error.args = (after,)
    if wrapped is not None:
        wrapped.args = tuple(str(part).replace(before, after) for part in wrapped.args)


def _keep_private(path: Path) -> None:
    """Make the file if it is missing, readable by its owner alone: it holds the hashes of passwords and the
    key of all cookies. SQLite gives the files beside it the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            with suppress(OSError):  # gone again, or another user's: theirs to decide
                file = path.with_name(name)
                file.chmod(file.stat().st_mode & 0o700)


def migrate(connection: sa.Connection, where: str | Path) -> None:
    """Run the migrations that a store lacks. Raises UserError when it was made by a newer version."""
    newest = max(path.name for path in (MIGRATIONS / "versions").glob("m*.py"))
    newest = newest[1:5]  # m0002_site.py is revision 0002
    if sa.inspect(connection).has_table("alembic_version"):
        revisions = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all()
        if revisions == [newest]:
            return  # without loading Alembic, which takes a tenth of a second
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
        raise UserError(
            f"{redact_url(str(where))}: the store was made by a newer biddable ({error}); use that version"
        ) from error


@contextmanager
def disk_errors() -> Iterator[None]:
    """Raise OSError, as the operating system would, when the disk is full."""
    try:
        yield
    except sa.exc.OperationalError as error:
        if "disk is full" in str(error.orig):
            raise OSError(errno.ENOSPC, "the disk is full") from error
        raise


def time_ordered_id() -> str:
    """A new id that sorts after those made before it: for rows of which the newest counts, however many share
    one second."""
    return f"{time.time_ns():020d}{secrets.token_hex(4)}"


def unindexed(column: sa.Column[str]) -> sa.ColumnElement[str]:
    """The column for a condition that is not to be looked up in an index: the database begins with another,
    smaller table."""
    return column.concat("")
