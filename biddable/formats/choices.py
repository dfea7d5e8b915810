"""What labeling tools have in common: a record shows named fields, a question about them was answered.

Which field is the prompt and which are the answers is found by their names where the settings do not say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from biddable.formats.labels import (
    PROMPTS,
    Fields,
    Label,
    Shown,
    Skipped,
    Turn,
    Unreadable,
    comparison,
    demonstration,
    dialogue,
    number,
    ranked,
    side_of,
)
from biddable.run.errors import suggestion
from biddable.run.rows import Row

ANSWER_NAME = re.compile(
    r"(?i)^(response|answer|output|completion|generation|reply|chosen|rejected|left|right|first|second|third|model|option"
    r"|candidate|text)([ _.-]?([a-z]|\d+))?$|^[a-i]$"
)
"""What an answer's field is called in people's projects."""

Named = tuple[tuple[str, str], ...]
"""The name and the text of each answer."""


def the_question(questions: Sequence[str], name_hint: str, what: str) -> str:
    """The question that counts: the one asked for, or the only one. Raises Unreadable when that is none."""
    if not name_hint and len(questions) == 1:
        return questions[0]
    listed = ", ".join(sorted(questions)) or "none"
    if not name_hint:
        raise Unreadable(
            f"{what}: several questions were answered; say with question which one counts: {listed}"
        )
    if name_hint not in questions:
        raise Unreadable(f"{what}: there is no question {name_hint!r}, but {listed}")
    return name_hint


def named_answers(shown: Row, fields: Fields) -> tuple[tuple[Turn, ...], Named]:
    """A record's dialogue and its answers by name. A field that holds a list of items holds all answers."""
    prompt = fields.prompt or next((name for name in (*PROMPTS, "text") if shown.get(name)), "")
    if not shown.get(prompt):
        name_hint = f"{prompt!r}{suggestion(prompt, list(shown))}" if prompt else "prompt"
        raise Unreadable(f"there is no {name_hint}; the record has {', '.join(sorted(shown)) or 'nothing'}")
    turns = dialogue(shown[prompt])
    names = list(fields.answers) or [
        name
        for name, value in shown.items()
        if name != prompt
        and (items_of(value) is not None or (isinstance(value, str) and ANSWER_NAME.match(name)))
    ]
    if len(names) == 1 and (items := items_of(shown.get(names[0]))) is not None:
        return turns, items
    for name in names:
        if not isinstance(shown.get(name), str):
            raise Unreadable(
                f"there is no text {name!r}; the record has {', '.join(sorted(shown)) or 'nothing'}"
            )
    return turns, tuple((name, shown[name]) for name in names)


def items_of(value: Any) -> Named | None:
    """A list of items (id and body or title, or texts, which are named A, B, C) by name; None for anything else."""
    if not isinstance(value, list) or len(value) < 2:
        return None
    if all(isinstance(item, str) for item in value):
        return tuple((chr(ord("A") + place), item) for place, item in enumerate(value))
    if all(
        isinstance(item, dict)
        and item.get("id") is not None
        and isinstance(item.get("body", item.get("title")), str)
        for item in value
    ):
        return tuple((str(item["id"]), item.get("body", item.get("title"))) for item in value)
    return None


def label_of(
    value: Any,
    turns: tuple[Turn, ...],
    answers: Named,
    fields: Fields,
    scale: tuple[float, float],
    **more: Any,
) -> Label | Skipped:
    """What somebody said as a label: a rank for each name, a number, a choice of one of two answers, or a text they
    wrote. `scale` is the tool's own, where the settings give none."""
    if isinstance(value, Mapping):
        if fields.kind not in (None, "comparisons"):
            raise Unreadable(f"expected what gives {fields.kind}, not a ranking")
        ranks = ranked(answers, {str(name): int(rank) for name, rank in value.items()})
        return comparison(turns, [Shown(text, name) for name, text in answers], ranks, **more)
    if (isinstance(value, str) and fields.kind == "demonstrations") or (
        isinstance(value, str) and not answers
    ):
        return demonstration(turns, value, **more)
    if isinstance(value, str):
        side = side_of(value, [name for name, _ in answers])
        ranks = (1, 1) if side is None else (1 + side, 2 - side)
        return comparison(turns, [Shown(text, name) for name, text in answers], ranks, **more)
    if (rating := number(value)) is None:
        raise Unreadable(f"expected a ranking, a rating or a text, not {str(value)[:60]}")
    if fields.kind not in (None, "ratings"):
        raise Unreadable(f"expected what gives {fields.kind}, not {value!r}")
    if len(answers) != 1:
        raise Unreadable(
            f"answers: one answer is rated at a time, not {len(answers)}; say with answers which one"
        )
    worst, best = (
        default if questions is None else questions
        for questions, default in zip(fields.scale, scale, strict=True)
    )
    return Label(turns, (Shown(answers[0][1], answers[0][0]),), rating=rating, scale=(worst, best), **more)
