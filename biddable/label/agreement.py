"""Agreement of people with each other, with intervals: of rankings, of 1-7 scores and of yes/no marks. Pure
arithmetic.

Every interval is a bootstrap over items, because what several people say of one item hangs together
(docs/agreement.md has the formulas).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cache
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

RESAMPLES = 1000
CHUNK = 2**24
"""Numbers held at once while resampling."""


class Ranking(NamedTuple):
    """One labeler's ranks of an item's answers (1 is best, equal ranks are a tie), and what to group by."""

    item: str
    labeler: str
    ranks: tuple[int, ...]
    panel: str = ""
    guideline: str = ""
    created: float = 0.0


class RankingPair(NamedTuple):
    """Two labelers' rankings of one item, compared."""

    item: str
    first: Ranking
    second: Ranking
    alike: int  # answer pairs that both order, and order alike
    pairs: int  # answer pairs that both order
    same: int  # answer pairs of which both say the same, "equally good" included
    all_pairs: int
    tau: float | None  # Kendall's tau-b; None when somebody ranks all alike


class Figure(NamedTuple):
    """A number with the ends of its 95 % interval, from `number` comparisons on `items` items. One item has
    no interval: its ends are the number."""

    value: float
    low: float
    high: float
    number: int
    items: int


def ranking_pairs(rankings: Iterable[Ranking]) -> list[RankingPair]:
    """Every two rankings of one item by different labelers, in the order of the items' first rankings.

    Raises ValueError when an item's rankings differ in length.
    """
    by_item: dict[str, list[Ranking]] = {}
    for ranking in rankings:
        by_item.setdefault(ranking.item, []).append(ranking)
    pairs = []
    for item, rows in by_item.items():
        if len({len(row.ranks) for row in rows}) > 1:
            raise ValueError(f"item {item}: rankings of {sorted({len(row.ranks) for row in rows})} answers")
        signs = [_signs(row.ranks) for row in rows]
        for (i, first), (j, second) in combinations(enumerate(rows), 2):
            if first.labeler != second.labeler:
                pairs.append(_compare(item, first, second, signs[i], signs[j]))
    return pairs


def _signs(ranks: Sequence[int]) -> np.ndarray:
    """-1, 0 or 1 for each pair of answers (i < j): the first is better, both are equal, the second is
    better."""
    row = np.asarray(ranks)
    first, second = _answer_pairs(len(row))
    return np.sign(row[first] - row[second])


