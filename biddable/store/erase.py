"""Erasing a person (`biddable forget`): what they answered as a labeler, and every task that shows a prompt
of theirs, with all its labels.

Labels can only be added: that is the store's promise to research. A person's wish to be forgotten is the one
exception, and this is the one place where it is made. Tables are walked through their foreign keys, so none
that is added later is missed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from biddable.store.database import disk_errors
from biddable.store.store import Store
from biddable.store.triggers import triggers_off

CHUNK = 500
"""Keys in one statement: databases limit how many parameters one may have."""


def erase_person(store: Store, pseudonym: str, really: bool) -> dict[str, int]:
    """Table -> rows removed, all in one transaction; not `really`: counted only, and everything stays.

    A labeler is known by pseudonym or id, a user by the pseudonym in prompts. Tasks that the person had
    leased become free again.
    """
    with (
        disk_errors(),
        store.engine.execution_options(write=True).connect() as connection,
        connection.begin() as transaction,
    ):
        with triggers_off(connection):
            removed = _erase(connection, pseudonym)
        if not really:
            transaction.rollback()
    if really and removed and store.engine.dialect.name == "sqlite":
        _vacuum(store)
    return removed


def _erase(connection: sa.Connection, pseudonym: str) -> dict[str, int]:
    eraser = _Eraser(connection)
    people, tasks = eraser.tables["people"], eraser.tables["tasks"]
    ids = connection.scalars(
        sa.select(people.c.id).where(sa.or_(people.c.id == pseudonym, people.c.pseudonym == pseudonym))
    ).all()
    emptied = _empty_texts(connection, eraser.tables, pseudonym, ids)
    eraser.remove(people, ids)
    leases = eraser.tables["leases"]
    for person in ids:  # places that earlier versions freed but kept: their id names the person
        freed = leases.c.person.is_(None) & leases.c.id.endswith(f"/{person}", autoescape=True)
        eraser.remove(leases, connection.scalars(sa.select(leases.c.id).where(freed)).all())
    for table in eraser.tables.values():  # labelers by name, and what serving stores: keys and consents
        for column in table.columns:
            if column.name in ("pseudonym", "user"):
                (key,) = table.primary_key.columns
                eraser.remove(table, connection.scalars(sa.select(key).where(column == pseudonym)).all())
    eraser.remove(tasks, list(_tasks_with_prompt_of(connection, tasks, pseudonym)))
    return {name: rows for name, rows in eraser.removed.items() if rows} | emptied


FORGOTTEN = "(forgotten)"
"""What stands in place of a name in a line that stays."""
NOTES = ("reviews", "grades", "admissions", "invitations")
"""Tables in which admins write of people."""


def _empty_texts(
    connection: sa.Connection, tables: Mapping[str, sa.Table], pseudonym: str, person_ids: Sequence[str]
) -> dict[str, int]:
    """Take a person's names out of rows that stay: notes of the invitation they came by, lines of the audit
    log, notes of reviews about them, what admins' notes say of them elsewhere, their own name as a reviewer.
    Returns table -> rows changed."""
    accounts, invitations = tables["accounts"], tables["invitations"]
    rows = connection.execute(
        sa.select(accounts.c.id, accounts.c.login).where(accounts.c.person.in_(person_ids))
    )
    logins = {row.id: row.login for row in rows}
    is_theirs = invitations.c.account.in_(logins)
    notes = connection.scalars(sa.select(invitations.c.note).where(is_theirs, invitations.c.note != "")).all()
    names = [pseudonym, *logins, *logins.values(), *notes] if person_ids else []
    names.sort(key=len, reverse=True)  # a note may hold the name
    changed = Counter[str]()
    reviews = tables["reviews"]
    for table, condition, values in (
        (invitations, is_theirs & (invitations.c.note != ""), {"note": ""}),
        (reviews, reviews.c.person.in_(person_ids) & (reviews.c.note != ""), {"note": ""}),
        *(
            (tables[name], tables[name].c[column].in_(names), {column: FORGOTTEN})
            for name, column in (("reviews", "reviewer"), ("grades", "grader"), ("admissions", "judge"))
        ),
    ):
        changed[table.name] += connection.execute(sa.update(table).where(condition).values(values)).rowcount
    for name, column in (("audit", "about"), *((name, "note") for name in NOTES)):
        changed[name] += _replace_names(connection, tables[name], column, names)
    return {f"{name} (their name taken out)": rows for name, rows in changed.items() if rows}


def _replace_names(connection: sa.Connection, table: sa.Table, column: str, names: Sequence[str]) -> int:
    """Put FORGOTTEN in place of these names, longer ones first, in a column's texts. Returns the rows changed."""
    if not names:
        return 0
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)")
    (key,) = table.primary_key.columns
    changed = 0
    for row in connection.execute(sa.select(key.label("key"), table.c[column].label("text"))).all():
        if (text := pattern.sub(FORGOTTEN, row.text)) != row.text:
            connection.execute(sa.update(table).where(key == row.key).values({column: text}))
            changed += 1
    return changed


