"""Leases: taken, extended, released, answered, expired. Every test runs on both databases, with a clock that
stands still."""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.assignments import find_assignment
from biddable.store.drafts import skip_task
from biddable.store.gold import put_gold
from biddable.store.leases import CHUNK, LeaseExpired, has_lease, has_unanswered_lease
from biddable.store.store import Store, open_store
from biddable.store.tables import leases
from biddable.store.types import Counts, Lease, Task, TaskSet
from tests.conftest import Clock
from tests.store.conftest import PEOPLE


def put(store: Store, *tasks: Task, **settings: object) -> None:
    store.put_tasks(TaskSet("set", "label.any", "training", False, **settings), tasks)  # type: ignore[arg-type]


def answer(store: Store, task: str, person: str, text: str = "yes", replaces: str | None = None) -> str:
    return store.add_label(task, person, text, store.add_guideline("training", "be helpful"), 1.0, replaces)


def never() -> float:
    """A draw that chooses no gold, whatever its share."""
    return 1.0


def rows(store: Store) -> list[tuple[str, str | None, float, bool]]:
    """Every place: (id, whose, until, answered)."""
    query = sa.select(leases.c.id, leases.c.person, leases.c.until, leases.c.label).order_by(leases.c.id)
    with store.read() as connection:
        return [(row.id, row.person, row.until, row.label is not None) for row in connection.execute(query)]


def test_a_live_lease_comes_again_with_its_time_begun_anew(store: Store, clock: Clock) -> None:
    put(store, Task("a", "{}"), Task("b", "{}", priority=9))
    assert store.lease("set", "ada", 60.0) == Lease("b", 1060.0)
    clock.now = 1059.0
    put(store, Task("a", "{}"), Task("b", "{}", priority=9), Task("c", "{}", priority=99))
    assert store.lease("set", "ada", 60.0) == Lease("b", 1119.0)  # not c, which is more urgent by now
    assert rows(store) == [
        ("a/0", None, 0.0, False),
        ("b/0", "ada", 1119.0, False),
        ("c/0", None, 0.0, False),
    ]


def test_an_expired_lease_does_not_come_before_what_is_more_urgent(store: Store, clock: Clock) -> None:
    put(store, Task("a", "{}"))
    store.lease("set", "ada", 60.0)
    put(store, Task("a", "{}"), Task("c", "{}", priority=99))
    clock.now = 1060.0
    assert store.lease("set", "ada", 60.0) == Lease("c", 1120.0)


def test_a_lease_ends_at_the_second_of_its_expiry(store: Store, clock: Clock) -> None:
    put(store, Task("a", "{}"))
    store.lease("set", "ada", 60.0)
    clock.now = 1059.75
    assert store.counts("set") == Counts(done=0, waiting=1, open=0)
    assert store.lease("set", "bob", 60.0) is None
    clock.now = 1060.0
    assert store.counts("set") == Counts(done=0, waiting=0, open=1)
    assert store.lease("set", "bob", 60.0) == Lease("a", 1120.0)
    assert rows(store) == [("a/0", "bob", 1120.0, False)]


@pytest.mark.parametrize(("now", "in_time"), [(1059.75, True), (1060.0, False), (1061.0, False)])
def test_an_answer_at_the_second_of_expiry_is_too_late(
    store: Store, clock: Clock, now: float, in_time: bool
) -> None:
    put(store, Task("a", "{}"))
    store.lease("set", "ada", 60.0)
    clock.now = now
    if in_time:
        answer(store, "a", "ada")
        assert store.counts("set") == Counts(done=1, waiting=0, open=0)
        return
    with pytest.raises(
        LeaseExpired, match="task a: the time to answer is over, or it was never given to ada"
    ):
        answer(store, "a", "ada")
    assert store.labels("set") == [] and rows(store) == [("a/0", "ada", 1060.0, False)]
    assert store.lease("set", "ada", 60.0) == Lease("a", now + 60.0)  # nobody came meanwhile: hers again
    answer(store, "a", "ada")


def test_an_answer_needs_ones_own_lease_of_that_task(store: Store) -> None:
    put(store, Task("a", "{}"), Task("b", "{}"))
    store.lease("set", "ada", 60.0)
    for task, person in (("a", "bob"), ("b", "ada")):
        with pytest.raises(LeaseExpired):
            answer(store, task, person)
    assert store.labels("set") == []
    label = answer(store, "a", "ada")
    assert [(row.id, row.task, row.person.id) for row in store.labels("set")] == [(label, "a", "ada")]
    with store.read() as connection:
        assert connection.execute(sa.select(leases.c.label).where(leases.c.id == "a/0")).scalar() == label


