"""A ladder of models from pairwise verdicts: Bradley and Terry 1952, with ties as half a win each. Pure:
numpy, no files.

P(i beats j) = σ(s_i - s_j). Strengths are the maximum of the likelihood minus a weak normal prior, so that a
model which always wins has a finite one, with mean 0. Intervals are those of `statistics`: the verdicts share
prompts and people, so each verdict's influence on the strengths, H⁻¹ g, is added up within clusters and not
over single verdicts (Cameron, Gelbach and Miller 2011, 2.3). They are given in Elo points, 400 / ln 10 of a
nat: 0 is the mean of the ladder's models, +100 wins 64 % against it.

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
    """(M,) nats with mean 0, by Newton's method. `outcomes` are the first model's: 1 won, 0 lost, 0.5
    tied."""
    i, j, won = np.asarray(first), np.asarray(second), np.asarray(outcomes, dtype=float)
    values = np.zeros(models)
    for _ in range(100):
        gradient, information = _slopes(values, i, j, won, models)
        step = np.linalg.solve(information, gradient)
        values = values + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-12:
            break
    return np.asarray(values - values.mean())


def _slopes(values: Array, i: Array, j: Array, won: Array, models: int) -> tuple[Array, Array]:
    """Gradient (M,) of the log posterior and minus its second derivative (M, M)."""
    chance = special.expit(values[i] - values[j])
    gradient = np.bincount(i, won - chance, models) - np.bincount(j, won - chance, models) - PRIOR * values
    weight = chance * (1 - chance)
    information = PRIOR * np.eye(models)
    np.add.at(information, (i, i), weight)
    np.add.at(information, (j, j), weight)
    np.add.at(information, (i, j), -weight)
    np.add.at(information, (j, i), -weight)
    return gradient, information


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

    Where everybody says the same, resamples all agree and know nothing: then the interval is the fit's own
    (`statistics.variance_floor`).

    Raises ValueError when the models fall into groups that were never compared with each other: nothing says
    which group is higher.
    """
    names = sorted({*first, *second})
    code = {name: number for number, name in enumerate(names)}
    i, j = np.array([code[name] for name in first]), np.array([code[name] for name in second])
    if len(parts := connected(i, j, len(names))) > 1:
        groups = "; ".join(", ".join(names[k] for k in part) for part in parts)
        raise ValueError(f"these groups of models were never compared with each other: {groups}")
    won = np.asarray(outcomes, dtype=float)
    values = strengths(list(i), list(j), list(won), len(names))
    _, information = _slopes(values, i, j, won, len(names))
    residual = won - special.expit(values[i] - values[j])
    inverse = np.linalg.inv(information)
    # Strengths have mean 0: the influence on each is taken relative to the mean influence on all.
    inverse = inverse - inverse.mean(axis=0)
    fit_variances = np.diag(inverse - inverse.mean(axis=1, keepdims=True))
    result = {}
    for number, name in enumerate(names):
        pull = len(won) * residual * (inverse[number, i] - inverse[number, j])  # (N,) mean 0 up to the prior
        influence = np.stack([pull - pull.mean(), np.ones_like(pull)], axis=1)
        variation = statistics.spread(influence, statistics.ratio, prompts, labelers, resamples, seed)
        half = variation.quantile * math.sqrt(
            statistics.variance_floor(variation.variance, float(fit_variances[number]), won, prompts)
        )
        result[name] = Estimate(
            *(POINTS * float(x) for x in (values[number], values[number] - half, values[number] + half))
        )
    return dict(sorted(result.items(), key=lambda item: -item[1].value))


def connected(first: Array, second: Array, models: int) -> list[list[int]]:
    """Groups of models that verdicts join, directly or through others."""
    group = list(range(models))

    def root(i: int) -> int:
        while group[i] != i:
            group[i] = group[group[i]]
            i = group[i]
        return i

    for a, b in {(int(a), int(b)) for a, b in zip(first, second, strict=True)}:
        group[root(a)] = root(b)
    members: dict[int, list[int]] = {}
    for i in range(models):
        members.setdefault(root(i), []).append(i)
    return list(members.values())
