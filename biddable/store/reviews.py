"""What admins judge: which label of a task stands, what a demonstration is worth, who is taken on. Rows are only ever added; the newest counts."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.store import Store
from biddable.store.tables import (
    answer_keys,
    grades,
    labels,
    leases,
    people,
    reviews,
    screening,
    skips,
    tasks,
    verdicts,
)
from biddable.store.types import Label, Task, TaskSet

Decision = Literal["stands", "returned", "open"]
"""This label alone goes into records; this label is sent back to its person; an earlier decision on the task is taken back."""

Part = Literal["sensitive", "rankings", "demonstrations", "groups"]
"""The four parts of screening (Ouyang et al. 2022, B.1)."""


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
class Returned:
    """A label that was sent back: its person is to correct it."""

    task: str
    label: str
    note: str


@dataclass(frozen=True)
class Screening:
    """A set of tasks by which people are chosen: which part, and from which score on it is passed (none: it has no score)."""

    task_set: str
    part: Part
    cutoff: float | None


@dataclass(frozen=True)
class Admission:
    """Whether somebody was taken on, by which scores, and why."""

    person: str
    accepted: bool
    scores: dict[str, Any]
    note: str
    judge: str
    created: float


def review(
    store: Store, task: str, decision: Decision, label: str | None, reviewer: str, note: str = ""
) -> None:
    """Decide: a label `stands` for its task, is `returned` to its person, or the task is `open` again.

    Raises UserError when the label is not the newest of its person for the task, and for a label sent back without a reason.
    """
    if decision == "returned" and not note.strip():
        raise UserError("say what is to be mended: the note is shown to the person who gets the task back")
    if (label is None) != (decision == "open"):
        raise UserError(
            f"{decision}: {'a label was expected' if label is None else 'no label belongs to it'}"
        )

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
        query = sa.select(labels.c.person).where(labels.c.id == label, labels.c.task == task, ~_replaced())
        if (person := connection.execute(query).scalar()) is None:
            raise UserError("this answer is not there, or was corrected meanwhile; look at the task again")
    elif connection.execute(sa.select(tasks.c.id).where(tasks.c.id == task)).first() is None:
        raise UserError(f"there is no task {task}")
    row = {"task": task, "label": label, "person": person, "decision": decision, "note": note.strip()}
    connection.execute(sa.insert(reviews), {**row, **_stamp(store), "reviewer": reviewer})


def adjudicate(store: Store, task: str, person: str, answer: str, guideline: str, reviewer: str) -> str:
    """An admin's own answer stands for a task, whatever others said of it; returns the label's id.

    It takes nobody's place: the task still wants as many answers as before, and this person is not asked for one any more. Deciding once more
    is a correction. Raises UserError when the person holds the task as a labeler at the moment.
    """

    def step(connection: sa.Connection) -> str:
        mine = (leases.c.task == task) & (leases.c.person == person)
        if connection.execute(sa.select(leases.c.id).where(mine, leases.c.label.is_(None))).first():
            raise UserError(
                "you hold this task as a labeler at the moment; answer it there, or skip it there first"
            )
        newest = connection.execute(
            sa.select(labels.c.id).where(labels.c.task == task, labels.c.person == person, ~_replaced())
        ).scalar()
        label = store.label_step(connection, task, person, answer, guideline, None, newest, leased=False)
        aside = (skips.c.task == task) & (skips.c.person == person)
        if not connection.execute(sa.select(skips.c.task).where(aside)).first():
            row = {"task": task, "person": person, "flag": False, "reason": "decided it in the review"}
            connection.execute(sa.insert(skips), {**row, "created": store.clock()})
        _review(connection, store, task, "stands", label, reviewer, "own answer")
        return label

    return store.write(step)


def labels_without_lease(store: Store, task_set: str) -> set[str]:
    """Ids of a set's labels that took no seat: what admins decided after they had seen the others' answers."""
    seated = sa.exists().where(leases.c.task == labels.c.task, leases.c.person == labels.c.person)
    query = (
        sa.select(labels.c.id)
        .join(tasks, tasks.c.id == labels.c.task)
        .where(tasks.c.task_set == task_set, ~seated)
    )
    with store.read() as connection:
        return set(connection.execute(query).scalars())


def reviews_by_task(store: Store, task_set: str) -> dict[str, list[Review]]:
    """All reviews of a set, by task, the oldest first."""
    query = sa.select(reviews).join(tasks, tasks.c.id == reviews.c.task).where(tasks.c.task_set == task_set)
    found: dict[str, list[Review]] = {}
    with store.read() as connection:
        for row in connection.execute(query.order_by(reviews.c.id)):
            one = Review(row.task, row.label, row.person, row.decision, row.note, row.reviewer, row.created)
            found.setdefault(row.task, []).append(one)
    return found


def accepted_labels(store: Store, task_set: str, found: Sequence[Label]) -> set[str]:
    """Ids of the labels that go into records: all of a task, or those of the person for whom an admin decided."""
    chosen: dict[str, str | None] = {}
    for task, row in reviews_by_task(store, task_set).items():
        for one in row:
            if one.decision != "returned":
                chosen[task] = one.person
    return {label.id for label in found if chosen.get(label.task) in (None, label.person.id)}


def _replaced() -> sa.ColumnElement[bool]:
    twin = labels.alias()
    return sa.exists().where(twin.c.replaces == labels.c.id)


@cache
def _sent_back(of_one: bool) -> sa.Select[Any]:
    """Labels of a set, or of one person in it, of which the newest review says returned and that nobody has corrected."""
    newer = reviews.alias()
    later = sa.exists().where(newer.c.label == reviews.c.label, newer.c.id > reviews.c.id)
    opened = sa.exists().where(
        newer.c.task == reviews.c.task, newer.c.decision != "returned", newer.c.id > reviews.c.id
    )
    whole = reviews.join(labels, labels.c.id == reviews.c.label).join(tasks, tasks.c.id == reviews.c.task)
    query = sa.select(reviews.c.task, reviews.c.label, reviews.c.note).select_from(whole)
    query = query.where(
        reviews.c.decision == "returned",
        tasks.c.task_set == sa.bindparam("task_set"),
        ~later,
        ~opened,
        ~_replaced(),
    )
    return (query.where(reviews.c.person == sa.bindparam("person")) if of_one else query).order_by(
        reviews.c.id
    )


def returned_labels(store: Store, task_set: str, person: str | None = None) -> list[Returned]:
    """Labels of a set that were sent back and not corrected yet: everybody's, or one person's."""
    with store.read() as connection:
        return find_returned(connection, task_set, person)


def find_returned(connection: sa.Connection, task_set: str, person: str | None = None) -> list[Returned]:
    """As `returned`, within a step."""
    query, known = _sent_back(person is not None), {"task_set": task_set, "person": person}
    return [Returned(row.task, row.label, row.note) for row in connection.execute(query, known)]


def put_gold(store: Store, task_set: TaskSet, known: Iterable[tuple[Task, str]]) -> None:
    """Put tasks for everybody whose answers are known, each with its expected answer (JSON): gold, or a part of screening."""
    rows = list(known)
    store.put_tasks(replace(task_set, everybody=True), [task for task, _ in rows])

    def step(connection: sa.Connection) -> None:
        there = {row.task: row.expected for row in connection.execute(sa.select(answer_keys))}
        wrong = [
            f"task {t.id}: another answer is known already" for t, key in rows if there.get(t.id, key) != key
        ]
        if wrong:
            raise UserError(wrong)
        new = [{"task": task.id, "expected": key} for task, key in rows if task.id not in there]
        if new:
            connection.execute(sa.insert(answer_keys), new)

    store.write(step)


def gold_answers(store: Store, task_set: str) -> dict[str, str]:
    """The expected answer of each task of a set that has one."""
    query = (
        sa.select(answer_keys)
        .join(tasks, tasks.c.id == answer_keys.c.task)
        .where(tasks.c.task_set == task_set)
    )
    with store.read() as connection:
        return {row.task: row.expected for row in connection.execute(query)}


def start_screening(store: Store, parts: Sequence[Screening]) -> None:
    """Make these sets the screening: whoever comes to the training panel answers them first. An earlier screening ends."""

    def step(connection: sa.Connection) -> None:
        connection.execute(sa.delete(screening))
        now = store.clock()
        connection.execute(sa.insert(screening), [{**vars(part), "created": now} for part in parts])

    store.write(step)


def screening_parts(store: Store) -> list[Screening]:
    """The parts of the present screening, in their order; empty when there is none."""
    order = {"sensitive": 0, "rankings": 1, "demonstrations": 2, "groups": 3}
    with store.read() as connection:
        rows = [
            Screening(row.task_set, row.part, row.cutoff) for row in connection.execute(sa.select(screening))
        ]
    return sorted(rows, key=lambda one: order[one.part])


def grade_label(store: Store, label: str, given: int, grader: str, note: str = "") -> None:
    """Grade a demonstration from 1 to 7. Raises UserError for another number."""
    if not 1 <= given <= 7:
        raise UserError(f"grade {given}: a whole number from 1 to 7 was expected")
    row = {"label": label, "grade": given, "grader": grader, "note": note.strip(), **_stamp(store)}

    def step(connection: sa.Connection) -> None:
        if connection.execute(sa.select(labels.c.id).where(labels.c.id == label)).first() is None:
            raise UserError("there is no such text to grade")
        connection.execute(sa.insert(grades), row)

    store.write(step)


def grades_by_label(store: Store, task_set: str) -> dict[str, int]:
    """The newest grade of each graded label of a set."""
    whole = grades.join(labels, labels.c.id == grades.c.label).join(tasks, tasks.c.id == labels.c.task)
    query = sa.select(grades.c.label, grades.c.grade).select_from(whole).where(tasks.c.task_set == task_set)
    with store.read() as connection:
        return {row.label: row.grade for row in connection.execute(query.order_by(grades.c.id))}


def decide_admission(
    store: Store, person: str, accepted: bool, scores: Mapping[str, Any], by: str, note: str = ""
) -> None:
    """Take somebody on, or not, with the scores of that moment."""
    row = {
        "person": person,
        "accepted": accepted,
        "scores": json.dumps(dict(scores), sort_keys=True),
        "judge": by,
    }
    store.write(
        lambda connection: connection.execute(
            sa.insert(verdicts), {**row, "note": note.strip(), **_stamp(store)}
        )
    )


def admissions(store: Store) -> dict[str, list[Admission]]:
    """Everybody's verdicts, the oldest first."""
    found: dict[str, list[Admission]] = {}
    with store.read() as connection:
        for row in connection.execute(sa.select(verdicts).order_by(verdicts.c.id)):
            one = Admission(
                row.person, bool(row.accepted), json.loads(row.scores), row.note, row.judge, row.created
            )
            found.setdefault(row.person, []).append(one)
    return found


