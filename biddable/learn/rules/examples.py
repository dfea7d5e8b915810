"""What a rule model learns from: replies with yes or no under rules, from rule checks of labelers and from
files of a simple form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from biddable.model.rule_model import TrainedRule
from biddable.run import jsonl, records
from biddable.run.config import UserError
from biddable.run.records import Answer, Message, RuleCheck

BROKEN = "Does the answer break this rule?"
HOLDS = "Is this true of the answer?"
"""What is asked about a rule and about a statement that come without a question of their own."""

Unsure = Literal["drop", "half"]
LEVELS = {
    "definitely_breaks": 1.0,
    "probably_breaks": 1.0,
    "unsure": 0.5,
    "probably_follows": 0.0,
    "definitely_follows": 0.0,
}
"""What a level trains towards (Glaese et al. 2022: definitely and probably count alike, unsure is left
out)."""


class JudgedRule(BaseModel):
    """A rule in a file's line, with what people said of the reply: either `holds` (the statement `text` is
    true of the reply) or `broken` (the rule `text` is broken). Shares from 0 to 1 are mean votes."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    id: str = Field(min_length=1)
    text: str = Field(min_length=1)
    question: str | None = Field(default=None, min_length=1)
    holds: float | None = Field(default=None, ge=0, le=1)
    broken: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _says_one_thing(self) -> JudgedRule:
        if (self.holds is None) == (self.broken is None):
            raise ValueError("give holds (a statement is true) or broken (a rule is), and not both")
        return self


class JudgedReply(BaseModel):
    """A line of a file: a dialogue that ends with the user's turn, the reply, and its rules. Other keys are
    left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    messages: tuple[Message, ...] = Field(min_length=1)
    response: str
    rules: tuple[JudgedRule, ...] = Field(min_length=1)
    split: Literal["train", "valid", "test"] | None = None


@dataclass
class Judged:
    """A reply with everything that was said about it: of each rule the labels, 1 broken (or true), 0 kept."""

    messages: tuple[Message, ...]
    reply: Answer
    split: str
    labels: dict[TrainedRule, list[float]] = field(default_factory=dict)

    def label(self, rule: TrainedRule) -> float:
        """The mean of several labelers: cross-entropy with it is the mean of their cross-entropies."""
        return sum(self.labels[rule]) / len(self.labels[rule])


def split_of(messages: Sequence[Message], split: str | None, valid_share: float) -> str:
    """The split that the data names; without one, a hash of the dialogue decides, so that two replies to a
    dialogue are never on different sides."""
    if split is not None:
        return split
    text = json.dumps([[message.role, message.content] for message in messages])
    return "valid" if records.hash_fraction("rules", text) < valid_share else "train"


class Collection:
    """Judged replies by dialogue and reply, in the order in which they came."""

    def __init__(self, valid_share: float) -> None:
        self.valid_share = valid_share
        self._rows: dict[tuple[tuple[Message, ...], str, tuple[int, ...] | None], Judged] = {}

    def add(
        self,
        messages: tuple[Message, ...],
        reply: Answer,
        split: str | None,
        labels: Iterable[tuple[TrainedRule, float]],
    ) -> None:
        """One labeler's word on a reply under some rules."""
        key = (messages, reply.text, reply.tokens)
        if key not in self._rows:
            self._rows[key] = Judged(messages, reply, split_of(messages, split, self.valid_share))
        for rule, label in labels:
            self._rows[key].labels.setdefault(rule, []).append(label)

    def rows(self) -> list[Judged]:
        """Every reply about which something was said."""
        return [row for row in self._rows.values() if row.labels]


def read_checks(folder: Path) -> list[RuleCheck]:
    """The rule checks of a stage."""
    return jsonl.read(folder / "rulechecks.jsonl", RuleCheck)


def judge_checks(
    rows: Sequence[RuleCheck],
    unsure: Unsure,
    valid_share: float,
    questions: Mapping[tuple[str, str], str],
) -> list[Judged]:
    """Rule checks by reply. `questions` by rule id and text. A check of an earlier turn is about the dialogue up to that turn."""
    judged = Collection(valid_share)
    for row in rows:
        if row.level == "unsure" and unsure == "drop":
            continue
        messages, reply = judged_turn(row)
        question = questions.get((row.rule, row.rule_text), BROKEN)
        rule = TrainedRule(row.rule, row.rule_text, question)
        judged.add(messages, reply, row.prompt.split, [(rule, LEVELS[row.level])])
    return judged.rows()


def judged_turn(row: RuleCheck) -> tuple[tuple[Message, ...], Answer]:
    """The dialogue before the judged turn, and that turn; without a turn, the answer."""
    messages = row.prompt.messages
    if row.turn is None or messages[row.turn].role != "assistant":
        return messages, row.answer
    return messages[: row.turn], Answer(text=messages[row.turn].content, model=row.answer.model)


def read_files(files: Sequence[Path], key: str, valid_share: float) -> list[Judged]:
    """Judged replies of JSONL files. Raises UserError with a sentence for every line that does not fit."""
    judged = Collection(valid_share)
    errors: list[str] = []
    for file in files:
        if not file.is_file():
            errors.append(f"{file}: no such file; expected one reply with its rules a line")
            continue
        for number, line in jsonl.read_lines(file):
            try:
                row = JudgedReply.model_validate_json(line)
            except ValidationError as error:
                errors += jsonl.validation_errors(f"{file}:{number}", JudgedReply, error)
                continue
            ids = [rule.id for rule in row.rules]
            doubled = sorted({name for name in ids if ids.count(name) > 1})
            errors += [f"{file}:{number}: the rule {name} is there twice" for name in doubled]
            judged.add(
                row.messages,
                Answer(text=row.response, model=""),
                row.split,
                [judged_rule(rule) for rule in row.rules],
            )
    if errors:
        raise UserError([f"[{key}] files: {line}" for line in errors])
    return judged.rows()


def judged_rule(rule: JudgedRule) -> tuple[TrainedRule, float]:
    """A line's rule with its question, and the label: 1 for yes to it."""
    label = rule.holds if rule.holds is not None else rule.broken
    assert label is not None
    question = rule.question or (HOLDS if rule.holds is not None else BROKEN)
    return TrainedRule(rule.id, rule.text, question), label


def check_rules(judged: Sequence[Judged], held_out_rules: Sequence[str], key: str) -> None:
    """Raise UserError with a line for a rule with two texts, a rule to hold out that nobody labelled, and for
    data that cannot train."""
    errors = []
    texts: dict[str, set[tuple[str, str]]] = {}
    for row in judged:
        for rule in row.labels:
            texts.setdefault(rule.id, set()).add((rule.text, rule.question))
    errors += [
        f"the rule {name} has {len(variants)} texts; one id is one text"
        for name, variants in texts.items()
        if len(variants) > 1
    ]
    errors += [
        f"held_out_rules: {name} has no labels; labelled are {', '.join(sorted(texts)) or 'none'}"
        for name in held_out_rules
        if name not in texts
    ]
    labels = {
        row.label(rule) >= 0.5
        for row in judged
        if row.split == "train"
        for rule in row.labels
        if rule.id not in held_out_rules
    }
    if len(labels) < 2:
        errors.append(
            "no rule to train on with a broken and a kept reply of the split train; label more replies, or "
            "hold out fewer rules"
        )
    if errors:
        raise UserError([f"[{key}] {line}" for line in errors])
