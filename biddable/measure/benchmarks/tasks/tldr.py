"""TL;DR (Völske et al. 2017; Stiennon et al. 2020, arXiv 2009.01325): summaries of Reddit posts, by ROUGE
(Lin 2004)."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any, Self

from biddable.measure.benchmarks.tasks.task import (
    UNJUDGED,
    GenerationItem,
    Marks,
    PublishedColumns,
    Texts,
    mark,
)
from biddable.run.words import words

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
        scores = rouge(output, self.summary_sentences)
        return {name: mark(scores[name]) if scores else UNJUDGED for name in ROUGE}


def rouge(prediction: str, sentences: Sequence[str]) -> dict[str, float] | None:
    """F-measures of rouge-score with stemming against one reference, given as its sentences (rougeLsum reads
    one sentence a line). None where the reference has no word."""
    if not _Tokenizer().tokenize(" ".join(sentences)):
        return None
    scores = _rouge_scorer().score("\n".join(sentences), prediction)
    return {name: float(scores[name].fmeasure) for name in ROUGE}


@functools.cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(ROUGE), tokenizer=_Tokenizer())


_NOT_LATIN = re.compile(r"(?:[^\W\d_\u0000-\u024f\u1e00-\u1eff][\u0300-\u036f\u0483-\u1dff\ua66f-\uabff]*)+")


class _Tokenizer:
    """rouge-score's own, which keeps a to z and digits only, and beside it the words of other scripts than the
    Latin one."""

    def __init__(self) -> None:
        self.latin = _latin_tokenizer()

    def tokenize(self, text: str) -> list[str]:
        tokens, end = [], 0
        for match in _NOT_LATIN.finditer(text):
            tokens += [*self.latin.tokenize(text[end : match.start()]), *words(match[0].casefold())]
            end = match.end()
        return [*tokens, *self.latin.tokenize(text[end:])]


@functools.cache
def _latin_tokenizer() -> Any:
    from rouge_score.tokenizers import DefaultTokenizer

    return DefaultTokenizer(use_stemmer=True)
