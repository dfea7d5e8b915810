"""Assignments: a person's task with its lease and draft, and what they have answered so far."""

from __future__ import annotations

import json

import sqlalchemy as sa

from biddable.store.drafts import find_draft
from biddable.store.leases import has_place
from biddable.store.reviews import find_returned
from biddable.store.store import Store, newest_labels
from biddable.store.tables import labels, leases, task_sets, tasks
from biddable.store.task_sets import task_set_from_row
from biddable.store.types import Assignment, PastAnswer, TaskSet


def find_assignment(store: Store, task: str, person: str) -> Assignment | None:
    """This person's assignment of a task; None when they have none."""
    query = (
        sa.select(leases.c.until, leases.c.label, leases.c.task_set, tasks.c.kind, tasks.c.question)
        .join(tasks, tasks.c.id == leases.c.task)
        .where(leases.c.task == task, leases.c.person == person)
    )
    newest = newest_labels().where(labels.c.task == task, labels.c.person == person)
    with store.read() as connection:
        row = connection.execute(query).first()
        if row is None:
            return None
        # a gold task is shown as one of the set that it is mixed into
        rows = connection.execute(
            sa.select(task_sets).where(
                (task_sets.c.name == row.task_set) | (task_sets.c.gold == row.task_set)
            )
        )
        task_set = task_set_from_row(max(rows, key=lambda candidate: candidate.gold == row.task_set))
        label, returned, answer = None, None, None
        if row.label is not None:
            newest_label = connection.execute(newest).one()
            label, answer = newest_label.id, newest_label.answer
            sent_back = find_returned(connection, row.task_set, person)
            returned = next((review for review in sent_back if review.label == label), None)
        draft = find_draft(connection, task, person)
    return Assignment(task, row.kind, row.question, task_set, row.until, label, returned, draft, answer)


def has_task(store: Store, task_set: TaskSet, person: str) -> bool:
    """Whether there is a task of the set for this person: one they hold, or a free place. Gold does not count:
    it comes only beside others."""
    with store.read() as connection:
        return has_place(connection, task_set, person, store.clock())


def past_answers(
    store: Store, person: str, limit: int = 100, *, text: str = "", task_sets: list[str] | None = None
) -> list[PastAnswer]:
    """The tasks that somebody has answered as a labeler, the newest answer first; not what they decided as an
    admin in a review. Only those that hold `text`, in the question or the answer, or that are of these
    sets."""
    query = (
        newest_labels()
        .add_columns(tasks.c.kind, tasks.c.task_set)
        .join(tasks, tasks.c.id == labels.c.task)
        .join(leases, (leases.c.task == labels.c.task) & (leases.c.person == labels.c.person))
        .where(labels.c.person == person)
        .order_by(labels.c.created.desc())
        .limit(limit)
    )
    if text:
        escaped = json.dumps(text, ensure_ascii=False)[1:-1]  # as it stands in JSON
        columns = (tasks.c.question, labels.c.answer)
        query = query.where(sa.or_(*(column.icontains(escaped, autoescape=True) for column in columns)))
    if task_sets is not None:
        query = query.where(tasks.c.task_set.in_(task_sets))
    with store.read() as connection:
        return [
            PastAnswer(row.task, row.task_set, row.kind, row.created, row.seconds, row.replaces is not None)
            for row in connection.execute(query)
        ]


def answers_per_set(store: Store, person: str) -> dict[str, int]:
    """How many tasks of each set somebody has answered."""
    query = (
        sa.select(leases.c.task_set, sa.func.count())
        .where(leases.c.person == person, leases.c.label.is_not(None))
        .group_by(leases.c.task_set)
    )
    with store.read() as connection:
        return {row[0]: int(row[1]) for row in connection.execute(query)}
