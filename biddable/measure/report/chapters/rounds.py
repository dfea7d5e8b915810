"""Win rates over a common baseline in earlier rounds, or at other model sizes."""

from __future__ import annotations

from biddable.measure.report import paper_plots
from biddable.measure.report.evidence import Chapter, Evidence, Figure, estimate
from biddable.measure.report.paper_plots import Line
from biddable.measure.statistics import Estimate


def chapter(evidence: Evidence) -> Chapter:
    """Win rates over a common baseline in earlier rounds, or at other sizes."""
    nodes, axis = evidence.other_winrates, evidence.axis_label
    anchor, title = "rounds", f"Win rate against {axis}"
    if not nodes:
        return Chapter(
            anchor, title, [], left_out=["This is left out: no win rates of other runs were named."]
        )
    every = [*nodes, evidence.winrate]
    places = list(evidence.axis_values) or [float(number) for number in range(1, len(every) + 1)]
    found: dict[str, list[tuple[float, Estimate]]] = {}
    base = evidence.short(evidence.sft)
    for place, node in zip(places, every, strict=True):
        for key in node.summary:
            if "_over_" in key and f"{key}_pairs" in node.summary and (rate := estimate(node.summary, key)):
                one, other = key.split("_over_", 1)
                if one == base:  # the other way round, so that all lines are over the same model
                    one, other, rate = other, one, Estimate(1 - rate.value, 1 - rate.high, 1 - rate.low)
                found.setdefault(f"{one}_over_{other}", []).append((place, rate))
    against = {key: points for key, points in found.items() if key.endswith(f"_over_{base}")}
    chosen = against or found

    def label(key: str) -> str:
        one, other = (evidence.title(name) for name in key.split("_over_", 1))
        return one if against else f"{one} over {other}"

    lines = [
        Line(
            label(key),
            [x for x, _ in points],
            [y for _, y in points],
            evidence.role(key.split("_over_")[0]),
        )
        for key, points in chosen.items()
    ]
    alt = "; ".join(
        f"{line.label}: {', '.join(f'{100 * y.value:.0f} % at {x:g}' for x, y in zip(line.at, line.estimates, strict=True))}"
        for line in lines
    )
    svg = paper_plots.against_size(
        "rounds",
        alt,
        lines,
        axis,
        f"pairs won{f' over {evidence.title(base)}' if against else ''} (%)",
        sizes=max(places) >= 1000,
    )
    caption = "Whiskers are 95 % intervals over prompts and labelers. The dashed line at 50 % is where neither is preferred."
    return Chapter(anchor, title, [], [Figure(svg, title, caption, tuple(node.name for node in every))])
