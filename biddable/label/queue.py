"""The queue: who gets which task next. The same for people and for simulated labelers.

A task goes to `overlap` different people of its panel. Taking one is a lease: it lapses, and somebody else
may have the place, when no answer came in time. The rules hold inside the store's transactions, whatever runs
at once or is killed meanwhile.
"""

from __future__ import annotations

import collections
import json
from typing import Any, NamedTuple

from pydantic import BaseModel

from biddable.run.config import UserError
from biddable.run.records import hash_fraction
from biddable.store import reviews, screening
from biddable.store.store import Store
from biddable.store.types import Person


class AssignedTask(NamedTuple):
    """A task as one person holds it."""

    id: str
    kind: str
    question: str  # a record as JSON, with everything: a kind's `question` makes the blind view of it
    shown: tuple[int, ...]  # shown[i] is the stored number of the answer that this person sees at place i
    replaces: str | None = None  # the person's label that an admin sent back; the new answer corrects it
    note: str = ""  # and why


class CollectedLabel(NamedTuple):
    """What one person said about one task, corrections applied."""

    task: str
    kind: str
    question: str
    answer: str  # the kind's answer as JSON, in the order shown
    shown: tuple[int, ...]
    person: Person
    guideline: str
    id: str = ""
    created: float = 0.0
    stands: bool = True  # whether it goes into records: False when an admin decided for somebody else's
    decided: bool = False  # an admin's own answer, given in the review: it says nothing about agreement

    @property
    def record_id(self) -> str:
        """The id of the record that this label comes to, where several people may answer a task."""
        return f"{id_in_set(self.task)}-{self.person.pseudonym}"

    @property
    def provenance(self) -> dict[str, Any]:
        """What every record notes of its label: who gave it under which guideline."""
        person = self.person
        return {
            "labeler": person.pseudonym,
            "simulated": person.simulated,
            "guideline": self.guideline,
        }


def next_task(
    store: Store, task_set: str, person: str, lease_seconds: float = 1800.0, *, fresh: bool = False
) -> AssignedTask | None:
    """What an admin sent back to this person, else the task they still hold (its time begins anew), else the
    next free one; None when there is none. `fresh`: the next free one in any case.

    Raises UserError for a person the store does not know, for one the task set is not for, and for one who
    has not passed the screening.
    """
    if not screening.is_admitted(store, person, task_set):
        raise UserError("the screening comes first; an admin decides after it")
    for returned in () if fresh else reviews.returned_labels(store, task_set, person):
        return load_task(store, returned.task, person)._replace(replaces=returned.label, note=returned.note)
    leased = store.lease(task_set, person, lease_seconds, fresh=fresh)
    return None if leased is None else load_task(store, leased[0], person)


def load_task(store: Store, task: str, person: str) -> AssignedTask:
    """A task as this person sees it. Raises UserError for an unknown one."""
    return task_for(task, *store.question(task), person)


def task_for(task: str, kind: str, question: str, person: str) -> AssignedTask:
    """A task of this kind with this question as this person sees it."""
    return AssignedTask(
        task, kind, question, display_order(task, person, len(json.loads(question).get("answers", ())))
    )


def display_order(task: str, person: str, answers: int) -> tuple[int, ...]:
    """The order in which a person sees a task's answers: by hash, so neither the place nor the neighbours
    tell the model."""
    return tuple(sorted(range(answers), key=lambda i: hash_fraction("shown", id_in_set(task), person, i)))


def id_in_set(task: str) -> str:
    """A task's id without its task set's, which holds the run's name: the same questions get the same order
    in every run."""
    return task.rsplit("#", 1)[-1]


def submit(
    store: Store,
    task: AssignedTask,
    person: str,
    answer: BaseModel,
    guideline: str,
    seconds: float | None,
    replaces: str | None = None,
) -> str:
    """Keep a person's answer with the order shown; returns the label's id. The same answer sent twice is kept
    once.

    A correction names in `replaces` the label it takes the place of. Raises LeaseExpired without a live
    lease, and UserError for another answer to a task that this person answered before.
    """
    text = json.dumps({"answer": answer.model_dump(mode="json"), "shown": task.shown}, ensure_ascii=False)
    return store.add_label(task.id, person, text, guideline, seconds, replaces)


def progress(store: Store, task_set: str) -> tuple[int, int]:
    """(labels wanted, labels there) of a task set; one that was sent back is not there until it is
    corrected."""
    counts = store.counts(task_set)
    returned = len(reviews.returned_labels(store, task_set))
    return counts.done + counts.waiting + counts.open, counts.done - returned


def answers_by_person(store: Store, task_set: str) -> dict[str, int]:
    """How many tasks of the set each person has answered."""
    return dict(collections.Counter(label.person.id for label in store.labels(task_set)))


def collected_labels(
    store: Store, task_set: str, *, newest: int | None = None, task: str | None = None
) -> list[CollectedLabel]:
    """All labels of a task set, or so many of the newest, or those of one task; of corrected ones the last,
    in the order of task and person."""
    rows = []
    labels = store.labels(task_set, newest=newest, task=task)
    standing, decided = (
        reviews.accepted_labels(store, task_set, labels),
        reviews.labels_without_lease(store, task_set),
    )
    for label in labels:
        stored = json.loads(label.answer)
        answer = json.dumps(stored["answer"], ensure_ascii=False)
        rows.append(
            CollectedLabel(
                label.task,
                label.kind,
                label.question,
                answer,
                tuple(stored["shown"]),
                label.person,
                label.guideline,
                label.id,
                label.created,
                label.id in standing,
                label.id in decided,
            )
        )
    # sorted here: databases sort text in different ways
    return sorted(rows, key=lambda row: (row.task, row.person.id))
