"""How unlike each other texts are: self-BLEU, shares of distinct n-grams, near duplicates. Pure, and without
any library, so that stages that write prompts and stages that measure them say the same number.

A red team that finds one trick and repeats it has a high success rate and a self-BLEU near 1 (Perez et al.
2022: at a weak KL penalty 78 % of the attacks held one and the same word).
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from biddable.run import words as scripts

ORDER = 4
"""Longest n-grams of BLEU."""
REFERENCES = 1000
"""Texts that self-BLEU is measured against, at most (Perez et al. 2022: 1,000)."""


def words(text: str) -> list[str]:
    return scripts.words(text.casefold(), apostrophes=True)


def wordless(texts: Sequence[str]) -> int:
    """How many texts have no word at all: no measure here sees them."""
    return sum(not words(text) for text in texts)


def ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def self_bleu(texts: Sequence[str], seed: int = 0, limit: int = REFERENCES) -> float | None:
    """Mean BLEU of each text against all others (Zhu et al. 2018): 0, nothing in common; 1, all the same.
    Higher orders are smoothed by adding one (Lin and Och 2004), else short texts always score 0. Of more than
    `limit` texts as many are drawn. None for fewer than two texts with words: there is nothing to compare."""
    rows = [words(text) for text in texts]
    rows = [row for row in rows if row]
    if len(rows) > limit:
        rows = random.Random(seed).sample(rows, limit)
    if len(rows) < 2:
        return None
    counts = [[ngrams(row, n) for n in range(1, ORDER + 1)] for row in rows]
    # The most often that an n-gram stands in any one text, the runner-up beside it: against all others a
    # text's own count must not help it.
    tops = [_two_highest([count[n] for count in counts]) for n in range(ORDER)]
    lengths = [len(row) for row in rows]
    return fmean(_bleu(i, counts[i], tops, lengths) for i in range(len(rows)))


Tops = dict[tuple[str, ...], tuple[int, int, int]]
"""n-gram -> (highest count, index of the text that has it, second highest count)."""


def _two_highest(counts: Sequence[Counter[tuple[str, ...]]]) -> Tops:
    tops: Tops = {}
    for index, count in enumerate(counts):
        for ngram, times in count.items():
            highest, owner, second = tops.get(ngram, (0, -1, 0))
            if times > highest:
                tops[ngram] = (times, index, highest)
            elif times > second:
                tops[ngram] = (highest, owner, times)
    return tops


def _bleu(
    index: int, counts: Sequence[Counter[tuple[str, ...]]], tops: Sequence[Tops], lengths: Sequence[int]
) -> float:
    """BLEU of one text against all others as references."""
    logs = []
    for n, count in enumerate(counts):
        total = sum(count.values())
        matched = 0
        for ngram, times in count.items():
            highest, owner, second = tops[n][ngram]
            matched += min(times, second if owner == index else highest)
        if n == 0:
            if not matched:
                return 0.0
            logs.append(math.log(matched / total))
        else:
            logs.append(math.log((matched + 1) / (total + 1)))
    length = lengths[index]
    references = (reference for i, reference in enumerate(lengths) if i != index)
    closest = min(references, key=lambda reference: (abs(reference - length), reference))
    penalty = min(0.0, 1 - closest / length)  # too short a text is charged
    return math.exp(fmean(logs) + penalty)


def distinct(texts: Sequence[str], n: int) -> float | None:
    """Share of all n-grams that are different ones (Li et al. 2016); None without any."""
    total: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        total += ngrams(words(text), n)
    return len(total) / total.total() if total else None


def overlap(first: Sequence[str], second: Sequence[str]) -> float:
    """Share of common words among all words of two texts (Jaccard): 1, the same words."""
    ours, theirs = set(first), set(second)
    return len(ours & theirs) / len(ours | theirs) if ours | theirs else 1.0


def unlike(texts: Sequence[str], most: float = 0.8) -> list[int]:
    """Places of the texts that are no near duplicate of an earlier one: at most a share `most` of words in
    common. Quadratic: for hundreds of texts, not for millions."""
    places: list[int] = []
    rows: list[list[str]] = []
    for place, text in enumerate(texts):
        row = words(text)
        if all(overlap(row, earlier) <= most for earlier in rows):
            places.append(place)
            rows.append(row)
    return places
