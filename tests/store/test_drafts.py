"""Drafts and skips, guidelines, consent: what a page stores beside labels."""

from __future__ import annotations

import pytest

from biddable.store.assignments import answers_per_set, find_assignment, past_answers
from biddable.store.consents import Consents
from biddable.store.drafts import MOST_REASON, list_skips, load_draft, save_draft, skip_task
from biddable.store.guidelines import (
    current_guideline,
    guideline_exists,
    guideline_history,
    publish_guideline,
)
from biddable.store.store import Store
from biddable.store.types import Draft, Lease, PastAnswer, SavedDraft, Skip, Task, TaskSet
from tests.conftest import Clock


@pytest.fixture
def version(store: Store) -> str:
    """Three tasks for two people each, of which ada has the first; the version of a guideline."""
    tasks = [Task(task, "{}", overlap=2) for task in ("a", "b", "c")]
    store.put_tasks(TaskSet("set", "label.any", "training", False), tasks)
    store.lease("set", "ada", 60.0)
    return store.add_guideline("training", "be helpful")


def test_a_draft_is_what_was_saved_last(store: Store, clock: Clock, version: str) -> None:
    assert load_draft(store, "a", "ada") is None
    save_draft(store, "a", "ada", {"text": ["An äpple"]}, version)
    clock.now = 1010.0
    save_draft(store, "a", "ada", {"text": ["A pear"], "tags": ["x", "y"]}, version)
    fields = {"text": ["A pear"], "tags": ["x", "y"]}
    assert load_draft(store, "a", "ada") == Draft(fields, version, None, 1000.0, 1010.0)
    assert load_draft(store, "a", "bob") is None and load_draft(store, "b", "ada") is None
    assignment = find_assignment(store, "a", "ada")
    assert assignment is not None and assignment.draft == load_draft(store, "a", "ada")


def test_seconds_of_work_never_fall_and_never_exceed_the_time_that_passed(
    store: Store, clock: Clock, version: str
) -> None:
    worked = []
    for now, seconds in ((1000.0, 5.0), (1010.0, 8.0), (1011.0, 3.0), (1012.0, None), (1020.0, 99.0)):
        clock.now = now
        worked.append(save_draft(store, "a", "ada", {}, version, seconds).seconds)
    assert worked == [0.0, 8.0, 8.0, 8.0, 20.0]


def test_saving_a_draft_extends_the_lease_unless_somebody_took_it(
    store: Store, clock: Clock, version: str
) -> None:
    assert save_draft(store, "a", "ada", {}, version, lease_seconds=500.0) == SavedDraft(None, True)
    clock.now = 1499.0
    assert store.lease("set", "bob", 60.0) == Lease("a", 1559.0)  # the second place
    assert store.counts("set").waiting == 2
    clock.now = 1559.0  # both have expired
    assert store.counts("set").waiting == 0
    save_draft(store, "a", "ada", {}, version)
    assert store.counts("set").waiting == 0  # without lease_seconds
    save_draft(store, "a", "ada", {}, version, lease_seconds=60.0)
    assert store.counts("set").waiting == 1
    assert store.lease("set", "cy", 60.0) == Lease("a", 1619.0)  # bob's
    assert save_draft(store, "a", "bob", {}, version, lease_seconds=60.0) == SavedDraft(None, False)


def test_skips_are_listed_flagged_ones_first_then_the_newest(
    store: Store, clock: Clock, version: str
) -> None:
    skip_task(store, "a", "ada", False, "too hard")
    for task, person, flag, reason in (("b", "ada", True, "odd"), ("a", "bob", False, "x" * 3000)):
        clock.now += 1
        skip_task(store, task, person, flag, reason)
    skip_task(store, "a", "ada", True, "changed my mind")  # the first one counts
    skips = [
        Skip("b", "ada-1", True, "odd", 1001.0),
        Skip("a", "bob-1", False, "x" * MOST_REASON, 1002.0),
        Skip("a", "ada-1", False, "too hard", 1000.0),
    ]
    assert list_skips(store) == list_skips(store, "set") == skips and list_skips(store, "next") == []


def test_what_somebody_has_answered(store: Store, clock: Clock, version: str) -> None:
    first = store.add_label("a", "ada", "no", version, 4.0)
    clock.now = 86400.0 * 2
    assert store.lease("set", "ada", 60.0) == Lease("b", 172860.0)
    store.add_label("b", "ada", "yes", version, 6.0)
    clock.now += 1
    store.add_label("a", "ada", "yes", version, 99.0, replaces=first)
    assert past_answers(store, "ada") == [
        PastAnswer("a", "set", "label.any", 172801.0, 99.0, True),
        PastAnswer("b", "set", "label.any", 172800.0, 6.0, False),
    ]
    assert past_answers(store, "ada", limit=1) == past_answers(store, "ada")[:1]
    assert past_answers(store, "ada", text="NO") == [] == past_answers(store, "ada", task_sets=["next"])
    assert past_answers(store, "ada", text="YE", task_sets=["set"]) == past_answers(store, "ada")
    assert answers_per_set(store, "ada") == {"set": 2}
    assert past_answers(store, "bob") == [] and answers_per_set(store, "bob") == {}


def test_the_guideline_in_force_is_the_one_published_last(store: Store, clock: Clock) -> None:
    assert current_guideline(store, "training") is None
    versions = []
    for text in ("be kind", "be brief", "be kind"):
        versions.append(publish_guideline(store, "training", text))
        clock.now += 1
    publish_guideline(store, "evaluation", "be strict")
    assert versions[0] == versions[2] != versions[1]
    assert current_guideline(store, "training") == (versions[0], "be kind")
    history = [(edition.name, edition.text, edition.created) for edition in guideline_history(store)]
    assert history == [
        ("evaluation", "be strict", 1003.0),
        ("training", "be kind", 1002.0),
        ("training", "be brief", 1001.0),
        ("training", "be kind", 1000.0),
    ]
    assert guideline_exists(store, versions[1]) and not guideline_exists(store, "training-0")


def test_the_newest_answer_to_the_present_text_is_the_consent(store: Store, clock: Clock) -> None:
    """Each yes is an agreement of its own, so that a no in between is not overlooked."""
    consents = Consents(store, "May we?")
    assert consents.agreement("u") is None and not consents.has_answered("u")
    agreements = []
    for agreed in (True, False, True):
        clock.now += 1
        consents.add("u", agreed)
        agreements.append(consents.agreement("u"))
        assert consents.has_answered("u") and not consents.has_answered("v")
    assert agreements[1] is None and None not in (agreements[0], agreements[2])
    assert agreements[0] != agreements[2]
    later = Consents(store, "May we, please?")
    assert later.agreement("u") is None and not later.has_answered("u")
    clock.now += 1
    later.add("u", True)
    assert later.agreement("u") not in (None, *agreements)
    assert consents.agreement("u") == agreements[2]  # a yes to another text takes nothing back
    clock.now += 1
    later.add("u", False)
    assert consents.agreement("u") is None and later.agreement("u") is None  # a no to any text is one to all
