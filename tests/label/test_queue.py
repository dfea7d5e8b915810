"""The queue: overlap, leases, nobody twice, never over-assigned whatever runs at once or is killed."""

from __future__ import annotations

import collections
import multiprocessing
import random
import threading
import time

import pytest

from biddable.label import queue
from biddable.run.config import UserError
from biddable.store import drafts
from biddable.store.leases import LeaseExpired
from biddable.store.store import Store, open_store
from biddable.store.types import Counts, Person, Task, TaskSet
from tests.conftest import WordAnswer


def opened(where: str, people: int = 3, tasks: int = 4, overlap: int = 1) -> tuple[Store, str]:
    """A store with people p0, p1, ... and tasks t0, t1, ... of five answers in the set `set`; and a
    guideline's version."""
    one = open_store(where)
    one.add_people([Person(f"p{i}", f"p{i}", "training", True) for i in range(people)])
    one.add_people([Person("stranger", "stranger", "held_out", True)])
    asked = [Task(f"t{i}", f'{{"answers": [1, 2, 3, 4, {i}]}}', overlap) for i in range(tasks)]
    one.put_tasks(TaskSet("set", "label.any", "training", True), asked)
    return one, one.add_guideline("training", "be helpful")


def take(one: Store, person: str, seconds: float = 100.0) -> queue.AssignedTask:
    task = queue.next_task(one, "set", person, seconds)
    assert task is not None
    return task


def test_each_task_goes_to_overlap_different_people(where: str) -> None:
    one, version = opened(where, people=3, tasks=4, overlap=2)
    had = collections.defaultdict(list)
    for person in ("p0", "p1", "p2"):
        while task := queue.next_task(one, "set", person):
            had[task.id].append(person)
            queue.submit(one, task, person, WordAnswer(word=person), version, 1.5)
    # p0 and p1 answer all four, then nothing is left for p2
    assert dict(had) == {f"t{i}": ["p0", "p1"] for i in range(4)}
    assert queue.progress(one, "set") == (8, 8)
    assert queue.answers_by_person(one, "set") == {"p0": 4, "p1": 4}
    found = queue.collected_labels(one, "set")
    assert [(row.task, row.person.id) for row in found] == [
        (f"t{i}", p) for i in range(4) for p in ("p0", "p1")
    ]
    person = Person("p0", "p0", "training", True)
    question = '{"answers": [1, 2, 3, 4, 0]}'
    first = queue.CollectedLabel(
        "t0", "label.any", question, '{"word": "p0"}', queue.display_order("t0", "p0", 5), person, version
    )
    assert found[0] == first._replace(id=found[0].id, created=found[0].created)
    one.close()


def test_the_same_person_gets_the_held_task_again(where: str) -> None:
    one, _ = opened(where)
    first = take(one, "p0")
    assert take(one, "p0") == first
    assert take(one, "p1").id != first.id
    assert one.counts("set") == Counts(done=0, waiting=2, open=2)
    one.close()


def test_a_lapsed_lease_frees_its_place(where: str) -> None:
    one, version = opened(where, tasks=1)
    late = take(one, "p0", seconds=0.0)
    assert take(one, "p1").id == late.id
    with pytest.raises(LeaseExpired, match="never given to p0"):
        queue.submit(one, late, "p0", WordAnswer(word="late"), version, 1.0)
    assert queue.next_task(one, "set", "p2") is None
    queue.submit(one, late, "p1", WordAnswer(word="in time"), version, 1.0)
    assert [row.answer for row in queue.collected_labels(one, "set")] == ['{"word": "in time"}']
    assert one.counts("set") == Counts(done=1, waiting=0, open=0)
    one.close()


def test_submitting_twice_keeps_one_and_a_correction_replaces(where: str) -> None:
    one, version = opened(where, tasks=1)
    task = take(one, "p0")
    first = queue.submit(one, task, "p0", WordAnswer(word="a"), version, 1.0)
    assert queue.submit(one, task, "p0", WordAnswer(word="a"), version, 9.0) == first
    with pytest.raises(UserError, match="a correction must replace that one"):
        queue.submit(one, task, "p0", WordAnswer(word="b"), version, 1.0)
    second = queue.submit(one, task, "p0", WordAnswer(word="b"), version, 1.0, replaces=first)
    assert (
        queue.submit(one, task, "p0", WordAnswer(word="b"), version, 1.0, replaces=first) == second != first
    )
    assert queue.progress(one, "set") == (1, 1)
    (row,) = queue.collected_labels(one, "set")
    assert row.answer == '{"word": "b"}' and row.shown == task.shown
    with pytest.raises(UserError, match="newest label is none"):
        queue.submit(one, task, "p1", WordAnswer(word="b"), version, 1.0, replaces="77")
    one.close()


def test_only_the_own_panel_and_known_people(where: str) -> None:
    one, _ = opened(where)
    with pytest.raises(UserError, match="for simulated people of the panel training"):
        queue.next_task(one, "set", "stranger")
    assert queue.next_task(one, "no such set", "p0") is None
    with pytest.raises(UserError, match="nobody called nobody"):
        queue.next_task(one, "set", "nobody")
    one.close()