def _vacuum(store: Store) -> None:
    """Overwrite the pages that held the rows. SQLite does this outside of any transaction only."""
    with store.engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql("VACUUM")
        connection.exec_driver_sql("BEGIN")  # the pool expects a transaction that it can end


def _tasks_with_prompt_of(connection: sa.Connection, tasks: sa.Table, user: str) -> Iterator[str]:
    """Ids of tasks that show a prompt of this user."""
    escaped = json.dumps(user, ensure_ascii=False)[1:-1]
    query = sa.select(tasks.c.id, tasks.c.question).where(tasks.c.question.contains(escaped, autoescape=True))
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


class _Eraser:
    """Removes rows with whatever points at them, and counts them by table."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        metadata = sa.MetaData()
        metadata.reflect(connection)
        self.tables = metadata.tables
        self.removed: Counter[str] = Counter()

    def remove(self, table: sa.Table, keys: Sequence[str]) -> None:
        """Delete rows by their single key, after what points at them: rows that cannot do without go too,
        others let go.

        What takes a row's place in the same table, such as a label's correction, goes with it.
        """
        if not keys:
            return
        (key,) = table.primary_key.columns
        links = [column for column in table.columns if _points_at(column, key)]  # such as labels.replaces
        keys = self._with_successors(key, links, keys)
        for other_table in self.tables.values():
            for column in other_table.columns if other_table is not table else ():
                if _points_at(column, key):
                    self._let_go(other_table, column, keys)
        rounds = -1
        while rounds:  # rows that no other row of the table names go first, until none is left
            rounds = 0
            for chunk in _chunks(keys):
                twin = table.alias()
                unnamed = [~sa.exists().where(twin.c[column.name] == key) for column in links]
                rounds += self.connection.execute(sa.delete(table).where(key.in_(chunk), *unnamed)).rowcount
            self.removed[table.name] += rounds
            if not links:
                break

    def _with_successors(
        self, key: sa.Column[str], links: Sequence[sa.Column[str]], keys: Sequence[str]
    ) -> list[str]:
        """The keys, and those of rows in the same table that name them, and so on."""
        reached = dict.fromkeys(keys)
        latest = list(keys)
        while latest:
            successors = [
                successor
                for column in links
                for chunk in _chunks(latest)
                for successor in self.connection.scalars(sa.select(key).where(column.in_(chunk)))
            ]
            latest = [successor for successor in successors if successor not in reached]
            reached |= dict.fromkeys(latest)
        return list(reached)

    def _let_go(self, table: sa.Table, column: sa.Column[str], keys: Sequence[str]) -> None:
        """Empty a column that holds these keys, or remove its rows when it must name something."""
        for chunk in _chunks(keys):
            if table.name == "work_limits":  # without its person it would hold for everybody
                deleted = self.connection.execute(sa.delete(table).where(column.in_(chunk)))
                self.removed[table.name] += deleted.rowcount
            elif column.nullable:
                if table.name == "leases":  # a place at a task for everybody was made for this person
                    sets = self.tables["task_sets"]
                    everybody = sa.select(sets.c.name).where(sets.c.everybody)
                    made_for = sa.delete(table).where(column.in_(chunk), table.c.task_set.in_(everybody))
                    self.removed["leases"] += self.connection.execute(made_for).rowcount
                # a lease without its person or label is a free place at the task again
                free = {"person": None, "until": 0.0, "label": None}
                values = free if table.name == "leases" else {column.name: None}
                self.connection.execute(sa.update(table).where(column.in_(chunk)).values(values))
            elif len(table.primary_key.columns) == 1:
                (key,) = table.primary_key.columns
                self.remove(table, self.connection.scalars(sa.select(key).where(column.in_(chunk))).all())
            else:
                deleted = self.connection.execute(sa.delete(table).where(column.in_(chunk)))
                self.removed[table.name] += deleted.rowcount


def _points_at(column: sa.Column[str], key: sa.Column[str]) -> bool:
    return any(link.column is key for link in column.foreign_keys)


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[begin : begin + CHUNK] for begin in range(0, len(keys), CHUNK))
