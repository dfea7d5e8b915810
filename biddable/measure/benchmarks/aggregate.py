"""From items' marks to a benchmark's numbers: every metric of every system with its interval, and its paired difference from one of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from biddable.measure import statistics
from biddable.measure.benchmarks import metrics
from biddable.measure.benchmarks.tasks import Marks
from biddable.measure.statistics import Estimate, Test

Array = np.ndarray[Any, Any]

ENDLESS = ("nll",)
"""Metrics that can be any number. BLEU lies between 0 and 100, `SIGNED` metrics between -1 and 1, all others are shares, from 0 to 1."""
SIGNED = ("bias_clear", "bias_ambiguous")
AIMS = {"entropy": 1.0, "stereotype": 0.5, "he": 0.5, "bias_clear": 0.0, "bias_ambiguous": 0.0}
"""The best value, where it is neither the highest nor the lowest."""


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
        for name, own in sums.items():
            if metric != "bleu" and not own[:, 1].sum():
                continue
            value = estimate(own, metric, clusters, resamples, seed)
            row = {
                "metric": metric,
                "model": name,
                "value": value.value,
                "low": value.low,
                "high": value.high,
            }
            row |= {"items": int((own[:, -1] > 0).sum()), "lower_is_better": metric in lower}
            row |= {"aim": AIMS[metric]} if metric in AIMS else {}
            if metric != "bleu" and (exact := exactly(own, metric, clusters)):
                row |= {"exact_low": exact.low, "exact_high": exact.high}
            if name != base and (metric == "bleu" or sums[base][:, 1].sum()):
                change = difference(own, sums[base], metric, clusters, resamples, seed)
                row |= {"relative_to": base, "change": change.estimate.value, "change_p": change.p}
                row |= {"change_low": change.estimate.low, "change_high": change.estimate.high}
            found.append(
                {
                    key: None if isinstance(told, float) and not math.isfinite(told) else told
                    for key, told in row.items()
                }
            )
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


def bounds(metric: str) -> tuple[float, float]:
    """The least and the most that a metric can be."""
    ends = (
        {"bleu": (0.0, 100.0)}
        | dict.fromkeys(ENDLESS, statistics.UNBOUNDED)
        | dict.fromkeys(SIGNED, (-1.0, 1.0))
    )
    return ends.get(metric, (0.0, 1.0))


def estimate(sums: Array, metric: str, clusters: Sequence[str], resamples: int, seed: int) -> Estimate:
    """The metric with its interval: a share's (Wilson) where every item says something within bounds, else Student's."""
    if metric == "bleu":
        return statistics.test_of_sums(sums, _bleu, clusters, resamples, seed, bounds(metric)).estimate
    counted, own = weighty(sums, clusters)
    least, most = bounds(metric)
    if (sums[counted, 1] != 1).any() or metric in ENDLESS:
        return statistics.test_of_sums(sums[counted], _ratio, own, resamples, seed, (least, most)).estimate
    span = most - least
    found = statistics.win_rate(
        list((sums[counted, 0] - least) / span), own, ["one"] * len(own), resamples, seed
    )
    return Estimate(*(least + span * end for end in found))


def exactly(sums: Array, metric: str, clusters: Sequence[str]) -> Estimate | None:
    """Clopper and Pearson's interval where every item is right or wrong, and no two share a text; else None."""
    if metric in SIGNED:
        return None
    counted, own = weighty(sums, clusters)
    return (
        statistics.exact(list(sums[counted, 0]), own, ["one"] * len(own))
        if (sums[counted, 1] == 1).all()
        else None
    )


def weighty(sums: Array, clusters: Sequence[str]) -> tuple[Array, list[str]]:
    """Which items have a say in a metric (N,), and their clusters."""
    counted = sums[:, 1] > 0
    return counted, [cluster for cluster, context in zip(clusters, counted, strict=True) if context]


def difference(
    own: Array, base: Array, metric: str, clusters: Sequence[str], resamples: int, seed: int
) -> Test:
    """One system minus the other on the same items."""
    size, span = own.shape[1], bounds(metric)[1] - bounds(metric)[0]
    statistic = _bleu if metric == "bleu" else _ratio
    return statistics.test_of_sums(
        np.concatenate([own, base], axis=1),
        lambda totals: statistic(totals[:, :size]) - statistic(totals[:, size:]),
        clusters,
        resamples,
        seed,
        (-span, span),
    )
