"""The numbers behind admins' pages: gold, and tasks on which people differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from biddable.label import kinds, queue
from biddable.label.queue import CollectedLabel
from biddable.store import gold as store_gold
from biddable.store import reviews
from biddable.store import screening as store_screening
from biddable.store.store import Store
from biddable.store.types import TaskSet

MAX_ANSWERS = 10_000
"""Figures of agreement and gold on pages are of so many newest answers of a set: a page should not read a
million. A stage's own summary is of all."""
WORST_SHOWN = 3
"""Gold tasks that are listed for each person."""


class Gold(NamedTuple):
    """How somebody does on tasks whose answers are known."""

    pseudonym: str
    answered: int
    score: float  # mean of its tasks' scores, 0 to 1: pairs ordered as expected, ratings at most a point off
    worst: list[tuple[str, float]]  # task and score, the worst first


class Dispute(NamedTuple):
    """A task that several people answered, with how far they differ: 0 not at all, 1 as far as possible."""

    task: str
    labels: list[CollectedLabel]
    distance: float
    state: str  # "", "stands" or "returned"


def kinds_with_agreement(store: Store) -> tuple[str, ...]:
    """The kinds in a store whose agreement can be measured."""
    names = sorted({task_set.kind for task_set in store.task_sets()})
    return tuple(name for name in names if (kind := kinds.find(name)) is not None and kind.has_agreement)


def sets_of(store: Store, names: Iterable[str]) -> list[TaskSet]:
    """Real people's sets of some kinds; simulated people's only where there are no others. The screening is
    not among them."""
    parts = {part.task_set for part in store_screening.screening_parts(store)}
    task_sets = [
        task_set
        for task_set in store.task_sets()
        if task_set.kind in names and task_set.name not in parts and not task_set.everybody
    ]
    return [task_set for task_set in task_sets if not task_set.simulated] or task_sets


def newest_labels(
    store: Store, task_sets: Iterable[TaskSet], newest: int = MAX_ANSWERS
) -> dict[str, list[CollectedLabel]]:
    """The newest answers of each set, by its name."""
    return {
        task_set.name: queue.collected_labels(store, task_set.name, newest=newest) for task_set in task_sets
    }


def gold(store: Store, task_set: TaskSet, newest: int = MAX_ANSWERS) -> list[Gold]:
    """How everybody does on a set's gold, the worst first."""
    kind = kinds.find(task_set.kind)
    if task_set.gold is None or kind is None:
        return []
    expected = store_gold.gold_answers(store, task_set.gold)
    scores: dict[str, list[tuple[str, float]]] = {}
    for label in queue.collected_labels(store, task_set.gold, newest=newest):
        if label.task not in expected:
            continue
        score = kind.gold_score(label, kind.expected(expected[label.task]))
        if score is not None:
            scores.setdefault(label.person.pseudonym, []).append((label.task, score))
    people = [
        Gold(
            name,
            answered=len(tasks),
            score=math.fsum(score for _, score in tasks) / len(tasks),
            worst=sorted(tasks, key=lambda task: task[1])[:WORST_SHOWN],
        )
        for name, tasks in scores.items()
    ]
    return sorted(people, key=lambda person: (person.score, person.pseudonym))


def disputes(store: Store, labels: Mapping[str, Iterable[CollectedLabel]]) -> list[tuple[str, Dispute]]:
    """(set, dispute) of the tasks with several answers among these or a decision, in `dispute_order`."""
    rows = []
    for name in labels:
        by_task: dict[str, list[CollectedLabel]] = {}
        for label in labels[name]:
            by_task.setdefault(label.task, []).append(label)
        history = reviews.reviews_by_task(store, name)
        for task, answers in by_task.items():
            decision = history[task][-1].decision if task in history else "open"
            if len(answers) > 1 or decision != "open":
                state = "" if decision == "open" else decision
                rows.append((name, Dispute(task, answers, distance(answers), state)))
    return sorted(rows, key=lambda row: dispute_order(row[1]))


def dispute_order(dispute: Dispute) -> tuple[bool, float, str]:
    """Undecided tasks come before decided ones, and those that people differ most on come first."""
    return (dispute.state != "", -dispute.distance, dispute.task)


def distance(labels: Sequence[CollectedLabel]) -> float:
    """How far the answers to one task differ, from 0 to 1: the mean over every two people; 0 where that
    cannot be said.

    An admin's own answer does not count: it says which answer is right, and nothing about people's agreement.
    """
    kind = kinds.find(labels[0].kind) if labels else None
    if kind is None:
        return 0.0
    by_people = [label for label in labels if not label.decided]
    distances = [kind.distance(first, second) for first, second in combinations(by_people, 2)]
    comparable = [distance for distance in distances if distance is not None]
    return math.fsum(comparable) / len(comparable) if comparable else 0.0
