"""Gold: tasks whose answers are known, mixed in with others."""

from __future__ import annotations

import random

import pytest

from biddable.run.config import UserError
from biddable.store.gold import gold_answers, put_gold
from biddable.store.store import Store
from biddable.store.types import Counts, Task, TaskSet

GOLD = TaskSet("set/gold", "label.any", "training", False)


def test_gold_is_mixed_in_once_a_person_and_counts_for_nothing(store: Store) -> None:
    """40 tasks and 3 of gold, with a share of 0.4: each of two people gets all gold, among their first 20
    tasks."""
    answers = [(Task(f"g{number}", "{}"), f'{{"word": "{number}"}}') for number in range(3)]
    for _ in range(2):  # twice is once
        put_gold(store, GOLD, answers)
    task_set = TaskSet("set", "label.any", "training", False, gold="set/gold", gold_share=0.4)
    store.put_tasks(task_set, [Task(f"t{number}", "{}") for number in range(40)])
    assert store.task_sets() == [task_set]
    version = store.add_guideline("training", "be helpful")
    chance = random.Random(1)
    leased: dict[str, list[str]] = {"ada": [], "bob": []}
    for turn in range(40 + 3 + 3):
        person = ("ada", "bob")[turn % 2]
        lease = store.lease("set", person, 60.0, chance.random)
        assert lease is not None
        leased[person].append(lease.task)
        store.add_label(lease.task, person, "{}", version)
    for tasks in leased.values():
        assert sorted(task for task in tasks if task.startswith("g")) == ["g0", "g1", "g2"]
        assert tasks.index("g2") < 20
    assert store.lease("set", "ada", 60.0) is None
    assert store.counts("set") == Counts(done=40, waiting=0, open=0) and len(store.labels("set")) == 40
    assert gold_answers(store, "set/gold") == {task.id: answer for task, answer in answers}
    assert gold_answers(store, "set") == {}


def test_a_known_answer_does_not_change(store: Store) -> None:
    put_gold(store, GOLD, [(Task("g", "{}"), '{"word": "yes"}')])
    with pytest.raises(UserError, match="task g: another answer is known already"):
        put_gold(store, GOLD, [(Task("h", "{}"), "{}"), (Task("g", "{}"), '{"word": "no"}')])
    assert gold_answers(store, "set/gold") == {"g": '{"word": "yes"}'}