def test_whose_lease_another_person_took_can_not_answer(store: Store, clock: Clock) -> None:
    put(store, Task("a", "{}"))
    store.lease("set", "ada", 60.0)
    clock.now = 1060.0
    store.lease("set", "bob", 60.0)
    with pytest.raises(LeaseExpired):
        answer(store, "a", "ada")
    answer(store, "a", "bob")
    assert [label.person.id for label in store.labels("set")] == ["bob"]


def test_free_and_expired_places_go_by_priority_then_id(store: Store, clock: Clock) -> None:
    put(store, Task("c", "{}", priority=1), Task("b", "{}"), Task("a", "{}"), Task("d", "{}", priority=-1))
    store.lease("set", "ada", 60.0)  # c, which expires
    clock.now = 1100.0
    assert [store.lease("set", person, 60.0) for person in ("bob", "cy", "dan", "ada")] == [
        Lease(task, 1160.0) for task in ("c", "a", "b", "d")
    ]


def test_nobody_gets_a_task_they_answered_skipped_or_have(store: Store, clock: Clock) -> None:
    put(store, *(Task(task, "{}", overlap=3) for task in ("answered", "skipped", "taken")))
    assert store.lease("set", "ada", 60.0) == Lease("answered", 1060.0)
    answer(store, "answered", "ada")
    assert store.lease("set", "ada", 60.0) == Lease("skipped", 1060.0)
    skip_task(store, "skipped", "ada", False, "")
    assert store.lease("set", "ada", 60.0) == Lease("taken", 1060.0)
    clock.now = 2000.0  # hers has expired; two other places at the same task are free
    for _ in range(3):
        assert store.lease("set", "ada", 60.0) == Lease("taken", 2060.0)
    answer(store, "taken", "ada")
    assert store.lease("set", "ada", 60.0) is None
    assert store.counts("set") == Counts(done=2, waiting=0, open=7)
    skipped = [row for row in rows(store) if row[0].startswith("skipped")]
    assert skipped == [(f"skipped/{number}", None, 0.0, False) for number in range(3)]  # free for the next


def test_nobody_gets_a_place_that_others_left_at_a_task_they_answered(store: Store, clock: Clock) -> None:
    put(store, Task("a", "{}", overlap=3))
    for person in ("ada", "bob", "cy"):
        store.lease("set", person, 60.0)
    answer(store, "a", "bob")
    clock.now = 1060.0  # ada's and cy's places are free
    assert store.lease("set", "bob", 60.0) is None
    assert store.lease("set", "dan", 60.0) == Lease("a", 1120.0)


def test_what_one_person_had_or_skipped_is_free_for_others(store: Store) -> None:
    put(store, Task("a", "{}", overlap=2), Task("b", "{}"))
    store.lease("set", "ada", 60.0)
    skip_task(store, "a", "ada", True, "too hard")
    assert store.lease("set", "bob", 60.0) == Lease("a", 1060.0)
    assert store.lease("set", "cy", 60.0) == Lease("a", 1060.0)
    assert store.lease("set", "ada", 60.0) == Lease("b", 1060.0)


@pytest.mark.parametrize("everybody", [False, True])
def test_leases_of_one_set_say_nothing_about_another(store: Store, everybody: bool) -> None:
    """Three sets, of which one comes before and one after `set` in the alphabet; their tasks the other way
    round."""
    for name, task in (("next", "z"), ("set", "m"), ("then", "a")):
        task_set = TaskSet(name, "label.any", "training", False, everybody)
        store.put_tasks(task_set, [Task(task, "{}", priority=len(name))])
    for name, task in (("set", "m"), ("next", "z"), ("then", "a")):
        assert store.lease(name, "ada", 60.0) == Lease(task, 1060.0)
        assert store.counts(name) == Counts(done=0, waiting=1, open=0)
    assert store.extend_lease("m", "ada", 90.0)
    assert [row[2] for row in rows(store)] == [1060.0, 1090.0, 1060.0]
    answer(store, "m", "ada")
    assert [row[3] for row in rows(store)] == [False, True, False]
    for name in ("next", "then"):
        assert store.counts(name) == Counts(done=0, waiting=1, open=0)
    skip_task(store, "z", "ada", False, "")
    assert store.counts("then").waiting == 1 and store.lease("then", "ada", 60.0) == Lease("a", 1060.0)
    assert store.lease("set", "ada", 60.0) is None and store.lease("next", "ada", 60.0) is None


