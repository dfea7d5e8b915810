"""A store that a version of November 2026 made opens, and everything that people did is still in it.

`tests/fixtures/run_of_november_2026.tar.xz` holds `runs/old/store.db` (schema 0005) and `runs/facts.json`:
passwords and tokens of invented people. Its rows carry times from 1764000001 on.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from biddable.run.config import UserError
from biddable.store import assignments, audit, drafts, gold, guidelines, reviews, screening, sessions
from biddable.store.accounts import Accounts
from biddable.store.api_keys import Keys
from biddable.store.consents import Consents
from biddable.store.invitations import list_invitations
from biddable.store.store import Store, open_store
from biddable.store.types import Admission, Counts, ReturnedLabel, Screening

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run_of_november_2026.tar.xz"
NOW = 1764000100.0
"""A minute after its last row; the session in it was last used 81 seconds ago, the failed attempts are 77
seconds old."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "runs"


@pytest.fixture(scope="module")
def facts(runs: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((runs / "facts.json").read_text())
    return facts


@pytest.fixture
def store(runs: Path, tmp_path: Path) -> Iterator[Store]:
    """A copy for each test."""
    shutil.copy(runs / "old" / "store.db", tmp_path)
    with open_store(tmp_path / "store.db", clock=lambda: NOW) as opened:
        yield opened


def read_tables(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Table -> its rows in the order in which they were added, read without this program."""
    connection = sqlite3.connect(path)
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    tables = {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in names}
    connection.close()
    return tables


def test_migrating_renames_tables_and_changes_no_row(runs: Path, store: Store) -> None:
    before = read_tables(runs / "old" / "store.db")
    assert before.pop("alembic_version") == [("0005",)] and all(before.values())
    new_names = {
        "sets": "task_sets",
        "verdicts": "admissions",
        "editions": "guideline_editions",
        "attempts": "login_attempts",
    }
    expected = {new_names.get(name, name): rows for name, rows in before.items()}
    # 0007: second factors, and when an invitation was used: of old ones that it was
    expected["accounts"] = [(*row, None, 0) for row in expected["accounts"]]
    expected["invitations"] = [(*row, row[5] if row[7] else None) for row in expected["invitations"]]
    expected["password_resets"] = []
    expected["key_sessions"] = []  # 0009
    after = read_tables(Path(store.engine.url.database or ""))
    assert after.pop("alembic_version") == [("0010",)]
    assert after.pop("work_limits") == after.pop("work_assignments") == []
    # 0010: tasks know the language of their prompt
    expected["tasks"] = [
        (*row, (json.loads(row[3]).get("prompt") or {}).get("language")) for row in expected["tasks"]
    ]
    assert sorted(after.pop("work_days")) == work_of(before)
    assert after == expected


def work_of(tables: dict[str, list[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    """0008: a row of `work_days` for each person, set and day, counted from the old tables."""
    set_of_task = {row[0]: row[1] for row in tables["tasks"]}
    leased = {(row[1], row[4]) for row in tables["leases"]}
    labels = {row[0]: row for row in tables["labels"]}
    spent = {(row[0], row[1]): row[4] or 0.0 for row in tables["drafts"]}
    days: dict[tuple[str, str, int], list[Any]] = {}
    for _, task, person, _, _, seconds, created, replaces in labels.values():
        if (task, person) in leased:
            day = days.setdefault((person, set_of_task[task], int(created // 86400)), [0, 0, 0, 0.0, 0])
            day[0 if replaces is None else 1] += 1
            before = labels[replaces][5] or 0.0 if replaces else 0.0
            day[3] += 0.0 if seconds is None else seconds - before
            day[4] += replaces is None and seconds is None
    answered = {(row[1], row[2]) for row in labels.values()}
    for task, person, _, _, created in tables["skips"]:
        if (task, person) not in answered:
            day = days.setdefault((person, set_of_task[task], int(created // 86400)), [0, 0, 0, 0.0, 0])
            day[2] += 1
            day[3] += spent.get((task, person), 0.0)
    assert days
    return sorted((*key, *counts) for key, counts in days.items())


def test_renamed_tables_are_append_only_still(store: Store) -> None:
    for table in ("admissions", "guideline_editions", "labels", "consents"):
        for change in (f"DELETE FROM {table}", f"UPDATE {table} SET rowid = rowid + 1000"):
            connection = sqlite3.connect(store.engine.url.database or "")
            with pytest.raises(sqlite3.IntegrityError, match=f"{table} are append only"):
                connection.execute(change)
            connection.close()


def test_people_log_in(store: Store, facts: dict[str, Any]) -> None:
    accounts = Accounts(store)
    assert [(row.login, row.role, row.closed) for row in accounts.all()] == [
        ("ada", "admin", None),
        ("bob", "labeler", None),
        ("cy", "labeler", 1764000016.0),
    ]
    assert accounts.all()[1].person.pseudonym == facts["labeler_person"]
    for login, password in (facts["admin"], facts["labeler"]):
        assert accounts.password_matches(login, password) and not accounts.password_matches(
            login, password[1:]
        )
    token = sessions.log_in(accounts, *facts["labeler"], "10.0.0.9", "Firefox")
    account = sessions.session_account(store, token)
    assert account is not None and account.login == "bob"
    with pytest.raises(UserError, match="name or password is not right"):
        sessions.log_in(accounts, "cy", "whatever it was", "10.0.0.9", "Firefox")


def test_a_live_session_is_live(store: Store, facts: dict[str, Any]) -> None:
    account = sessions.session_account(store, facts["session"])
    assert account is not None and account.login == "bob"
    assert sessions.session_account(store, facts["session"] + "x") is None


def test_invitations_and_the_audit_log(store: Store) -> None:
    assert [(row.note, row.panel, row.used, row.expires_at) for row in list_invitations(store)] == [
        ("cy", "held_out", True, 1764604811.0),
        ("x", "held_out", False, 0.0),  # withdrawn
        ("nobody yet", "held_out", False, 1764604808.0),
        ("for Bob", "training", True, 1764604803.0),
    ]
    lines = [line for line in audit.audit_log(store) if line.at < NOW]
    assert len(lines) == 9
    assert (lines[0].login, lines[0].action) == ("ada", "account closed")
    assert (lines[-1].login, lines[-1].action) == (None, "account added")


def test_the_labels_with_a_correction_and_a_returned_one(store: Store, facts: dict[str, Any]) -> None:
    labels = {label.id: label for label in store.labels(facts["set"])}
    assert set(labels) == {facts["correction"], facts["returned_label"]}
    assert labels[facts["correction"]].replaces == facts["first_label"]
    assert json.loads(labels[facts["correction"]].answer) == {"text": "A pear."}
    assert labels[facts["correction"]].person.id == facts["labeler_person"]
    returned = ReturnedLabel("old-t2", facts["returned_label"], "say more")
    assert reviews.returned_labels(store, facts["set"]) == [returned]
    (review,) = reviews.reviews_by_task(store, facts["set"])["old-t2"]
    assert (review.decision, review.reviewer, review.created) == (
        "returned",
        Accounts(store).all()[0].id,
        1764000036.0,
    )
    assignment = assignments.find_assignment(store, "old-t2", facts["labeler_person"])
    assert assignment is not None and assignment.returned == returned
    assert assignment.draft is not None and assignment.draft.fields == {"answer": ["An apple"]}


def test_a_held_lease_a_skip_and_the_places_that_are_free(store: Store, facts: dict[str, Any]) -> None:
    assert store.counts(facts["set"]) == Counts(done=2, waiting=1, open=5)
    assignment = assignments.find_assignment(store, "old-t0", facts["labeler_person"])
    assert assignment is not None
    assert (assignment.expires_at, assignment.label, assignment.draft) == (2764000037.0, None, None)
    (skip,) = drafts.list_skips(store)
    assert (skip.task, skip.pseudonym, skip.flag) == ("old-t1", facts["labeler_person"], True)
    assert skip.reason == "too hard"


def test_guidelines_gold_and_screening(store: Store, facts: dict[str, Any]) -> None:
    current = guidelines.current_guideline(store, "training")
    assert current is not None and current[0] == "training-5bf0452ebfce"
    assert [edition.version for edition in guidelines.guideline_history(store)] == [
        "training-5bf0452ebfce",
        "training-5499befb38db",
    ]
    (task_set,) = [row for row in store.task_sets() if row.name == facts["set"]]
    assert task_set.gold == "old/label.demonstrations.people/gold"
    assert gold.gold_answers(store, "old/screening/rankings") == {"old-k1": '{"ranks": [1, 2]}'}
    assert screening.screening_parts(store) == [Screening("old/screening/rankings", "rankings", 0.5)]
    assert screening.grades_by_label(store, facts["set"]) == {facts["correction"]: 6}
    person = facts["labeler_person"]
    judge = Accounts(store).all()[0].id
    admission = Admission(person, True, {"rankings": 0.8}, "fine", judge, 1764000041.0)
    assert screening.admissions_by_person(store) == {person: [admission]}
    assert screening.is_admitted(store, person, facts["set"])


def test_keys_and_consent(store: Store, facts: dict[str, Any]) -> None:
    keys = Keys(store)
    key = keys.find(facts["key"])
    assert key is not None and (key.name, key.pseudonym) == ("nightly", "key-5b7ca614a8c8")
    assert [(row.name, row.closed) for row in keys.all()] == [("nightly", None), ("gone", 1764000044.0)]
    with store.read() as connection:
        query = "SELECT text FROM guidelines WHERE version = 'consent-552294c9c338'"
        text = connection.exec_driver_sql(query).scalar_one()
    consents = Consents(store, text)
    assert consents.version == facts["consent_version"]
    assert consents.agreement("key-user") is not None
    assert not consents.has_answered("key-other")


def test_work_goes_on(store: Store, facts: dict[str, Any]) -> None:
    person, version = facts["labeler_person"], "training-5bf0452ebfce"
    lease = store.lease(facts["set"], person, 60.0, lambda: 1.0)
    assert lease == ("old-t0", NOW + 60.0)
    store.add_label("old-t0", person, "{}", version)
    store.add_label("old-t2", person, "{}", version, replaces=facts["returned_label"])
    assert reviews.returned_labels(store, facts["set"]) == []
    assert store.lease(facts["set"], person, 60.0, lambda: 1.0) is None  # the rest they answered or skipped
    assert store.counts(facts["set"]) == Counts(done=3, waiting=0, open=5)
