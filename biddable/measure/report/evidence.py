"""What the report is made from: the stages it was given, the stages behind them, and what was asked of them again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from markupsafe import Markup

from biddable.measure.report import wording
from biddable.measure.statistics import Estimate
from biddable.run import jsonl
from biddable.run.lineage import Lineage, Node

Metrics = list[dict[str, Any]]


class Figure(NamedTuple):
    """A plot with what one must know to read it."""

    svg: str
    title: str
    caption: str
    sources: tuple[str, ...]  # the stages its numbers are from
    small: bool = False


class Table(NamedTuple):
    """A table; cells are text or numbers."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    sources: tuple[str, ...]


class Chapter(NamedTuple):
    """A part of the page."""

    anchor: str
    title: str
    paragraphs: Sequence[str | Markup]
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    left_out: Sequence[str] = ()
    key: Sequence[tuple[str, str]] = ()  # (colour, label) of the small plots' lines


@dataclass(frozen=True)
class Evidence:
    """The report's inputs as nodes of one lineage."""

    lineage: Lineage
    winrate: Node
    ppo: Node
    plain: Node | None
    reward: Node
    sft: Node
    comparisons: Node
    ratings: Node | None
    text: Node | None
    replies: Node

    @cached_property
    def names(self) -> dict[str, str]:
        """Short names given to models by the win-rate stage."""
        return dict(self.winrate.manifest.get("settings", {}).get("names", {}))

    def short(self, node: Node) -> str:
        """A policy's short name, as in the summaries."""
        return self.names.get(node.name, node.short)

    def short_of(self, model: str) -> str:
        """The short name of an answer's `model`."""
        return self.names.get(model, model.rsplit(".", 1)[-1])

    @cached_property
    def ptx(self) -> bool:
        return bool(self.ppo.manifest.get("settings", {}).get("ptx_coef", 0))

    def title(self, short: str) -> str:
        """What a model is called on the page."""
        known = wording.titles(self.ptx)
        own = {self.short(self.ppo): known["ppo"], self.short(self.sft): known["sft"]}
        if self.plain:
            own[self.short(self.plain)] = known["plain"]
        own.setdefault(
            "ppo", f"{known['ppo']} of the round before"
        )  # the page is about another policy: a later round's
        return (known | own).get(short, short)

    def role(self, short: str) -> str:
        """Which of the plots' colours a model has."""
        own = {self.short(self.ppo): "ppo", self.short(self.sft): "sft"}
        if self.plain:
            own[self.short(self.plain)] = "plain"
        own.setdefault("ppo", "other")
        return own.get(short, short)

    @cached_property
    def simulated(self) -> bool:
        """Whether the labels behind the win rates are simulated."""
        return bool(self.winrate.summary.get("simulated", False))

    @cached_property
    def judges(self) -> str:
        """Who preferred: labelers of a panel, simulated ones, or a program with its agreement with people."""
        if judge := self.winrate.summary.get("judge"):
            agreement = self.winrate.summary.get("agreement_with_people")
            told = (
                f"agrees with people in {100 * agreement:.0f} % of pairs"
                if agreement is not None
                else "agreement with people unknown"
            )
            return f"verdicts of the language model {wording.clean(str(judge), 60)} ({told})"
        panel = str(self.winrate.summary.get("panel", "held_out")).replace("_", "-")
        return f"{panel} simulated labelers" if self.simulated else f"{panel} labelers"

    @cached_property
    def policies(self) -> list[tuple[Node, Metrics]]:
        """The PPO policies with their metrics, the main one first."""
        found = [self.ppo, *([self.plain] if self.plain else [])]
        return [(node, jsonl.read_objects(node.folder / "metrics.jsonl", ("step",))) for node in found]

    def start(self) -> str | None:
        """Short name of the model that fine-tuning began with."""
        node = self.lineage.through(self.sft, "start")
        return self.short(node) if node else None

    def rate(self, one: str, other: str) -> Estimate | None:
        """The win rate of one model over another, whichever way round it was measured."""
        found = estimate(self.winrate.summary, f"{one}_over_{other}")
        if found is None and (back := estimate(self.winrate.summary, f"{other}_over_{one}")):
            return Estimate(1 - back.value, 1 - back.high, 1 - back.low)
        return found

    def pairs(self) -> list[tuple[str, str, str]]:
        """(key, first, second) of all measured pairs, the strongest first."""
        keys = [k for k in self.winrate.summary if "_over_" in k and f"{k}_pairs" in self.winrate.summary]
        keys.sort(key=lambda key: -float(self.winrate.summary[key]))
        return [(key, *key.split("_over_", 1)) for key in keys]  # type: ignore[misc]


def estimate(summary: dict[str, Any], key: str) -> Estimate | None:
    """A summary's number with its interval; None when it is not there."""
    found = [summary.get(key), summary.get(f"{key}_low"), summary.get(f"{key}_high")]
    if found[0] is None:
        return None
    return Estimate(*(float(found[0] if one is None else one) for one in found))


def series(rows: Metrics, key: str, scale: float = 1.0) -> tuple[list[float], list[float]]:
    """(steps, values) of one metric where it was logged."""
    held = [
        (float(row["step"]), scale * float(row[key])) for row in rows if isinstance(row.get(key), int | float)
    ]
    return [step for step, _ in held], [value for _, value in held]
