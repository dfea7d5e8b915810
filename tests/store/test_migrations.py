"""Stores of every earlier schema, with rows in all tables: opening one migrates it and changes no row."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa

from biddable.label import queue
from biddable.store.database import MIGRATIONS, create_engine
from biddable.store.store import open_store
from biddable.store.tables import metadata
from biddable.store.types import Counts, Person
from tests.conftest import WordAnswer

REVISIONS = sorted(path.name[1:5] for path in MIGRATIONS.glob("versions/m*.py"))
KEPT = '{"answer": {"word": "first"}, "shown": []}'
STAMP = {"id": "1", "created": 1.0}
ROWS: dict[str, list[dict[str, Any]]] = {
    "people": [
        {"id": name, "pseudonym": name, "panel": "training", "simulated": False, "created": 1.0}
        for name in ("ada", "bob")
    ],
    "guidelines": [{"version": "v", "text": "be helpful"}],
    "tasks": [
        {
            "id": "t0",
            "task_set": "old",
            "kind": "label.any",
            "question": '{"answers": []}',
            "panel": "training",
        }
        | {"simulated": False, "overlap": 2, "priority": 0, "created": 1.0}
    ],
    "labels": [
        {
            "id": "l0",
            "task": "t0",
            "person": "ada",
            "answer": KEPT,
            "guideline": "v",
            "seconds": 2.0,
            "created": 1.0,
            "replaces": None,
        }
    ],
    "leases": [
        {
            "id": "t0/0",
            "task": "t0",
            "task_set": "old",
            "priority": 0,
            "person": "ada",
            "until": 9.0,
            "label": "l0",
        },
        {
            "id": "t0/1",
            "task": "t0",
            "task_set": "old",
            "priority": 0,
            "person": None,
            "until": 0.0,
            "label": None,
        },
    ],
    "accounts": [
        {
            "id": "a",
            "login": "ada",
            "password": "hash",
            "role": "admin",
            "person": "ada",
            "created": 1.0,
            "closed": None,
        }
    ],
    "invitations": [
        {
            "id": "i",
            "role": "labeler",
            "panel": "training",
            "note": "",
            "inviter": "a",
            "created": 1.0,
            "until": 2.0,
            "account": None,
        }
    ],
    "password_resets": [{"id": "r", "account": "a", "created": 1.0, "until": 2.0, "used": None}],
    "sessions": [{"id": "s", "account": "a", "agent": "x", "created": 1.0, "seen": 1.0, "until": 2.0}],
    "login_attempts": [{"id": "1", "what": "login", "at": 1.0}],
    "audit": [{"id": "1", "at": 1.0, "account": "a", "action": "invited", "about": "bob"}],
    "secrets": [{"name": "cookies", "value": "00"}],
    "drafts": [
        {
            "task": "t0",
            "person": "ada",
            "content": "{}",
            "guideline": "v",
            "seconds": 1.5,
            "begun": 1.0,
            "saved": 1.0,
        }
    ],
    "skips": [{"task": "t0", "person": "ada", "flag": True, "reason": "odd", "created": 1.0}],
    "guideline_editions": [{"name": "training", "version": "v", "account": "a", **STAMP}],
    "task_sets": [
        {"name": "old", "kind": "label.any", "panel": "training", "simulated": False, "everybody": False}
        | {"gold": None, "gold_share": 0.0, "created": 1.0}
    ],
    "answer_keys": [{"task": "t0", "expected": "{}"}],
    "reviews": [
        {
            "task": "t0",
            "label": "l0",
            "person": "ada",
            "decision": "stands",
            "note": "",
            "reviewer": "a",
            **STAMP,
        }
    ],
    "screening": [],
    "work_limits": [
        {"id": "w", "person": None, "task_set": None, "language": "xx", "most": 9, "a_day": True}
        | {"created": 1.0}
    ],
    "work_assignments": [
        {"id": "w", "person": "ada", "task_set": "elsewhere", "language": None, "created": 1.0}
    ],
    "work_days": [
        {"person": "ada", "task_set": "old", "day": 0, "answers": 1, "corrections": 0, "skips": 0}
        | {"seconds": 2.0, "unmeasured": 0}
    ],
    "grades": [{"label": "l0", "grade": 6, "note": "", "grader": "a", **STAMP}],
    "admissions": [{"person": "ada", "accepted": True, "scores": "{}", "note": "", "judge": "a", **STAMP}],
    "api_keys": [{"id": "k", "name": "n", "pseudonym": "grey-owl", "created": 1.0, "closed": None}],
    "key_sessions": [{"id": "s", "key": "k", "created": 1.0, "until": 2.0}],
    "consents": [{"id": "c", "user": "grey-owl", "version": "v", "given": True, "at": 1.0}],
}
OLD_NAMES = {
    "attempts": "login_attempts",
    "editions": "guideline_editions",
    "sets": "task_sets",
    "verdicts": "admissions",
}
"""Tables that were called otherwise before revision 0006."""


def made_by(where: str, revision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store as that revision left it, with its rows."""
    from alembic import command

    upgrade = command.upgrade
    monkeypatch.setattr(command, "upgrade", lambda config, to: upgrade(config, revision))
    open_store(where).close()
    monkeypatch.undo()
    engine = create_engine(where, True)
    tables = sa.MetaData()
    with engine.execution_options(write=True).begin() as connection:
        tables.reflect(connection)
        names = {OLD_NAMES.get(name, name): table for name, table in tables.tables.items()}
        for name, rows in ROWS.items():
            if name in names and rows:
                connection.execute(sa.insert(names[name]), rows)
    engine.dispose()


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_store_of_an_earlier_schema(where: str, revision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made_by(where, revision, monkeypatch)
    with open_store(where) as store:
        there = sa.MetaData()
        there.reflect(store.engine)
        assert set(ROWS) == set(there.tables) - {"alembic_version"}
        with store.read() as connection:
            assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all() == [
                REVISIONS[-1]
            ]
            for name, rows in ROWS.items():
                found = [row._mapping for row in connection.execute(sa.select(there.tables[name]))]
                if found or name == "task_sets":  # sets are made from the tasks of stores that had none
                    assert [
                        {key: row[key] for key in wanted} for row, wanted in zip(found, rows, strict=True)
                    ] == rows, name
        assert [one.priority for one in store.task_sets()] == [0]
        task = queue.next_task(store, "old", "bob")
        assert task is not None
        queue.submit(store, task, "bob", WordAnswer(word="second"), "v", 1.0)
        assert store.counts("old") == Counts(2, 0, 0)
        rows = queue.collected_labels(store, "old")
        assert [(row.person.id, row.answer) for row in rows] == [
            ("ada", '{"word": "first"}'),
            ("bob", '{"word": "second"}'),
        ]
        assert [row.stands for row in rows] == [
            True,
            revision < "0003",
        ]  # later ones hold the decision for ada
        store.add_people([Person("eve", "eve", "held_out", False)])


def test_every_table_has_rows_in_these_tests() -> None:
    """A new table belongs into ROWS, so that the next migration is tried on it."""
    text = "".join(path.read_text(encoding="utf-8") for path in MIGRATIONS.glob("versions/m*.py"))
    assert set(re.findall(r'create_table\(\s*"(\w+)"', text)) == {
        *ROWS.keys() - OLD_NAMES.values(),
        *OLD_NAMES,
    }


def test_what_is_migrated_is_what_the_code_expects(where: str) -> None:
    """Tables, columns and indexes after all migrations are those that the code was written for."""
    with open_store(where) as store:
        inspector = sa.inspect(store.engine)
        for name, table in metadata.tables.items():
            columns = {c["name"]: c["nullable"] for c in inspector.get_columns(name)}
            assert columns == {c.name: bool(c.nullable) for c in table.columns}, name
            assert {i["name"] for i in inspector.get_indexes(name) if not i.get("duplicates_constraint")} >= {
                i.name for i in table.indexes
            }, name
        assert set(inspector.get_table_names()) == {*metadata.tables, "alembic_version"}
