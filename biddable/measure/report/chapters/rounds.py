"""Win rates over a common baseline in earlier rounds, or at other model sizes."""

from __future__ import annotations

from biddable.measure.report import paper_plots
from biddable.measure.report.evidence import (
    Chapter,
    Evidence,
    Figure,
    complement,
    estimate,
    measured_pairs,
    split_pair,
)
from biddable.measure.report.paper_plots import Line
from biddable.measure.statistics import Estimate
from biddable.run.lineage import Node

Points = list[tuple[float, Estimate]]
"""(place on the axis, win rate) of one pair of models."""
PARAMETERS = 1000
"""Axis values from here on are numbers of parameters, not rounds: the axis is logarithmic."""


def chapter(evidence: Evidence) -> Chapter:
    """One line a model: its win rate over the SFT policy at each place, or one a pair where nothing was
    compared with it."""
    axis = evidence.axis_label
    anchor, title = "rounds", f"Win rate against {axis}"
    if not evidence.other_winrates:
        reason = "This is left out: no win rates of other runs were named."
        return Chapter(anchor, title, [], left_out=[reason])
    nodes = [*evidence.other_winrates, evidence.winrate]
    places = evidence.axis_values or [float(number) for number in range(1, len(nodes) + 1)]
    baseline = evidence.short(evidence.sft)
    rates = rates_by_pair(list(zip(places, nodes, strict=True)), baseline)
    over_baseline = {pair: points for pair, points in rates.items() if pair[1] == baseline}
    lines = []
    for (winner, loser), points in (over_baseline or rates).items():
        label = (
            evidence.title(winner)
            if over_baseline
            else f"{evidence.title(winner)} over {evidence.title(loser)}"
        )
        lines.append(
            Line(label, [at for at, _ in points], [rate for _, rate in points], evidence.role(winner))
        )
    ylabel = f"pairs won{f' over {evidence.title(baseline)}' if over_baseline else ''} (%)"
    svg = paper_plots.against_size(
        "rounds", describe(lines), lines, axis, ylabel, sizes=max(places) >= PARAMETERS
    )
    caption = (
        "Whiskers are 95 % intervals over prompts and labelers. The dashed line at 50 % is where "
        "neither is preferred."
    )
    return Chapter(anchor, title, [], [Figure(svg, title, caption, tuple(node.name for node in nodes))])


def rates_by_pair(places: list[tuple[float, Node]], baseline: str) -> dict[tuple[str, str], Points]:
    """Each pair's win rates over the places, turned so that the baseline is always the one that is won
    over."""
    rates: dict[tuple[str, str], Points] = {}
    for place, node in places:
        for key in measured_pairs(node.summary):
            (winner, loser), rate = split_pair(key), estimate(node.summary, key)
            if rate is None:
                continue
            if winner == baseline:
                winner, loser, rate = loser, winner, complement(rate)
            rates.setdefault((winner, loser), []).append((place, rate))
    return rates


def describe(lines: list[Line]) -> str:
    """The plot in words, for screen readers."""
    texts = []
    for line in lines:
        points = zip(line.at, line.estimates, strict=True)
        texts.append(
            f"{line.label}: " + ", ".join(f"{100 * rate.value:.0f} % at {at:g}" for at, rate in points)
        )
    return "; ".join(texts)