def test_priority_comes_first_then_the_id(where: str) -> None:
    one, version = opened(where, tasks=0)
    asked = [
        Task(name, '{"answers": []}', 1, priority)
        for name, priority in (("b", 0), ("low", -1), ("a", 0), ("high", 5))
    ]
    one.put_tasks(TaskSet("set", "label.any", "training", True), asked)
    seen = []
    while task := queue.next_task(one, "set", "p0"):
        seen.append(task.id)
        queue.submit(one, task, "p0", WordAnswer(word="x"), version, 0.0)
    assert seen == ["high", "a", "b", "low"]
    one.close()


def test_who_is_far_ahead_gets_what_others_would_get(where: str) -> None:
    one, version = opened(where, people=3, tasks=40, overlap=2)
    for _ in range(30):
        queue.submit(one, take(one, "p0"), "p0", WordAnswer(word="x"), version, 0.0)
    names = sorted(one.tasks("set"))
    assert sorted({row.task for row in queue.collected_labels(one, "set")}) == names[:30]
    drafts.skip_task(one, take(one, "p0").id, "p0", False, "")
    assert take(one, "p0").id == names[31]  # the next after the skipped one
    assert take(one, "p1").id == names[0]  # nobody's progress moves anybody else on
    one.close()


def test_an_own_seat_that_lapsed_comes_back_also_beside_a_free_one(where: str) -> None:
    """p1 takes t/0 and p0 t/1; both lapse. p0 may have the task once: at the own seat, or nobody could sit
    down twice at one task."""
    one, version = opened(where, people=2, tasks=1, overlap=2)
    take(one, "p1", seconds=0.0), take(one, "p0", seconds=0.0)
    task = take(one, "p0")
    queue.submit(one, task, "p0", WordAnswer(word="x"), version, 0.0)
    assert queue.next_task(one, "set", "p0") is None
    queue.submit(one, take(one, "p1"), "p1", WordAnswer(word="y"), version, 0.0)
    assert one.counts("set") == Counts(done=2, waiting=0, open=0)
    one.close()


def test_sets_of_higher_priority_are_offered_first(where: str) -> None:
    one, _ = opened(where, tasks=1)
    for name, priority in (("low", -1), ("high", 3), ("later", 0)):
        one.put_tasks(
            TaskSet(name, "label.any", "training", True, priority=priority), [Task(f"{name}-t", "{}")]
        )
    assert [row.name for row in one.task_sets()] == ["high", "set", "later", "low"]
    one.put_tasks(
        TaskSet("high", "label.any", "training", True, priority=-5), [Task("high-t", "{}")]
    )  # another setting, the same set
    assert [row.name for row in one.task_sets()][-1] == "high"
    one.close()


def test_the_order_shown_is_a_lasting_shuffle() -> None:
    orders = [queue.display_order(f"t{i}", "p0", 4) for i in range(400)]
    assert all(sorted(one) == [0, 1, 2, 3] for one in orders)
    assert orders[0] == queue.display_order("t0", "p0", 4)
    assert orders[0] == queue.display_order("another run/label.any/hash#t0", "p0", 4)
    assert any(queue.display_order(f"t{i}", "p1", 4) != orders[i] for i in range(10))
    firsts = collections.Counter(one[0] for one in orders)
    # 400 draws with p = 1/4: mean 100, standard deviation sqrt(400 * 0.25 * 0.75) = 8.7; four of them are 35
    assert all(abs(firsts[i] - 100) < 35 for i in range(4))


def labour(where: str, people: list[str], version: str, seed: int) -> None:
    """Work until nothing is left; now and then let a lease lapse, or come back for a task that is held."""
    chance = random.Random(seed)
    with open_store(where) as one:
        working = set(people)
        while working:
            person = chance.choice(sorted(working))
            task = queue.next_task(one, "set", person, chance.choice([60.0, 60.0, 60.0, 0.001]))
            if task is None:
                working.discard(person)
                continue
            if chance.random() < 0.2:
                time.sleep(0.002)
            try:
                queue.submit(one, task, person, WordAnswer(word=person), version, 0.0)
            except UserError as error:
                assert isinstance(error, LeaseExpired) or "must replace" in str(error)


def check_all_answered(one: Store, tasks: int, overlap: int) -> None:
    by_task = collections.defaultdict(list)
    for row in queue.collected_labels(one, "set"):
        by_task[row.task].append(row.person.id)
    assert len(by_task) == tasks
    assert all(len(people) == len(set(people)) == overlap for people in by_task.values())
    assert queue.progress(one, "set") == (tasks * overlap, tasks * overlap)
    assert one.counts("set") == Counts(done=tasks * overlap, waiting=0, open=0)


def test_threads_never_over_assign(where: str) -> None:
    one, version = opened(where, people=12, tasks=15, overlap=3)
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            labour(where, [f"p{i}" for i in range(number, 12, 4)], version, number)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    labour(where, [f"p{i}" for i in range(12)], version, 99)  # leases that lapsed after all had left
    check_all_answered(one, 15, 3)
    one.close()


def test_processes_never_over_assign(where: str) -> None:
    one, version = opened(where, people=6, tasks=20, overlap=3)
    # every process works for the same people, so that they also race for the same leases
    spawn = multiprocessing.get_context("spawn")
    workers = [
        spawn.Process(target=labour, args=(where, [f"p{i}" for i in range(6)], version, n)) for n in range(3)
    ]
    one.close()  # a forked process must not inherit an open connection
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    labour(where, [f"p{i}" for i in range(6)], version, 99)
    check_all_answered(one, 20, 3)
    one.close()
