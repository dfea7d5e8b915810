"""SQuAD 2.0 (Rajpurkar et al. 2018, arXiv 1806.03822): questions about a passage, some of which it does not
answer. Scored by the official script's rules."""

from __future__ import annotations

import collections
import re
import string
from collections.abc import Sequence
from typing import Self

from biddable.measure.benchmarks.tasks.task import (
    GenerationItem,
    Marks,
    PublishedColumns,
    mark,
    passage_cluster,
)
from biddable.run.words import chunks

NO_ANSWER = "Not in background."
"""The sentence that the paper's instruction agrees on for questions without an answer."""
PUNCTUATION = frozenset(string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)


class Squad(GenerationItem):
    """A question about a passage, with several spans of it that answer it, or none."""

    instruction = (
        "Answer each question using information in the preceding background paragraph.\n"
        f'If there is not enough information provided, answer with "{NO_ANSWER}"'
    )
    has_gold = True
    published = PublishedColumns(reference="ref_text")
    title: str
    context: str
    question: str
    answers: list[str]
    is_impossible: bool

    @classmethod
    def from_published(cls, number: int, prompt: str, reference: str) -> Self:
        answers = [text for part in reference.split("|") if (text := part.strip()) != NO_ANSWER]
        return cls(
            id=str(number), title="", context=prompt, question="", answers=answers, is_impossible=not answers
        )

    def input_text(self) -> str:
        return f"Title: {self.title}\n\nBackground: {self.context}\n\nQ: {self.question}\n\nA:"

    def gold_answer(self) -> str:
        return self.answers[0] if self.answers else NO_ANSWER

    def cluster(self) -> str:
        return passage_cluster(self.context)

    def score(self, output: str) -> Marks:
        """The official exact match and F1, where the agreed sentence is the empty answer; `f1_text` takes
        that sentence as a text like any other."""
        says_none = normalize_answer(output) == normalize_answer(NO_ANSWER)
        exact, f1 = exact_and_f1("" if says_none else output, self.answers)
        _, f1_text = exact_and_f1(output, self.answers or [NO_ANSWER])
        kind = "f1_without_answer" if self.is_impossible else "f1_with_answer"
        return {"f1": mark(f1), "exact": mark(exact), kind: mark(f1), "f1_text": mark(f1_text)}


def normalize_answer(text: str) -> list[str]:
    """Words in lower case, without punctuation and articles (SQuAD 2.0 evaluation script, `normalize_answer`
    and `get_tokens`); where a script has no blanks, each character is a word, as MLQA has it (Lewis et al.
    2020)."""
    plain = "".join(ch for ch in text.lower() if ch not in PUNCTUATION)
    return chunks(ARTICLES.sub(" ", plain))


def exact_and_f1(prediction: str, answers: Sequence[str]) -> tuple[float, float]:
    """(exact match, F1) against the best of the answers; no answers at all: the right prediction is the empty
    text (SQuAD 2.0 script)."""
    golds = [words for answer in answers if (words := normalize_answer(answer))] or [[]]
    words = normalize_answer(prediction)
    return max(float(words == gold) for gold in golds), max(token_f1(words, gold) for gold in golds)


def token_f1(words: Sequence[str], gold: Sequence[str]) -> float:
    """F1 of two bags of words, 2 · common / (size + size); if either is empty, 1 when both are."""
    if not words or not gold:
        return float(words == gold)
    common = sum((collections.Counter(words) & collections.Counter(gold)).values())
    return 2 * common / (len(words) + len(gold))
