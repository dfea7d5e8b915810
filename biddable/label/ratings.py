"""Ratings: one labeler's 1 to 7 for a single answer, with the yes/no questions of the paper's form (Ouyang et al. 2022, 3.4 and table 3).

On the answers of one policy at several steps they are the gold score that the learned reward is held against.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from biddable.label import collection
from biddable.label.collection import (
    GoldSettings,
    LabelerSettings,
    LabelSettings,
    Panel,
    PanelSettings,
    PromptSettings,
)
from biddable.label.form import YES_NO_QUESTIONS, Fields, build_answer, number_field, yes_no_fields
from biddable.label.kinds import LabelKind, Score, TaskView
from biddable.label.queue import CollectedLabel
from biddable.run.config import Input, UserError
from biddable.run.context import StageContext
from biddable.run.jsonl import read
from biddable.run.records import Answer, Prompt, Rating, Record, Replies
from biddable.simulated import labelers
from biddable.store.types import Task


class Config(LabelerSettings, PanelSettings, PromptSettings, GoldSettings, LabelSettings):
    hashed_unless_default = frozenset({"splits", "limit"})
    replies: Input = Path("learn.ppo")
    """Answers to be rated, one a line; the same prompt may come at several steps."""
    panel: Panel = "held_out"
    """Whose ratings: people of the `held_out` panel gave no training data (3.6)."""
    people: int = Field(default=8, ge=1)
    """Simulated people in the panel (Ouyang et al. 2022 had about 40 contractors). Not used when real people
    answer."""
    overlap: int = Field(default=1, ge=1)
    """People per answer."""


class RatingQuestion(Record):
    """What a labeler sees."""

    prompt: Prompt
    answer: Answer


class RatingAnswer(Record):
    """Overall quality, 7 is best, and the yes/no questions (null: not asked or not applicable)."""

    overall: int = Field(ge=1, le=7)
    metadata: dict[str, bool | None] = Field(default={})


class Ratings(LabelKind[Replies, RatingQuestion, RatingAnswer]):
    title = "Rate the answer"
    task_type = Replies
    answer_type = RatingAnswer
    has_agreement = True

    def blind(self, task: Replies, shown: Sequence[int]) -> RatingQuestion:
        (answer,) = collection.blind(task.answers, shown)
        return RatingQuestion(prompt=task.prompt, answer=answer)

    def form(self, question: RatingQuestion, fields: Fields) -> RatingAnswer:
        overall = number_field(fields, "overall-0")
        if overall is None:
            raise UserError("choose a number from 1 to 7")
        return build_answer(RatingAnswer, overall=overall, metadata=yes_no_fields(fields, 0))

    def summary(self, answer: RatingAnswer) -> str:
        ticked = [question.text for question in YES_NO_QUESTIONS if answer.metadata.get(question.name)]
        return "; ".join([f"{answer.overall} of 7", *ticked])

    def simulate(self, person: labelers.Person, question: RatingQuestion) -> RatingAnswer:
        overall, metadata = labelers.rate(person, question.prompt, question.answer)
        return RatingAnswer(overall=overall, metadata=metadata)

    def records(self, label: CollectedLabel) -> list[Rating]:
        """The answer keeps its model, step, divergence and learned score."""
        task, answer = self.task(label.question), self.answer(label)
        return [
            Rating(
                id=label.record_id,
                prompt=task.prompt,
                answer=task.answers[0],
                overall=answer.overall,
                metadata=answer.metadata,
                panel=label.person.panel,
                **label.provenance,
            )
        ]

    def scores(self, label: CollectedLabel) -> list[Score]:
        answer = self.answer(label)
        return [Score(label.task, answer.overall, answer.metadata)]

    def distance(self, first: CollectedLabel, second: CollectedLabel) -> float:
        """1 and 7 are as far apart as two ratings can be."""
        return abs(self.answer(first).overall - self.answer(second).overall) / 6

    def gold_score(self, label: CollectedLabel, expected: RatingAnswer) -> float:
        """A rating at most one point off is right."""
        return float(abs(self.answer(label).overall - expected.overall) <= 1)

    def view(self, task: Replies) -> TaskView:
        return TaskView.of_prompt(task.prompt, task.answers)


KIND = Ratings()


def run(cfg: Config, context: StageContext) -> None:
    replies = collection.select_prompts(collection.read_replies(cfg.replies), cfg, context)
    several = [row.prompt.id for _, row in replies if len(row.answers) > 1]
    if several:
        raise UserError(
            f"[{context.key}] replies: {len(several)} of {len(replies)} lines have several answers, the first is {several[0]}; "
            "expected one a line, as [learn.ppo] writes them"
        )
    tasks = [Task(name, row.model_dump_json(exclude_none=True), cfg.overlap) for name, row in replies]
    trusted = [
        (Replies(prompt=r.prompt, answers=(r.answer,)), RatingAnswer(overall=r.overall, metadata=r.metadata))
        for r in ([] if cfg.gold is None else read(cfg.gold, Rating))
    ]
    gold = collection.gold_tasks(cfg.gold, trusted, tasks)
    labels = collection.collect_labels(KIND, cfg, tasks, context, gold)
    rows = collection.write_records(KIND, labels, Rating, context)
    overall = sum(row.overall for row in rows) / len(rows)
    context.summary = collection.summarise(rows, cfg, context) | {"overall": overall}
