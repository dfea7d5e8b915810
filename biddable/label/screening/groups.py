"""Screening, part 4: the groups about which somebody could tell sensitive speech, in their own words; for
coverage, without a cut-off (B.1)."""

from __future__ import annotations

from collections.abc import Sequence

from biddable.label.queue import CollectedLabel
from biddable.label.screening.questions import KIND, ScreeningQuestion, screening_prompt
from biddable.store.types import Task


def tasks(groups: tuple[str, ...]) -> list[tuple[Task, str | None]]:
    """The one question about all groups."""
    prompt = screening_prompt("groups", "Which groups do you know?")
    question = ScreeningQuestion(prompt=prompt, part="groups", groups=groups)
    return [(Task("groups", question.model_dump_json(exclude_none=True)), None)]


def levels(labels: Sequence[CollectedLabel]) -> dict[str, int | None]:
    """How well somebody knows each group, 1 to 5; empty before they have answered."""
    return dict(KIND.answer(labels[0]).groups or {}) if labels else {}