@cache
def _answer_pairs(answers: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(answers, 1)


def kendall_tau_b(first: Sequence[int], second: Sequence[int]) -> float | None:
    """Kendall's tau-b of two rankings of the same answers; None when either ranks all alike.

    (concordant - discordant) / sqrt(pairs untied in the first * pairs untied in the second). (Kendall and
    Gibbons 1990, chapter 3.)
    """
    return _tau_b(_signs(first), _signs(second))


def _tau_b(first: np.ndarray, second: np.ndarray) -> float | None:
    """Tau-b from the signs of all pairs: their product is 1 for a concordant pair, -1 for a discordant one, 0
    where either is tied."""
    norm = np.sqrt(np.count_nonzero(first) * np.count_nonzero(second))
    return float((first * second).sum() / norm) if norm else None


def _compare(
    item: str, first: Ranking, second: Ranking, first_signs: np.ndarray, second_signs: np.ndarray
) -> RankingPair:
    product = first_signs * second_signs
    return RankingPair(
        item,
        first,
        second,
        alike=int((product > 0).sum()),
        pairs=int(np.count_nonzero(product)),
        same=int((first_signs == second_signs).sum()),
        all_pairs=len(first_signs),
        tau=_tau_b(first_signs, second_signs),
    )


def pairwise_agreement(
    pairs: Iterable[RankingPair], seed: int = 0, resamples: int = RESAMPLES
) -> Figure | None:
    """Share of answer pairs that two labelers order alike, over the pairs that both order: as Ouyang et al.
    2022, 3.4 count it."""
    return ratio_with_interval([(pair.item, pair.alike, pair.pairs) for pair in pairs], seed, resamples)


def pairwise_agreement_with_ties(
    pairs: Iterable[RankingPair], seed: int = 0, resamples: int = RESAMPLES
) -> Figure | None:
    """Share of answer pairs of which two labelers say the same: better, worse or equally good."""
    return ratio_with_interval([(pair.item, pair.same, pair.all_pairs) for pair in pairs], seed, resamples)


def mean_kendall_tau(
    pairs: Iterable[RankingPair], seed: int = 0, resamples: int = RESAMPLES
) -> Figure | None:
    """Mean of Kendall's tau-b over pairs of labelers; pairs of which one ranks all answers alike have none
    and are left out."""
    return ratio_with_interval(
        [(pair.item, pair.tau, 1) for pair in pairs if pair.tau is not None], seed, resamples
    )


def mean_kendall_w(rankings: Iterable[Ranking], seed: int = 0, resamples: int = RESAMPLES) -> Figure | None:
    """Mean over items of Kendall's coefficient of concordance W, corrected for ties; items with fewer than
    two labelers are left out."""
    by_item: dict[str, dict[str, tuple[int, ...]]] = {}
    for ranking in rankings:
        by_item.setdefault(ranking.item, {})[ranking.labeler] = ranking.ranks
    values = [(item, kendall_w(list(rows.values()))) for item, rows in by_item.items() if len(rows) > 1]
    return ratio_with_interval([(item, w, 1) for item, w in values if w is not None], seed, resamples)


def kendall_w(rows: Sequence[Sequence[int]]) -> float | None:
    """Kendall's W of m rankings of the same n answers: 12 S / (m² (n³ - n) - m Σ T), T = Σ (t³ - t) over a
    ranking's groups of ties.

    S is the sum of squared deviations of the answers' rank sums from their mean; tied answers get their mean
    rank. None when everybody ranks everything alike. (Kendall and Gibbons 1990, chapter 6.)
    """
    ranks = np.array([_mean_ranks(row) for row in rows])
    m, n = ranks.shape
    ties = sum(
        int((size**3 - size).sum()) for row in rows for size in [np.unique(row, return_counts=True)[1]]
    )
    below = m**2 * (n**3 - n) - m * ties
    sums = ranks.sum(axis=0)
    return None if below == 0 else float(12 * ((sums - sums.mean()) ** 2).sum() / below)


def _mean_ranks(row: Sequence[int]) -> np.ndarray:
    """Ranks 1 to n in which tied answers share the mean of their places: 1 1 2 becomes 1.5 1.5 3."""
    _, group, size = np.unique(row, return_inverse=True, return_counts=True)
    last = np.cumsum(size)
    return ((last - size + 1 + last) / 2)[group]


def ratio_with_interval(
    rows: Sequence[tuple[str, float, float]], seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95
) -> Figure | None:
    """Σ above / Σ below over rows of (item, above, below), with a percentile interval from drawing whole
    items with replacement.

    None when nothing stands below the line.
    """
    sums: dict[str, list[float]] = {}
    for item, above, below in rows:
        if below:
            totals = sums.setdefault(item, [0.0, 0.0])
            totals[0] += above
            totals[1] += below
    if not sums:
        return None
    parts = np.array(list(sums.values()))  # (items, 2)
    drawn = np.concatenate([weights @ parts for weights in bootstrap_weights(len(parts), seed, resamples)])
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [(1 - level) / 2, (1 + level) / 2])
    value = parts[:, 0].sum() / parts[:, 1].sum()
    return Figure(float(value), float(low), float(high), int(parts[:, 1].sum()), len(parts))


