"""What the store holds, as plain values: what pages, kinds and stages read. Times are seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Panel = Literal["training", "held_out"]
"""Whose labels may be trained on, and whose are for measuring only (Ouyang et al. 2022, section 3.4)."""

Role = Literal["admin", "labeler"]

Decision = Literal["stands", "returned", "open"]
"""Only this label goes into records; this label goes back to its person; an earlier decision on the task is
withdrawn."""

Part = Literal["sensitive", "rankings", "demonstrations", "groups"]
"""The four parts of screening (Ouyang et al. 2022, appendix B.1)."""


@dataclass(frozen=True)
class Person:
    """Somebody who answers: known to records by the pseudonym only."""

    id: str
    pseudonym: str
    panel: Panel
    simulated: bool


@dataclass(frozen=True)
class Task:
    """A question for people: JSON text of a kind, to be answered by `overlap` people; higher priority comes
    first. `language`: its prompt's, where it is known."""

    id: str
    question: str
    overlap: int = 1
    priority: int = 0
    language: str | None = None


@dataclass(frozen=True)
class TaskSet:
    """The tasks of one stage: all of one kind, for one panel, for real or for simulated people.

    A set for `everybody` ignores overlap: each person may answer each of its tasks once. `gold` names such a
    set, of tasks with known answers, which are mixed in unannounced: they are the share `gold_share` of what
    a person gets. Sets of higher priority are offered first.
    """

    name: str
    kind: str
    panel: Panel
    simulated: bool
    everybody: bool = False
    gold: str | None = None
    gold_share: float = 0.0
    priority: int = 0


@dataclass(frozen=True)
class Label:
    """One person's answer to a task, with the question; `replaces` names that person's earlier label that
    this one corrects."""

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
    """The answers a task set needs: given, being worked on under a live lease, free to be taken."""

    done: int
    waiting: int
    open: int


class Lease(NamedTuple):
    """A task handed to a person; from the second `expires_at` on it may go to somebody else."""

    task: str
    expires_at: float


@dataclass(frozen=True)
class Draft:
    """What a form held when it was last saved: field name -> values. `seconds` of work on it, pauses left
    out; None: not measured."""

    fields: dict[str, list[str]]
    guideline: str
    seconds: float | None
    started_at: float
    saved_at: float


@dataclass(frozen=True)
class SavedDraft:
    """What saving a draft did: seconds of work so far (None: not measured), and whether the task is still the
    person's."""

    seconds: float | None
    has_lease: bool


@dataclass(frozen=True)
class Skip:
    """A person who does not want a task, and why. `flag`: an admin should look at the task."""

    task: str
    pseudonym: str
    flag: bool
    reason: str
    created: float


@dataclass(frozen=True)
class Assignment:
    """A person's task with its lease and draft: all that a page needs to show it."""

    task: str
    kind: str
    question: str
    task_set: TaskSet  # for a gold task the set that it is mixed into
    expires_at: float
    label: str | None  # the person's newest label, if there is one
    returned: ReturnedLabel | None  # set when that label was sent back
    draft: Draft | None
    answer: str | None = None  # what that newest label says, as it is stored


@dataclass(frozen=True)
class PastAnswer:
    """A task that somebody has answered, with the newest answer's time."""

    task: str
    task_set: str
    kind: str
    created: float
    seconds: float | None
    corrected: bool


@dataclass(frozen=True)
class GuidelineEdition:
    """A version of a guideline that came into force at `created`."""

    name: str
    version: str
    text: str
    created: float


@dataclass(frozen=True)
class Review:
    """What an admin decided about a task, or about one of its labels."""

    task: str
    label: str | None
    person: str | None  # whose label it is
    decision: Decision
    note: str
    reviewer: str
    created: float


@dataclass(frozen=True)
class ReturnedLabel:
    """A label that was sent back to its person to be corrected, and why."""

    task: str
    label: str
    note: str


@dataclass(frozen=True)
class Screening:
    """A task set by which people are chosen: which part it is, and the score from which on it is passed
    (None: it has no score)."""

    task_set: str
    part: Part
    cutoff: float | None


@dataclass(frozen=True)
class Admission:
    """Whether somebody was admitted to the work after screening, with the scores of that moment, and why."""

    person: str
    accepted: bool
    scores: dict[str, Any]
    note: str
    judge: str
    created: float


@dataclass(frozen=True)
class Account:
    """Somebody who may log in. `person` is what the store and the records know them by."""

    id: str
    login: str
    role: Role
    person: Person
    created: float
    closed: float | None = None
    second_factor: bool = False


@dataclass(frozen=True)
class Invitation:
    """A link with which one person can make an account. Only a hash of its token is stored."""

    id: str
    role: Role
    panel: Panel
    note: str
    created: float
    expires_at: float
    used: bool


@dataclass(frozen=True)
class Session:
    """A browser in which an account is logged in."""

    id: str
    agent: str
    created: float
    last_used: float


@dataclass(frozen=True)
class AuditLine:
    """One thing that was done with accounts, guidelines or labels; `login` is None when it was done on the
    command line."""

    at: float
    login: str | None
    action: str
    about: str


@dataclass(frozen=True)
class Key:
    """Somebody who may use the server. `name` is for the operator, `pseudonym` for records."""

    id: str
    name: str
    pseudonym: str
    created: float
    closed: float | None = None
