"""Screening, part 1: flagging sensitive speech as trusted people did (Ouyang et al. 2022, B.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from biddable.label.queue import CollectedLabel
from biddable.label.screening.questions import (
    KIND,
    ScreeningAnswer,
    ScreeningQuestion,
    screening_prompt,
)
from biddable.run.jsonl import read
from biddable.run.records import Record
from biddable.store.types import Task


class FlaggedText(Record):
    """A text with what trusted people said of it: whether it is sensitive speech, that can hurt a group or
    stir strong feelings."""

    id: str = Field(min_length=1)
    text: str = Field(min_length=1)
    sensitive: bool


def tasks(path: Path) -> list[tuple[Task, str | None]]:
    """A task for each text of the file, with the expected answer as JSON."""
    rows: list[tuple[Task, str | None]] = []
    for row in read(path, FlaggedText):
        question = ScreeningQuestion(prompt=screening_prompt(row.id, row.text), part="sensitive")
        answer = ScreeningAnswer(sensitive=row.sensitive)
        task = Task(row.id, question.model_dump_json(exclude_none=True))
        rows.append((task, answer.model_dump_json(exclude_none=True)))
    return rows


def score(labels: Sequence[CollectedLabel], expected: Mapping[str, str]) -> float | None:
    """Share of the texts flagged as by trusted people; `expected` are their answers as JSON, by task."""
    scores = [KIND.gold_score(label, KIND.expected(expected[label.task])) for label in labels]
    graded = [score for score in scores if score is not None]
    return sum(graded) / len(graded) if graded else None
