"""Benchmarks: every benchmark, every policy, and paired differences from the first policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

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
"""Beginnings of the names of metrics that are shares: they are shown in percent."""
MAIN_METRICS = {
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

ANCHOR, TITLE = "benchmarks", "Benchmarks and the alignment tax"
OPENING = (
    "What a policy gains with its labelers it may lose elsewhere: Ouyang et al. 2022 call that the alignment "
    "tax. Each row is a public test; all policies "
    "answered the same items, so differences (below each value) are paired. One is marked with * where its "
    "95 % interval leaves 0 out; among many rows, one in twenty "
    "would be marked by chance."
)

Row = dict[str, Any]
"""One line of a benchmark's results.jsonl: metric, model, value, and the interval's and the paired change's
keys."""


def chapter(evidence: Evidence) -> Chapter:
    """A table of all benchmarks and policies, and one of the files that they were read from."""
    nodes = evidence.benchmarks
    if not nodes:
        reason = "This is left out: the run has no [measure.benchmarks]."
        return Chapter(ANCHOR, TITLE, [OPENING], left_out=[reason])
    results = [
        jsonl.read_objects(node.folder / "results.jsonl", ("metric", "model", "value")) for node in nodes
    ]
    models = list(dict.fromkeys(str(row["model"]) for rows in results for row in rows))
    lines = [
        line for node, rows in zip(nodes, results, strict=True) for line in metric_lines(node, rows, models)
    ]
    files = [
        [
            benchmark_name(node),
            count(node.summary.get("items", 0)),
            ", ".join(node.summary.get("licence", [])),
            str(node.summary.get("sha256", ""))[:12],
        ]
        for node in nodes
    ]
    sources = tuple(node.name for node in nodes)
    head = ("benchmark and metric", *(evidence.title(model) for model in models))
    title = "Benchmarks: value, 95 % interval, and difference from the first model"
    tables = [
        Table(title, head, lines, sources),
        Table("The files", ("benchmark", "items", "licence", "sha256"), files, sources),
    ]
    return Chapter(ANCHOR, TITLE, [OPENING], [], tables)


def metric_lines(node: Node, rows: Sequence[Row], models: Sequence[str]) -> Iterator[list[str]]:
    """The table's lines for one benchmark: a main metric each, with a cell for every model."""
    for metric in MAIN_METRICS.get(str(node.summary.get("shape")), ()):
        by_model = {str(row["model"]): row for row in rows if row["metric"] == metric}
        if by_model:
            label = f"{benchmark_name(node)}: {metric.replace('_', ' ')}"
            hint = direction(next(iter(by_model.values())))
            cells = [format_cell(metric, by_model[model]) if model in by_model else "" for model in models]
            yield [f"{label} ({hint})" if hint else label, *cells]


def direction(row: Row) -> str:
    """Which values are good, where it isn't 'the higher the better'."""
    if row.get("aim") is not None:
        return f"{row['aim']:g}: no bias"
    return "lower is better" if row.get("lower_is_better") else ""


def benchmark_name(node: Node) -> str:
    """A benchmark's name: the table's third word, or its shape."""
    words = node.name.split(".")
    return words[2] if len(words) > 2 else str(node.summary.get("shape", node.name))


def format_cell(metric: str, row: Row) -> str:
    """'48.4 (36.6–60.4)', and below it the difference, '+1.2*' where its interval leaves out 0."""
    if row["value"] is None:
        return f"cannot judge any of {row['unjudged']} answers"
    low, high = (format_metric(metric, row[end]) if row[end] is not None else "?" for end in ("low", "high"))
    text = f"{format_metric(metric, row['value'])} ({low}–{high})"
    text += f"\n{row['unjudged']} not judged" if row.get("unjudged") else ""
    if "change" not in row:
        return text
    change_low, change_high = row["change_low"], row["change_high"]
    clear = (change_low is not None and change_low > 0) or (change_high is not None and change_high < 0)
    return f"{text}\n{format_metric(metric, row['change'], signed=True)}{'*' if clear else ''}"


def format_metric(metric: str, value: float, signed: bool = False) -> str:
    """A metric's number as it stands in a table: shares in percent, others with three digits."""
    sign = "+" if signed else ""
    # "heldout" is a likelihood, though it begins as the share "he" does.
    if metric.startswith(SHARES) and metric != "heldout":
        return f"{100 * value:{sign}.1f}".replace("-", "−")
    return f"{value:{sign}.3f}".replace("-", "−")