def test_a_set_is_for_its_panel_and_its_sort_of_people(store: Store) -> None:
    put(store, Task("a", "{}"))
    for person in ("eve", "sim"):
        with pytest.raises(
            UserError, match=f"set is for real people of the panel training; {person}-1 is not"
        ):
            store.lease("set", person, 60.0)
    store.put_tasks(TaskSet("sims", "label.any", "training", True), [Task("s", "{}")])
    with pytest.raises(UserError, match="sims is for simulated people of the panel training; ada-1 is not"):
        store.lease("sims", "ada", 60.0)
    for name in ("aaron", "zoe"):  # before and after everybody in the alphabet
        with pytest.raises(UserError, match=f"nobody called {name}"):
            store.lease("set", name, 60.0)
    assert store.lease("no such set", "ada", 60.0) is None
    assert store.lease("sims", "sim", 60.0) == Lease("s", 1060.0)


@pytest.mark.parametrize(("draw", "first"), [(0.0, "g0"), (0.25, "g0"), (0.3, "a"), (0.9, "a")])
def test_gold_comes_when_the_draw_is_below_its_share(store: Store, draw: float, first: str) -> None:
    put_gold(store, TaskSet("gold", "label.any", "training", False), [(Task("g0", "{}"), "{}")])
    put(store, Task("a", "{}"), Task("b", "{}"), gold="gold", gold_share=0.3)
    assert store.lease("set", "ada", 60.0, lambda: draw) == Lease(first, 1060.0)
    assert store.lease("set", "ada", 60.0, lambda: 0.3) == Lease(first, 1060.0)  # live: the same again
    assert store.counts("set").waiting == (first == "a")  # gold is not counted with the set


def test_gold_that_is_used_up_gives_way_to_the_set(store: Store) -> None:
    put_gold(store, TaskSet("gold", "label.any", "training", False), [(Task("g0", "{}"), "{}")])
    put(store, Task("a", "{}"), gold="gold", gold_share=1.0)
    assert store.lease("set", "ada", 60.0) == Lease("g0", 1060.0)
    answer(store, "g0", "ada")
    assert store.lease("set", "ada", 60.0) == Lease("a", 1060.0)
    assert store.lease("set", "bob", 60.0) == Lease("g0", 1060.0)  # each person gets it once
    assert store.lease("set", "cy", 60.0, never) is None


def test_a_gold_task_is_shown_as_one_of_the_set(store: Store) -> None:
    put_gold(store, TaskSet("gold", "label.any", "training", False), [(Task("g0", "[]"), "{}")])
    put(store, Task("a", "{}"), gold="gold", gold_share=1.0)
    store.lease("set", "ada", 60.0)
    assignment = find_assignment(store, "g0", "ada")
    assert assignment is not None and assignment.task_set.name == "set"
    assert (assignment.question, assignment.expires_at, assignment.label) == ("[]", 1060.0, None)
    assert find_assignment(store, "g0", "bob") is None


def everybody(store: Store, *tasks: Task) -> None:
    put(store, *tasks, everybody=True)


def test_a_task_for_everybody_goes_to_each_person_once(store: Store) -> None:
    everybody(store, Task("b", "{}", priority=1), Task("a", "{}"), Task("c", "{}", priority=1))
    assert rows(store) == []
    for person in ("ada", "bob"):
        for task in ("b", "c", "a"):
            assert store.lease("set", person, 60.0) == Lease(task, 1060.0)
            answer(store, task, person)
        assert store.lease("set", person, 60.0) is None
    assert [row[0] for row in rows(store)] == [f"{task}/{who}" for task in "abc" for who in ("ada", "bob")]


def test_an_expired_lease_for_everybody_waits_for_its_person(store: Store, clock: Clock) -> None:
    everybody(store, Task("a", "{}"), Task("b", "{}"))
    store.lease("set", "ada", 60.0)
    clock.now = 5000.0
    assert store.lease("set", "bob", 60.0) == Lease("a", 5060.0)
    assert store.lease("set", "ada", 60.0) == Lease("a", 5060.0)
    assert rows(store) == [("a/ada", "ada", 5060.0, False), ("a/bob", "bob", 5060.0, False)]


