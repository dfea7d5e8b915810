"""How well a system's order of answers is the labelers': accuracy on pairs, Kendall's tau, best of n, ties,
calibration. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from biddable.measure import statistics
from biddable.measure.rewards.rankings import Ranking
from biddable.measure.rewards.scorers import Scored
from biddable.measure.statistics import Estimate

BINS = 10
"""Of the calibration: equal widths from 0.5 to 1."""


class Pair(NamedTuple):
    """Two answers of a ranking, the better first where one is."""

    ranking: int
    margin: float  # of the system: above 0 where it says the same
    is_tied: bool  # the labeler called them equal

    @property
    def outcome(self) -> float:
        """1: in the labeler's order, 0: in the other, 0.5: equal to the system."""
        return 0.5 if self.margin == 0 else float(self.margin > 0)


def pairs_of(rankings: Sequence[Ranking], scored: Sequence[Scored | None]) -> tuple[list[Pair], int]:
    """Every two answers of every ranking that the system judged, and how many pairs it did not."""
    pairs, unjudged = [], 0
    for number, (row, view) in enumerate(zip(rankings, scored, strict=True)):
        for i, j in itertools.combinations(range(len(row.ranks)), 2):
            better, worse = (i, j) if row.ranks[i] <= row.ranks[j] else (j, i)
            if view is None or np.isnan(margin := view.margins[better, worse]):
                unjudged += 1
            else:
                pairs.append(Pair(number, float(margin), row.ranks[i] == row.ranks[j]))
    return pairs, unjudged


def accuracy(
    rankings: Sequence[Ranking], pairs: Sequence[Pair], resamples: int, seed: int
) -> Estimate | None:
    """Share of untied pairs in the labelers' order, with an interval over prompts and labelers. None without one."""
    untied = [pair for pair in pairs if not pair.is_tied]
    if not untied:
        return None
    prompts = [rankings[pair.ranking].prompt.id for pair in untied]
    labelers = [rankings[pair.ranking].labeler for pair in untied]
    return statistics.win_rate([pair.outcome for pair in untied], prompts, labelers, resamples, seed)


def kendall(
    rankings: Sequence[Ranking], scored: Sequence[Scored | None], resamples: int, seed: int
) -> tuple[Estimate | None, int]:
    """Mean of Kendall's tau-b over rankings of three answers and more, and over how many: those that are all tied,
    or that the system finds all equal, have none."""
    taus, prompts, labelers = [], [], []
    for row, view in zip(rankings, scored, strict=True):
        if len(row.ranks) < 3 or view is None or np.isnan(view.scores).any():
            continue
        if len(set(row.ranks)) < 2 or len(set(view.scores.tolist())) < 2:
            continue
        taus.append(float(stats.kendalltau(-np.array(row.ranks), view.scores).statistic))
        prompts.append(row.prompt.id)
        labelers.append(row.labeler)
    if not taus:
        return None, 0
    return statistics.mean(taus, prompts, labelers, resamples, seed, (-1.0, 1.0)), len(taus)


def best_of(
    rankings: Sequence[Ranking], scored: Sequence[Scored | None], resamples: int, seed: int
) -> dict[str, Any]:
    """How often the system's highest score is on an answer that the labeler put first, of rankings of three answers
    and more (Malik et al. 2025, RewardBench 2); of several highest scores each counts its share. `chance`: what
    drawing one would give."""
    credits, chances, prompts, labelers = [], [], [], []
    for row, view in zip(rankings, scored, strict=True):
        if len(row.ranks) < 3 or len(set(row.ranks)) < 2 or view is None or np.isnan(view.scores).any():
            continue
        first = np.array(row.ranks) == min(row.ranks)
        highest = view.scores == view.scores.max()
        credits.append(float((first & highest).sum() / highest.sum()))
        chances.append(float(first.mean()))
        prompts.append(row.prompt.id)
        labelers.append(row.labeler)
    if not credits:
        return {"best_of": None, "best_of_rankings": 0}
    estimate = statistics.win_rate(credits, prompts, labelers, resamples, seed)
    chance = float(np.mean(chances))
    return statistics.keyed("best_of", estimate) | {
        "best_of_chance": chance,
        "best_of_rankings": len(credits),
    }


