"""Pauses, quotas and assignments: what somebody is given next."""

from __future__ import annotations

import pytest

from biddable.run.config import UserError
from biddable.store import work_limits
from biddable.store.accounts import Accounts
from biddable.store.assignments import has_task
from biddable.store.erase import erase_person
from biddable.store.gold import put_gold
from biddable.store.store import Store
from biddable.store.types import Task, TaskSet
from tests.conftest import Clock

SET = TaskSet("set", "label.any", "training", False)


@pytest.fixture(autouse=True)
def tasks(store: Store) -> None:
    """a, c, e in German, b and d in English, f in no known language; and another set."""
    languages = ("de", "en", "de", "en", "de", None)
    rows = [
        Task(name, "{}", 3, language=language) for name, language in zip("abcdef", languages, strict=True)
    ]
    store.put_tasks(SET, rows)
    store.put_tasks(TaskSet("next", "label.any", "training", False), [Task("n", "{}", 3)])


def answer(store: Store, person: str, task_set: str = "set") -> str | None:
    """Answer the next task; None when there is none."""
    leased = store.lease(task_set, person, 60.0)
    if leased is not None:
        store.add_label(leased.task, person, "yes", store.add_guideline("training", "be helpful"), 1.0)
    return leased.task if leased else None


def test_a_paused_person_gets_nothing_and_answers_what_they_hold(store: Store) -> None:
    held = store.lease("set", "ada", 60.0)
    assert held is not None
    work_limits.add_limit(store, most=0, person="ada")
    assert store.lease("set", "ada", 60.0) is None and answer(store, "ada", "next") is None
    store.add_label(held.task, "ada", "yes", store.add_guideline("training", "be helpful"))
    assert answer(store, "bob") == "a" and not has_task(store, SET, "ada")
    (pause,) = work_limits.pauses(store)
    assert (pause.pseudonym, pause.task_set, pause.most) == ("ada-1", None, 0)
    work_limits.remove_rule(store, pause.id)
    assert answer(store, "ada") == "b" and has_task(store, SET, "ada")


def test_a_paused_set_stops_for_everybody(store: Store) -> None:
    work_limits.add_limit(store, most=0, task_set="set")
    assert answer(store, "ada") is None and answer(store, "bob") is None
    assert answer(store, "ada", "next") == "n"


def test_a_quota_a_day_ends_with_the_day(store: Store, clock: Clock) -> None:
    work_limits.add_limit(store, most=2, a_day=True)
    assert [answer(store, "ada") for _ in range(3)] == ["a", "b", None]
    assert answer(store, "ada", "next") is None and answer(store, "bob") == "a"
    clock.now += 86400
    assert [answer(store, "ada") for _ in range(3)] == ["c", "d", None]


def test_a_quota_of_a_set_counts_its_gold(store: Store) -> None:
    gold = TaskSet("set/gold", "label.any", "training", False)
    put_gold(store, gold, [(Task("g", "{}"), "{}")])
    store.put_tasks(
        TaskSet("set", "label.any", "training", False, gold="set/gold", gold_share=0.99),
        [Task(name, "{}", 3) for name in "abcdef"],
    )
    work_limits.add_limit(store, most=1, task_set="set", person="ada")
    version = store.add_guideline("training", "be helpful")
    leased = store.lease("set", "ada", 60.0, chance=lambda: 0.0)
    assert leased is not None and leased.task == "g"
    store.add_label("g", "ada", "yes", version)
    assert store.lease("set", "ada", 60.0, chance=lambda: 1.0) is None
    assert answer(store, "ada", "next") == "n"


def test_a_quota_of_a_language_leaves_the_others(store: Store, clock: Clock) -> None:
    work_limits.add_limit(store, most=1, a_day=True, language="de", person="ada")
    assert [answer(store, "ada") for _ in range(5)] == ["a", "b", "d", "f", None]
    assert [answer(store, "bob") for _ in range(3)] == ["a", "b", "c"]
    clock.now += 86400
    assert answer(store, "ada") == "c"


def test_what_is_assigned_goes_to_nobody_else(store: Store) -> None:
    work_limits.assign(store, "ada", task_set="next")
    work_limits.assign(store, "ada", language="de")
    work_limits.assign(store, "bob", language="de")
    assert answer(store, "cy", "next") is None and answer(store, "ada", "next") == "n"
    assert [answer(store, "cy") for _ in range(4)] == ["b", "d", "f", None]
    assert answer(store, "bob") == "a"
    with pytest.raises(UserError, match="a set or a language"):
        work_limits.assign(store, "ada")


def test_a_new_number_takes_the_place_of_the_old_one(store: Store) -> None:
    for most in (5, 7, 0):
        work_limits.add_limit(store, most=most, person="ada", task_set="set")
    assert [limit.most for limit in work_limits.list_limits(store)] == [7, 0]
    with pytest.raises(UserError, match="must be 0"):
        work_limits.add_limit(store, most=-1)


def test_a_forgotten_persons_pause_does_not_become_everybodys(store: Store) -> None:
    work_limits.add_limit(store, most=0, person="ada")
    work_limits.assign(store, "ada", task_set="next")
    removed = erase_person(store, "ada-1", True)
    assert removed["work_limits"] == removed["work_assignments"] == 1
    assert answer(store, "bob") == "a" and work_limits.list_limits(store) == []


def test_tasks_for_everybody_keep_to_languages(store: Store) -> None:
    everybody = TaskSet("all", "label.any", "training", False, everybody=True)
    store.put_tasks(
        everybody, [Task("x", "{}", language="de"), Task("y", "{}", language="en"), Task("z", "{}")]
    )
    work_limits.add_limit(store, most=0, language="de")
    assert [answer(store, "ada", "all") for _ in range(3)] == ["y", "z", None]


def test_role_and_panel_change_within_bounds(accounts: Accounts, store: Store) -> None:
    boss = accounts.add("boss", "nine quiet horses", "admin")
    newcomer = accounts.add("newcomer", "nine quiet horses", "labeler")
    with pytest.raises(UserError, match="the last admin"):
        accounts.change_role(boss.id, "labeler", boss.id)
    accounts.change_role(newcomer.id, "admin", boss.id)
    accounts.change_role(boss.id, "labeler", newcomer.id)
    accounts.change_panel(newcomer.id, "held_out", boss.id)
    rows = {account.login: (account.role, account.person.panel) for account in accounts.all()}
    assert rows == {"boss": ("labeler", "training"), "newcomer": ("admin", "held_out")}
    accounts.change_panel(newcomer.id, "training", boss.id)
    assert answer(store, newcomer.person.id) == "a"
    with pytest.raises(UserError, match="stays on their panel"):
        accounts.change_panel(newcomer.id, "held_out", boss.id)