def test_people_do_not_stand_in_each_others_way(store: Store, clock: Clock) -> None:
    """Whoever came before, and wherever they are in the alphabet: in a set for everybody, then in one with
    places."""
    for everybody in (True, False):
        name = f"everybody {everybody}"
        tasks = [Task(f"{name} {task}", "{}", overlap=3) for task in ("a", "b")]
        store.put_tasks(TaskSet(name, "label.any", "training", False, everybody), tasks)
        for person in ("dan", "ada", "bob"):
            assert store.lease(name, person, 60.0) == Lease(f"{name} a", 1060.0)
        skip_task(store, f"{name} a", "dan", False, "")
        assert store.lease(name, "cy", 60.0) == Lease(f"{name} a", 1060.0)  # which dan skipped
        answer(store, f"{name} a", "ada")
        for person in ("dan", "ada"):
            assert store.lease(name, person, 10.0) == Lease(f"{name} b", 1010.0)
    clock.now = 1010.0
    assert store.lease("everybody True", "ada", 10.0) == Lease("everybody True b", 1020.0)
    with store.read() as connection:
        query = sa.select(leases.c.id, leases.c.until).where(leases.c.task_set == "everybody True")
        assert {row.id.split()[2]: row.until for row in connection.execute(query)} == {
            "a/ada": 1060.0,
            "a/bob": 1060.0,
            "a/cy": 1060.0,
            "b/ada": 1020.0,
            "b/dan": 1010.0,
        }


def test_a_skipped_task_for_everybody_does_not_come_again(store: Store) -> None:
    everybody(store, Task("a", "{}"), Task("b", "{}", priority=1), Task("c", "{}", priority=-1))
    for task, following in (("b", "a"), ("a", "c")):
        assert store.lease("set", "ada", 60.0) == Lease(task, 1060.0)
        skip_task(store, task, "ada", False, "")
        assert store.lease("set", "ada", 60.0) == Lease(following, 1060.0)
    assert store.lease("set", "bob", 60.0) == Lease("b", 1060.0)
    answer(store, "c", "ada")
    assert store.lease("set", "ada", 60.0) is None


def test_extending_a_lease(store: Store, clock: Clock) -> None:
    put(store, Task("a", "{}"))
    assert not store.extend_lease("a", "ada", 60.0)  # not hers yet
    store.lease("set", "ada", 60.0)
    assert store.extend_lease("a", "ada", 90.0)
    assert rows(store) == [("a/0", "ada", 1090.0, False)]
    clock.now = 2000.0
    assert store.extend_lease("a", "ada", 90.0)  # expired, but nobody took it
    assert rows(store) == [("a/0", "ada", 2090.0, False)]
    assert store.lease("set", "bob", 60.0) is None
    clock.now = 3000.0
    store.lease("set", "bob", 60.0)
    assert not store.extend_lease("a", "ada", 90.0)  # somebody did
    assert rows(store) == [("a/0", "bob", 3060.0, False)]
    answer(store, "a", "bob")
    assert not store.extend_lease("a", "bob", 90.0)  # answered
    assert rows(store) == [("a/0", "bob", 3060.0, True)]


def test_extending_touches_one_persons_lease_of_one_task(store: Store) -> None:
    put(store, Task("a", "{}", overlap=2), Task("b", "{}", overlap=2))
    for person in ("ada", "bob"):
        store.lease("set", person, 60.0)
    answer(store, "a", "bob")
    store.lease("set", "bob", 60.0)
    assert store.extend_lease("a", "ada", 500.0)
    assert rows(store) == [
        ("a/0", "ada", 1500.0, False),
        ("a/1", "bob", 1060.0, True),
        ("b/0", "bob", 1060.0, False),
        ("b/1", None, 0.0, False),
    ]


def test_whose_task_it_is(store: Store, clock: Clock) -> None:
    def states() -> list[tuple[bool, bool]]:
        with store.read() as connection:
            return [
                (has_lease(connection, task, person), has_unanswered_lease(connection, task, person))
                for task, person in (("b", "bob"), ("b", "ada"), ("b", "cy"), ("a", "bob"), ("c", "bob"))
            ]

    put(store, Task("a", "{}"), Task("b", "{}", priority=1), Task("c", "{}"))
    assert states() == [(False, False)] * 5
    store.lease("set", "bob", 60.0)
    assert states() == [(True, True)] + [(False, False)] * 4
    clock.now = 5000.0
    assert states() == [(True, True)] + [(False, False)] * 4  # expired, and nobody took it
    store.extend_lease("b", "bob", 60.0)
    answer(store, "b", "bob")
    assert states() == [(True, False)] + [(False, False)] * 4


