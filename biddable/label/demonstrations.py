"""Demonstrations: the answer a labeler would want to see, for each prompt; written by people, or by simulated ones chosen among samples.

A simulated demonstration is the best of the prompt's samples by that labeler's taste, and is marked so:
nobody wrote it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, model_validator

from biddable.label import collection
from biddable.label.collection import LabelerSettings, LabelSettings, PromptSettings
from biddable.label.form import LETTERS, Fields, build_answer, number_field, text_field
from biddable.label.kinds import LabelKind, TaskView
from biddable.label.queue import CollectedLabel, id_in_set
from biddable.run.config import Input, UserError
from biddable.run.context import StageContext
from biddable.run.jsonl import find_file, read
from biddable.run.records import Answer, Demonstration, Prompt, Record
from biddable.simulated import labelers
from biddable.store.types import Task


class Config(LabelerSettings, PromptSettings, LabelSettings):
    replies: Input = Path("learn.replies.start")
    """Prompts with sampled answers, of which a labeler may take the best instead of writing one; or prompts
    alone (`curate.prompts`), for people."""


class DemonstrationQuestion(Record):
    """What is stored with a task, and, without the answers' models, what a labeler sees."""

    prompt: Prompt
    answers: tuple[Answer, ...] = ()


class DemonstrationAnswer(Record):
    """Either a text of the labeler's, or the number of the best answer shown (0 is the first)."""

    text: str | None = None
    best: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _one_of_two(self) -> DemonstrationAnswer:
        if (self.text is None) == (self.best is None):
            raise ValueError("give either text or best")
        if self.text is not None and not self.text.strip():
            raise ValueError("the text is empty")
        return self


class Demonstrations(LabelKind[DemonstrationQuestion, DemonstrationQuestion, DemonstrationAnswer]):
    title = "Write the answer you would want"
    task_type = DemonstrationQuestion
    answer_type = DemonstrationAnswer

    def blind(self, task: DemonstrationQuestion, shown: Sequence[int]) -> DemonstrationQuestion:
        return DemonstrationQuestion(prompt=task.prompt, answers=collection.blind(task.answers, shown))

    def check(self, question: DemonstrationQuestion, answer: DemonstrationAnswer) -> None:
        if answer.best is not None and answer.best >= len(question.answers):
            raise UserError(
                f"best = {answer.best}: there are {len(question.answers)} answers, counted from 0"
            )

    def form(self, question: DemonstrationQuestion, fields: Fields) -> DemonstrationAnswer:
        """A text that was written counts, else the best of those shown."""
        text = text_field(fields, "text")
        best = number_field(fields, "best") if text is None else None
        if text is None and best is None:
            raise UserError("write an answer" + (", or choose the best one" if question.answers else ""))
        return build_answer(DemonstrationAnswer, text=text, best=best)

    def simulate(self, person: labelers.Person, question: DemonstrationQuestion) -> DemonstrationAnswer:
        return DemonstrationAnswer(best=labelers.choose(person, question.prompt, question.answers))

    def summary(self, answer: DemonstrationAnswer) -> str:
        return f"answer {LETTERS[answer.best]}" if answer.best is not None else f"your text: {answer.text}"

    def records(self, label: CollectedLabel) -> list[Demonstration]:
        """An answer that was chosen keeps its token ids and its model."""
        task, answer = self.task(label.question), self.answer(label)
        if answer.best is not None:
            demonstrated = task.answers[label.shown[answer.best]]
        else:
            demonstrated = Answer(text=answer.text or "", model="people")
        return [
            Demonstration(
                id=id_in_set(label.task),
                prompt=task.prompt,
                answer=demonstrated,
                **label.provenance,
            )
        ]

    def view(self, task: DemonstrationQuestion) -> TaskView:
        return TaskView.of_prompt(task.prompt, task.answers)

    def text(self, answer: DemonstrationAnswer) -> str | None:
        return answer.text


KIND = Demonstrations()


def _read(path: Path) -> list[tuple[str, DemonstrationQuestion]]:
    """Prompts with their answers, or prompts alone, each with its task's id."""
    file = find_file(path, "prompts.jsonl")
    if file.name.startswith("prompts.") and file.is_file():
        questions = [DemonstrationQuestion(prompt=prompt) for prompt in read(file, Prompt)]
        return [(collection.task_id(row), row) for row in questions]
    return [
        (name, DemonstrationQuestion(prompt=row.prompt, answers=row.answers))
        for name, row in collection.read_replies(path)
    ]


def run(cfg: Config, context: StageContext) -> None:
    questions = collection.select_prompts(_read(cfg.replies), cfg, context)
    if cfg.labelers == "simulated" and any(not row.answers for _, row in questions):
        raise UserError(
            f"[{context.key}] replies: prompts without answers; simulated people take the best of several, they write none"
        )
    tasks = [Task(name, row.model_dump_json(exclude_none=True)) for name, row in questions]
    labels = collection.collect_labels(KIND, cfg, tasks, context)
    rows = collection.write_records(KIND, labels, Demonstration, context)
    context.summary = collection.summarise(rows, cfg, context)
