"""What the report is made from: the stages named in its settings, the stages behind them, and names, colours
and estimates by model."""

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
"""Lines of a stage's metrics.jsonl."""


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
    left_out: Sequence[str] = ()  # a sentence for each part that is missing, and why
    key: Sequence[tuple[str, str]] = ()  # (colour, label) of the small plots' lines


@dataclass(frozen=True)
class Evidence:
    """The report's inputs as nodes of one lineage; None or empty where a setting is left out.

    Models go by short names: "ppo" for [learn.ppo], as in the keys of the win-rate summary, `ppo_over_sft`.
    """

    lineage: Lineage
    winrate: Node
    ppo: Node
    plain: Node | None
    reward: Node
    sft: Node
    comparisons: Node
    ratings_by_step: Node | None
    text: Node | None
    replies: Node
    ratings_by_model: Node | None
    rules: Node | None
    rewards: Node | None
    benchmarks: Sequence[Node]
    other_winrates: Sequence[Node]
    axis_values: Sequence[float]
    axis_label: str
    seed: int  # of the bootstrap

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
    def algorithm(self) -> str:
        """What trained the main policy, as its stage is called: PPO, or A2C of [learn.a2c]."""
        words = str(self.ppo.manifest.get("stage", "learn.ppo")).split(".")
        return words[1].upper() if words[0] == "learn" else "PPO"

    @cached_property
    def ptx(self) -> bool:
        """Whether the main policy was trained with the pretraining mix."""
        return bool(self.ppo.manifest.get("settings", {}).get("ptx_coef", 0))

    @cached_property
    def _roles(self) -> dict[str, str]:
        """Short name -> role of the models whose roles follow from the settings, whatever they are called."""
        roles = {self.short(self.ppo): "ppo", self.short(self.sft): "sft"}
        if self.plain:
            roles[self.short(self.plain)] = "plain"
        return roles

    def title(self, short: str) -> str:
        """What a model is called on the page."""
        titles = wording.titles(self.algorithm, self.ptx)
        if short in self._roles:
            return titles[self._roles[short]]
        if short == "ppo":  # the page is about another policy, a later round's: this is the one before
            return f"{titles['ppo']} of the round before"
        return titles.get(short, short)

    def role(self, short: str) -> str:
        """Which of the plots' colours a model has; a name without a colour of its own is drawn as `other`."""
        return self._roles.get(short, "other" if short == "ppo" else short)

    def node_title(self, node: Node) -> str:
        """What a policy's stage is called on the page."""
        return self.title(self.short(node))

    def node_role(self, node: Node) -> str:
        """The colour of a policy's stage."""
        return self.role(self.short(node))

    @cached_property
    def simulated(self) -> bool:
        """Whether the labels behind the win rates are simulated."""
        return bool(self.winrate.summary.get("simulated", False))

    @cached_property
    def judges(self) -> str:
        """Who preferred: labelers of a panel, simulated ones, or a language model with its agreement with
        people."""
        if judge := self.winrate.summary.get("judge"):
            agreement = self.winrate.summary.get("agreement_with_people")
            trust = (
                f"agrees with people in {100 * agreement:.0f} % of pairs"
                if agreement is not None
                else "agreement with people unknown"
            )
            return f"verdicts of the language model {wording.clean(str(judge), 60)} ({trust})"
        panel = str(self.winrate.summary.get("panel", "held_out")).replace("_", "-")
        return f"{panel} simulated labelers" if self.simulated else f"{panel} labelers"

    @cached_property
    def policies(self) -> list[tuple[Node, Metrics]]:
        """The PPO policies with their metrics, the main one first."""
        nodes = [self.ppo, *([self.plain] if self.plain else [])]
        return [(node, jsonl.read_objects(node.folder / "metrics.jsonl", ("step",))) for node in nodes]

    def start(self) -> str | None:
        """Short name of the model that fine-tuning began with."""
        node = self.lineage.through(self.sft, "start")
        return self.short(node) if node else None

    def rate(self, winner: str, loser: str) -> Estimate | None:
        """The win rate of one model over another, whichever way round it was measured."""
        if rate := estimate(self.winrate.summary, f"{winner}_over_{loser}"):
            return rate
        reverse = estimate(self.winrate.summary, f"{loser}_over_{winner}")
        return complement(reverse) if reverse else None

    def pairs(self) -> list[tuple[str, str, str]]:
        """(key, first model, second model) of all measured pairs, the strongest first."""
        keys = measured_pairs(self.winrate.summary)
        keys.sort(key=lambda key: -float(self.winrate.summary[key]))
        return [(key, *split_pair(key)) for key in keys]


def measured_pairs(summary: dict[str, Any]) -> list[str]:
    """The keys of a summary's win rates, such as `ppo_over_sft`; `ppo_over_sft_low` and its like only belong
    to one."""
    return [key for key in summary if "_over_" in key and f"{key}_pairs" in summary]


def split_pair(key: str) -> tuple[str, str]:
    """'ppo_over_sft' -> ('ppo', 'sft')."""
    first, _, second = key.partition("_over_")
    return first, second


def complement(rate: Estimate) -> Estimate:
    """The same pairs seen from the other side: shares and their interval mirrored at one half."""
    return Estimate(1 - rate.value, 1 - rate.high, 1 - rate.low)


def estimate(summary: dict[str, Any], key: str) -> Estimate | None:
    """A summary's number with its interval `KEY_low` to `KEY_high`, of no width where those are missing; None
    without the number."""
    value = summary.get(key)
    if value is None:
        return None
    low, high = summary.get(f"{key}_low"), summary.get(f"{key}_high")
    return Estimate(
        float(value), float(value if low is None else low), float(value if high is None else high)
    )


def series(rows: Metrics, key: str, scale: float = 1.0) -> tuple[list[float], list[float]]:
    """(steps, values) of one metric where it was logged."""
    points = [
        (float(row["step"]), scale * float(row[key])) for row in rows if isinstance(row.get(key), int | float)
    ]
    return [step for step, _ in points], [value for _, value in points]