def test_skipping_an_answered_task_leaves_the_answer(store: Store) -> None:
    put(store, Task("a", "{}", overlap=2))
    store.lease("set", "ada", 60.0)
    store.lease("set", "bob", 60.0)
    answer(store, "a", "ada")
    skip_task(store, "a", "ada", False, "")
    assert rows(store) == [("a/0", "ada", 1060.0, True), ("a/1", "bob", 1060.0, False)]


def test_a_correction_needs_no_lease_and_takes_no_place(store: Store, clock: Clock) -> None:
    put(store, Task("a", "{}", overlap=2))
    store.lease("set", "ada", 60.0)
    first = answer(store, "a", "ada", "no")
    clock.now = 9000.0
    second = answer(store, "a", "ada", "yes", replaces=first)
    third = answer(store, "a", "ada", "perhaps", replaces=second)
    assert len({first, second, third}) == 3
    with pytest.raises(UserError, match=f"ada's newest label is {third}; a correction must replace that one"):
        answer(store, "a", "ada", "yes", replaces=first)
    with pytest.raises(UserError, match=f"newest label is {third}"):
        answer(store, "a", "ada", "never")
    with pytest.raises(UserError, match="bob's newest label is none"):
        answer(store, "a", "bob", "never", replaces=third)
    (label,) = store.labels("set")
    assert (label.id, label.answer, label.replaces, label.created) == (third, "perhaps", second, 9000.0)
    assert store.counts("set") == Counts(done=1, waiting=0, open=1)
    with store.read() as connection:  # the lease keeps the first label
        assert connection.execute(sa.select(leases.c.label).where(leases.c.id == "a/0")).scalar() == first


def test_the_same_answer_sent_again_adds_nothing(store: Store, clock: Clock) -> None:
    put(store, Task("a", "{}"))
    store.lease("set", "ada", 60.0)
    first = answer(store, "a", "ada", "no")
    clock.now = 9000.0
    assert answer(store, "a", "ada", "no") == first
    second = answer(store, "a", "ada", "yes", replaces=first)
    assert answer(store, "a", "ada", "yes", replaces=first) == second  # the correction's form, sent twice
    assert answer(store, "a", "ada", "yes", replaces=second) == second
    with store.read() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM labels")).scalar() == 2


def test_a_larger_overlap_adds_places(store: Store) -> None:
    put(store, Task("a", "{}"), Task("b", "{}"))
    store.lease("set", "ada", 60.0)
    answer(store, "a", "ada")
    put(store, Task("a", "{}", overlap=3, priority=7), Task("b", "{}"))
    assert rows(store) == [
        ("a/0", "ada", 1060.0, True),
        ("a/1", None, 0.0, False),
        ("a/2", None, 0.0, False),
        ("b/0", None, 0.0, False),
    ]
    assert store.counts("set") == Counts(done=1, waiting=0, open=3)
    with store.read() as connection:  # later places have the priority of now
        priorities = connection.execute(sa.select(leases.c.priority).order_by(leases.c.id)).scalars().all()
        overlaps = connection.execute(sa.text("SELECT overlap FROM tasks ORDER BY id")).scalars().all()
    assert priorities == [0, 7, 7, 0] and overlaps == [3, 1]


def test_a_smaller_overlap_removes_free_and_expired_places_only(store: Store, clock: Clock) -> None:
    put(store, Task("a", "{}", overlap=5))
    store.lease("set", "ada", 60.0)  # a/0 will be answered
    answer(store, "a", "ada")
    store.lease("set", "bob", 60.0)  # a/1 expires
    clock.now = 1060.0
    store.lease("set", "cy", 60.0)  # takes a/1, and keeps it
    store.lease("set", "dan", 1.0)  # a/2 expires at this very second
    clock.now = 1061.0
    put(store, Task("a", "{}", overlap=3))
    assert rows(store) == [
        ("a/0", "ada", 1060.0, True),
        ("a/1", "cy", 1120.0, False),
        ("a/2", "dan", 1061.0, False),
    ]
    put(store, Task("a", "{}", overlap=1))
    assert rows(store) == [
        ("a/0", "ada", 1060.0, True),
        ("a/1", "cy", 1120.0, False),
    ]  # more than the overlap
    put(store, Task("a", "{}", overlap=2))
    assert len(rows(store)) == 2
    put(store, Task("a", "{}", overlap=4))
    assert [row[0] for row in rows(store)] == ["a/0", "a/1", "a/2", "a/3"]


