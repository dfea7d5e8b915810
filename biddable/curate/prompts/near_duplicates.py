"""Near-duplicates: texts that share most of their shingles of five characters.

Candidates come from MinHash signatures (Broder 1997), cut into bands: texts that agree in all rows of a band
meet there (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3). Every candidate pair is
then compared exactly, so a text is never dropped for an estimate. Signatures are made by rensa: see
docs/diary.md for what was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from biddable.curate.prompts.normalisation import Signs, normalise, same_meaning, signs_of
from biddable.run.config import UserError

SHINGLE_CHARACTERS = 5
"""Letters of a piece: words of a language have about so many, so a changed word changes about ten pieces."""
BANDS, ROWS = 25, 5
"""Two texts of similarity s agree in a band with probability s^5: in 8 of 25 on average at 0.8."""
MIN_SHARED_BANDS = 2
"""Bands in which a pair has to agree. The probability is 0.9994 at s = 0.8, 0.94 at 0.7, 0.18 at 0.5, 0.002
at 0.3; with one band it would be 0.99995, 0.99, 0.55 and 0.06, and among a million texts nearly all pairs are
of the last kind."""
MAX_BUCKET = 24
"""In a band's bucket with more texts than this each is compared with the first and the last so many only: a
bucket of a million equal beginnings would give 10^12 pairs. Texts in so large a bucket have mostly lost their
pair by then, because the first stays."""
_SEED = 20220304


def shingle_hashes(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of all shingles of all texts in one array, and the index at which each text's begin (one more at
    the end).

    A shorter text is one shingle. Vectorised over the texts: a polynomial of five code points, then mixed
    (splitmix64).
    """
    padded = [
        text if len(text) >= SHINGLE_CHARACTERS else text.ljust(SHINGLE_CHARACTERS, "\0") for text in texts
    ]
    lengths = np.fromiter((len(text) for text in padded), dtype=np.int64, count=len(padded))
    letters = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(
        np.uint64
    )
    with np.errstate(over="ignore"):
        rolled = np.zeros(max(0, len(letters) - SHINGLE_CHARACTERS + 1), dtype=np.uint64)
        for place in range(SHINGLE_CHARACTERS):
            rolled = rolled * np.uint64(0x9E3779B97F4A7C15) + letters[place : place + len(rolled)]
        rolled ^= rolled >> np.uint64(30)
        rolled *= np.uint64(0xBF58476D1CE4E5B9)
        rolled ^= rolled >> np.uint64(27)
        rolled *= np.uint64(0x94D049BB133111EB)
        rolled ^= rolled >> np.uint64(31)
    ends = np.cumsum(lengths)
    inside = np.ones(len(rolled), dtype=bool)  # not shingles that run on into the next text
    for place in range(1, SHINGLE_CHARACTERS):
        over = ends[:-1] - place
        inside[over[over < len(rolled)]] = False
    return rolled[inside], np.concatenate([[0], np.cumsum(lengths - SHINGLE_CHARACTERS + 1)]).astype(np.int64)


def band_hashes(texts: Sequence[str]) -> np.ndarray:
    """(texts, BANDS) hashes: two texts that share one are candidates. Raises UserError when rensa is not
    installed."""
    if not texts:
        return np.zeros((0, BANDS), dtype=np.uint64)
    try:
        from rensa import RMinHash
    except ModuleNotFoundError:
        raise UserError(
            "near-duplicates need the package rensa: pip install 'biddable[curate]'; or set near_share = 0"
        ) from None
    hashes, starts = shingle_hashes(texts)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        hashes, starts.astype(np.uint64), BANDS * ROWS, _SEED
    )
    rows = np.array(matrix.to_rows(), dtype=np.uint64).reshape(len(texts), BANDS, ROWS)
    mixed = np.zeros(rows.shape[:2], dtype=np.uint64)
    with np.errstate(over="ignore"):
        for place in range(ROWS):
            mixed = (mixed ^ rows[:, :, place]) * np.uint64(0x100000001B3)
            mixed ^= mixed >> np.uint64(29)
    return mixed


