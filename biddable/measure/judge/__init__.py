"""A language model as judge: compares the answers of every two models to each prompt, in both orders, through any OpenAI-compatible endpoint.

replies -> `comparisons.jsonl`, which [measure.winrate] reads, and `verdicts.jsonl`, one line a question with what the judge said. A judge likes what it sees first
and what is long (Zheng et al. 2023), so each pair is asked twice; where the two verdicts differ the pair is a tie and the disagreement is counted. A judge is no
person: its comparisons are marked as simulated, and how often it agrees with people (`people`) stands beside every figure made from them.

The answers are hostile text: they stand between marks that they cannot know, and a verdict counts only in the form that was asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import Field

from biddable.measure.judge import bias
from biddable.measure.judge.questions import (
    INSTRUCTION,
    JudgeQuestion,
    JudgeSettings,
    ask_all,
    judge_hash,
    settings_errors,
)
from biddable.run import jsonl
from biddable.run.config import Input, UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer, Comparison, Prompt, Replies


class Config(JudgeSettings):
    replies: Input = Path("learn.replies.test")
    """Answers by several models to the same prompts."""
    model: str = Field(default="judge", min_length=1)
    """The model to ask for there."""
    baseline: str | None = None
    """Compare every model with this one only (a stage's name, as answers carry it); none: every two models."""
    people: Input | None = None
    """People's rankings of the same answers, to say how often the judge agrees with them; none: it is not known."""
    limit: int | None = Field(default=None, ge=1)
    """Prompts judged at most, in the file's order; none: all."""
    resamples: int = Field(default=2000, ge=200)
    """Bootstrap resamples."""


def run(cfg: Config, context: StageContext) -> None:
    rows = jsonl.read(cfg.replies / "replies.jsonl", Replies)[: cfg.limit]
    pairs = list(pairs_of(rows, cfg.baseline))
    people = read_people(cfg, context, rows, pairs)
    instruction = cfg.instruction or INSTRUCTION
    questions = [JudgeQuestion(*pair) for p, a, b in pairs for pair in ((p, a, b), (p, b, a))]
    choices = ask_all(cfg, cfg.model, questions, context)
    judged = [bias.JudgedPair(*pair, *choices[2 * i : 2 * i + 2]) for i, pair in enumerate(pairs)]
    written = comparisons(judged, cfg.model, instruction)
    if not written:
        raise UserError(
            f"[{context.key}] model = {cfg.model}: not one verdict had the form [[A]], [[B]] or [[C]]; see {context.path('verdicts.jsonl')}"
        )
    jsonl.write(context.path("comparisons.jsonl"), written)
    context.summary |= {"judge": cfg.model, "judge_hash": judge_hash(cfg, cfg.model)}
    context.summary |= {"comparisons": len(written), "simulated": True}
    context.summary |= bias.order_and_length_effects(judged, cfg.resamples, context.seed)
    if people:
        context.summary |= bias.agreement(written, people, cfg.resamples, context.seed)


def read_people(
    cfg: Config, context: StageContext, rows: Sequence[Replies], pairs: Sequence[Any]
) -> list[Comparison]:
    """The people's rankings. Raises UserError with everything that can't be judged, before anything is asked (and paid for)."""
    errors, people = [], []
    models = sorted({a.model for row in rows for a in row.answers})
    if not pairs:
        errors.append(
            f"replies: answers of at least two models to one prompt are needed; these are by {', '.join(models)}"
        )
    if cfg.baseline is not None and cfg.baseline not in models:
        errors.append(
            f"baseline = {cfg.baseline}: no answer is by that model; the models are {', '.join(models)}"
        )
    errors += settings_errors(cfg)
    try:
        people = jsonl.read(cfg.people / "comparisons.jsonl", Comparison) if cfg.people else []
    except UserError as error:
        errors += [f"people: {line}" for line in error.lines]
    if errors:
        raise UserError([f"[{context.key}] {line}" for line in errors])
    return people


def pairs_of(rows: Sequence[Replies], baseline: str | None) -> Iterator[tuple[Prompt, Answer, Answer]]:
    """Every two answers by different models to one prompt, in the order of the models' names."""
    for row in rows:
        for first, second in itertools.combinations(sorted(row.answers, key=lambda a: a.model), 2):
            if first.model != second.model and baseline in (None, first.model, second.model):
                yield row.prompt, first, second


def comparisons(judged: Sequence[bias.JudgedPair], model: str, instruction: str) -> list[Comparison]:
    """Pairs with both verdicts as rankings of two; verdicts that differ make a tie."""
    guideline = "judge-" + sha256(instruction.encode()).hexdigest()[:6]
    return [
        Comparison(
            id=f"{pair.prompt.id}:{pair.first.model}:{pair.second.model}:{number}",
            prompt=pair.prompt,
            answers=(pair.first, pair.second),
            ranks={1.0: (1, 2), 0.0: (2, 1)}.get(outcome, (1, 1)),
            labeler=f"judge:{model}",
            panel="held_out",
            simulated=True,
            guideline=guideline,
        )
        for number, pair in enumerate(judged)
        if (outcome := pair.outcome) is not None
    ]
