"""Screening: the parts by which people are chosen, grades of what they wrote, and who was admitted.

Grades and admissions are only ever added; the newest counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.database import time_ordered_id
from biddable.store.store import Store
from biddable.store.tables import admissions, grades, labels, people, screening, tasks
from biddable.store.types import Admission, Part, Screening


def start_screening(store: Store, parts: Sequence[Screening]) -> None:
    """Make these sets the screening: whoever joins the training panel answers them first. An earlier
    screening ends."""

    def step(connection: sa.Connection) -> None:
        connection.execute(sa.delete(screening))
        now = store.clock()
        connection.execute(sa.insert(screening), [{**vars(part), "created": now} for part in parts])

    store.write(step)


def screening_parts(store: Store) -> list[Screening]:
    """The parts of the present screening, in the order of the paper; empty when there is none."""
    order = get_args(Part)
    with store.read() as connection:
        rows = connection.execute(sa.select(screening))
        parts = [Screening(row.task_set, row.part, row.cutoff) for row in rows]
    return sorted(parts, key=lambda screened: order.index(screened.part))


def grade_label(store: Store, label: str, grade: int, grader: str, note: str = "") -> None:
    """Grade a demonstration from 1 to 7. Raises UserError for another number, or an unknown label."""
    if not 1 <= grade <= 7:
        raise UserError(f"grade {grade}: must be a whole number from 1 to 7")

    def step(connection: sa.Connection) -> None:
        if connection.execute(sa.select(labels.c.id).where(labels.c.id == label)).first() is None:
            raise UserError("there is no such text to grade")
        row = {"label": label, "grade": grade, "grader": grader, "note": note.strip()}
        stamp = {"id": time_ordered_id(), "created": store.clock()}
        connection.execute(sa.insert(grades), {**row, **stamp})

    store.write(step)


def grades_by_label(store: Store, task_set: str) -> dict[str, int]:
    """The newest grade of each graded label of a set."""
    query = (
        sa.select(grades.c.label, grades.c.grade)
        .join(labels, labels.c.id == grades.c.label)
        .join(tasks, tasks.c.id == labels.c.task)
        .where(tasks.c.task_set == task_set)
        .order_by(grades.c.id)
    )
    with store.read() as connection:
        return {row.label: row.grade for row in connection.execute(query)}


def decide_admission(
    store: Store, person: str, accepted: bool, scores: Mapping[str, Any], judge: str, note: str = ""
) -> None:
    """Admit somebody to the work, or not, with the scores of this moment."""
    row = {
        "person": person,
        "accepted": accepted,
        "scores": json.dumps(dict(scores), sort_keys=True),
        "judge": judge,
        "note": note.strip(),
    }

    def step(connection: sa.Connection) -> None:
        stamp = {"id": time_ordered_id(), "created": store.clock()}
        connection.execute(sa.insert(admissions), {**row, **stamp})

    store.write(step)


def admissions_by_person(store: Store) -> dict[str, list[Admission]]:
    """Everybody's admissions and rejections, the oldest first."""
    by_person: dict[str, list[Admission]] = {}
    with store.read() as connection:
        for row in connection.execute(sa.select(admissions).order_by(admissions.c.id)):
            admission = Admission(
                row.person, bool(row.accepted), json.loads(row.scores), row.note, row.judge, row.created
            )
            by_person.setdefault(row.person, []).append(admission)
    return by_person


def is_admitted(store: Store, person: str, task_set: str = "") -> bool:
    """Whether somebody may work on a set: they were admitted; or nobody needs to be (there is no screening;
    the person is held-out or simulated); or the set is a part of the screening itself."""
    newest = (
        sa.select(admissions.c.accepted)
        .where(admissions.c.person == person)
        .order_by(admissions.c.id.desc())
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
