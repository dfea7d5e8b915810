"""From items' marks to a benchmark's numbers: every metric of every system with its interval, and its paired difference from one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from biddable.measure import metrics, statistics
from biddable.measure.shapes import Marks
from biddable.measure.statistics import Estimate, Test

Array = np.ndarray[Any, Any]
Statistic = Callable[[Array], Array]

ENDLESS = ("nll",)
"""Metrics that can be any number; the others are shares, from 0 to 1, or scores from -1 to 1."""


def table(
    marks: Mapping[str, Sequence[Marks]],
    clusters: Sequence[str],
    base: str,
    lower: Sequence[str],
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """A row for each system and metric. Differences are paired: both systems' items are drawn together, in clusters."""
    found = []
    for metric in names_of(marks):
        sums = {name: columns(own, metric) for name, own in marks.items()}
        statistic = _bleu if metric == "bleu" else _ratio
        for name, own in sums.items():
            if metric != "bleu" and not own[:, 1].sum():
                continue
            value = estimate(own, metric, clusters, resamples, seed)
            row = {"metric": metric, "model": name, "value": value.value, "low": value.low, "high": value.high}
            row |= {"items": int((own[:, -1] > 0).sum()), "lower_is_better": metric in lower}
            if metric != "bleu" and (exact := exactly(own, clusters)):
                row |= {"exact_low": exact.low, "exact_high": exact.high}
            if name != base and (metric == "bleu" or sums[base][:, 1].sum()):
                change = difference(own, sums[base], statistic, clusters, resamples, seed)
                row |= {"relative_to": base, "change": change.estimate.value, "change_p": change.p}
                row |= {"change_low": change.estimate.low, "change_high": change.estimate.high}
            found.append(row)
    return found


def names_of(marks: Mapping[str, Sequence[Marks]]) -> list[str]:
    """The metrics, in the order of the marks; BLEU's ten sums are one."""
    names = dict.fromkeys(name for own in marks.values() for item in own for name in item)
    return list(dict.fromkeys("bleu" if name.startswith("bleu_") else name for name in names))


def columns(own: Sequence[Marks], metric: str) -> Array:
    """(N, 2) sums and weights, or (N, 10) for BLEU."""
    if metric == "bleu":
        return np.array([[item[f"bleu_{number}"][0] for number in range(metrics.BLEU_SUMS)] for item in own])
    return np.array([item.get(metric, (0.0, 0.0)) for item in own])


def _ratio(totals: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(totals[:, 1] > 0, totals[:, 0] / totals[:, 1], 0.0)


def _bleu(totals: Array) -> Array:
    return metrics.bleu(totals)


def estimate(sums: Array, metric: str, clusters: Sequence[str], resamples: int, seed: int) -> Estimate:
    """The metric with its interval: a share's (Wilson) where every item says something from 0 to 1, else Student's."""
    if metric == "bleu":
        return within(statistics.test_of_sums(sums, _bleu, clusters, resamples, seed).estimate, 0.0, 100.0)
    counted, own = weighty(sums, clusters)
    values, weights = sums[counted, 0], sums[counted, 1]
    if (weights == 1).all() and values.min() >= 0 and values.max() <= 1:
        return statistics.win_rate(list(values), own, ["one"] * len(own), resamples, seed)
    found = statistics.test_of_sums(sums[counted], _ratio, own, resamples, seed).estimate
    share = values / weights
    return found if metric in ENDLESS else within(found, 0.0 if share.min() >= 0 else -1.0, 1.0)


def within(found: Estimate, least: float, most: float) -> Estimate:
    """An interval that ends where the metric does."""
    return Estimate(found.value, max(least, found.low), min(most, found.high))


def exactly(sums: Array, clusters: Sequence[str]) -> Estimate | None:
    """Clopper and Pearson's interval where every item is right or wrong, and no two share a text; else None."""
    counted, own = weighty(sums, clusters)
    return statistics.exact(list(sums[counted, 0]), own, ["one"] * len(own)) if (sums[counted, 1] == 1).all() else None


def weighty(sums: Array, clusters: Sequence[str]) -> tuple[Array, list[str]]:
    """Which items have a say in a metric (N,), and their clusters."""
    counted = sums[:, 1] > 0
    return counted, [cluster for cluster, here in zip(clusters, counted, strict=True) if here]


def difference(
    own: Array, base: Array, statistic: Statistic, clusters: Sequence[str], resamples: int, seed: int
) -> Test:
    """One system minus the other on the same items."""
    size = own.shape[1]
    return statistics.test_of_sums(
        np.concatenate([own, base], axis=1),
        lambda totals: statistic(totals[:, :size]) - statistic(totals[:, size:]),
        clusters,
        resamples,
        seed,
    )
