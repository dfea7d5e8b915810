"""Rule checks: one labeler's word on whether an answer breaks a rule, on five levels from definitely breaks to definitely follows (Glaese et al. 2022).

A task of its own, apart from preferences: people are asked about one rule at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from biddable.label import collection, queue
from biddable.label.form import Fields, made, number, one
from biddable.label.queue import AssignedTask, CollectedLabel
from biddable.label.rules import Rule, load
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.jsonl import write
from biddable.run.records import Answer as Given
from biddable.run.records import Level, Prompt, Record, Replies, RuleCheck, Split, hash_fraction
from biddable.store.types import Task as Asked


class Config(Settings):
    replies: Input = Path("learn.replies")
    """Prompts with answers; each answer is checked by itself."""
    rules: Input | None = None
    """A TOML file of rules, each a table [[rule]] with id, text and question; none: ours (`label/guidelines/rules.toml`)."""
    rules_each: int = Field(default=1, ge=1)
    """Rules that each answer is checked for, chosen by hash."""
    panel: Literal["training", "held_out"] = "training"
    """Whose word: the `training` panel's, or for measuring the `held_out` panel's."""
    overlap: int = Field(default=1, ge=1)
    """People per answer and rule."""
    splits: tuple[Split, ...] | None = None
    """Only prompts of these splits; none: all."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many prompts, chosen by hash; none: all."""
    guidelines: Input | None = None
    """A folder with `training.md` and `evaluation.md` to show instead of ours; every answer is stamped with the version seen."""
    enough: float = Field(default=1.0, gt=0, le=1)
    """Share of the wanted answers after which the records are written."""
    priority: int = 0
    """People are offered tasks of higher priority first."""
    store: str | None = None
    """The store's path or SQLAlchemy URL; none: store.db in the run's folder."""


class Kept(Record):
    """What is kept with a task."""

    prompt: Prompt
    answers: tuple[Given, ...] = Field(min_length=1, max_length=1)
    rule: Rule


class Question(Record):
    """What a labeler sees."""

    prompt: Prompt
    answer: Given
    rule: Rule


class Answer(Record):
    """Whether the rule is broken, and, of a dialogue, in which message (counted from 0; none: in the answer)."""

    level: Level
    turn: int | None = Field(default=None, ge=0)


def question(task: AssignedTask) -> Question:
    """The blind view of a task."""
    kept = Kept.model_validate_json(task.question)
    return Question(prompt=kept.prompt, answer=collection.blind(kept.answers, (0,))[0], rule=kept.rule)


def check(question: Question, answer: Answer) -> None:
    """Raises UserError when the answer does not fit the question."""
    if answer.turn is not None and answer.turn >= len(question.prompt.messages):
        raise UserError(
            f"turn {answer.turn}: the dialogue has {len(question.prompt.messages)} messages, counted from 0"
        )


def form(question: Question, fields: Fields) -> Answer:
    """What the page sent. Raises UserError without a level."""
    if one(fields, "level") is None:
        raise UserError("say whether the rule is broken or followed")
    return made(Answer, level=one(fields, "level"), turn=number(fields, "turn"))


def records(labels: Sequence[CollectedLabel]) -> list[RuleCheck]:
    """Labels as records."""
    found = []
    for label in labels:
        kept, said = Kept.model_validate_json(label.question), Answer.model_validate_json(label.answer)
        found.append(
            RuleCheck(
                id=f"{queue.id_in_set(label.task)}-{label.person.pseudonym}",
                prompt=kept.prompt,
                answer=kept.answers[0],
                rule=kept.rule.id,
                rule_text=kept.rule.text,
                level=said.level,
                turn=said.turn,
                labeler=label.person.pseudonym,
                panel=label.person.panel,
                simulated=label.person.simulated,
                guideline=label.guideline,
            )
        )
    return found


def shares(levels: Sequence[Level]) -> dict[str, float]:
    """Share of what counts as broken, kept, and neither."""
    sides = [level.split("_")[-1] for level in levels]
    names = {"broken": "breaks", "kept": "follows", "unsure": "unsure"}
    return {name: sides.count(side) / len(sides) for name, side in names.items()}


def run(cfg: Config, context: StageContext) -> None:
    rules = load(cfg.rules)
    asked = []
    for _, row in collection.chosen(collection.read_replies(cfg.replies), cfg.splits, cfg.limit, context):
        for place, given in enumerate(row.answers):
            name = collection.task_name(Replies(prompt=row.prompt, answers=(given,)))
            for rule in _some(rules, cfg.rules_each, context.seed, name, place):
                kept = Kept(prompt=row.prompt, answers=(given,), rule=rule)
                asked.append(
                    Asked(f"{name}-{place}-{rule.id}", kept.model_dump_json(exclude_none=True), cfg.overlap)
                )
    labels = collection.asked_of_people(
        cfg.panel,
        cfg.store,
        cfg.guidelines,
        cfg.enough,
        cfg.priority,
        collection.task_set_name(context, cfg, asked),
        asked,
        context,
    )
    found = sorted(records([label for label in labels if label.stands]), key=lambda row: row.id)
    write(context.path("rulechecks.jsonl"), found)
    context.summary = {
        "rulechecks": len(found),
        "prompts": len({row.prompt.id for row in found}),
        "labelers": len({row.labeler for row in found}),
        "simulated": False,
        "panel": cfg.panel,
        "guideline": ", ".join(sorted({row.guideline for row in found})),
        **shares([row.level for row in found]),
    }


def _some(rules: Sequence[Rule], count: int, seed: int, name: str, number: int) -> list[Rule]:
    return sorted(rules, key=lambda rule: hash_fraction("rule", seed, name, number, rule.id))[:count]
