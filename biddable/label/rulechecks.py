"""Rule checks: whether an answer breaks a rule, on five levels from definitely breaks to definitely follows (Glaese et al. 2022).

A task of its own, apart from preferences: people are asked about one rule at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from biddable.label import collection
from biddable.label.collection import LabelSettings, PanelSettings, PromptSettings
from biddable.label.form import Fields, build_answer, number_field, text_field
from biddable.label.kinds import LabelKind, TaskView
from biddable.label.queue import CollectedLabel
from biddable.run.config import Input, UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer, Level, Prompt, Record, Replies, RuleCheck
from biddable.run.rules import Rule, choose, level_shares, load
from biddable.store.types import Task


class Config(PanelSettings, PromptSettings, LabelSettings):
    replies: Input = Path("learn.replies")
    """Prompts with answers; each answer is checked by itself."""
    rules: Input | None = None
    """A TOML file of rules, each a table [[rule]] with id, text and question; none: ours
    (`configs/rules.toml`)."""
    rules_each: int = Field(default=1, ge=1)
    """Rules that each answer is checked for, chosen by hash."""
    overlap: int = Field(default=1, ge=1)
    """People per answer and rule."""


class RuleCheckTask(Record):
    """What is stored with a task, and, without the answer's model, what a labeler sees."""

    prompt: Prompt
    answers: tuple[Answer, ...] = Field(min_length=1, max_length=1)
    rule: Rule


class RuleCheckAnswer(Record):
    """Whether the rule is broken, and, of a dialogue, in which message (counted from 0; none: in the answer)."""

    level: Level
    turn: int | None = Field(default=None, ge=0)


class RuleChecks(LabelKind[RuleCheckTask, RuleCheckTask, RuleCheckAnswer]):
    title = "Does the answer break the rule?"
    task_type = RuleCheckTask
    answer_type = RuleCheckAnswer

    def blind(self, task: RuleCheckTask, shown: Sequence[int]) -> RuleCheckTask:
        return task.model_copy(update={"answers": collection.blind(task.answers, shown)})

    def check(self, question: RuleCheckTask, answer: RuleCheckAnswer) -> None:
        messages = len(question.prompt.messages)
        if answer.turn is not None and answer.turn >= messages:
            raise UserError(f"turn {answer.turn}: the dialogue has {messages} messages, counted from 0")

    def form(self, question: RuleCheckTask, fields: Fields) -> RuleCheckAnswer:
        if text_field(fields, "level") is None:
            raise UserError("say whether the rule is broken or followed")
        level, turn = text_field(fields, "level"), number_field(fields, "turn")
        return build_answer(RuleCheckAnswer, level=level, turn=turn)

    def records(self, label: CollectedLabel) -> list[RuleCheck]:
        task, answer = self.task(label.question), self.answer(label)
        return [
            RuleCheck(
                id=label.record_id,
                prompt=task.prompt,
                answer=task.answers[0],
                rule=task.rule.id,
                rule_text=task.rule.text,
                level=answer.level,
                turn=answer.turn,
                panel=label.person.panel,
                **label.provenance,
            )
        ]

    def view(self, task: RuleCheckTask) -> TaskView:
        return TaskView.of_prompt(task.prompt, task.answers)


KIND = RuleChecks()


def run(cfg: Config, context: StageContext) -> None:
    rules, tasks = load(cfg.rules), []
    for _, row in collection.select_prompts(collection.read_replies(cfg.replies), cfg, context):
        for place, answer in enumerate(row.answers):
            name = collection.task_id(Replies(prompt=row.prompt, answers=(answer,)))
            for rule in choose(rules, cfg.rules_each, context.seed, name, place):
                task = RuleCheckTask(prompt=row.prompt, answers=(answer,), rule=rule)
                text = task.model_dump_json(exclude_none=True)
                tasks.append(Task(f"{name}-{place}-{rule.id}", text, cfg.overlap))
    labels = collection.collect_labels(KIND, cfg, tasks, context)
    rows = collection.write_records(KIND, labels, RuleCheck, context)
    shares = level_shares([row.level for row in rows])
    context.summary = collection.summarise(rows, cfg, context) | shares