def several_right(rankings: Sequence[Ranking], scored: Sequence[Scored | None]) -> dict[str, Any]:
    """Rankings with several first answers and others below, as RewardBench 2's ties: how often all right answers
    score above all others, and how often the gap between them is wider than the spread of the right ones."""
    above, wider = [], []
    for row, view in zip(rankings, scored, strict=True):
        first = np.array(row.ranks) == min(row.ranks)
        if first.sum() < 2 or first.all() or view is None or np.isnan(view.scores).any():
            continue
        right, others = view.scores[first], view.scores[~first]
        gap = right.min() - others.max()
        above.append(gap > 0)
        wider.append(gap > right.max() - right.min())
    if not above:
        return {"several_right": None, "several_right_rankings": 0}
    return {
        "several_right": float(np.mean(above)),
        "several_right_wider_gap": float(np.mean(wider)),
        "several_right_rankings": len(above),
    }


def ties(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Whether pairs that labelers called equal lie closer together than others: the chance that a pair with a
    preference has the larger margin of the two; 0.5: margins know nothing of ties."""
    tied = np.array([abs(pair.margin) for pair in pairs if pair.is_tied])
    others = np.array([abs(pair.margin) for pair in pairs if not pair.is_tied])
    if not len(tied) or not len(others):
        return {"tied_pairs": len(tied), "ties_auc": None}
    ranks = stats.rankdata(np.concatenate([others, tied]))[: len(others)]
    auc = (ranks.sum() - len(others) * (len(others) + 1) / 2) / (len(others) * len(tied))
    return {"tied_pairs": len(tied), "ties_auc": float(auc)}


def calibration(pairs: Sequence[Pair]) -> dict[str, Any]:
    """σ(|margin|) is the chance that Bradley and Terry's model gives to its own order. The expected calibration error
    is the mean distance of what was predicted and what was observed, over bins, by their pairs; the loss is
    -log σ(margin)."""
    margins = np.array([pair.margin for pair in pairs if not pair.is_tied])
    if not len(margins):
        return {"ece": None, "loss": None, "calibration": []}
    predicted = 1 / (1 + np.exp(-np.abs(margins)))
    outcomes = np.where(margins == 0, 0.5, margins > 0)
    places = np.minimum(((predicted - 0.5) * 2 * BINS).astype(int), BINS - 1)
    bins = [
        {
            "predicted": float(predicted[places == place].mean()),
            "observed": float(outcomes[places == place].mean()),
            "pairs": int((places == place).sum()),
        }
        for place in range(BINS)
        if (places == place).any()
    ]
    error = sum(row["pairs"] * abs(row["predicted"] - row["observed"]) for row in bins) / len(margins)
    return {"ece": error, "loss": float(np.logaddexp(0, -margins).mean()), "calibration": bins}


def difference(
    rankings: Sequence[Ranking],
    scored: Sequence[Scored | None],
    baseline: Sequence[Scored | None],
    resamples: int,
    seed: int,
) -> Estimate | None:
    """Accuracy less the baseline's on the pairs that both judge: paired, over prompts and labelers."""
    paired = [
        (view, base) if view is not None and base is not None else (None, None)
        for view, base in zip(scored, baseline, strict=True)
    ]
    gaps, prompts, labelers = [], [], []
    for row, (view, base) in zip(rankings, paired, strict=True):
        if view is None or base is None:
            continue
        for i, j in itertools.permutations(range(len(row.ranks)), 2):
            if row.ranks[i] < row.ranks[j] and not np.isnan(view.margins[i, j]):
                gaps.append(float(np.sign(view.margins[i, j]) - np.sign(base.margins[i, j])) / 2)
                prompts.append(row.prompt.id)
                labelers.append(row.labeler)
    return statistics.mean(gaps, prompts, labelers, resamples, seed, (-1.0, 1.0)) if gaps else None