def candidate_pairs(bands: np.ndarray) -> np.ndarray:
    """Pairs (i, j), i < j, of texts that meet in at least MEETINGS bands; each once, sorted by j, then i."""
    pairs = []
    for band in range(bands.shape[1]):
        column = bands[:, band]
        order = np.argsort(column, kind="stable")
        breaks = np.flatnonzero(column[order][1:] != column[order][:-1]) + 1
        starts, ends = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(order)]])
        sizes = ends - starts
        two = starts[sizes == 2]
        pairs.append(np.stack([order[two], order[two + 1]], axis=1))
        for start, end in zip(starts[sizes > 2], ends[sizes > 2], strict=True):
            pairs.append(bucket_pairs(order[start:end]))
    if not pairs:
        return np.zeros((0, 2), dtype=np.int64)
    stacked = np.concatenate(pairs).astype(np.int64)
    packed, meetings = np.unique(stacked[:, 1] << np.int64(32) | stacked[:, 0], return_counts=True)
    packed = packed[meetings >= MIN_SHARED_BANDS]
    return np.stack([packed & np.int64(0xFFFFFFFF), packed >> np.int64(32)], axis=1)


def bucket_pairs(members: np.ndarray) -> np.ndarray:
    """Pairs of one bucket, whose members are in the order of the input."""
    n = len(members)
    if n <= MAX_BUCKET:
        first, second = np.triu_indices(n, 1)
    else:
        find_near_duplicates = [(j - step, j) for j in range(n) for step in range(1, min(j, MAX_BUCKET) + 1)]
        head = [(i, j) for j in range(n) for i in range(min(MAX_BUCKET, max(0, j - MAX_BUCKET)))]
        first, second = np.array([*find_near_duplicates, *head]).T
    return np.stack([members[first], members[second]], axis=1)


def jaccard(first: np.ndarray, second: np.ndarray) -> float:
    """Jaccard similarity |A ∩ B| / |A ∪ B| of two texts' sorted distinct shingles."""
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)


def find_near_duplicates(
    keys: Sequence[str], bands: np.ndarray, min_similarity: float
) -> list[tuple[int, float] | None]:
    """For each text the earlier text that stays in its place with their similarity; None for a text that
    stays.

    In the order of the input: a text goes when an earlier one that stays is at least `min_similarity`
    similar and no sign tells them apart. So whatever is dropped resembles something that stays, and
    resemblance does not chain. Texts with different numbers are different, however similar: what is 17 times
    24, what is 17 times 25. So are short texts with different content: see `same_meaning`.
    """
    shingles: dict[int, np.ndarray] = {}
    signs: dict[int, Signs] = {}
    duplicates: list[tuple[int, float] | None] = [None] * len(keys)

    def shingles_of(index: int) -> np.ndarray:
        if index not in shingles:
            shingles[index] = np.unique(shingle_hashes([normalise(keys[index])])[0])
        return shingles[index]

    def key_signs(index: int) -> Signs:
        if index not in signs:
            signs[index] = signs_of(keys[index])
        return signs[index]

    for j, earlier in group_by_second(candidate_pairs(bands)):
        for i in earlier:
            if (
                duplicates[i] is None
                and (similarity := jaccard(shingles_of(i), shingles_of(j))) >= min_similarity
                and same_meaning(key_signs(i), key_signs(j))
            ):
                duplicates[j] = (i, similarity)
                break
        shingles.pop(j, None)
        signs.pop(j, None)
        if len(shingles) > 50_000:
            shingles.clear()
            signs.clear()
    return duplicates


def group_by_second(pairs: np.ndarray) -> Iterator[tuple[int, list[int]]]:
    """For each j its i's."""
    breaks = np.flatnonzero(pairs[1:, 1] != pairs[:-1, 1]) + 1
    for group in np.split(pairs, breaks):
        if len(group):
            yield int(group[0, 1]), group[:, 0].tolist()
