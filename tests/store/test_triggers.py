"""Append-only tables: on both databases no row can be changed or deleted, except by erasing a person; and
that ends."""

from __future__ import annotations

import ast

import pytest
import sqlalchemy as sa

from biddable.store.database import MIGRATIONS
from biddable.store.erase import erase_person
from biddable.store.store import Store
from biddable.store.triggers import triggers_off
from biddable.store.types import Task, TaskSet

APPEND_ONLY = (
    "admissions",
    "answer_keys",
    "audit",
    "consents",
    "grades",
    "guideline_editions",
    "guidelines",
    "labels",
    "reviews",
    "skips",
)


def tables_with_triggers(store: Store) -> list[str]:
    query = (
        "SELECT DISTINCT tbl_name FROM sqlite_master WHERE type = 'trigger'"
        if store.engine.dialect.name == "sqlite"
        else "SELECT DISTINCT relname FROM pg_trigger JOIN pg_class ON tgrelid = pg_class.oid "
        "WHERE NOT tgisinternal AND tgenabled = 'O'"
    )
    with store.read() as connection:
        return sorted(connection.exec_driver_sql(query).scalars())


def label_one(store: Store) -> None:
    store.put_tasks(TaskSet("set", "label.any", "training", False), [Task("a", "{}", overlap=2)])
    version = store.add_guideline("training", "be helpful")
    for person in ("ada", "bob"):
        store.lease("set", person, 60.0)
        store.add_label("a", person, "yes", version)


def change_label(store: Store) -> None:
    for change in ("UPDATE labels SET answer = 'no'", "DELETE FROM labels"):
        with pytest.raises(sa.exc.DBAPIError, match="labels are append only"), store.engine.begin() as db:
            db.exec_driver_sql(change)


def test_these_tables_and_no_others_are_append_only(store: Store) -> None:
    assert tables_with_triggers(store) == list(APPEND_ONLY)
    label_one(store)
    change_label(store)


def test_postgresql_refuses_to_truncate_too(store: Store) -> None:
    if store.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no TRUNCATE")
    with pytest.raises(sa.exc.DBAPIError, match="consents are append only"), store.engine.begin() as db:
        db.exec_driver_sql("TRUNCATE consents")


@pytest.mark.parametrize("really", [False, True])
def test_erasing_a_person_brings_the_triggers_back(store: Store, really: bool) -> None:
    label_one(store)
    assert erase_person(store, "ada", really)["labels"] == 1
    assert [label.person.id for label in store.labels("set")] == (["bob"] if really else ["ada", "bob"])
    assert tables_with_triggers(store) == list(APPEND_ONLY)
    change_label(store)


def test_a_transaction_that_fails_brings_the_triggers_back(store: Store) -> None:
    def step(connection: sa.Connection) -> None:
        with triggers_off(connection):
            connection.exec_driver_sql("UPDATE labels SET answer = 'no'")
            raise KeyError("a fault")

    label_one(store)
    with pytest.raises(KeyError):
        store.write(step)
    assert [label.answer for label in store.labels("set")] == ["yes", "yes"]
    assert tables_with_triggers(store) == list(APPEND_ONLY)


def test_migrations_are_frozen() -> None:
    """A migration imports SQLAlchemy, Alembic, and versioned functions of `triggers`: nothing that may change
    under it."""
    for path in MIGRATIONS.glob("versions/m*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module not in ("__future__", "alembic"):
                assert node.module == "biddable.store.triggers", path
                assert all(alias.name.endswith("_v1") for alias in node.names), path
            elif isinstance(node, ast.Import):
                assert [alias.name for alias in node.names] == ["sqlalchemy"], path
