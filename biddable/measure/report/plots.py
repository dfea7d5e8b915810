"""Plots as inline SVG: drawn by matplotlib in stand-in colours that become CSS variables, so that one drawing
suits light and dark pages.

The same numbers give the same bytes. Text stays text: it can be read aloud, searched and scaled. Sizes are in
points of a drawing about 360 wide, which a phone shows one to one.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from biddable.measure.report.wording import printable
from biddable.measure.statistics import Estimate

INK, MUTED, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
"""Stand-ins for the page's text, quiet text, grid and card colours."""
COLOURS = {"start": "#050505", "sft": "#060606", "ppo": "#070707", "plain": "#080808"}
"""Stand-in of each model's colour; OTHER for any other model."""
OTHER = "#090909"
VARIABLES = {INK: "ink", MUTED: "quiet", GRID: "grid", PAPER: "card", OTHER: "other"} | {
    stand_in: name for name, stand_in in COLOURS.items()
}
MARKS = {"start": "s", "sft": "o", "ppo": "D", "plain": "^"}
"""Marker shapes: colour is never the only difference."""
DASHES = {"start": ":", "plain": (0, (4, 2))}
WIDTH = 360
SMOOTH = 20
"""A curve's bold line is the mean over a twentieth of it; the faint one is every point."""


class Dot(NamedTuple):
    """One row of a dot plot."""

    label: str
    estimate: Estimate
    colour: str  # a model's short name


class Curve(NamedTuple):
    """One line over steps or over KL."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str  # a model's short name
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def colour(name: str) -> str:
    """A model's stand-in colour."""
    return COLOURS.get(name, OTHER)


def draw_svg(name: str, alt: str, height: int, plot: Callable[[Any], None], width: int = WIDTH) -> str:
    """Let `plot` fill a figure and return it as an `<svg>` element that scales with the page. `alt` is what
    is read aloud."""
    import matplotlib
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "text.color": INK,
        "axes.edgecolor": GRID,
        "axes.labelcolor": MUTED,
        "axes.labelsize": 9.5,
        "axes.titlecolor": MUTED,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.titlepad": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "xtick.color": GRID,
        "ytick.color": GRID,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "xtick.labelsize": 9.5,
        "ytick.labelsize": 9.5,
        "ytick.major.size": 0,
        "legend.frameon": False,
        "legend.fontsize": 9.5,
        "legend.handlelength": 1.8,
        "legend.columnspacing": 1.4,
    }
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font"
        )  # the reader's fonts draw the text
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        plot(figure)
        drawn = io.StringIO()
        figure.savefig(
            drawn,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
        )
    return _inline(drawn.getvalue(), alt)


def _inline(svg: str, alt: str) -> str:
    """A matplotlib SVG file as an element of an HTML page: no header, no ids of groups, no fixed size, the
    page's colours and font."""
    from markupsafe import escape

    svg = str(printable(svg[svg.index("<svg") :]))
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.S)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    svg = f'<svg {box.group()} role="img" aria-label="{escape(printable(alt))}">' + svg[svg.index(">") + 1 :]
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r"font-family: '[^;\"]*", "font-family: var(--sans)", svg)
    for stand_in, variable in VARIABLES.items():
        svg = svg.replace(stand_in, f"var(--{variable})")
    return svg.strip()


def short(text: str, most: int = 40) -> str:
    """A label that fits."""
    return text if len(text) <= most else text[: most - 1] + "…"


def dots(
    name: str,
    alt: str,
    rows: Sequence[Dot],
    xlabel: str,
    words: Callable[[Estimate], str],
    scale: float = 100.0,
    centre: float | None = None,
    limits: tuple[float, float] | None = None,
) -> str:
    """Dots with whiskers, one row each, and the numbers at the right. `centre` draws a line of no difference
    (in scaled units)."""

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        beside = axes.get_yaxis_transform()  # x in shares of the plot's width, y in rows
        for place, row in enumerate(rows):
            value, low, high = (scale * number for number in row.estimate)
            axes.plot(
                [low, high], [place, place], color=colour(row.colour), linewidth=2.4, solid_capstyle="round"
            )
            mark = MARKS.get(row.colour, "o")
            axes.plot([value], [place], mark, color=colour(row.colour), markersize=8, markeredgecolor=PAPER)
            over = {
                "transform": beside,
                "va": "bottom",
                "bbox": {"facecolor": PAPER, "linewidth": 0, "pad": 1.5},
            }
            axes.text(0, place - 0.22, short(row.label), **over)
            axes.text(1, place - 0.22, words(row.estimate), ha="right", **over)
        if centre is not None:
            axes.axvline(centre, color=MUTED, linewidth=1, linestyle=(0, (3, 3)), zorder=0)
        axes.set_yticks([])
        axes.set_ylim(len(rows) - 0.65, -0.7)
        if limits:
            axes.set_xlim(*limits)
        axes.set_xlabel(xlabel, loc="left")

    return draw_svg(name, alt, 44 + 42 * len(rows), plot)


def curves(
    name: str,
    alt: str,
    lines: Sequence[Curve],
    xlabel: str,
    ylabel: str,
    height: int = 230,
    width: int = WIDTH,
    smooth: bool = True,
    bottom: float | None = None,
    legend: bool = True,
) -> str:
    """Lines over steps; the unit stands above the axis. Without `legend` the page says which line is
    whose."""

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        for line in lines:
            _curve(axes, line, smooth)
        axes.set_title(ylabel)
        axes.set_xlabel(xlabel, loc="left")
        axes.margins(x=0.02)
        if bottom is not None:
            axes.set_ylim(bottom=bottom)
        _ticks(axes, lines)
        if legend and len(lines) > 1:
            figure.legend(loc="outside upper left", ncols=3, labelcolor=INK)

    return draw_svg(name, alt, height, plot, width)


