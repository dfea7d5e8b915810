"""Plots as the paper has them: win rate against size or round for several methods, bars for the form's
questions; drawn as in `plots`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from biddable.measure.report.plots import DASHES, INK, MARKS, MUTED, PAPER, colour, draw_svg, short
from biddable.measure.statistics import Estimate

HATCHES = ("", "///", "...", "xx", "\\\\\\", "++")
"""Fillings, so that bars differ without colours too, in print."""


SPARE = (("v", (0, (1, 1.5))), ("P", (0, (6, 2))), ("X", (0, (5, 2, 1, 2))), ("p", "-"), ("h", (0, (2, 2))))
"""Marker and dashes for models that have none of their own: such lines share a colour, but never look
alike."""


class Line(NamedTuple):
    """One method's estimates at several sizes or rounds."""

    label: str
    at: Sequence[float]
    estimates: Sequence[Estimate]
    colour: str  # a model's short name


class Bars(NamedTuple):
    """One model's estimates for several questions; None where nobody answered."""

    label: str
    estimates: Sequence[Estimate | None]
    colour: str


def against_size(
    name: str, alt: str, lines: Sequence[Line], xlabel: str, ylabel: str, sizes: bool, centre: float = 50.0
) -> str:
    """Win rates in percent with whiskers over sizes (logarithmic) or rounds, one line a method (Ouyang et al.
    2022, figure 1)."""

    def plot(figure: Any) -> None:
        from matplotlib.ticker import NullFormatter, ScalarFormatter

        axes = figure.subplots()
        ticks = sorted({x for line in lines for x in line.at})
        if sizes:
            axes.set_xscale("log")
        spare = iter(SPARE * len(lines))
        for line in lines:
            mark, dashes = (
                (MARKS[line.colour], DASHES.get(line.colour, "-")) if line.colour in MARKS else next(spare)
            )
            values = [100 * rate.value for rate in line.estimates]
            errors = [
                [100 * (rate.value - rate.low) for rate in line.estimates],
                [100 * (rate.high - rate.value) for rate in line.estimates],
            ]
            axes.errorbar(
                line.at, values, yerr=errors, label=short(line.label, 24), color=colour(line.colour), linewidth=2, capsize=3,
                linestyle=dashes, marker=mark, markersize=6.5, markeredgecolor=PAPER,
            )  # fmt: skip
        axes.axhline(centre, color=MUTED, linewidth=1, linestyle=(0, (3, 3)), zorder=0)
        axes.set_xticks(ticks, labels=[size(tick) for tick in ticks])
        if sizes:
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.margins(x=0.08)
        axes.set_title(ylabel)
        axes.set_xlabel(xlabel, loc="left")
        if len(lines) > 1:
            figure.legend(loc="outside upper left", ncols=3, labelcolor=INK)

    return draw_svg(name, alt, 260, plot)


def size(number: float) -> str:
    """135M, 1.7B: a number of parameters as people write it; small numbers as they are."""
    for unit, word in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{word}"
    return f"{number:g}"


def bars(name: str, alt: str, questions: Sequence[str], models: Sequence[Bars], ylabel: str) -> str:
    """Shares in percent by question, one bar a model (Ouyang et al. 2022, figure 4)."""

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        height = 0.8 / max(len(models), 1)
        for number, model in enumerate(models):
            for place, share in enumerate(model.estimates):
                if share is None:
                    continue
                at = place + (number - (len(models) - 1) / 2) * height
                hatch = HATCHES[number % len(HATCHES)]
                axes.barh(
                    at, 100 * share.value, height * 0.88, color=colour(model.colour), hatch=hatch, edgecolor=PAPER, linewidth=0,
                    label=short(model.label, 24) if place == _first(model) else None,
                )  # fmt: skip
                axes.plot([100 * share.low, 100 * share.high], [at, at], color=INK, linewidth=1.3)
        axes.set_yticks(
            range(len(questions)),
            labels=[short(question.replace("_", " "), 26) for question in questions],
            color=INK,
        )
        axes.set_ylim(len(questions) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel(ylabel, loc="left")
        axes.grid(visible=False, axis="y")
        if len(models) > 1:
            figure.legend(loc="outside upper left", ncols=3, labelcolor=INK)

    return draw_svg(name, alt, 70 + 20 * len(questions) * max(1, len(models)) + 10 * len(questions), plot)


def _first(model: Bars) -> int:
    """The place of a model's first bar, the one that carries its label in the legend."""
    return next((place for place, share in enumerate(model.estimates) if share is not None), 0)
