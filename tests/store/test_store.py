"""The store: opening, migrating, append only, and that what is entered twice is there once."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.store import Store, open_store
from biddable.store.types import Counts, Person, Task, TaskSet

ADA = Person("1", "ada-1", "training", False)
SET = TaskSet("set", "label.any", "training", False)


def test_sqlite_is_opened_safely(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db") as store, store.engine.connect() as db:
        assert db.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert db.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert db.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL: a label outlives a power cut


def test_entering_twice_enters_once(where: str) -> None:
    with open_store(where) as store:
        for _ in range(2):
            store.add_people([ADA])
            store.put_tasks(SET, [Task("a", "{}"), Task("b", "{}", overlap=2)])
        assert store.people() == [ADA]
        assert store.counts("set") == Counts(done=0, waiting=0, open=3)
        first, again, changed = (store.add_guideline("training", text) for text in ("kind", "kind", "kinder"))
        assert first == again != changed


def test_a_guidelines_version_is_its_name_with_a_hash(where: str) -> None:
    """printf 'be helpful' | sha256sum | cut -c1-12: records of years ago name their guideline by it."""
    with open_store(where) as store:
        assert store.add_guideline("training", "be helpful") == "training-5b444d60f3b5"


def test_sets_come_by_priority_then_age_then_name(where: str) -> None:
    now = [5.0]
    with open_store(where, clock=lambda: now[0]) as store:
        for name, priority, created in (
            ("low", -1, 1.0),
            ("b", 0, 2.0),
            ("a", 0, 2.0),
            ("z", 0, 1.0),
            ("high", 3, 9.0),
        ):
            now[0] = created
            store.put_tasks(
                TaskSet(name, "label.any", "training", False, priority=priority), [Task(name, "{}")]
            )
        assert [task_set.name for task_set in store.task_sets()] == ["high", "z", "a", "b", "low"]
        lowered = TaskSet("high", "label.any", "training", False, priority=-5)
        store.put_tasks(lowered, [Task("high", "{}")])  # another setting, the same set
        assert store.task_sets()[-1] == lowered
        with pytest.raises(UserError, match="high is in the store as"):
            store.put_tasks(TaskSet("high", "label.any", "held_out", False), [])


def test_a_question_and_the_set_that_asks_it(where: str) -> None:
    with open_store(where) as store:
        store.put_tasks(SET, [Task("b", '{"b": 2}'), Task("a", '{"a": 1}')])
        assert store.question("b") == ("label.any", '{"b": 2}') and store.task_set_name("b") == "set"
        assert store.tasks("set") == ["a", "b"]
        for read in (store.question, store.task_set_name):
            with pytest.raises(UserError, match="there is no task c"):
                read("c")


def test_a_person_stays_in_one_panel(where: str) -> None:
    with open_store(where) as store:
        store.add_people([ADA])
        with pytest.raises(UserError, match="1 is in the store as"):
            store.add_people(
                [Person("2", "bob-2", "held_out", False), Person("1", "ada-1", "held_out", False)]
            )
        assert store.people() == [ADA]


def labeled(store: Store) -> str:
    """One label, "yes" by ada-1, of task a."""
    store.add_people([ADA])
    store.put_tasks(SET, [Task("a", "{}")])
    assert store.lease("set", "1", 60.0) is not None
    return store.add_label("a", "1", "yes", store.add_guideline("training", "be helpful"), 1.0)


def test_labels_are_only_added(where: str) -> None:
    with open_store(where) as store:
        first = labeled(store)
        for change in (
            "UPDATE labels SET answer = 'no'",
            "DELETE FROM labels",
            "UPDATE guidelines SET text = ''",
        ):
            with pytest.raises(sa.exc.DBAPIError, match="append only"), store.engine.begin() as db:
                db.exec_driver_sql(change)
        guideline = store.labels("set")[0].guideline
        second = store.add_label("a", "1", "no", guideline, 1.0, replaces=first)
        assert [(label.id, label.answer, label.replaces) for label in store.labels("set")] == [
            (second, "no", first)
        ]
        with store.engine.connect() as db:
            assert db.exec_driver_sql("SELECT count(*) FROM labels").scalar() == 2


def test_labels_come_with_their_questions_in_one_query(where: str) -> None:
    with open_store(where) as store:
        store.add_people([ADA, Person("2", "bob-2", "training", False)])
        store.put_tasks(SET, [Task("a", '{"a": 1}', overlap=2), Task("b", '{"b": 2}', overlap=2)])
        version = store.add_guideline("training", "be helpful")
        for person in ("1", "2"):
            for task in ("a", "b"):
                assert store.lease("set", person, 60.0) is not None
                store.add_label(task, person, "yes", version, 1.0)
        statements: list[str] = []

        @sa.event.listens_for(store.engine, "before_cursor_execute")
        def _count(_: sa.Connection, __: object, statement: str, *___: object) -> None:
            if statement.startswith("SELECT"):
                statements.append(statement)

        labels = store.labels("set")
        assert [(label.task, label.person.id, label.kind, label.question) for label in labels] == [
            ("a", "1", "label.any", '{"a": 1}'),
            ("a", "2", "label.any", '{"a": 1}'),
            ("b", "1", "label.any", '{"b": 2}'),
            ("b", "2", "label.any", '{"b": 2}'),
        ]
        assert len(statements) == 1


def test_fewer_tasks_take_no_labels_away(where: str) -> None:
    with open_store(where) as store:
        labeled(store)
        store.put_tasks(SET, [Task("b", "{}")])
        assert [label.task for label in store.labels("set")] == ["a"]


def test_opening_refuses_what_is_not_a_store(tmp_path: Path) -> None:
    (tmp_path / "letter.db").write_text("Dear reader, this is a letter and no database. " * 40)
    for where in (str(tmp_path / "letter.db"), "nosuch://host/name", "no url://"):
        with pytest.raises(UserError) as caught:
            open_store(where)
        assert len(caught.value.lines) == 1 and "\n" not in caught.value.lines[0]
    assert (tmp_path / "letter.db").read_text().startswith("Dear reader")


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path / "store.db").close()
    connection = sqlite3.connect(tmp_path / "store.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(UserError, match="newer biddable"):
        open_store(tmp_path / "store.db")


def test_many_may_open_a_new_store_at_once(where: str) -> None:
    failed: list[BaseException] = []

    def enter(number: int) -> None:
        try:
            with open_store(where) as store:
                store.add_people([Person(str(number), f"person-{number}", "training", True)])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with open_store(where) as store:
        assert len(store.people()) == 6
