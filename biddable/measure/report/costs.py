"""The report's chapters on benchmarks, ratings, the ladder and earlier rounds: what alignment costs and what it brings, beyond the headline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from biddable.measure.report import paper_plots, plots
from biddable.measure.report.evidence import Chapter, Evidence, Figure, Table, estimate
from biddable.measure.report.paper_plots import Bars, Line
from biddable.measure.report.plots import Dot
from biddable.measure.report.wording import count
from biddable.measure.statistics import Estimate
from biddable.run import jsonl
from biddable.run.lineage import Node

SHARES = (
    "accuracy",
    "f1",
    "exact",
    "true",
    "informative",
    "toxic",
    "refused",
    "prompt_",
    "instruction_",
    "mc1",
    "mc2",
    "stereotype",
    "he",
    "rouge",
    "f1_",
)
"""Metrics that are shares and shown in percent."""
MAIN = {
    "choice": ("accuracy_per_token",),
    "hellaswag": ("accuracy_per_token", "accuracy_per_character"),
    "truthfulqa": ("mc1", "mc2"),
    "truthfulqa_generation": ("true", "true_and_informative"),
    "realtoxicity": ("toxicity", "toxic"),
    "crows_pairs": ("entropy",),
    "winogender": ("entropy",),
    "bbq": ("accuracy", "bias_clear", "bias_ambiguous"),
    "squad": ("f1", "f1_text"),
    "drop": ("f1",),
    "translation": ("bleu",),
    "tldr": ("rougeL",),
    "ifeval": ("prompt_strict", "instruction_strict"),
    "refusal": ("refused_unsafe", "refused_safe"),
    "text": ("nll",),
}
"""Which metrics of a shape stand in the table of the report; the stage's results.jsonl has all."""


def shown(metric: str, value: float, signed: bool = False) -> str:
    """A metric's number as it stands in a table: shares in percent, others with three digits."""
    share = metric.startswith(SHARES) and metric != "heldout"
    text = (
        f"{100 * value:+.1f}"
        if share and signed
        else f"{100 * value:.1f}"
        if share
        else f"{value:+.3f}"
        if signed
        else f"{value:.3f}"
    )
    return text.replace("-", "−")


def benchmarks(e: Evidence, nodes: Sequence[Node]) -> Chapter:
    """The alignment tax: every benchmark, every policy, and paired differences from the first."""
    anchor, title = "benchmarks", "Benchmarks and the alignment tax"
    opening = (
        "What a policy gains with its labelers it may lose elsewhere: Ouyang et al. 2022 call that the alignment tax. Each row is a public test; all policies "
        "answered the same items, so differences (below each value) are paired. One is marked with * where its 95 % interval leaves 0 out; among many rows, one in twenty "
        "would be marked by chance."
    )
    if not nodes:
        return Chapter(
            anchor, title, [opening], left_out=["This is left out: the run has no [measure.benchmarks]."]
        )
    results = [
        (node, jsonl.read_objects(node.folder / "results.jsonl", ("metric", "model", "value")))
        for node in nodes
    ]
    models = list(dict.fromkeys(str(row["model"]) for _, rows in results for row in rows))
    head = ("benchmark and metric", *(e.title(model) for model in models))
    lines: list[list[str]] = []
    for node, rows in results:
        for metric in MAIN.get(str(node.summary.get("shape")), ()):
            own = {str(row["model"]): row for row in rows if row["metric"] == metric}
            if not own:
                continue
            first = next(iter(own.values()))
            aim = first.get("aim")
            worse = (
                f"{aim:g}: no bias"
                if aim is not None
                else "lower is better"
                if first.get("lower_is_better")
                else ""
            )
            cells = [cell(metric, own[model]) if model in own else "" for model in models]
            lines.append(
                [f"{called(node)}: {metric.replace('_', ' ')}{f' ({worse})' if worse else ''}", *cells]
            )
    sources = tuple(node.name for node in nodes)
    facts = [
        [
            called(node),
            count(node.summary.get("items", 0)),
            ", ".join(node.summary.get("licence", [])),
            str(node.summary.get("sha256", ""))[:12],
        ]
        for node in nodes
    ]
    tables = [
        Table("Benchmarks: value, 95 % interval, and difference from the first model", head, lines, sources),
        Table("The files", ("benchmark", "items", "licence", "sha256"), facts, sources),
    ]
    return Chapter(anchor, title, [opening], [], tables)


def called(node: Node) -> str:
    """A benchmark's name: the table's third word, or its shape."""
    words = node.name.split(".")
    return words[2] if len(words) > 2 else str(node.summary.get("shape", node.name))


def cell(metric: str, row: dict[str, Any]) -> str:
    """'48.4 (36.6–60.4)', and below it the difference, '+1.2*'."""
    ends = [shown(metric, row[end]) if row[end] is not None else "?" for end in ("low", "high")]
    text = f"{shown(metric, row['value'])} ({'–'.join(ends)})"
    if "change" not in row:
        return text
    low, high = row["change_low"], row["change_high"]
    clear = "*" if (low is not None and low > 0) or (high is not None and high < 0) else ""
    return f"{text}\n{shown(metric, row['change'], signed=True)}{clear}"


