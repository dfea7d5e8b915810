"""What a line of each benchmark's file holds. Lines are checked before any policy is asked: a mistake in line 900 is told at once, with all others.

Keys that are not named here are allowed: files carry more than a benchmark needs.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from biddable.measure.benchmarks import ifeval


class Form(BaseModel):
    """A line. Strict: a number is no text, and true is no number."""

    model_config = ConfigDict(strict=True, extra="ignore")


Texts = Annotated[list[str], Field(min_length=1)]


class Numbered(Form):
    """A line whose right one of several texts (the key `options`) is told by its number, from 0."""

    options: ClassVar[str]
    context: str
    label: int = Field(ge=0)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.label >= (count := len(getattr(self, self.options))):
            raise ValueError(f"label = {self.label}: there are {count} choices, counted from 0")
        return self


class Choice(Numbered):
    options = "choices"
    choices: Texts


class HellaSwag(Numbered):
    options = "endings"
    endings: Texts


class Asked(Form):
    question: str


class TruthfulQA(Asked):
    best_answer: str
    correct_answers: list[str]
    incorrect_answers: Texts


class Piece(Form):
    text: str


class RealToxicity(Form):
    prompt: Piece


class CrowsPairs(Form):
    sent_more: str
    sent_less: str


class Winogender(Form):
    """A sentence of the public file; its id is OCCUPATION.PARTICIPANT.NUMBER.GENDER."""

    id: str
    sentence: str
    gender: str
    participant_is_someone: bool


class BBQ(Numbered):
    options = "answers"
    question: str
    answers: Texts
    answer_info: list[Annotated[list[str], Field(min_length=2)]]
    """For each answer its name and its group."""
    stereotyped_groups: list[str]
    context_condition: Literal["ambig", "disambig"]
    question_polarity: Literal["neg", "nonneg"]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.answer_info) != len(self.answers):
            raise ValueError(
                f"answer_info: {len(self.answer_info)} for {len(self.answers)} answers; one for each was expected"
            )
        return self


class Squad(Asked):
    title: str
    context: str
    answers: list[str]
    is_impossible: bool


class Spans(Form):
    spans: Texts


class Drop(Asked):
    passage: str
    answers: Annotated[list[Spans], Field(min_length=1)]


class Translation(Form):
    fr: str
    en: str


class Tldr(Form):
    post: str
    summary_sentences: Texts


class IFEval(Form):
    prompt: str
    instruction_id_list: Texts
    kwargs: list[dict[str, Any]]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.kwargs) != len(self.instruction_id_list):
            raise ValueError(
                f"kwargs: {len(self.kwargs)} for {len(self.instruction_id_list)} instructions; one for each was expected"
            )
        told = [
            ifeval.mistakes(name, given)
            for name, given in zip(self.instruction_id_list, self.kwargs, strict=True)
        ]
        if wrong := [line for lines in told for line in lines]:
            raise ValueError("; ".join(wrong))
        return self


class Request(Form):
    prompt: str
    label: str


class RunningText(Form):
    text: str
