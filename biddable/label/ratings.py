"""Ratings: one labeler's 1 to 7 for a single answer, with the yes/no questions of the paper's form (Ouyang et al. 2022, 3.4 and table 3).

On the answers of one policy at several steps they are the gold score that the learned reward is held against.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from biddable.label import collection, queue
from biddable.label.form import Fields, made, metadata, number
from biddable.label.queue import AssignedTask, CollectedLabel
from biddable.label.simulated import labelers as people
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.jsonl import read, write
from biddable.run.records import Answer as Given
from biddable.run.records import Prompt, Rating, Record, Replies
from biddable.store.types import Task as Asked


class Config(Settings):
    replies: Input = Path("learn.ppo")
    """Answers to be rated, one a line; the same prompt may come at several steps."""
    labelers: collection.Labelers = "people"
    """Who answers: `simulated` people, marked as such in everything made from it, or real `people`."""
    panel: Literal["training", "held_out"] = "held_out"
    """Whose ratings: people of the `held_out` panel gave no training data (3.6)."""
    people: int = Field(default=8, ge=1)
    """Simulated people in the panel (the paper had about 40 contractors). Not used when real people answer."""
    overlap: int = Field(default=1, ge=1)
    """People per answer."""
    guidelines: Input | None = None
    """A folder with `training.md` and `evaluation.md` to show instead of ours; every answer is stamped with the version seen."""
    enough: float = Field(default=1.0, gt=0, le=1)
    """Share of the wanted answers after which the records are written."""
    gold: Input | None = None
    """A file of ratings by people whose judgment is trusted; their questions are mixed unseen into real people's work, and never become records."""
    gold_share: float = Field(default=0.05, gt=0, lt=1)
    """How much of a person's work is gold."""
    priority: int = 0
    """People are offered tasks of higher priority first."""
    store: str | None = None
    """The store's path or SQLAlchemy URL; none: store.db in the run's folder."""


class Question(Record):
    """What a labeler sees."""

    prompt: Prompt
    answer: Given


class Answer(Record):
    """Overall quality, 7 is best, and the yes/no questions (null: not asked or not applicable)."""

    overall: int = Field(ge=1, le=7)
    metadata: dict[str, bool | None] = Field(default={})


def question(task: AssignedTask) -> Question:
    """The blind view of a task."""
    replies = Replies.model_validate_json(task.question)
    return Question(prompt=replies.prompt, answer=collection.blind(replies.answers, task.shown)[0])


def check(question: Question, answer: Answer) -> None:
    """Every valid answer fits every question: there is nothing that could be refused."""


def form(question: Question, fields: Fields) -> Answer:
    """What the page sent. Raises UserError without a 1 to 7."""
    overall = number(fields, "overall-0")
    if overall is None:
        raise UserError("choose a number from 1 to 7")
    return made(Answer, overall=overall, metadata=metadata(fields, 0))


def simulated(person: people.Person, question: Question) -> Answer:
    """What this simulated person answers."""
    overall, metadata = people.rate(person, question.prompt, question.answer)
    return Answer(overall=overall, metadata=metadata)


def records(labels: Sequence[CollectedLabel]) -> list[Rating]:
    """Labels as records; the answer keeps its model, step, divergence and learned score."""
    found = []
    for label in labels:
        replies, said = Replies.model_validate_json(label.question), Answer.model_validate_json(label.answer)
        found.append(
            Rating(
                id=f"{queue.id_in_set(label.task)}-{label.person.pseudonym}",
                prompt=replies.prompt,
                answer=replies.answers[0],
                overall=said.overall,
                metadata=said.metadata,
                labeler=label.person.pseudonym,
                panel=label.person.panel,
                simulated=label.person.simulated,
                guideline=label.guideline,
            )
        )
    return found


def run(cfg: Config, context: StageContext) -> None:
    rows = collection.read_replies(cfg.replies)
    several = [row.prompt.id for _, row in rows if len(row.answers) > 1]
    if several:
        raise UserError(
            f"[{context.key}] replies: {len(several)} of {len(rows)} lines have several answers, the first is {several[0]}; "
            "one a line was expected, as [learn.ppo] writes them"
        )
    asked = [Asked(name, row.model_dump_json(exclude_none=True), cfg.overlap) for name, row in rows]
    known = [
        (Replies(prompt=r.prompt, answers=(r.answer,)), Answer(overall=r.overall, metadata=r.metadata))
        for r in ([] if cfg.gold is None else read(cfg.gold, Rating))
    ]
    gold = collection.gold(cfg.gold, cfg.gold_share, known, asked)
    crew = collection.Crew(
        cfg.panel, cfg.labelers, cfg.people, cfg.store, cfg.guidelines, cfg.enough, cfg.priority, gold
    )
    labels = collection.done_by(crew, collection.task_set_name(context, cfg, asked), asked, _answer, context)
    found = records([label for label in labels if label.stands])
    by_id = sorted(found, key=lambda row: row.id)
    write(context.path("ratings.jsonl"), by_id)
    context.summary = {
        "ratings": len(found),
        "overall": sum(row.overall for row in found) / len(found),
        "prompts": len({row.prompt.id for row in found}),
        "labelers": len({row.labeler for row in found}),
        "simulated": any(row.simulated for row in found),
        "panel": cfg.panel,
        "guideline": ", ".join(sorted({row.guideline for row in found})),
    }


def _answer(person: people.Person, task: AssignedTask) -> Answer:
    return simulated(person, question(task))
