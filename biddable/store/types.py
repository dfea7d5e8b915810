"""What the store holds, as plain values: people, tasks and their sets, labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from biddable.run.config import UserError


@dataclass(frozen=True)
class Person:
    """Somebody who answers: known to records by the pseudonym only."""

    id: str
    pseudonym: str
    panel: Literal["training", "held_out"]
    simulated: bool


@dataclass(frozen=True)
class Task:
    """A question for people: JSON text of a kind, asked to `overlap` people; higher priority is asked first."""

    id: str
    question: str
    overlap: int = 1
    priority: int = 0


@dataclass(frozen=True)
class TaskSet:
    """The questions of one stage: all of one kind, for one panel, for real or for simulated people.

    Tasks of a set for `everybody` have no number of seats: each person may answer each of them once. `gold` names such a set whose tasks,
    with known answers, are mixed in unseen: a share `gold_share` of what a person gets. Sets of higher priority are offered first.
    """

    name: str
    kind: str
    panel: Literal["training", "held_out"]
    simulated: bool
    everybody: bool = False
    gold: str | None = None
    gold_share: float = 0.0
    priority: int = 0


@dataclass(frozen=True)
class Label:
    """What one person answered to which question; `replaces` names the person's earlier answer that this one corrects."""

    id: str
    task: str
    kind: str
    question: str
    person: Person
    answer: str
    guideline: str
    seconds: float | None
    created: float
    replaces: str | None


@dataclass(frozen=True)
class Counts:
    """Answers of a task set: given; being worked on under a lease; to be had."""

    done: int
    waiting: int
    open: int


class LeaseExpired(UserError):
    """An answer came without a live lease: somebody else may have the task by now."""