def test_a_live_lease_counts_before_a_free_place_of_a_lower_number(store: Store) -> None:
    put(store, Task("a", "{}", overlap=3))
    for person in ("ada", "bob"):
        store.lease("set", person, 60.0)
    skip_task(store, "a", "ada", False, "")
    put(store, Task("a", "{}", overlap=1))
    assert rows(store) == [("a/1", "bob", 1060.0, False)]
    put(store, Task("a", "{}", overlap=3))  # numbers that are free are used again
    assert [row[0] for row in rows(store)] == ["a/0", "a/1", "a/2"]


def test_a_lease_that_expires_now_is_removed_like_a_free_place(store: Store, clock: Clock) -> None:
    put(store, Task("a", "{}", overlap=2))
    store.lease("set", "ada", 60.0)  # a/0
    store.lease("set", "bob", 60.0)  # a/1
    skip_task(store, "a", "ada", False, "")
    clock.now = 1060.0
    put(store, Task("a", "{}", overlap=1))
    assert rows(store) == [("a/0", None, 0.0, False)]


def test_ids_of_tasks_may_hold_slashes(store: Store) -> None:
    put(store, Task("run/set/1#t", "{}", overlap=2))
    put(store, Task("run/set/1#t", "{}", overlap=3))
    assert [row[0] for row in rows(store)] == [f"run/set/1#t/{number}" for number in range(3)]


def test_a_task_that_is_no_longer_wanted_keeps_what_people_did(store: Store, clock: Clock) -> None:
    put(store, Task("a", "{}", overlap=2), Task("b", "{}", overlap=2), Task("c", "{}"))
    store.lease("set", "ada", 60.0)
    answer(store, "a", "ada")
    clock.now = 5000.0  # the time of an answered lease is over long since
    store.lease("set", "ada", 60.0)  # b
    put(store, Task("c", "{}"))
    assert [row[0] for row in rows(store)] == ["a/0", "b/0", "c/0"]
    answer(store, "b", "ada")
    assert [label.task for label in store.labels("set")] == ["a", "b"]


def test_many_places_are_removed_in_pieces(store: Store) -> None:
    many = 2 * CHUNK + 1
    put(store, *(Task(f"t{number:04}", "{}") for number in range(many)))
    assert store.counts("set") == Counts(done=0, waiting=0, open=many)
    put(store, Task("t0000", "{}"))
    assert rows(store) == [("t0000/0", None, 0.0, False)]


def test_sets_do_not_take_each_others_places(store: Store) -> None:
    put(store, Task("a", "{}"))
    store.put_tasks(TaskSet("next", "label.any", "training", False), [Task("n", "{}")])
    put(store)
    assert [row[0] for row in rows(store)] == ["n/0"]


def at_once(work: list[Callable[[], None]]) -> None:
    """Run all at the same time; what one raises is raised here."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(work))

    def run(step: Callable[[], None]) -> None:
        try:
            barrier.wait()
            step()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(step,)) for step in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_one_person_in_two_windows_gets_one_task(store: Store, where: str, clock: Clock) -> None:
    put(store, *(Task(f"t{number}", "{}") for number in range(8)))
    leased: list[Lease | None] = []
    with open_store(where, clock, durable=False) as second:
        at_once([lambda db=db: leased.append(db.lease("set", "ada", 60.0)) for db in (store, second) * 3])  # type: ignore[misc]
    assert leased == [Lease("t0", 1060.0)] * 6


def label_all(where: str, name: str) -> None:
    """In a process of its own: answer until nothing is left."""
    with open_store(where, Clock(), durable=False) as store:
        while lease := store.lease("set", name, 60.0):
            answer(store, lease.task, name)


def test_two_processes_share_the_places_without_taking_one_twice(store: Store, where: str) -> None:
    """30 tasks for two people each and four people: 60 labels, two different people a task."""
    put(store, *(Task(f"t{number:02}", "{}", overlap=2) for number in range(30)))
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=label_all, args=(where, person.id)) for person in PEOPLE]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    labels = store.labels("set")
    assert Counter(label.task for label in labels) == {f"t{number:02}": 2 for number in range(30)}
    assert len({(label.task, label.person.id) for label in labels}) == 60
    assert store.counts("set") == Counts(done=60, waiting=0, open=0)
