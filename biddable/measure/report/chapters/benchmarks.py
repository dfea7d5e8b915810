"""Benchmarks: every benchmark, every policy, and paired differences from the first policy."""

from __future__ import annotations

from typing import Any

from biddable.measure.benchmarks import aggregate
from biddable.measure.report.evidence import Chapter, Evidence, Table
from biddable.measure.report.wording import count
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


def chapter(evidence: Evidence) -> Chapter:
    """The alignment tax: every benchmark, every policy, and paired differences from the first."""
    anchor, title = "benchmarks", "Benchmarks and the alignment tax"
    opening = (
        "What a policy gains with its labelers it may lose elsewhere: Ouyang et al. 2022 call that the alignment tax. Each row is a public test; all policies "
        "answered the same items, so differences (below each value) are paired. One is marked with * where its 95 % interval leaves 0 out; among many rows, one in twenty "
        "would be marked by chance."
    )
    nodes = evidence.benchmarks
    if not nodes:
        return Chapter(
            anchor, title, [opening], left_out=["This is left out: the run has no [measure.benchmarks]."]
        )
    results = [
        (node, jsonl.read_objects(node.folder / "results.jsonl", ("metric", "model", "value")))
        for node in nodes
    ]
    models = list(dict.fromkeys(str(row["model"]) for _, rows in results for row in rows))
    head = ("benchmark and metric", *(evidence.title(model) for model in models))
    lines: list[list[str]] = []
    for node, rows in results:
        for metric in MAIN.get(str(node.summary.get("shape")), ()):
            own = {str(row["model"]): row for row in rows if row["metric"] == metric}
            if not own:
                continue
            first = next(iter(own.values()))
            aim = aggregate.AIMS.get(metric)
            worse = (
                f"{aim:g}: no bias"
                if aim is not None
                else "lower is better"
                if first.get("lower_is_better")
                else ""
            )
            cells = [format_cell(metric, own[model]) if model in own else "" for model in models]
            lines.append(
                [
                    f"{benchmark_name(node)}: {metric.replace('_', ' ')}{f' ({worse})' if worse else ''}",
                    *cells,
                ]
            )
    sources = tuple(node.name for node in nodes)
    facts = [
        [
            benchmark_name(node),
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


def benchmark_name(node: Node) -> str:
    """A benchmark's name: the table's third word, or its shape."""
    words = node.name.split(".")
    return words[2] if len(words) > 2 else str(node.summary.get("shape", node.name))


def format_cell(metric: str, row: dict[str, Any]) -> str:
    """'48.4 (36.6–60.4)', and below it the difference, '+1.2*'."""
    ends = [format_metric(metric, row[end]) if row[end] is not None else "?" for end in ("low", "high")]
    text = f"{format_metric(metric, row['value'])} ({'–'.join(ends)})"
    if "change" not in row:
        return text
    low, high = row["change_low"], row["change_high"]
    clear = "*" if (low is not None and low > 0) or (high is not None and high < 0) else ""
    return f"{text}\n{format_metric(metric, row['change'], signed=True)}{clear}"


def format_metric(metric: str, value: float, signed: bool = False) -> str:
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
