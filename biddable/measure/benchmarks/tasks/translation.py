"""Translation from French into English, e.g. WMT 2015's French-English set: BLEU (Papineni et al. 2002) of
the corpus, sacrebleu's."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from biddable.measure.benchmarks.tasks.task import (
    UNJUDGED,
    Array,
    GenerationItem,
    Marks,
    Metric,
    PublishedColumns,
)
from biddable.run.words import has_words


def bleu_sums(hypothesis: str, references: Sequence[str]) -> tuple[float, ...]:
    """A sentence's ten statistics: matching n-grams of order 1 to 4, all its n-grams, its length, the
    reference's length. Their sums over sentences give the corpus's BLEU."""
    score = _sacrebleu().corpus_score([hypothesis], [[reference] for reference in references])
    return (*map(float, score.counts), *map(float, score.totals), float(score.sys_len), float(score.ref_len))


@functools.cache
def _sacrebleu() -> Any:
    from sacrebleu.metrics import BLEU

    return BLEU(effective_order=False)


def bleu(sums: Array) -> Array:
    """(..., 10) summed statistics -> (...) corpus BLEU, 0 to 100: the geometric mean of the four precisions
    times the brevity penalty (Papineni et al. 2002, 2.3), as sacrebleu has it with its defaults. Written out
    so that it runs on thousands of resampled sums at once."""
    flat = np.asarray(sums, dtype=float).reshape(-1, 10)
    matches, total, length, reference = flat[:, :4].copy(), flat[:, 4:8], flat[:, 8], flat[:, 9]
    smooth = np.ones(len(flat))
    for order in range(4):  # exponential smoothing: an order without a match counts as 1/2, 1/4, ... of one
        empty = (matches[:, order] == 0) & (total[:, order] > 0)
        smooth = np.where(empty, smooth * 2, smooth)
        matches[:, order] = np.where(empty, 1 / smooth, matches[:, order])
    defined = (total > 0).all(axis=1) & (flat[:, :4].sum(axis=1) > 0) & (length > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_precision = np.where(total > 0, np.log(matches / total), 0.0).mean(axis=1)
        brevity = np.where(length < reference, np.exp(1 - reference / length), 1.0)
    scores = np.where(defined, 100 * brevity * np.exp(log_precision), 0.0)
    return np.asarray(scores.reshape(np.shape(sums)[:-1]))


class Translation(GenerationItem):
    """A French sentence and its English translation."""

    instruction = "Translate the following sentences from French into English."
    has_gold = True
    metrics = {"bleu": Metric(bounds=(0.0, 100.0), statistic=bleu)}  # noqa: RUF012
    published = PublishedColumns(reference="ref_text")
    fr: str
    en: str

    @classmethod
    def from_published(cls, number: int, prompt: str, reference: str) -> Self:
        return cls(id=str(number), fr=prompt, en=reference)

    def input_text(self) -> str:
        return f"French: {self.fr}\nEnglish:"

    def gold_answer(self) -> str:
        return self.en

    def score(self, output: str) -> Marks:
        # sacrebleu's tokens are parted by blanks: a reference without any has one token.
        return {"bleu": bleu_sums(output, [self.en]) if has_words(self.en) else UNJUDGED}
