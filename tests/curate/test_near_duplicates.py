"""Near-duplicates: pieces by hand, against the search over all pairs, and planted ones found again."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biddable.curate.prompts import near_duplicates
from biddable.curate.prompts.normalisation import normalise

WORDS = [
    "the",
    "river",
    "runs",
    "past",
    "an",
    "old",
    "mill",
    "where",
    "three",
    "sisters",
    "bake",
    "bread",
    "for",
    "the",
    "village",
    "and",
    "sing",
    "of",
    "ships",
    "that",
    "never",
    "came",
    "home",
    "because",
    "winter",
    "storms",
    "took",
    "them",
    "while",
    "their",
    "father",
    "counted",
    "coins",
    "under",
    "a",
    "lamp",
    "until",
    "morning",
    "light",
    "fell",
    "on",
    "empty",
    "tables",
]


def of(text: str) -> set[str]:
    """A text's five-letter pieces, slowly."""
    text = normalise(text)
    return {text[i : i + 5] for i in range(len(text) - 4)} or {text}


def test_golden_similarity() -> None:
    # "abcdefgh" has the pieces abcde bcdef cdefg defgh, "abcdefgx" the first three and defgx: 3 shared of 5.
    one, other = (np.unique(near_duplicates.shingle_hashes([text])[0]) for text in ("abcdefgh", "abcdefgx"))
    assert near_duplicates.jaccard(one, other) == 3 / 5


@given(st.lists(st.text(max_size=30), max_size=12))
@settings(deadline=None, max_examples=40)
def test_pieces_are_those_of_each_text_alone(texts: list[str]) -> None:
    hashes, starts = near_duplicates.shingle_hashes(texts)
    assert len(starts) == len(texts) + 1 and starts[-1] == len(hashes)
    for number, text in enumerate(texts):
        mine = hashes[starts[number] : starts[number + 1]]
        assert len(mine) == max(1, len(text) - 4)
        assert (mine == near_duplicates.shingle_hashes([text])[0]).all()


def test_equal_pieces_have_equal_hashes_and_others_do_not() -> None:
    rng = random.Random(1)
    texts = ["".join(rng.choices("abcdefgh ", k=5)) for _ in range(5000)]
    hashes, _ = near_duplicates.shingle_hashes(texts)
    assert len(set(hashes.tolist())) == len(set(texts))


def planted(rng: random.Random, count: int) -> tuple[list[str], set[int]]:
    """Different texts, then copies with a changed word, other punctuation or a few words more: (texts, places
    of the copies)."""
    base = [" ".join(rng.choices(WORDS, k=rng.randint(25, 60))) for _ in range(count)]
    copies = []
    for text in rng.sample(base, count // 10):
        words = text.split()
        words[rng.randrange(len(words))] = rng.choice(["lantern", "copper", "harbour"])
        copies.append(
            rng.choice([" ".join(words), text.upper() + "!!", text.replace(" ", ", ", 3), "please " + text])
        )
    return base + copies, set(range(count, count + len(copies)))


def test_planted_copies_are_found_and_nothing_else() -> None:
    texts, copies = planted(random.Random(2), 1500)
    keys = [text.casefold() for text in texts]
    found = near_duplicates.find_near_duplicates(
        keys, near_duplicates.band_hashes([normalise(key) for key in keys]), 0.8
    )
    dropped = {place for place, one in enumerate(found) if one}
    sets = [of(key) for key in keys]
    close = {
        place
        for place in copies
        if any(len(sets[place] & one) >= 0.8 * len(sets[place] | one) for one in sets[:1500])
    }
    assert len(dropped & close) / len(close) >= 0.98
    assert dropped <= copies
    for place in dropped:
        first, similarity = found[place] or (0, 0.0)
        assert similarity == pytest.approx(_alike(keys[place], keys[first]))


def _alike(one: str, other: str) -> float:
    a, b = of(one), of(other)
    return len(a & b) / len(a | b)


def test_whatever_is_dropped_is_like_one_that_stayed_and_likeness_does_not_chain() -> None:
    # b is like a and c is like b, but c is not like a: b goes, c stays.
    a = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    b, c = a + " fifteen sixteen seventeen", a + " fifteen sixteen seventeen eighteen nineteen twenty"
    assert _alike(a, b) >= 0.7 and _alike(b, c) >= 0.7 and _alike(a, c) < 0.7
    found = near_duplicates.find_near_duplicates(
        [a, b, c], np.zeros((3, near_duplicates.BANDS), dtype=np.uint64), 0.7
    )  # all meet in every band
    assert [one and one[0] for one in found] == [None, 0, None]


@pytest.mark.parametrize("size", [2, 5, near_duplicates.MAX_BUCKET, near_duplicates.MAX_BUCKET + 1, 200])
def test_candidates_of_a_crowd(size: int) -> None:
    pairs = near_duplicates.candidate_pairs(
        np.zeros((size, near_duplicates.MIN_SHARED_BANDS), dtype=np.uint64)
    )
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert len({tuple(pair) for pair in pairs.tolist()}) == len(pairs)
    if size <= near_duplicates.MAX_BUCKET:
        assert {tuple(pair) for pair in pairs.tolist()} == set(combinations(range(size), 2))
    else:
        assert len(pairs) <= 2 * near_duplicates.MAX_BUCKET * size
        assert {(0, j) for j in range(1, size)} <= {tuple(pair) for pair in pairs.tolist()}


def test_one_band_in_common_is_chance() -> None:
    bands = np.array([[1, 2, 3], [1, 2, 9], [7, 8, 3]], dtype=np.uint64)
    assert near_duplicates.candidate_pairs(bands).tolist() == [[0, 1]]


def test_texts_that_share_no_band_are_no_candidates() -> None:
    bands = np.arange(2 * near_duplicates.BANDS, dtype=np.uint64).reshape(2, near_duplicates.BANDS)
    assert len(near_duplicates.candidate_pairs(bands)) == 0
    assert near_duplicates.find_near_duplicates([], near_duplicates.band_hashes([]), 0.8) == []


def test_texts_with_other_numbers_are_other_texts() -> None:
    keys = [f"write a story about number {number} and nothing else at all" for number in (1, 2, 1)] + [
        "what is 17 x 24?",
        "what is 17 x 25?",
    ]
    found = near_duplicates.find_near_duplicates(
        keys, near_duplicates.band_hashes([normalise(key) for key in keys]), 0.8
    )
    assert [one and one[0] for one in found] == [None, None, 0, None, None]
