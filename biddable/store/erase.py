"""Taking a person out of a store: what they said as labelers, and every task that shows a prompt of theirs with all labels on it.

Labels can only be added, says the store's promise to research; a person's wish to be forgotten is the one exception, and this is the one
place where it is made. Tables are found through their foreign keys, so none that was added later is missed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa

from biddable.store.database import disk_errors
from biddable.store.store import Store

CHUNK = 500
"""Keys in one statement."""


def erase_person(store: Store, pseudonym: str, really: bool) -> dict[str, int]:
    """Rows removed by table, in one transaction; not `really`: counted only, and everything stays.

    A labeler is known by pseudonym or id, a user by the pseudonym in prompts. Seats that the person sat on become free again.
    """
    with (
        disk_errors(),
        store.engine.execution_options(write=True).connect() as connection,
        connection.begin() as change,
    ):
        tables = sa.MetaData()
        tables.reflect(connection)
        gone: Counter[str] = Counter()
        with _labels_may_go(connection, really):
            people = tables.tables["people"]
            known = people.c.id == pseudonym
            _remove(
                connection,
                tables,
                people,
                connection.scalars(sa.select(people.c.id).where(known)).all(),
                gone,
            )
            for table in tables.tables.values():  # labelers by name, and what serving keeps: keys, consents
                for column in (column for column in table.columns if column.name in ("pseudonym", "user")):
                    (key,) = table.primary_key.columns
                    own = connection.scalars(sa.select(key).where(column == pseudonym)).all()
                    _remove(connection, tables, table, own, gone)
            tasks = tables.tables["tasks"]
            _remove(connection, tables, tasks, list(_tasks_of(connection, tasks, pseudonym)), gone)
        if not really:
            change.rollback()
    if really and store.engine.dialect.name == "sqlite" and gone:
        with store.engine.connect() as connection:
            connection.exec_driver_sql(
                "ROLLBACK"
            )  # the pages that held the rows are overwritten outside any transaction
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.exec_driver_sql("VACUUM")
            connection.exec_driver_sql("BEGIN")
    return dict(gone)


def _tasks_of(connection: sa.Connection, tasks: sa.Table, user: str) -> Iterator[str]:
    """Ids of tasks that show a prompt of this user. The text search only narrows down what is read as JSON."""
    inner = json.dumps(user, ensure_ascii=False)[1:-1]
    query = sa.select(tasks.c.id, tasks.c.question).where(tasks.c.question.contains(inner, autoescape=True))
    for row in connection.execute(query):
        if user in _users(json.loads(row.question)):
            yield row.id


def _users(value: object) -> Iterator[str]:
    """Every "user" in a question, however deep."""
    if isinstance(value, dict):
        if isinstance(value.get("user"), str):
            yield value["user"]
        for inner in value.values():
            yield from _users(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _users(inner)


def _remove(
    connection: sa.Connection, tables: sa.MetaData, table: sa.Table, keys: Sequence[str], gone: Counter[str]
) -> None:
    """Delete rows by their only key, after what points at them: rows that cannot do without go too, others let go. What takes a row's place
    in the same table, such as a label's correction, goes with it."""
    if not keys:
        return
    (key,) = table.primary_key.columns
    own = [column for column in table.columns if any(link.column is key for link in column.foreign_keys)]
    keys = _with_successors(connection, key, own, keys)
    for other in tables.tables.values():
        for column in other.columns if other is not table else ():
            if any(link.column is key for link in column.foreign_keys):
                _let_go(connection, tables, column, keys, gone)
    removed = -1
    while removed:  # those first that no other row of the table names
        removed = 0
        for part in _parts(keys):
            twin = table.alias()
            free = [~sa.exists().where(twin.c[column.name] == key) for column in own]
            removed += connection.execute(sa.delete(table).where(key.in_(part), *free)).rowcount
        gone[table.name] += removed
        if not own:
            break


def _with_successors(
    connection: sa.Connection, key: sa.Column[str], own: Sequence[sa.Column[str]], keys: Sequence[str]
) -> list[str]:
    """The keys, and those of rows in the same table that name them, and so on."""
    found = dict.fromkeys(keys)
    latest = list(keys)
    while latest:
        named = [
            connection.scalars(sa.select(key).where(column.in_(part))).all()
            for column in own
            for part in _parts(latest)
        ]
        latest = [one for some in named for one in some if one not in found]
        found |= dict.fromkeys(latest)
    return list(found)


def _let_go(
    connection: sa.Connection,
    tables: sa.MetaData,
    column: sa.Column[str],
    keys: Sequence[str],
    gone: Counter[str],
) -> None:
    """Free a column of these keys, or remove its rows when it must name something."""
    other = column.table
    assert isinstance(other, sa.Table)
    for part in _parts(keys):
        if column.nullable:
            free = (
                {"person": None, "until": 0.0, "label": None}
                if other.name == "leases"
                else {column.name: None}
            )
            connection.execute(sa.update(other).where(column.in_(part)).values(free))
        elif len(other.primary_key.columns) == 1:
            (own,) = other.primary_key.columns
            _remove(
                connection,
                tables,
                other,
                connection.scalars(sa.select(own).where(column.in_(part))).all(),
                gone,
            )
        else:
            gone[other.name] += connection.execute(sa.delete(other).where(column.in_(part))).rowcount


def _parts(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[begin : begin + CHUNK] for begin in range(0, len(keys), CHUNK))


@contextmanager
def _labels_may_go(connection: sa.Connection, really: bool) -> Iterator[None]:
    """The triggers that forbid changes, away for this transaction; others wait for it and never see the store without them."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").all()
        for name, _ in rows:
            connection.exec_driver_sql(f'DROP TRIGGER "{name}"')
        yield
        for _, sql in rows:
            connection.exec_driver_sql(sql)
        return
    found = "SELECT DISTINCT event_object_table FROM information_schema.triggers WHERE trigger_schema = current_schema()"
    names = connection.exec_driver_sql(found).scalars().all()
    for name in names:
        connection.exec_driver_sql(f'ALTER TABLE "{name}" DISABLE TRIGGER USER')
    yield
    if really:
        connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
    for name in names:
        connection.exec_driver_sql(f'ALTER TABLE "{name}" ENABLE TRIGGER USER')
