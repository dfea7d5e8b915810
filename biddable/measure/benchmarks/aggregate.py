"""From items' marks to a benchmark's numbers: every metric of every system with its interval, and its paired
difference from one of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from biddable.measure import statistics
from biddable.measure.benchmarks.tasks.task import SHARE, UNJUDGED, Array, Marks, Metric, weighted_mean
from biddable.measure.statistics import Estimate, Test


def results_table(
    marks: Mapping[str, Sequence[Marks]],
    clusters: Sequence[str],
    relative_to: str,
    metrics: Mapping[str, Metric],
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """A row for each metric and system. Differences from `relative_to` are paired: both systems' marks of an
    item are drawn together, in clusters. A metric that is not among `metrics` is a share."""
    rows = []
    for name in dict.fromkeys(name for items in marks.values() for item in items for name in item):
        metric = metrics.get(name, SHARE)
        sums = {system: mark_columns(items, name) for system, items in marks.items()}
        for system, columns in sums.items():
            unjudged = sum(item.get(name) == UNJUDGED for item in marks[system])
            if not columns[:, -1].sum():  # the system has no item with a say in this metric
                if unjudged:
                    rows.append(_unjudged_row(name, system, unjudged, metric))
                continue
            value = estimate(columns, metric, clusters, resamples, seed)
            row: dict[str, Any] = {"metric": name, "model": system}
            row |= {"value": value.value, "low": value.low, "high": value.high}
            row |= {"items": int((columns[:, -1] > 0).sum()), "lower_is_better": metric.lower_is_better}
            row |= {"aim": metric.aim} if metric.aim is not None else {}
            row |= {"unjudged": unjudged} if unjudged else {}
            if exact := exact_interval(columns, metric, clusters):
                row |= {"exact_low": exact.low, "exact_high": exact.high}
            if system != relative_to and sums[relative_to][:, -1].sum():
                change = paired_difference(columns, sums[relative_to], metric, clusters, resamples, seed)
                row |= {"relative_to": relative_to, "change": change.estimate.value, "change_p": change.p}
                row |= {"change_low": change.estimate.low, "change_high": change.estimate.high}
            rows.append({key: _null_unless_finite(cell) for key, cell in row.items()})
    return rows


def _unjudged_row(metric_name: str, system: str, unjudged: int, metric: Metric) -> dict[str, Any]:
    """A row of a system none of whose items the metric can judge: no figure."""
    figures = dict.fromkeys(("value", "low", "high"))
    row = {"metric": metric_name, "model": system, **figures, "items": 0}
    return row | {"lower_is_better": metric.lower_is_better, "unjudged": unjudged}


def _null_unless_finite(cell: Any) -> Any:
    """JSON knows no infinity: an unbounded interval's end is null."""
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def mark_columns(items: Sequence[Marks], name: str) -> Array:
    """(N, S) sums of each item's mark, zeros where it has none."""
    width = next((len(item[name]) for item in items if item.get(name)), 2)
    return np.array([item.get(name) or (0.0,) * width for item in items])


def estimate(columns: Array, metric: Metric, clusters: Sequence[str], resamples: int, seed: int) -> Estimate:
    """The metric with its interval: a share's (Wilson) where every item counts once and values have bounds,
    else Student's."""
    if metric.statistic is not weighted_mean:  # a corpus metric: every item is part of it
        test = statistics.test_of_sums(columns, metric.statistic, clusters, resamples, seed, metric.bounds)
        return test.estimate
    has_say, own_clusters = _with_weight(columns, clusters)
    columns = columns[has_say]
    least, greatest = metric.bounds
    if (columns[:, 1] != 1).any() or not math.isfinite(greatest - least):
        return statistics.test_of_sums(
            columns, weighted_mean, own_clusters, resamples, seed, metric.bounds
        ).estimate
    # A mean of numbers within bounds is a share of the way from the least to the greatest.
    span = greatest - least
    shares = list((columns[:, 0] - least) / span)
    share = statistics.win_rate(shares, own_clusters, _one_labeler(shares), resamples, seed)
    return Estimate(*(least + span * end for end in share))


def exact_interval(columns: Array, metric: Metric, clusters: Sequence[str]) -> Estimate | None:
    """Clopper and Pearson's interval where every item is right or wrong and no two share a cluster; else
    None."""
    if metric.statistic is not weighted_mean or metric.bounds != SHARE.bounds:
        return None
    has_say, own_clusters = _with_weight(columns, clusters)
    if (columns[has_say, 1] != 1).any():
        return None
    outcomes = list(columns[has_say, 0])
    return statistics.exact(outcomes, own_clusters, _one_labeler(outcomes))


def _one_labeler(outcomes: Sequence[Any]) -> list[str]:
    """Benchmarks have no people: all items are one labeler's, so that only their clusters are resampled."""
    return ["one"] * len(outcomes)


def _with_weight(columns: Array, clusters: Sequence[str]) -> tuple[Array, list[str]]:
    """Which items have a say in a metric (N,), and their clusters."""
    has_say = columns[:, 1] > 0
    return has_say, [cluster for cluster, counts in zip(clusters, has_say, strict=True) if counts]


def paired_difference(
    columns: Array, base: Array, metric: Metric, clusters: Sequence[str], resamples: int, seed: int
) -> Test:
    """One system minus the other on the same items."""
    width = columns.shape[1]
    span = metric.bounds[1] - metric.bounds[0]
    return statistics.test_of_sums(
        np.concatenate([columns, base], axis=1),
        lambda totals: metric.statistic(totals[:, :width]) - metric.statistic(totals[:, width:]),
        clusters,
        resamples,
        seed,
        (-span, span),
    )
