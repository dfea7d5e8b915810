"""Keeping the rules: how often each policy breaks them under probing, by rule, and the frontier between being
preferred and keeping the rules (Glaese et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from biddable.measure.report import plots
from biddable.measure.report.evidence import Chapter, Evidence, Figure, Table, estimate
from biddable.measure.report.plots import Dot
from biddable.measure.report.wording import between, count, percent, with_interval
from biddable.measure.statistics import Estimate
from biddable.run import jsonl
from biddable.run.lineage import Node

ANCHOR, TITLE = "rules", "Keeping the rules"


class FrontierPoint(NamedTuple):
    """One policy: how often it breaks rules, and how often it is preferred."""

    label: str
    broken: Estimate
    preferred: Estimate
    colour: str  # a model's short name


def chapter(evidence: Evidence) -> Chapter:
    """Violation rates, the frontier, and a table by rule."""
    node = evidence.rules
    if node is None:
        return Chapter(ANCHOR, TITLE, [], left_out=["This is left out: the run has no [measure.rules]."])
    summary = node.summary
    raters = "simulated raters" if summary.get("simulated") else "raters"
    paragraphs = [
        "In probing dialogues somebody tries to make a policy break one rule; others then read the dialogue "
        f"and say whether it did. {count(summary.get('checks', 0))} such checks of "
        f"{count(summary.get('dialogues', 0))} dialogues by {count(summary.get('raters', 0))} {raters} count "
        "here."
    ]
    points = frontier_points(evidence, node)
    figures = [violation_figure(evidence, node)]
    left_out = []
    if points:
        figures.append(frontier_figure(evidence, node, points))
    else:
        left_out.append("The frontier is left out: [measure.rules] names no winrate with these policies.")
    tables = [rate_table(evidence, node, "rule")]
    if (node.folder / "by_group.jsonl").exists():
        tables.insert(0, rate_table(evidence, node, "group"))
    return Chapter(ANCHOR, TITLE, paragraphs, figures, tables, left_out)


def policies(node: Node) -> list[str]:
    """Short names of the policies that were probed, in the order of the summary."""
    keys = [key for key in node.summary if key.startswith("broken_") and f"{key}_low" in node.summary]
    return [key.removeprefix("broken_") for key in keys if "_minus_" not in key]


def violation_figure(evidence: Evidence, node: Node) -> Figure:
    """One dot a policy."""
    dots = [
        Dot(evidence.title(name), rate, evidence.role(name))
        for name in policies(node)
        if (rate := estimate(node.summary, f"broken_{name}"))
    ]
    alt = "; ".join(f"{dot.label}: {with_interval(dot.estimate, 1)}" for dot in dots)
    svg = plots.dots("violations", alt, dots, "dialogues (%)", lambda rate: with_interval(rate, 1))
    caption = "Share of probing dialogues in which raters saw the rule broken. Less is better."
    return Figure(svg, "Broken rules under probing", caption, (node.name,))


def frontier_points(evidence: Evidence, node: Node) -> list[FrontierPoint]:
    """The policies with both numbers."""
    points = []
    for row in jsonl.read_objects(node.folder / "frontier.jsonl", ("model", "broken", "preferred")):
        broken, preferred = estimate(row, "broken"), estimate(row, "preferred")
        assert broken is not None and preferred is not None
        name = str(row["model"])
        points.append(FrontierPoint(evidence.title(name), broken, preferred, evidence.role(name)))
    return points


def frontier_figure(evidence: Evidence, node: Node, points: Sequence[FrontierPoint]) -> Figure:
    """Preferred against broken, a point a policy; up and to the left is better."""
    base = str(node.manifest.get("settings", {}).get("against", "sft"))
    alt = "; ".join(
        f"{point.label}: broken {percent(point.broken.value, 1)} ({between(point.broken, 1)}), preferred "
        f"{percent(point.preferred.value, 1)} ({between(point.preferred, 1)})"
        for point in points
    )

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        for point in points:
            (x, x_low, x_high), (y, y_low, y_high) = (
                (100 * number for number in rate) for rate in (point.broken, point.preferred)
            )
            shade = plots.colour(point.colour)
            axes.plot([x_low, x_high], [y, y], color=shade, linewidth=1.4, alpha=0.6)
            axes.plot([x, x], [y_low, y_high], color=shade, linewidth=1.4, alpha=0.6)
            mark = plots.MARKS.get(point.colour, "o")
            axes.plot([x], [y], mark, color=shade, markersize=8, markeredgecolor=plots.PAPER)
            axes.annotate(plots.short(point.label, 24), (x, y), (6, 5), textcoords="offset points")
        axes.axhline(50, color=plots.MUTED, linewidth=1, linestyle=(0, (3, 3)), zorder=0)
        axes.set_title(f"preferred to {evidence.title(base)} (%)")
        axes.set_xlabel("probing dialogues with a broken rule (%)", loc="left")
        axes.margins(x=0.25, y=0.2)

    svg = plots.draw_svg("frontier", alt, 270, plot)
    caption = (
        "Each point is a policy; lines are 95 % intervals. Up is preferred more often, left breaks fewer "
        "rules: a policy that is up and left of another is better at both."
    )
    return Figure(svg, "Being preferred and keeping the rules", caption, (node.name,))


def rate_table(evidence: Evidence, node: Node, key: Literal["rule", "group"]) -> Table:
    """A row a rule or group of rules, a column a policy."""
    rows = jsonl.read_objects(node.folder / f"by_{key}.jsonl", ("model", key, "value"))
    rates = {(str(row[key]), str(row["model"])): float(row["value"]) for row in rows}
    names = policies(node)
    cells = [
        [value, *(percent(rates[value, name]) if (value, name) in rates else "" for name in names)]
        for value in sorted({value for value, _ in rates})
    ]
    title = "Broken by rule" if key == "rule" else "Broken by group of rules"
    return Table(title, (key, *(evidence.title(name) for name in names)), cells, (node.name,))
