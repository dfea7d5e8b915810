"""What an admin decides by: everybody's scores in the parts of the screening, beside the soft cut-offs, and
the newest verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from biddable.label import queue
from biddable.label.queue import CollectedLabel
from biddable.label.screening import demonstrations, groups, rankings, sensitive
from biddable.store import gold as store_gold
from biddable.store import screening as store_screening
from biddable.store.store import Store
from biddable.store.types import Part, Screening


class PartScore(NamedTuple):
    """How somebody did in one part."""

    value: float | None  # share or mean grade; None: nothing to go by yet
    answered: int
    task_count: int
    graded: int  # of the answered ones those that count in the value
    passed: bool | None  # None: not finished, or the part has no cut-off


class Candidate(NamedTuple):
    """Somebody in the screening."""

    person: str
    pseudonym: str
    parts: dict[Part, PartScore]
    groups: dict[str, int | None]
    accepted: bool | None  # the newest verdict

    @property
    def finished(self) -> bool:
        return all(score.answered == score.task_count for score in self.parts.values())

    @property
    def suggested(self) -> bool | None:
        """What the cut-offs say; None while something is missing."""
        passed = [score.passed for part, score in self.parts.items() if part != "groups"]
        return None if None in passed or not self.finished else all(passed)


def candidates(store: Store) -> list[Candidate]:
    """Everybody who has begun the screening, by pseudonym."""
    parts = store_screening.screening_parts(store)
    verdicts = store_screening.admissions_by_person(store)
    labels: dict[str, dict[Part, list[CollectedLabel]]] = {}  # person -> part -> labels
    pseudonyms: dict[str, str] = {}
    for part in parts:
        for label in queue.collected_labels(store, part.task_set):
            labels.setdefault(label.person.id, {}).setdefault(part.part, []).append(label)
            pseudonyms[label.person.id] = label.person.pseudonym
    task_count = {part.part: len(store.tasks(part.task_set)) for part in parts}
    expected = {part.part: store_gold.gold_answers(store, part.task_set) for part in parts}
    grades = {
        id: n for part in parts for id, n in store_screening.grades_by_label(store, part.task_set).items()
    }
    rows = []
    for person, by_part in labels.items():
        scores = {
            part.part: part_score(
                part, task_count[part.part], by_part.get(part.part, []), expected[part.part], grades
            )
            for part in parts
        }
        verdict = verdicts[person][-1].accepted if person in verdicts else None
        known_groups = groups.levels(by_part.get("groups", []))
        rows.append(Candidate(person, pseudonyms[person], scores, known_groups, verdict))
    return sorted(rows, key=lambda candidate: candidate.pseudonym)


def part_score(
    part: Screening,
    task_count: int,
    labels: Sequence[CollectedLabel],
    expected: Mapping[str, str],
    grades: Mapping[str, int],
) -> PartScore:
    """One person's score in one part. Only a part that is answered and graded to the end is passed or
    failed."""
    value, graded = None, len(labels)
    if part.part == "sensitive":
        value = sensitive.score(labels, expected)
    elif part.part == "rankings":
        value = rankings.score(labels, expected)
    elif part.part == "demonstrations":
        marks = demonstrations.grades_of(labels, grades)
        value, graded = (sum(marks) / len(marks) if marks else None), len(marks)
    complete = graded == task_count
    passed = value >= part.cutoff if complete and value is not None and part.cutoff is not None else None
    return PartScore(value, len(labels), task_count, graded, passed)
