"""Means with honest intervals for labels that share prompts and people. Pure: numpy and scipy, no files.

Two labels on one prompt are not independent, and neither are two labels by one person, so an interval must
not resample single labels. The variance is that of two-way clusters (Cameron, Gelbach and Miller 2011,
equation 2.6): V = V(prompts) + V(labelers) - V(single labels), each V from a bootstrap that draws whole
clusters. Labelers are few, so that V itself is uncertain: quantiles are Student's t with Satterthwaite's
degrees of freedom. For a share the interval is Wilson's, with the number of independent labels that would
have the same variance: it stays within 0 and 1, and keeps a width when everybody agrees. The difference of
three estimates can come out too small by chance, even negative; it has a floor (`spread`).

In simulations with 3 to 12 labelers these intervals cover the true value in 94 to 97 of 100 cases; with two
or three labelers they are wide: ask at least four. Where nothing is clustered (every label has its own
prompt, and one person gave all or each gave one) the variance is the ordinary one and the interval of a share
is Wilson's own; `exact` gives Clopper and Pearson's beside it.

Legend: N labels, G clusters, S sums per label, B resamples.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special, stats

Array = np.ndarray[Any, Any]
BLOCK = 4_000_000
"""Numbers drawn at once; bounds memory (8 bytes each)."""
CACHED_DRAWS = 1_000_000
"""Draws up to this size are cached for the next estimate of the same shape (8 MB each, 32 at most)."""
RIDGE = 0.01
"""Precision of a normal prior on the two coefficients of the length regression: next to nothing beside data,
but it keeps them finite when one side always wins."""


class Estimate(NamedTuple):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


def keyed(key: str, estimate: Estimate) -> dict[str, float]:
    """An estimate under its names in a summary: KEY, KEY_low, KEY_high."""
    return {key: estimate.value, f"{key}_low": estimate.low, f"{key}_high": estimate.high}


class Test(NamedTuple):
    """An estimate with a two-sided p-value against no difference."""

    estimate: Estimate
    p: float


Bounds = tuple[float, float]
"""The least and the most that a number can be."""
UNBOUNDED: Bounds = (-math.inf, math.inf)


class Spread(NamedTuple):
    """Variance of an estimate and the degrees of freedom of that variance; infinite variance: nothing can be
    said."""

    variance: float
    freedom: float

    @property
    def quantile(self) -> float:
        """Standard errors to each side of a 95 % interval."""
        return float(stats.t.ppf(0.975, self.freedom))


def win_rate(
    outcomes: Sequence[float], prompts: Sequence[str], labelers: Sequence[str], resamples: int, seed: int
) -> Estimate:
    """Share of pairs won, with ties as half a win: `outcomes` (N,) hold 1, 0.5 or 0 (or any share between, as
    a judge's probability).

    win_rate of B over A is 1 - win_rate of A over B, interval included; the order of the labels changes
    nothing.
    """
    return win_test(outcomes, prompts, labelers, resamples, seed).estimate


def win_test(
    outcomes: Sequence[float], prompts: Sequence[str], labelers: Sequence[str], resamples: int, seed: int
) -> Test:
    """`win_rate` with the p-value of the score test against one half: below 0.05 exactly when the interval
    leaves one half out."""
    won = _numbers(outcomes, prompts, labelers)
    if won.min() < 0 or won.max() > 1:
        raise ValueError("outcomes must lie between 0 and 1")
    share = float(won.mean())
    room = share * (1 - share)
    if is_clustered(prompts, labelers):
        variation = spread(
            np.stack([won, np.ones_like(won)], axis=1), ratio, prompts, labelers, resamples, seed
        )
        if not np.isfinite(variation.variance):
            return Test(Estimate(share, 0.0, 1.0), 1.0)
        # p (1 - p) / n is the variance of n independent labels; solved for n. Where everybody agrees there is
        # none: one label a prompt.
        labels = room / variation.variance if variation.variance * room > 1e-18 else float(len(set(prompts)))
        quantile, freedom = variation.quantile, variation.freedom
    elif len(won) == 1 and room:  # one tie says nothing
        return Test(Estimate(share, 0.0, 1.0), 1.0)
    else:
        # With wins and losses alone this is N itself; ties vary less, and are worth more labels.
        labels = room / (won.var() / len(won)) if won.var() > 1e-18 and room else float(len(won))
        quantile, freedom = float(stats.norm.ppf(0.975)), float("inf")
    # The score test: the variance is that under the null, one half, as in Wilson's interval, so that test and
    # interval agree.
    p = 2 * float(stats.t.sf(abs(share - 0.5) / np.sqrt(0.25 / labels), freedom))
    return Test(wilson(share, labels, quantile), min(1.0, p))


def is_clustered(prompts: Sequence[str], labelers: Sequence[str]) -> bool:
    """Whether labels share a prompt, or some but not all of them a person. True for a single label: it shows
    no variance of its own."""
    people = len(set(labelers))
    return len(set(prompts)) < len(prompts) or 1 < people < len(labelers) or len(prompts) == 1


def wilson(share: float, labels: float, quantile: float) -> Estimate:
    """Wilson's score interval (Wilson 1927) for a share of `labels` independent labels, which need not be a
    whole number.

    It holds the shares p that a score test doesn't reject: |share - p| <= q · √(p (1 - p) / n), solved for p.
    """
    squared = quantile**2 / labels
    middle = (share + squared / 2) / (1 + squared)
    half = np.sqrt(share * (1 - share) * squared + squared**2 / 4) / (1 + squared)
    return Estimate(share, max(0.0, float(middle - half)), min(1.0, float(middle + half)))


def exact(outcomes: Sequence[float], prompts: Sequence[str], labelers: Sequence[str]) -> Estimate | None:
    """Clopper and Pearson's interval (1934) for a share of independent labels. None where it doesn't apply:
    labels share prompts or people, or an outcome is neither 1 nor 0.

    It never covers less than 95 %, whatever the true share; Wilson's does so on average only, and is
    narrower. Its ends are the shares at which k wins or more, and k or fewer, have a chance of 2.5 %:
    quantiles of Beta(k, n - k + 1) and Beta(k + 1, n - k).
    """
    won = _numbers(outcomes, prompts, labelers)
    if is_clustered(prompts, labelers) or not np.isin(won, (0.0, 1.0)).all():
        return None
    wins, labels = int(won.sum()), len(won)
    low = float(stats.beta.ppf(0.025, wins, labels - wins + 1)) if wins else 0.0
    high = float(stats.beta.ppf(0.975, wins + 1, labels - wins)) if wins < labels else 1.0
    return Estimate(wins / labels, low, high)


def mean(
    values: Sequence[float],
    prompts: Sequence[str],
    labelers: Sequence[str],
    resamples: int,
    seed: int,
    bounds: Bounds = UNBOUNDED,
) -> Estimate:
    """Mean of any numbers, e.g. ratings from 1 to 7 (their `bounds`). Without bounds the interval is infinite
    when all labels are one person's on one prompt."""
    return mean_test(values, prompts, labelers, resamples, seed, bounds).estimate


def mean_test(
    values: Sequence[float],
    prompts: Sequence[str],
    labelers: Sequence[str],
    resamples: int,
    seed: int,
    bounds: Bounds = UNBOUNDED,
) -> Test:
    """`mean` with the p-value of a t test against 0. Given differences of two models on the same prompts by
    the same people, it is their paired test."""
    numbers = _numbers(values, prompts, labelers)
    sums = np.stack([numbers, np.ones_like(numbers)], axis=1)
    return t_test(float(numbers.mean()), spread(sums, ratio, prompts, labelers, resamples, seed), bounds)


def test_of_sums(
    sums: Array,
    statistic: Callable[[Array], Array],
    clusters: Sequence[str],
    resamples: int,
    seed: int,
    bounds: Bounds = UNBOUNDED,
) -> Test:
    """A statistic of sums over items (N, S), e.g. a share, a difference of two shares or a corpus's BLEU,
    with its interval over clusters of items and the p-value of a t test against 0. `statistic` maps (B, S)
    totals to (B,) values that lie within `bounds`."""
    value = float(statistic(sums.sum(axis=0, keepdims=True))[0])
    variation = spread(sums, statistic, clusters, ["one"] * len(clusters), resamples, seed)
    return t_test(value, variation, bounds)


def t_test(value: float, variation: Spread, bounds: Bounds) -> Test:
    """Student's interval and test for a value with this spread; the interval ends at `bounds`.

    Where all n clusters say the same there is no spread to go by. Then up to 1 - 0.025^(1/n) of all clusters
    may still say otherwise (Clopper and Pearson's upper end for none of n), at worst at a bound; the p-value
    is the sign test's with one vote a cluster. Without bounds nothing limits what the others may say, and the
    interval is a point.
    """
    least, greatest = bounds
    error = math.sqrt(variation.variance)
    if error > 0:
        half = variation.quantile * error
        p = 2 * float(stats.t.sf(abs(value) / error, variation.freedom)) if math.isfinite(error) else 1.0
        return Test(Estimate(value, max(least, value - half), min(greatest, value + half)), min(1.0, p))
    # The two-sided sign test of n equal votes is 2 · (1/2)^n = (1/2)^(n - 1), and n - 1 are the degrees of
    # freedom.
    p = min(1.0, 0.5**variation.freedom) if value else 1.0
    if not math.isfinite(greatest - least):
        return Test(Estimate(value, value, value), p)
    unseen = 1 - 0.025 ** (1 / (variation.freedom + 1))
    low, high = value - unseen * (value - least), value + unseen * (greatest - value)
    return Test(Estimate(value, low, high), p)


def equal_length_rate(
    outcomes: Sequence[float],
    longer: Sequence[float],
    prompts: Sequence[str],
    labelers: Sequence[str],
    resamples: int,
    seed: int,
) -> Estimate:
    """The win rate at equal length: σ(a) of the logistic regression P(win) = σ(a + b · longer / standard
    deviation of longer).

    `longer` (N,) is the length of the first answer minus that of the second. A simple form of the length
    control of Dubois et al. 2024 (arXiv 2404.04475). Resamples take one Newton step from the fit (Davidson
    and MacKinnon 1999), so that each costs a sum over clusters and not another fit. Where length separates
    wins from losses (nearly) without an error, all resamples agree and show no variance: then the variance is
    the fit's own (`variance_floor`).

    Raises ValueError when all first answers are longer by the same, which says nothing about equal length.
    """
    won = _numbers(outcomes, prompts, labelers)
    gaps = np.asarray(longer, dtype=float)
    scale = float(gaps.std())
    if won.std() == 0:  # the same verdict whatever the length
        return win_rate(outcomes, prompts, labelers, resamples, seed)
    if scale == 0 and gaps[0] != 0:
        raise ValueError(
            f"every first answer is longer by {gaps[0]:g}: nothing shows what would be at equal length"
        )
    design = np.stack([np.ones_like(won), gaps / (scale or 1.0)], axis=1)  # (N, 2)
    fit = _logistic(won, design)
    chance = special.expit(design @ fit)
    # A label's share of the gradient and of the Fisher information (minus the Hessian) of the log-likelihood
    # at the fit.
    gradient = (won - chance)[:, None] * design  # (N, 2)
    information = (chance * (1 - chance))[:, None] * design  # (N, 2), times design again below
    sums = np.concatenate(
        [gradient, information, information[:, 1:] * design[:, 1:]], axis=1
    )  # (N, 5): g0 g1 h00 h01 h11

    def stepped(drawn: Array) -> Array:
        """Intercepts (B,) after one Newton step from the sums (B, 5) of each resample: the first row of H⁻¹ g
        of a 2 × 2 matrix, written out."""
        g0, g1 = drawn[:, 0] - RIDGE * fit[0], drawn[:, 1] - RIDGE * fit[1]
        h00, h01, h11 = drawn[:, 2] + RIDGE, drawn[:, 3], drawn[:, 4] + RIDGE
        return np.asarray(fit[0] + (h11 * g0 - h01 * g1) / (h00 * h11 - h01**2))

    variation = spread(sums, stepped, prompts, labelers, resamples, seed)
    fit_variance = float(np.linalg.inv(information.T @ design + RIDGE * np.eye(2))[0, 0])
    half = variation.quantile * np.sqrt(variance_floor(variation.variance, fit_variance, won, prompts))
    low, middle, high = special.expit([fit[0] - half, fit[0], fit[0] + half])
    return Estimate(float(middle), float(low), float(high))


def variance_floor(resampled: float, fit: float, outcomes: Array, prompts: Sequence[str]) -> float:
    """The variance of a fit's coefficient: that of resamples, unless it is less than a quarter of the `fit`'s
    own (its inverse information's, for independent labels): then everybody said the same, resamples know
    nothing, and the fit's is taken, with one label a prompt. The fit's is that of wins and losses; ties vary
    less, down to none, for which it is taken as it is."""
    fit *= float(np.mean((2 * outcomes - 1) ** 2)) or 1.0
    return resampled if resampled > fit / 4 else fit * len(outcomes) / len(set(prompts))


def spread(
    sums: Array,
    statistic: Callable[[Array], Array],
    prompts: Sequence[str],
    labelers: Sequence[str],
    resamples: int,
    seed: int,
) -> Spread:
    """Two-way clustered bootstrap variance of a statistic of sums over labels.

    `sums` (N, S) is added up within resampled clusters; `statistic` maps (B, S) totals to (B,) values. With
    one labeler only prompts are drawn (and the other way round): the interval then speaks about that labeler
    alone.
    """
    prompt_codes, labeler_codes = _codes(prompts), _codes(labelers)
    label_codes = _codes([f"{p}\x1f{w}" for p, w in zip(prompts, labelers, strict=True)])
    prompt, labeler, label = (
        _variance(sums, statistic, codes, resamples, seed)
        for codes in (prompt_codes, labeler_codes, label_codes)
    )
    if not prompt + labeler:
        one_of_each = prompt_codes.max() == 0 and labeler_codes.max() == 0
        freedom = max(float(prompt_codes.max()), float(labeler_codes.max()), 1.0)
        return Spread(math.inf if one_of_each else 0.0, freedom)
    # What single labels vary by is in both the prompts' and the labelers' variance, so it is taken out once.
    # The floor: never below the smaller of the two, which the truth can't be either, nor below half of the
    # labels' own, which is what is left where neither prompts nor labelers matter.
    variance = prompt + labeler
    if prompt and labeler:
        variance = max(prompt + labeler - label, min(prompt, labeler), label / 2)
    # Satterthwaite 1946: the sum of variances V_i with f_i degrees of freedom has about V² / Σ(V_i² / f_i).
    # Few labelers make heavy tails.
    parts = [v**2 / codes.max() for v, codes in ((prompt, prompt_codes), (labeler, labeler_codes)) if v]
    return Spread(variance, max(1.0, float(variance**2 / sum(parts))))


def _variance(
    sums: Array, statistic: Callable[[Array], Array], codes: Array, resamples: int, seed: int
) -> float:
    """Bootstrap variance when whole clusters are drawn; 0 when there is one cluster."""
    clusters = int(codes.max()) + 1
    if clusters == 1:
        return 0.0
    totals = np.stack(
        [np.bincount(codes, weights=column, minlength=clusters) for column in sums.T], axis=1
    )  # (G, S)
    block = max(1, min(resamples, BLOCK // clusters))
    drawn = [statistic(counts @ totals) for counts in _draws(clusters, resamples, block, seed)]
    values = np.concatenate(drawn)
    # A bootstrap of G clusters is too narrow by (G - 1) / G: that matters with four labelers.
    variance = float(values.var()) * clusters / (clusters - 1)
    return variance if variance > 1e-18 * (1 + float(values.mean()) ** 2) else 0.0  # rounding is no spread


def _draws(clusters: int, resamples: int, block: int, seed: int) -> list[Array] | Iterator[Array]:
    """How often each cluster is drawn in each resample, (block, G) at a time; the same numbers give the same
    draws, so small ones are cached."""
    if clusters * resamples > CACHED_DRAWS:
        return _blocks(clusters, resamples, block, seed)
    return [_cached_draws(clusters, resamples, seed)]


def _blocks(clusters: int, resamples: int, block: int, seed: int) -> Iterator[Array]:
    generator = np.random.default_rng(seed)
    even = np.full(clusters, 1 / clusters)
    for at in range(0, resamples, block):
        yield generator.multinomial(clusters, even, size=min(block, resamples - at)).astype(float)


@functools.lru_cache(maxsize=32)
def _cached_draws(clusters: int, resamples: int, seed: int) -> Array:
    return next(_blocks(clusters, resamples, resamples, seed))


def ratio(totals: Array) -> Array:
    """First sum over second sum: a mean."""
    return np.asarray(totals[:, 0] / totals[:, 1])


def _codes(names: Sequence[str]) -> Array:
    """Names as numbers from 0, in the names' order: so the order of the labels changes nothing."""
    return np.asarray(np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)[1])


def _numbers(values: Sequence[float], prompts: Sequence[str], labelers: Sequence[str]) -> Array:
    if not len(values) == len(prompts) == len(labelers) or not len(values):
        raise ValueError(
            f"{len(values)} values, {len(prompts)} prompts and {len(labelers)} labelers; they must be as "
            "many of each, and at least one"
        )
    return np.asarray(values, dtype=float)


def _logistic(won: Array, design: Array) -> Array:
    """Coefficients (2,) that maximise the likelihood minus the ridge, by Newton's method; halves stand for
    ties."""
    coefficients = np.zeros(design.shape[1])
    for _ in range(50):
        chance = special.expit(design @ coefficients)
        gradient = design.T @ (won - chance) - RIDGE * coefficients
        information = (design * (chance * (1 - chance))[:, None]).T @ design + RIDGE * np.eye(
            len(coefficients)
        )
        step = np.linalg.solve(information, gradient)
        coefficients = coefficients + np.clip(
            step, -2, 2
        )  # a full step may overshoot where one side nearly always wins
        if np.abs(step).max() < 1e-10:
            break
    return coefficients
