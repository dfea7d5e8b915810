"""The numbers behind admins' pages: progress, gold, and tasks on which people differ."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

from biddable.label import kinds, queue
from biddable.label.queue import CollectedLabel
from biddable.store import assignments, reviews
from biddable.store import gold as store_gold
from biddable.store import screening as store_screening
from biddable.store.store import Store
from biddable.store.types import TaskSet

RECENT_DAYS = 7
"""The end is estimated by the pace of so many last days on which somebody worked."""
WORST_SHOWN = 3
"""Gold tasks that are listed for each person."""


class Day(NamedTuple):
    """Answers of a day, by pseudonym."""

    day: str
    people: dict[str, int]

    @property
    def answers(self) -> int:
        return sum(self.people.values())


class Progress(NamedTuple):
    """How far a set is. `days_left` is None while nobody works on it."""

    task_set: TaskSet
    done: int
    leased: int
    open: int  # returned ones included
    returned: int
    days: list[Day]
    seconds: float | None  # mean an answer
    days_left: float | None

    @property
    def needed(self) -> int:
        """Answers that the set needs in all."""
        return self.done + self.leased + self.open


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


def progress(store: Store, task_set: TaskSet) -> Progress:
    """How far a set is, who did how much on which day, and when it will be done at the pace of the last
    days."""
    counts, returned = store.counts(task_set.name), len(reviews.returned_labels(store, task_set.name))
    answers_by_day: dict[str, dict[str, int]] = {}
    seconds, measured = 0.0, 0
    for day, name, answers, mean_seconds in assignments.labels_per_day(store, task_set.name):
        answers_by_day.setdefault(day, {})[name] = answers
        if mean_seconds is not None:
            seconds, measured = seconds + mean_seconds * answers, measured + answers
    days = [Day(day, people) for day, people in sorted(answers_by_day.items())]
    to_do = counts.open + counts.waiting + returned  # a returned label has to be given again
    return Progress(
        task_set,
        done=counts.done - returned,
        leased=counts.waiting,
        open=counts.open + returned,
        returned=returned,
        days=days,
        seconds=seconds / measured if measured else None,
        days_left=0.0 if to_do == 0 else _days_left(days, to_do, store.clock()),
    )


def _days_left(days: list[Day], to_do: int, now: float) -> float | None:
    """Days of work at the pace of the last days on which somebody worked; None when nobody has worked for
    `RECENT_DAYS` days."""
    earliest = time.strftime("%Y-%m-%d", time.gmtime(now - RECENT_DAYS * 86400))
    if not days or days[-1].day < earliest:
        return None
    recent = days[-RECENT_DAYS:]
    per_day = sum(day.answers for day in recent) / len(recent)
    return to_do / per_day if per_day else None


def gold(store: Store, task_set: TaskSet) -> list[Gold]:
    """How everybody does on a set's gold, the worst first."""
    kind = kinds.find(task_set.kind)
    if task_set.gold is None or kind is None:
        return []
    expected = store_gold.gold_answers(store, task_set.gold)
    scores: dict[str, list[tuple[str, float]]] = {}
    for label in queue.collected_labels(store, task_set.gold):
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


def disputes(store: Store, task_set: TaskSet) -> list[Dispute]:
    """Tasks with several answers or a decision, in `dispute_order`."""
    by_task: dict[str, list[CollectedLabel]] = {}
    for label in queue.collected_labels(store, task_set.name):
        by_task.setdefault(label.task, []).append(label)
    history = reviews.reviews_by_task(store, task_set.name)
    rows = []
    for task, labels in by_task.items():
        decision = history[task][-1].decision if task in history else "open"
        if len(labels) > 1 or decision != "open":
            rows.append(Dispute(task, labels, distance(labels), "" if decision == "open" else decision))
    return sorted(rows, key=dispute_order)


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
