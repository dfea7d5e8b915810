"""A ladder of models from pairwise verdicts: Bradley and Terry 1952, with ties as half a win each. Pure: numpy, no files.

P(i beats j) = σ(s_i - s_j). Strengths are the maximum of the likelihood minus a weak normal prior, so that a model which always wins has a finite one,
with mean 0. Intervals are those of `statistics`: the verdicts share prompts and people, so each verdict's influence on the strengths, H⁻¹ g, is added up within
clusters and not over single verdicts (Cameron, Gelbach and Miller 2011, 2.3). They are given in Elo points, 400 / ln 10 of a nat: 0 is the mean of the
ladder's models, +100 wins 64 % against it.

Legend: N verdicts, M models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

from biddable.measure import statistics
from biddable.measure.statistics import Estimate

Array = np.ndarray[Any, Any]
POINTS = 400 / math.log(10)
"""Elo points of one nat."""
PRIOR = 0.01
"""Precision of the normal prior on each strength, in 1/nats²: as much as a hundredth of one verdict."""


def strengths(first: Sequence[int], second: Sequence[int], outcomes: Sequence[float], models: int) -> Array:
    """(M,) nats with mean 0, by Newton's method. `outcomes` are the first model's: 1 won, 0 lost, 0.5 tied."""
    one, other, won = np.asarray(first), np.asarray(second), np.asarray(outcomes, dtype=float)
    found = np.zeros(models)
    for _ in range(100):
        gradient, bend = _slopes(found, one, other, won, models)
        step = np.linalg.solve(bend, gradient)
        found = found + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-12:
            break
    return np.asarray(found - found.mean())


def _slopes(found: Array, one: Array, other: Array, won: Array, models: int) -> tuple[Array, Array]:
    """Gradient (M,) of the log posterior and minus its second derivative (M, M)."""
    chance = special.expit(found[one] - found[other])
    gradient = (
        np.bincount(one, won - chance, models) - np.bincount(other, won - chance, models) - PRIOR * found
    )
    weight = chance * (1 - chance)
    bend = PRIOR * np.eye(models)
    np.add.at(bend, (one, one), weight)
    np.add.at(bend, (other, other), weight)
    np.add.at(bend, (one, other), -weight)
    np.add.at(bend, (other, one), -weight)
    return gradient, bend


def ladder(
    first: Sequence[str],
    second: Sequence[str],
    outcomes: Sequence[float],
    prompts: Sequence[str],
    labelers: Sequence[str],
    resamples: int,
    seed: int,
) -> dict[str, Estimate]:
    """Elo points of every model, the strongest first, with 95 % intervals over prompts and labelers.

    Where everybody says the same, resamples all agree and know nothing: then the interval is the fit's own (`statistics.variance_floor`).

    Raises ValueError when the models fall into groups that were never compared with each other: nothing says which group is higher.
    """
    names = sorted({*first, *second})
    code = {name: number for number, name in enumerate(names)}
    one, other = np.array([code[name] for name in first]), np.array([code[name] for name in second])
    if len(parts := connected(one, other, len(names))) > 1:
        told = "; ".join(", ".join(names[i] for i in part) for part in parts)
        raise ValueError(f"these groups of models were never compared with each other: {told}")
    won = np.asarray(outcomes, dtype=float)
    found = strengths(list(one), list(other), list(won), len(names))
    _, bend = _slopes(found, one, other, won, len(names))
    rest = won - special.expit(found[one] - found[other])
    inverse = np.linalg.inv(bend)
    inverse = inverse - inverse.mean(axis=0)  # strengths have mean 0
    own = np.diag(inverse - inverse.mean(axis=1, keepdims=True))
    result = {}
    for number, name in enumerate(names):
        pull = (
            len(won) * rest * (inverse[number, one] - inverse[number, other])
        )  # (N,) mean 0 up to the prior
        influence = np.stack([pull - pull.mean(), np.ones_like(pull)], axis=1)
        around = statistics.spread(influence, statistics.ratio, prompts, labelers, resamples, seed)
        half = around.quantile * math.sqrt(
            statistics.variance_floor(around.variance, float(own[number]), won, prompts)
        )
        result[name] = Estimate(
            *(POINTS * float(x) for x in (found[number], found[number] - half, found[number] + half))
        )
    return dict(sorted(result.items(), key=lambda item: -item[1].value))


def connected(one: Array, other: Array, models: int) -> list[list[int]]:
    """Groups of models that verdicts join, directly or through others."""
    group = list(range(models))

    def root(i: int) -> int:
        while group[i] != i:
            group[i] = group[group[i]]
            i = group[i]
        return i

    for a, b in {(int(a), int(b)) for a, b in zip(one, other, strict=True)}:
        group[root(a)] = root(b)
    found: dict[int, list[int]] = {}
    for i in range(models):
        found.setdefault(root(i), []).append(i)
    return list(found.values())
