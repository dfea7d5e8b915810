"""TL;DR (Völske et al. 2017; Stiennon et al. 2020, arXiv 2009.01325): summaries of Reddit posts, by ROUGE
(Lin 2004)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Self

from biddable.measure.benchmarks.tasks.task import GenerationItem, Marks, PublishedColumns, Texts, mark

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")


class Tldr(GenerationItem):
    """A post and the sentences of its summary."""

    has_gold = True
    published = PublishedColumns(reference="ref_text")
    post: str
    summary_sentences: Texts

    @classmethod
    def from_published(cls, number: int, prompt: str, reference: str) -> Self:
        return cls(id=str(number), post=prompt, summary_sentences=reference.split("|"))

    def input_text(self) -> str:
        return self.post

    def gold_answer(self) -> str:
        return " ".join(self.summary_sentences)

    def score(self, output: str) -> Marks:
        return {name: mark(value) for name, value in rouge(output, self.summary_sentences).items()}


def rouge(prediction: str, sentences: Sequence[str]) -> dict[str, float]:
    """F-measures of rouge-score with stemming against one reference, given as its sentences (rougeLsum reads
    one sentence a line)."""
    scores = _rouge_scorer().score("\n".join(sentences), prediction)
    return {name: float(scores[name].fmeasure) for name in ROUGE}


@functools.cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(ROUGE), use_stemmer=True)