def _curve(axes: Any, line: Curve, smooth: bool) -> None:
    """One line; a long noisy one faint, with its running mean above it; a single point as a mark."""
    x, y = np.asarray(line.x, dtype=float), np.asarray(line.y, dtype=float)
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    window = len(x) // SMOOTH if smooth else 0
    look: dict[str, Any] = {
        "color": colour(line.colour),
        "linestyle": DASHES.get(line.colour, "-"),
        "label": line.label,
    }
    if len(x) < 12:
        look |= {"marker": MARKS.get(line.colour, "o"), "markersize": 5}
    if window > 1:
        axes.plot(x, y, color=colour(line.colour), alpha=0.28, linewidth=1)
        weights = np.convolve(np.ones_like(y), np.ones(window), "same")
        y = np.convolve(y, np.ones(window), "same") / weights
    axes.plot(x, y, linewidth=2, **look)
    if line.low is not None and line.high is not None:
        axes.fill_between(line.x, line.low, line.high, color=colour(line.colour), alpha=0.18, linewidth=0)


def _ticks(axes: Any, lines: Sequence[Curve]) -> None:
    """Few, whole ticks where x counts something."""
    from matplotlib.ticker import MaxNLocator

    counting = all(float(x).is_integer() for line in lines for x in line.x if np.isfinite(x))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=counting, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def path(name: str, alt: str, lines: Sequence[Curve], xlabel: str, ylabel: str) -> str:
    """Points in the order of learning, joined: how far the policy went for what it got. The last point is a
    mark."""

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        for line in lines:
            axes.plot(
                line.x, line.y, ".", color=colour(line.colour), alpha=0.35, markersize=5, markeredgewidth=0
            )
            window = max(1, len(line.x) // SMOOTH)
            x, y = (np.convolve(v, np.ones(window) / window, "valid") for v in (line.x, line.y))
            axes.plot(x, y, color=colour(line.colour), linewidth=2, linestyle=DASHES.get(line.colour, "-"))
            mark = {"marker": MARKS.get(line.colour, "o"), "markersize": 8, "markeredgecolor": PAPER}
            axes.plot(x[-1:], y[-1:], color=colour(line.colour), linestyle="none", label=line.label, **mark)
        axes.set_title(ylabel)
        axes.set_xlabel(xlabel, loc="left")
        if len(lines) > 1:
            figure.legend(loc="outside upper left", ncols=3, labelcolor=INK)

    return draw_svg(name, alt, 250, plot)


def stacked(
    name: str,
    alt: str,
    upper: Curve,
    lower: Curve,
    xlabel: str,
    titles: tuple[str, str],
    steps: Sequence[int],
) -> str:
    """Two curves over the same axis, one above the other: two units are never put on one axis. Points carry
    their steps."""

    def plot(figure: Any) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True)
        for axes, line, title in zip((top, bottom), (upper, lower), titles, strict=True):
            shade = colour(line.colour)
            axes.plot(
                line.x, line.y, color=shade, linewidth=2, marker=MARKS.get(line.colour, "o"), markersize=5.5
            )
            if line.low is not None and line.high is not None:
                axes.vlines(line.x, line.low, line.high, color=shade, linewidth=1.6, alpha=0.6)
            axes.set_title(title)
            axes.margins(x=0.06, y=0.18)
        best = int(np.argmax(upper.y))
        for place in sorted({0, best, len(steps) - 1}):
            spot = (upper.x[place], upper.high[place] if upper.high is not None else upper.y[place])
            top.annotate(
                f"step {steps[place]}",
                spot,
                (0, 4),
                textcoords="offset points",
                ha="center",
                color=MUTED,
                fontsize=8.5,
            )
        bottom.set_xlabel(xlabel, loc="left")

    return draw_svg(name, alt, 330, plot)


def against(
    name: str,
    alt: str,
    x: Sequence[float],
    y: Sequence[float],
    labels: tuple[str, str],
    level: tuple[float, str] | None = None,
    diagonal: bool = False,
) -> str:
    """Shares in percent against something: accuracy by margin, or observed against predicted with the
    diagonal of perfection."""

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        y_percent = [100 * value for value in y]
        x_scaled = [100 * value for value in x] if diagonal else list(x)
        axes.plot(
            x_scaled,
            y_percent,
            color=colour("sft"),
            linewidth=2,
            marker="o",
            markersize=6.5,
            markeredgecolor=PAPER,
        )
        if diagonal:
            ends = [min(*x_scaled, *y_percent) - 3, max(*x_scaled, *y_percent) + 3]
            axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle=(0, (3, 3)), zorder=0)
        elif level:
            axes.axhline(level[0] * 100, color=MUTED, linewidth=1, linestyle=(0, (3, 3)), zorder=0)
            axes.annotate(
                level[1],
                (1, level[0] * 100),
                (0, 3),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                va="bottom",
                color=MUTED,
                fontsize=8.5,
            )
        axes.set_title(labels[1])
        axes.set_xlabel(labels[0], loc="left")

    return draw_svg(name, alt, 230, plot)