def bootstrap_weights(items: int, seed: int, resamples: int) -> Iterable[np.ndarray]:
    """How often each item is drawn, a resample a row, in pieces that fit into memory."""
    rng = np.random.default_rng(seed)
    step = max(1, min(resamples, CHUNK // items))
    for begin in range(0, resamples, step):
        size = min(step, resamples - begin)
        picked = rng.integers(0, items, size=(size, items)) + items * np.arange(size)[:, None]
        yield np.bincount(picked.ravel(), minlength=size * items).reshape(size, items).astype(float)


def krippendorff_alpha(
    rows: Iterable[tuple[str, str, float]],
    level: Literal["nominal", "ordinal"],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Figure | None:
    """Krippendorff's alpha = 1 - observed / expected disagreement, of (item, labeler, value); items with one
    value are left out.

    1 is perfect agreement, 0 what chance alone would give. None when all values are the same: nothing could
    have disagreed. (Krippendorff 2019, Content Analysis, chapter 12.) `number` is the number of values that
    could be paired.
    """
    by_item: dict[str, dict[str, float]] = {}
    for item, labeler, value in rows:
        by_item.setdefault(item, {})[labeler] = value
    paired = [list(values.values()) for values in by_item.values() if len(values) > 1]
    if not paired:
        return None
    distinct = sorted({value for values in paired for value in values})
    place = {value: index for index, value in enumerate(distinct)}
    size = len(distinct)
    parts = np.zeros((len(paired), size, size))  # each item's share of the coincidences
    for part, values in zip(parts, paired, strict=True):
        for first, second in combinations(values, 2):
            part[place[first], place[second]] += 1 / (len(values) - 1)
            part[place[second], place[first]] += 1 / (len(values) - 1)
    observed_alpha = _alpha(parts.sum(axis=0)[None], level)[0]
    if np.isnan(observed_alpha):
        return None
    flat = parts.reshape(len(parts), -1)
    drawn = np.concatenate(
        [
            _alpha((w @ flat).reshape(-1, size, size), level)
            for w in bootstrap_weights(len(parts), seed, resamples)
        ]
    )
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Figure(float(observed_alpha), float(low), float(high), int(parts.sum().round()), len(parts))


def _alpha(coincidences: np.ndarray, level: str) -> np.ndarray:
    """Alpha of each of several coincidence matrices (R, V, V); nan where all values are the same."""
    margins = coincidences.sum(axis=2)  # (R, V)
    total = margins.sum(axis=1)  # (R,)
    if level == "nominal":
        distance = np.broadcast_to(1.0 - np.eye(margins.shape[1]), coincidences.shape)
    else:  # squared number of values between two, their own halves included
        middle = np.cumsum(margins, axis=1) - margins / 2
        distance = (middle[:, :, None] - middle[:, None, :]) ** 2
    observed = (coincidences * distance).sum(axis=(1, 2))
    expected = (margins[:, :, None] * margins[:, None, :] * distance).sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(expected > 0, 1 - (total - 1) * observed / expected, np.nan))


def by_labeler(pairs: Sequence[RankingPair]) -> dict[str, list[RankingPair]]:
    """Each labeler's pairs with all others, in the order of names."""
    names = sorted({name for pair in pairs for name in (pair.first.labeler, pair.second.labeler)})
    return {name: [c for c in pairs if name in (c.first.labeler, c.second.labeler)] for name in names}


def grouped(
    pairs: Sequence[RankingPair], key: Callable[[Ranking], Hashable]
) -> dict[Hashable, list[RankingPair]]:
    """Couples of which both rankings have the same key (panel, guideline version), by key; the others are in
    no group."""
    groups: dict[Hashable, list[RankingPair]] = {}
    for pair in pairs:
        if (name := key(pair.first)) == key(pair.second):
            groups.setdefault(name, []).append(pair)
    return groups


def by_day(pairs: Sequence[RankingPair]) -> dict[str, list[RankingPair]]:
    """Couples by the day (UTC) on which the later of the two rankings was given, in the order of days."""
    groups: dict[str, list[RankingPair]] = {}
    for pair in sorted(pairs, key=_later):
        groups.setdefault(time.strftime("%Y-%m-%d", time.gmtime(_later(pair))), []).append(pair)
    return groups


def _later(pair: RankingPair) -> float:
    return max(pair.first.created, pair.second.created)


def agreement_summary(
    rows: Sequence[tuple[str, str, tuple[int, ...]]], seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, float]:
    """`share` of (item, labeler, ranks) as a stage's summary tells it: `agreement`, its interval and the
    number of pairs; nothing without any."""
    figure = pairwise_agreement(ranking_pairs(Ranking(*row) for row in rows), seed, resamples)
    if figure is None:
        return {}
    return {
        "agreement": figure.value,
        "agreement_low": figure.low,
        "agreement_high": figure.high,
        "agreement_pairs": figure.number,
    }
