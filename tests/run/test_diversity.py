"""Diversity against hand-made numbers and a naive BLEU."""

from __future__ import annotations

import math
import random
from statistics import fmean

import pytest

from biddable.run.diversity import distinct, self_bleu, unlike, wordless


def naive_self_bleu(texts: list[str]) -> float:
    """One text against each other, clipped by the reference that has an n-gram most often."""
    rows = [text.split() for text in texts]
    scores = []
    for i, row in enumerate(rows):
        others = rows[:i] + rows[i + 1 :]
        precisions = []
        for n in range(1, 5):
            grams = [tuple(row[k : k + n]) for k in range(len(row) - n + 1)]
            clipped = 0
            for gram in set(grams):
                most = max(sum(tuple(o[k : k + n]) == gram for k in range(len(o) - n + 1)) for o in others)
                clipped += min(grams.count(gram), most)
            smooth = 0 if n == 1 else 1
            precisions.append((clipped + smooth) / (len(grams) + smooth))
        closest = min((len(o) for o in others), key=lambda length: (abs(length - len(row)), length))
        brevity = min(1.0, math.exp(1 - closest / len(row)))
        scores.append(brevity * math.prod(precisions) ** 0.25)
    return fmean(scores)


def test_self_bleu_equals_a_naive_one_on_random_texts() -> None:
    draw = random.Random(1)
    texts = [" ".join(draw.choices("abcde", k=draw.randint(1, 9))) for _ in range(12)]
    assert self_bleu(texts) == pytest.approx(naive_self_bleu(texts))


def test_self_bleu_of_equal_unlike_and_single_texts() -> None:
    assert self_bleu(["are you a human?"] * 3) == pytest.approx(1.0)
    assert self_bleu(["one two three four", "five six seven eight"]) == 0.0
    assert self_bleu(["alone"]) is self_bleu([]) is self_bleu(["", "?"]) is None  # nothing to compare


def test_distinct_by_hand() -> None:
    """a b a b: words a, b of 4 = 0.5; pairs ab, ba, ab: 2 of 3."""
    assert distinct(["a b a b"], 1) == 0.5
    assert distinct(["a b a b"], 2) == pytest.approx(2 / 3)
    assert distinct([""], 1) is None
    assert wordless(["", "?", "a", "你"]) == 2


def test_scripts_without_blanks_are_compared_by_characters() -> None:
    """你好吗 and 你好啊: of two characters and the last, one pair of two is common. Equal texts are equal in any
    script; sentences of other characters have nothing in common."""
    assert self_bleu(["你好吗朋友"] * 2) == self_bleu(["สวัสดีครับ"] * 2) == pytest.approx(1.0)
    assert self_bleu(["你好吗", "再见了"]) == 0.0
    assert distinct(["你好你好"], 1) == 0.5
    assert distinct(["नमस्ते नमस्ते"], 1) == 0.5
    assert unlike(["你今天好吗朋友", "你今天好吗朋友！", "我想睡觉"]) == [0, 2]


def test_near_duplicates_are_left_out_and_the_first_stays() -> None:
    texts = ["Are you a human?", "are you a HUMAN", "Do you sleep at night?", "Are you a real human?"]
    assert unlike(texts) == [0, 2, 3]  # 4 of 5 words in common is no more than 0.8
    assert unlike(texts, most=0.7) == [0, 2]
