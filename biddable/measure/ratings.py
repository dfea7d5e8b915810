"""Ratings: each model's mean on the 1 to 7 scale and its share of yes on every question of the form, overall and by use case, with 95 % intervals.

These are the paper's Likert scores and metadata (Ouyang et al. 2022, 3.6, table 3 and figure 4). A question that was not asked, or does not apply to a prompt, is
no answer and counts nowhere. Differences from a baseline are paired: the same person about the same prompt. by_use_case.jsonl holds the same for each use case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from biddable.measure import statistics
from biddable.measure.winrate import short_names
from biddable.run import jsonl
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.records import Rating

SCALE = (1.0, 7.0)
"""Where the overall rating ends."""


class Config(Settings):
    ratings: Input = Path("label.ratings")
    """Ratings of answers by one or several models."""
    panel: Literal["held_out", "training", "both"] = "both"
    """Whose ratings count."""
    names: dict[str, str] = Field(default={})
    """Short names of models; a model that is not named here is called by its last word."""
    baseline: str | None = None
    """Short name of the model that differences are taken from; none: no differences."""
    resamples: int = Field(default=2000, ge=200)
    """Bootstrap resamples of prompts and of labelers."""


def run(cfg: Config, context: StageContext) -> None:
    file = cfg.ratings / "ratings.jsonl"
    rows = [row for row in jsonl.read(file, Rating) if cfg.panel in ("both", row.panel)]
    if not rows:
        raise UserError(
            f"[{context.key}] ratings: {file} holds no rating of the panel {cfg.panel}; set panel"
        )
    names = short_names(sorted({row.answer.model for row in rows}), cfg.names, context.key)
    if cfg.baseline is not None and cfg.baseline not in names.values():
        raise UserError(
            f"[{context.key}] baseline = {cfg.baseline}: no answer is by that model; the models are {', '.join(names.values())}"
        )
    lines: list[dict[str, Any]] = []
    for number, (model, name) in enumerate(names.items()):
        model_rows = [row for row in rows if row.answer.model == model]
        for word, value in form_questions(model_rows):
            context.summary |= keyed(
                f"{word}_{name}", estimate(model_rows, word, value, cfg.resamples, context.seed)
            )
            for use_case in sorted({row.prompt.use_case or "not stated" for row in model_rows}):
                part = [row for row in model_rows if (row.prompt.use_case or "not stated") == use_case]
                if numbers := estimate(part, word, value, cfg.resamples, context.seed):
                    lines.append({"model": name, "question": word, "use_case": use_case} | numbers)
            if cfg.baseline not in (None, name):
                base = [row for row in rows if names[row.answer.model] == cfg.baseline]
                change = paired_difference(model_rows, base, word, value, cfg.resamples, context.seed)
                context.summary |= keyed(f"{word}_{name}_minus_{cfg.baseline}", change)
        context.progress(number + 1, len(names))
    jsonl.write_objects(context.path("by_use_case.jsonl"), lines)
    context.summary |= {
        "ratings": len(rows),
        "labelers": len({row.labeler for row in rows}),
        "prompts": len({row.prompt.id for row in rows}),
        "simulated": any(row.simulated for row in rows),
        "panel": cfg.panel,
    }


Value = Callable[[Rating], float | None]
"""A rating's number for one question; None: no answer."""


def form_questions(rows: Sequence[Rating]) -> list[tuple[str, Value]]:
    """The questions of the form: the 1 to 7 of the whole first, then every yes/no question that anybody answered."""
    words = sorted({word for row in rows for word, answer in row.metadata.items() if answer is not None})
    overall: tuple[str, Value] = ("overall", lambda row: float(row.overall))
    return [overall, *((word, _metadata(word)) for word in words)]


def _metadata(word: str) -> Value:
    def value(row: Rating) -> float | None:
        answer = row.metadata.get(word)
        return None if answer is None else float(answer)

    return value


def keyed(key: str, numbers: dict[str, float]) -> dict[str, float]:
    """Numbers under names of the summary: KEY, KEY_low, ..."""
    return {key if word == "value" else f"{key}_{word}": number for word, number in numbers.items()}


def estimate(rows: Iterable[Rating], word: str, value: Value, resamples: int, seed: int) -> dict[str, float]:
    """Mean or share with its interval; {} when nobody answered."""
    answers = [(number, row.prompt.id, row.labeler) for row in rows if (number := value(row)) is not None]
    if not answers:
        return {}
    numbers, prompts, labelers = (list(part) for part in zip(*answers, strict=True))
    if word == "overall":
        interval = statistics.mean(numbers, prompts, labelers, resamples, seed, SCALE)
    else:
        interval = statistics.win_rate(numbers, prompts, labelers, resamples, seed)
    return {"value": interval.value, "low": interval.low, "high": interval.high, "count": len(answers)}


def paired_difference(
    rows: Iterable[Rating], base: Iterable[Rating], word: str, value: Value, resamples: int, seed: int
) -> dict[str, float]:
    """Mean difference where the same person answered about both models on the same prompt, with its paired test; {} when nobody did."""
    sides: list[dict[tuple[str, str], list[float]]] = [{}, {}]
    for side, side_rows in zip(sides, (rows, base), strict=True):
        for row in side_rows:
            if (number := value(row)) is not None:
                side.setdefault((row.prompt.id, row.labeler), []).append(number)
    keys = sorted(sides[0].keys() & sides[1].keys())
    if not keys:
        return {}
    differences = [float(np.mean(sides[0][key]) - np.mean(sides[1][key])) for key in keys]
    most = SCALE[1] - SCALE[0] if word == "overall" else 1.0
    prompts, labelers = zip(*keys, strict=True)
    test = statistics.mean_test(differences, prompts, labelers, resamples, seed, (-most, most))
    middle, low, high = test.estimate
    return {"value": middle, "low": low, "high": high, "p": test.p, "count": len(keys)}