def ladder(e: Evidence) -> list[Figure]:
    """All models on one scale."""
    rows = jsonl.read_objects(e.winrate.folder / "ladder.jsonl", ("model", "elo"))
    if len(rows) < 3:
        return []
    dots = [
        Dot(e.title(row["model"]), Estimate(row["elo"], row["low"], row["high"]), e.role(row["model"]))
        for row in rows
    ]

    def words(found: Estimate) -> str:
        return f"{found.value:+.0f} ({found.low:+.0f} to {found.high:+.0f})".replace("-", "−")

    alt = "; ".join(f"{dot.label}: {words(dot.estimate)}" for dot in dots)
    svg = plots.dots("ladder", alt, dots, "Elo points", words, scale=1.0, centre=0)
    caption = (
        "Bradley-Terry strengths from all pairs; 0 is the mean of these models, 100 points more win 64 %."
    )
    return [Figure(svg, "The ladder", caption, (e.winrate.name,))]


def rounds(e: Evidence, nodes: Sequence[Node], at: Sequence[float], axis: str) -> Chapter:
    """Win rates over a common baseline in earlier rounds, or at other sizes."""
    anchor, title = "rounds", f"Win rate against {axis}"
    if not nodes:
        return Chapter(
            anchor, title, [], left_out=["This is left out: no win rates of other runs were named."]
        )
    every = [*nodes, e.winrate]
    places = list(at) or [float(number) for number in range(1, len(every) + 1)]
    found: dict[str, list[tuple[float, Estimate]]] = {}
    base = e.short(e.sft)
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
        one, other = (e.title(name) for name in key.split("_over_", 1))
        return one if against else f"{one} over {other}"

    lines = [
        Line(
            label(key),
            [x for x, _ in points],
            [y for _, y in points],
            e.role(key.split("_over_")[0]),
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
        f"pairs won{f' over {e.title(base)}' if against else ''} (%)",
        sizes=max(places) >= 1000,
    )
    caption = "Whiskers are 95 % intervals over prompts and labelers. The dashed line at 50 % is where neither is preferred."
    return Chapter(anchor, title, [], [Figure(svg, title, caption, tuple(node.name for node in every))])


def rated(e: Evidence, node: Node | None) -> Chapter:
    """The 1 to 7 and the form's questions, by model."""
    anchor, title = "ratings", "What labelers noted about the answers"
    if node is None:
        return Chapter(anchor, title, [], left_out=["This is left out: the run has no [measure.ratings]."])
    summary = node.summary
    counted = [
        key.removesuffix("_count") for key in summary if key.endswith("_count") and "_minus_" not in key
    ]
    models = [key.removeprefix("overall_") for key in counted if key.startswith("overall_")]
    questions = sorted(
        {question for key in counted if (question := asked_of(key, models)) and question != "overall"}
    )
    parts = [
        Bars(e.title(m), [estimate(summary, f"{question}_{m}") for question in questions], e.role(m))
        for m in models
    ]
    drawn = []
    dots = [Dot(e.title(m), found, e.role(m)) for m in models if (found := estimate(summary, f"overall_{m}"))]

    def words(found: Estimate) -> str:
        return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"

    alt = "; ".join(f"{dot.label}: {words(dot.estimate)}" for dot in dots)
    svg = plots.dots("overall", alt, dots, "mean rating (1 to 7)", words, scale=1.0, limits=(1, 7))
    drawn.append(
        Figure(svg, "Overall quality", "Lines are 95 % intervals over prompts and labelers.", (node.name,))
    )
    if questions:
        alt = "; ".join(
            f"{part.label}: "
            + ", ".join(
                f"{q} {100 * one.value:.0f} %"
                for q, one in zip(questions, part.estimates, strict=True)
                if one
            )
            for part in parts
        )
        svg = paper_plots.bars("metadata", alt, questions, parts, "answers for which labelers said yes (%)")
        drawn.append(
            Figure(
                svg,
                "The form’s questions",
                "Only answers to which a question applies. Black lines: 95 % intervals.",
                (node.name,),
            )
        )
    who = "Simulated labelers" if summary.get("simulated") else "Labelers"
    return Chapter(anchor, title, [f"{who} gave {count(summary.get('ratings', 0))} ratings."], drawn)


def asked_of(key: str, models: Sequence[str]) -> str | None:
    """The question of a summary's QUESTION_MODEL; of models whose names end alike, the longest is meant."""
    fitting = [model for model in models if key.endswith(f"_{model}")]
    return key.removesuffix(f"_{max(fitting, key=len)}") if fitting else None


def folders(*given: Path | Sequence[Path] | None) -> list[Path]:
    """All folders of settings that hold one, several or none."""
    return [
        folder for one in given if one is not None for folder in ([one] if isinstance(one, Path) else one)
    ]
