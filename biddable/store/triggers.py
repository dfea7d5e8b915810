"""Append-only tables: triggers that refuse to change or delete a row, whoever asks.

Labels are evidence. A correction is a new row, so what somebody answered can be read years later; the
database itself holds us to that, on SQLite and on PostgreSQL. Only `erase` takes the triggers away, for one
transaction.

Migrations call the functions ending in `_v1`. These are as frozen as a released migration: stores out there
were made by them, and a later version of this file has to find the names it expects in every one of them. A
different trigger is a `_v2` beside them, with a new migration that calls it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa


def append_only_v1(connection: sa.Connection, table: str) -> None:
    """From now on, changing or deleting a row of this table fails. Frozen: see above."""
    if connection.dialect.name == "sqlite":
        for event in ("UPDATE", "DELETE"):
            connection.exec_driver_sql(
                f"CREATE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} are append only'); END"
            )
        return
    connection.exec_driver_sql(
        f"CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} are append only'; END $$"
    )
    connection.exec_driver_sql(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_append_only()"
    )


def drop_append_only_v1(connection: sa.Connection, table: str) -> None:
    """Take back what `append_only_v1` did to this table, before it gets another name. Frozen: see above."""
    if connection.dialect.name == "sqlite":
        for event in ("update", "delete"):
            connection.exec_driver_sql(f"DROP TRIGGER {table}_no_{event}")
        return
    connection.exec_driver_sql(f"DROP TRIGGER {table}_append_only ON {table}")
    connection.exec_driver_sql(f"DROP FUNCTION {table}_append_only()")


@contextmanager
def triggers_off(connection: sa.Connection) -> Iterator[None]:
    """No triggers within this transaction. Other connections wait for it, and never see the store without
    them."""
    if connection.dialect.name == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        triggers = connection.exec_driver_sql(query).all()
        for name, _ in triggers:
            connection.exec_driver_sql(f'DROP TRIGGER "{name}"')
        yield
        for _, statement in triggers:
            connection.exec_driver_sql(statement)
        return
    query = (
        "SELECT DISTINCT event_object_table FROM information_schema.triggers "
        "WHERE trigger_schema = current_schema()"
    )
    tables = connection.exec_driver_sql(query).scalars().all()
    for table in tables:
        connection.exec_driver_sql(f'ALTER TABLE "{table}" DISABLE TRIGGER USER')
    yield
    # PostgreSQL refuses to alter a table for which checks of foreign keys are still to come
    connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
    for table in tables:
        connection.exec_driver_sql(f'ALTER TABLE "{table}" ENABLE TRIGGER USER')