def is_admitted(store: Store, person: str, task_set: str = "") -> bool:
    """Whether somebody may work on a set: taken on, or nothing to be taken on for (no screening; held-out people; simulated ones), or
    the set is a part of the screening."""
    newest = (
        sa.select(verdicts.c.accepted)
        .where(verdicts.c.person == person)
        .order_by(verdicts.c.id.desc())
        .limit(1)
    )
    with store.read() as connection:
        parts = set(connection.execute(sa.select(screening.c.task_set)).scalars())
        if not parts or task_set in parts:
            return True
        who = connection.execute(
            sa.select(people.c.panel, people.c.simulated).where(people.c.id == person)
        ).first()
        if who is not None and (who.panel != "training" or who.simulated):
            return True
        return bool(connection.execute(newest).scalar())


def labels_per_day(store: Store, task_set: str) -> list[tuple[str, str, int, float | None]]:
    """(day in UTC, pseudonym, answers, mean seconds an answer) of a set, by day and person; corrections are not counted."""
    day = sa.cast(sa.func.floor(labels.c.created / 86400), sa.Integer)
    whole = leases.join(labels, labels.c.id == leases.c.label).join(people, people.c.id == labels.c.person)
    query = (
        sa.select(day.label("day"), people.c.pseudonym, sa.func.count(), sa.func.avg(labels.c.seconds))
        .select_from(whole)
        .where(leases.c.task_set == task_set)
        .group_by(day, people.c.pseudonym)
        .order_by(day, people.c.pseudonym)
    )
    with store.read() as connection:
        return [
            (time.strftime("%Y-%m-%d", time.gmtime(row[0] * 86400)), row[1], row[2], row[3])
            for row in connection.execute(query)
        ]


def task_set_name(store: Store, task: str) -> str:
    """The name of a task's set. Raises UserError for an unknown task."""
    with store.read() as connection:
        name = connection.execute(sa.select(tasks.c.task_set).where(tasks.c.id == task)).scalar()
    if name is None:
        raise UserError(f"there is no task {task}")
    return str(name)


def _stamp(store: Store) -> dict[str, Any]:
    """Id and time of a new row; ids sort by time."""
    return {"id": f"{time.time_ns():020d}{secrets.token_hex(4)}", "created": store.clock()}
