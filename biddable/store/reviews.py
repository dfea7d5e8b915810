"""Reviews: what admins decide about labels. One label stands for its task, one goes back to its person;
adjudication is an admin's own answer. Rows are only ever added; the newest counts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.database import time_ordered_id, unindexed
from biddable.store.drafts import add_skip
from biddable.store.leases import has_unanswered_lease
from biddable.store.store import Store, newest_labels
from biddable.store.tables import labels, leases, reviews, tasks
from biddable.store.types import Decision, Label, ReturnedLabel, Review


def review(
    store: Store, task: str, decision: Decision, label: str | None, reviewer: str, note: str = ""
) -> None:
    """Decide: a label `stands` for its task, is `returned` to its person, or the task is `open` again.

    Raises UserError when the label is not its person's newest for the task, and for a label sent back without
    a reason.
    """
    if decision == "returned" and not note.strip():
        raise UserError("say what is to be mended: the note is shown to the person who gets the task back")
    if (label is None) != (decision == "open"):
        raise UserError(f"{decision}: {'needs a label' if label is None else 'no label belongs to it'}")
    store.write(lambda connection: _review(connection, store, task, decision, label, reviewer, note))


def _review(
    connection: sa.Connection,
    store: Store,
    task: str,
    decision: Decision,
    label: str | None,
    reviewer: str,
    note: str,
) -> None:
    person = None
    if label is not None:
        query = newest_labels().where(labels.c.id == label, labels.c.task == task)
        row = connection.execute(query).first()
        if row is None:
            raise UserError("this answer is not there, or was corrected meanwhile; look at the task again")
        person = row.person
    elif connection.execute(sa.select(tasks.c.id).where(tasks.c.id == task)).first() is None:
        raise UserError(f"there is no task {task}")
    decided = {"task": task, "label": label, "person": person, "decision": decision, "note": note.strip()}
    stamp = {"id": time_ordered_id(), "created": store.clock()}
    connection.execute(sa.insert(reviews), {**decided, **stamp, "reviewer": reviewer})


def adjudicate(store: Store, task: str, person: str, answer: str, guideline: str, reviewer: str) -> str:
    """Let an admin's own answer stand for a task, whatever others answered; returns the label's id.

    It takes nobody's place: the task still wants as many answers as before, and this person will not be
    offered it any more. Deciding once more is a correction. Raises UserError when the person has the task as
    a labeler at the moment.
    """

    def step(connection: sa.Connection) -> str:
        if has_unanswered_lease(connection, task, person):
            raise UserError(
                "you hold this task as a labeler at the moment; answer it there, or skip it there first"
            )
        of_person = (labels.c.task == task) & (labels.c.person == person)
        newest = connection.execute(newest_labels().where(of_person)).first()
        replaces = None if newest is None else newest.id
        label = store.label_step(connection, task, person, answer, guideline, None, replaces, leased=False)
        add_skip(connection, task, person, False, "decided it in the review", store.clock())
        _review(connection, store, task, "stands", label, reviewer, "own answer")
        return label

    return store.write(step)


def labels_without_lease(store: Store, task_set: str) -> set[str]:
    """Ids of a set's labels made without a lease: by adjudication, after the admin had seen the others'
    answers."""
    leased = sa.exists().where(leases.c.task == labels.c.task, leases.c.person == labels.c.person)
    query = (
        sa.select(labels.c.id)
        .join(reviews, reviews.c.label == labels.c.id)  # each has a review of its own, and those are few
        .join(tasks, tasks.c.id == labels.c.task)
        .where(unindexed(tasks.c.task_set) == task_set, ~leased)
    )
    with store.read() as connection:
        return set(connection.execute(query).scalars())


def reviews_by_task(store: Store, task_set: str) -> dict[str, list[Review]]:
    """All reviews of a set, by task, the oldest first."""
    query = (
        sa.select(reviews)
        .join(tasks, tasks.c.id == reviews.c.task)
        .where(unindexed(tasks.c.task_set) == task_set)
        .order_by(reviews.c.id)
    )
    by_task: dict[str, list[Review]] = {}
    with store.read() as connection:
        for row in connection.execute(query):
            by_task.setdefault(row.task, []).append(
                Review(row.task, row.label, row.person, row.decision, row.note, row.reviewer, row.created)
            )
    return by_task


def accepted_labels(store: Store, task_set: str, candidates: Sequence[Label]) -> set[str]:
    """Ids of the labels that go into records: all of a task, or only those of the person for whom an admin
    decided.

    A decision is for a person, not for a label: it holds for what they answer in a later correction too.
    """
    chosen: dict[str, str | None] = {}  # task -> person; None: opened again
    for task, decisions in reviews_by_task(store, task_set).items():
        for decision in decisions:
            if decision.decision != "returned":
                chosen[task] = decision.person
    return {label.id for label in candidates if chosen.get(label.task) in (None, label.person.id)}


def returned_labels(store: Store, task_set: str, person: str | None = None) -> list[ReturnedLabel]:
    """Labels of a set that were sent back and not corrected yet: everybody's, or one person's."""
    with store.read() as connection:
        return find_returned(connection, task_set, person)


def find_returned(connection: sa.Connection, task_set: str, person: str | None = None) -> list[ReturnedLabel]:
    """As `returned_labels`, within a step."""
    query, parameters = _returned(person is not None), {"task_set": task_set, "person": person}
    return [ReturnedLabel(row.task, row.label, row.note) for row in connection.execute(query, parameters)]


@cache
def _returned(of_one_person: bool) -> sa.Select[Any]:
    """Labels whose newest review says returned, that nobody has corrected, and whose task was not decided
    since."""
    newer, correction = reviews.alias(), labels.alias()
    reviewed_since = sa.exists().where(newer.c.label == reviews.c.label, newer.c.id > reviews.c.id)
    decided_since = sa.exists().where(
        newer.c.task == reviews.c.task, newer.c.decision != "returned", newer.c.id > reviews.c.id
    )
    corrected = sa.exists().where(correction.c.replaces == labels.c.id)
    query = (
        sa.select(reviews.c.task, reviews.c.label, reviews.c.note)
        .join(labels, labels.c.id == reviews.c.label)
        .join(tasks, tasks.c.id == reviews.c.task)
        .where(reviews.c.decision == "returned", unindexed(tasks.c.task_set) == sa.bindparam("task_set"))
        .where(~reviewed_since, ~decided_since, ~corrected)
        .order_by(reviews.c.id)
    )
    return query.where(reviews.c.person == sa.bindparam("person")) if of_one_person else query
