"""Multiple choice: `choice`, for files of one's own, and HellaSwag (Zellers et al. 2019, arXiv
1905.07830)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from biddable.measure.benchmarks.queries import Likelihoods, per_token
from biddable.measure.benchmarks.tasks.task import LikelihoodItem, Marks, Texts, mark


class LabelledChoice(LikelihoodItem):
    """One of several texts is right: `label` is its number, from 0."""

    has_gold = True
    label: int = Field(ge=0)

    @model_validator(mode="after")
    def _label_is_a_choice(self) -> Self:
        if self.label >= (count := len(self.raw_choices())):
            raise ValueError(f"label = {self.label}: there are {count} choices, counted from 0")
        return self

    def raw_choices(self) -> Sequence[str]:
        """The texts as the file has them."""
        raise NotImplementedError

    def continuations(self) -> Sequence[str]:
        return self.raw_choices()

    def gold_answer(self) -> str:
        return self.continuations()[self.label]

    def score(self, result: Likelihoods) -> Marks:
        """Accuracy by total log-probability, by its mean per token (Ouyang et al. 2022, appendix D) and by
        its mean per character (lm-evaluation-harness's acc_norm). Long texts are unlikely because they are
        long: the means take that out."""
        total = np.array(result.logp)
        characters = np.array([max(len(text), 1) for text in self.continuations()])
        return {
            "accuracy": mark(int(total.argmax()) == self.label),
            "accuracy_per_token": mark(int(per_token(result).argmax()) == self.label),
            "accuracy_per_character": mark(int((total / characters).argmax()) == self.label),
        }


class Choice(LabelledChoice):
    """Any multiple choice."""

    context: str
    choices: Texts

    def input_text(self) -> str:
        return self.context

    def raw_choices(self) -> Sequence[str]:
        return self.choices


class HellaSwag(LabelledChoice):
    """How does the paragraph go on?"""

    instruction = "Complete each independent paragraph using common-sense reasoning."
    context: str
    endings: Texts

    def input_text(self) -> str:
        return clean(self.context)

    def raw_choices(self) -> Sequence[str]:
        return self.endings

    def continuations(self) -> Sequence[str]:
        return [clean(ending) for ending in self.endings]


def clean(text: str) -> str:
    """A text without WikiHow's leftover marks such as [header], as lm-evaluation-harness cleans it."""
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")
