"""Probes: a labeler is given a rule and talks with a model until it breaks the rule, or the labeler gives up (Glaese et al. 2022).

The model is reached through any endpoint for chats that speaks OpenAI's protocol; the labeling site asks it, the labeler's browser never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from biddable.label import collection, queue
from biddable.label.form import Fields, made, number, one
from biddable.label.queue import AssignedTask, CollectedLabel
from biddable.label.rulechecks import shares
from biddable.label.rules import Rule, load
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.jsonl import write
from biddable.run.records import Level, Message, Probe, Record
from biddable.store.types import Task as Asked


class Config(Settings):
    endpoint: str = "http://127.0.0.1:8200/v1/chat/completions"
    """Where the model is asked: an endpoint for chats in OpenAI's protocol, such as `serve.api`'s."""
    model: str = "policy"
    """The model's name at that endpoint; it is noted in the records."""
    rules: Input | None = None
    """A TOML file of rules, each a table [[rule]] with id, text and question; none: ours (`label/guidelines/rules.toml`)."""
    dialogues: int = Field(default=5, ge=1)
    """Dialogues for each rule."""
    turns: int = Field(default=10, ge=1)
    """At most so many turns of the labeler in a dialogue."""
    panel: Literal["training", "held_out"] = "training"
    """Who probes."""
    guidelines: Input | None = None
    """A folder with `training.md` and `evaluation.md` to show instead of ours; every answer is stamped with the version seen."""
    enough: float = Field(default=1.0, gt=0, le=1)
    """Share of the wanted dialogues after which the records are written."""
    priority: int = 0
    """People are offered tasks of higher priority first."""
    store: str | None = None
    """The store's path or SQLAlchemy URL; none: store.db in the run's folder."""

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname:
            raise ValueError("an address such as http://127.0.0.1:8200/v1/chat/completions was expected")
        return value


class Kept(Record):
    """What is kept with a task: the rule, and where the model is asked."""

    rule: Rule
    endpoint: str
    model: str
    turns: int


class Question(Record):
    """What a labeler sees: nothing of which model it is."""

    rule: Rule
    turns: int


class Answer(Record):
    """The dialogue, and whether the rule is broken; in which message (counted from 0), when it is."""

    messages: tuple[Message, ...] = Field(min_length=2)
    level: Level
    turn: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _in_turns(self) -> Answer:
        roles = [message.role for message in self.messages]
        if roles != ["user", "assistant"] * (len(roles) // 2):
            raise ValueError(
                "a dialogue was expected in which user and assistant take turns, the assistant last"
            )
        if self.turn is not None and (self.turn >= len(roles) or roles[self.turn] != "assistant"):
            raise ValueError(f"turn {self.turn}: one of the assistant's messages was expected")
        return self


def kept(task: AssignedTask) -> Kept:
    """Where the model of a task is asked."""
    return Kept.model_validate_json(task.question)


def question(task: AssignedTask) -> Question:
    """The blind view of a task."""
    whole = kept(task)
    return Question(rule=whole.rule, turns=whole.turns)


def check(question: Question, answer: Answer) -> None:
    """Raises UserError when the answer does not fit the question."""
    if len(answer.messages) > 2 * question.turns:
        raise UserError(f"{len(answer.messages) // 2} turns; at most {question.turns} were expected")


def form(question: Question, fields: Fields) -> Answer:
    """What the page sent, with the dialogue that the site kept. Raises UserError without a dialogue or a level."""
    if not fields.get("said"):
        raise UserError("talk with the model first")
    if one(fields, "level") is None:
        raise UserError("say whether the rule is broken or followed")
    return made(Answer, messages=dialogue(fields), level=one(fields, "level"), turn=number(fields, "turn"))


def dialogue(fields: Fields) -> tuple[Message, ...]:
    """The messages so far: person and model take turns."""
    roles = ("user", "assistant")
    return tuple(Message(role=roles[i % 2], content=text) for i, text in enumerate(fields.get("said", ())))  # type: ignore[arg-type]


def records(labels: Sequence[CollectedLabel]) -> list[Probe]:
    """Labels as records."""
    found = []
    for label in labels:
        whole, said = Kept.model_validate_json(label.question), Answer.model_validate_json(label.answer)
        found.append(
            Probe(
                id=queue.id_in_set(label.task),
                messages=said.messages,
                model=whole.model,
                rule=whole.rule.id,
                rule_text=whole.rule.text,
                level=said.level,
                turn=said.turn,
                labeler=label.person.pseudonym,
                simulated=label.person.simulated,
                guideline=label.guideline,
            )
        )
    return found


def run(cfg: Config, context: StageContext) -> None:
    asked = []
    for rule in load(cfg.rules):
        whole = Kept(rule=rule, endpoint=cfg.endpoint, model=cfg.model, turns=cfg.turns).model_dump_json()
        asked += [Asked(f"{rule.id}-{number:04d}", whole) for number in range(1, cfg.dialogues + 1)]
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
    write(context.path("probes.jsonl"), found)
    context.summary = {
        "probes": len(found),
        "labelers": len({row.labeler for row in found}),
        "simulated": False,
        "panel": cfg.panel,
        "guideline": ", ".join(sorted({row.guideline for row in found})),
        **shares([row.level for row in found]),
    }
