"""The screening's own questions, beside rankings and demonstrations: to flag a text, or to say which groups
one knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import model_validator

from biddable.label.form import Fields, build_answer, number_field, text_field
from biddable.label.kinds import LabelKind, TaskView
from biddable.label.queue import CollectedLabel
from biddable.run.config import UserError
from biddable.run.records import Message, Prompt, Record


class ScreeningQuestion(Record):
    """What somebody is asked: to flag a text, or to say which groups they know."""

    prompt: Prompt
    part: Literal["sensitive", "groups"]
    groups: tuple[str, ...] = ()


class ScreeningAnswer(Record):
    """Whether the text is sensitive; or for each group how well sensitive speech about it could be told, 1
    (not at all) to 5, null: not said."""

    sensitive: bool | None = None
    groups: dict[str, int | None] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> ScreeningAnswer:
        if (self.sensitive is None) == (self.groups is None):
            raise ValueError("give either sensitive or groups")
        if any(value is not None and not 1 <= value <= 5 for value in (self.groups or {}).values()):
            raise ValueError("each group has a number from 1 to 5, or none")
        return self


class ScreeningQuestions(LabelKind[ScreeningQuestion, ScreeningQuestion, ScreeningAnswer]):
    title = "Screening"
    task_type = ScreeningQuestion
    answer_type = ScreeningAnswer
    adjudicable = False  # it is about the person who answers

    def blind(self, task: ScreeningQuestion, shown: Sequence[int]) -> ScreeningQuestion:
        return task

    def check(self, question: ScreeningQuestion, answer: ScreeningAnswer) -> None:
        if question.part == "sensitive" and answer.sensitive is None:
            raise UserError("say whether the text is sensitive")
        if question.part == "groups" and set(answer.groups or ()) != set(question.groups):
            raise UserError(
                f"groups: must be exactly these {len(question.groups)}: {', '.join(question.groups)}"
            )

    def form(self, question: ScreeningQuestion, fields: Fields) -> ScreeningAnswer:
        if question.part == "groups":
            levels = {group: number_field(fields, f"group-{i}") for i, group in enumerate(question.groups)}
            return build_answer(ScreeningAnswer, groups=levels)
        sensitive = {"yes": True, "no": False}.get(text_field(fields, "sensitive") or "")
        if sensitive is None:
            raise UserError("say whether the text is sensitive")
        return build_answer(ScreeningAnswer, sensitive=sensitive)

    def summary(self, answer: ScreeningAnswer) -> str:
        if answer.groups is not None:
            given = sum(level is not None for level in answer.groups.values())
            return f"{given} of {len(answer.groups)} groups"
        return "sensitive" if answer.sensitive else "not sensitive"

    def records(self, label: CollectedLabel) -> list[Record]:
        """None: an answer counts in the person's line of screening.jsonl only."""
        return []

    def gold_score(self, label: CollectedLabel, expected: ScreeningAnswer) -> float | None:
        """Whether a text was flagged as trusted people did."""
        return (
            None if expected.sensitive is None else float(self.answer(label).sensitive == expected.sensitive)
        )

    def view(self, task: ScreeningQuestion) -> TaskView:
        return TaskView.of_prompt(task.prompt)

    def subtitle(self, task_set: str) -> str:
        """The part, from the set's name `run/stage/part/hash`."""
        part = task_set.split("/")[-2]
        return {"sensitive": "Which texts are sensitive?", "groups": "Which groups do you know?"}.get(
            part, ""
        )


KIND = ScreeningQuestions()


def screening_prompt(name: str, text: str) -> Prompt:
    """A text to judge, as a prompt: that is what pages show."""
    return Prompt(id=name, messages=(Message(role="user", content=text),), user="screening")
