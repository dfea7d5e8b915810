"""DROP (Dua et al. 2019, arXiv 1903.00161): questions about a passage that take counting and arithmetic.
Scored by the official script's rules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import linear_sum_assignment

from biddable.measure.benchmarks.tasks.squad import ARTICLES, PUNCTUATION
from biddable.measure.benchmarks.tasks.task import (
    GenerationItem,
    Marks,
    PublishedColumns,
    Texts,
    mark,
    passage_cluster,
)
from biddable.run.words import chunks


class Spans(BaseModel):
    """One of the right answers: one or several spans, a number or a date."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
    spans: Texts


class Drop(GenerationItem):
    """A question about a passage, with the answers that several people gave."""

    instruction = "Answer each question using information in the preceding passage."
    has_gold = True
    published = PublishedColumns(reference="ref_text")
    passage: str
    question: str
    answers: Annotated[list[Spans], Field(min_length=1)]

    @classmethod
    def from_published(cls, number: int, prompt: str, reference: str) -> Self:
        answers = [Spans(spans=[part]) for part in reference.split("|")]
        return cls(id=str(number), passage=prompt, question="", answers=answers)

    def input_text(self) -> str:
        return f"Passage: {self.passage}\nQuestion: {self.question}\nAnswer:"

    def gold_answer(self) -> str:
        return ", ".join(self.answers[0].spans)

    def cluster(self) -> str:
        return passage_cluster(self.passage)

    def score(self, output: str) -> Marks:
        exact, f1 = exact_and_f1([output], [answer.spans for answer in self.answers])
        return {"f1": mark(f1), "exact": mark(exact)}


def normalize_answer(text: str) -> str:
    """The words of one span: numbers as numbers, other words without punctuation and articles; hyphens part
    words (DROP script, `_normalize_answer`)."""
    parts = [_normalize_word(token) for token in re.split(" |-", text)]
    return " ".join(part for part in parts if part.strip()).strip()


def _normalize_word(token: str) -> str:
    """The script's order: lower case, punctuation out unless it is a number, number as float, articles out,
    spaces mended."""
    word = token.lower()
    if not is_number(word):
        word = "".join(ch for ch in word if ch not in PUNCTUATION)
    if is_number(word):
        word = str(float(word))
    return " ".join(ARTICLES.sub(" ", word).split())


def is_number(text: str) -> bool:
    """Whether Python reads the text as a float."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def exact_and_f1(prediction: Sequence[str], answers: Sequence[Sequence[str]]) -> tuple[float, float]:
    """(exact match, F1) of predicted spans against the best of the answers, each a list of spans (DROP
    script, `drop_em_and_f1_score`)."""
    best = (0.0, 0.0)
    for gold in answers:
        if gold and gold[0].strip():  # the script skips answers whose first span is empty
            exact, f1 = _one_answer(prediction, gold)
            best = (max(best[0], exact), max(best[1], f1))
    return best


def _one_answer(prediction: Sequence[str], gold: Sequence[str]) -> tuple[float, float]:
    """Against one answer. F1 is the mean over spans under the best one-to-one alignment; a span too many or
    too few counts 0."""
    predicted, right = [normalize_answer(span) for span in prediction], [normalize_answer(s) for s in gold]
    exact = float(set(predicted) == set(right) and len(predicted) == len(right))
    bags, golds = [set(chunks(span)) for span in predicted], [set(chunks(span)) for span in right]
    table = np.array([[bag_f1(bag, gold_bag) for bag in bags] for gold_bag in golds])
    rows, columns = linear_sum_assignment(-table)
    f1 = np.zeros(max(len(golds), len(bags)))
    f1[rows] = table[rows, columns]
    return exact, float(np.round(f1.mean(), 2))  # the script rounds numpy numbers: halves to even


def bag_f1(words: set[str], gold: set[str]) -> float:
    """F1 of two sets of words; 0 if the gold has numbers and none of them was predicted: a span with another
    number is another answer."""
    numbers = {word for word in gold if is_number(word)}
    if numbers and not numbers & words:
        return 0.0
    common = len(words & gold)
    precision = common / len(words) if words else 1.0
    recall = common / len(gold) if gold else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
