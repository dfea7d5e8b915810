"""Rewards beside people: every reward model, and a judge, on the same rankings; length beside them."""

from __future__ import annotations

from typing import Any

from biddable.measure.report import plots, wording
from biddable.measure.report.evidence import Chapter, Evidence, Figure, Table, estimate
from biddable.measure.report.plots import Dot
from biddable.measure.report.wording import count, percent, with_interval
from biddable.run import jsonl
from biddable.run.lineage import Node

ANCHOR, TITLE = "rewards", "Rewards beside people"
OPENING = (
    "Each system puts the answers to the same prompts in an order; people did so too. Accuracy is the share of pairs "
    "of answers in the people’s order, of those that they did not call equal: 50 % is chance. Length, the plainest "
    "system, calls the longer answer better: what is not above it has learned little else."
)
COLOURS = {"length": "start", "judge": "other"}


def chapter(evidence: Evidence) -> Chapter:
    """Accuracy of every system, a table of its other figures, one by subset, and calibration of the models."""
    node = evidence.rewards
    if node is None:
        return Chapter(ANCHOR, TITLE, [], left_out=["This is left out: the run has no [measure.rewards]."])
    summary = node.summary
    who = "simulated labelers" if summary.get("simulated") else "labelers"
    counts = f"{count(summary['rankings'])} rankings of {count(summary['prompts'])} prompts by {count(summary['labelers'])} {who}."
    paragraphs = [OPENING, counts]
    if "judge" in summary:
        judge = wording.clean(str(summary["judge"]), 60)
        paragraphs.append(
            f"The judge is the language model {judge} (hash {summary['judge_hash']}); both orders of a pair gave the "
            f"same verdict in {share(summary, 'judge_consistent')} of pairs."
        )
    systems = [str(name) for name in summary["systems"]]
    tables = [figures_table(node, systems), *subset_tables(node, systems)]
    return Chapter(
        ANCHOR, TITLE, paragraphs, [*accuracy_figures(node, systems), *calibrations(node, systems)], tables
    )


def accuracy_figures(node: Node, systems: list[str]) -> list[Figure]:
    dots = [
        Dot(wording.clean(name, 40), accuracy, COLOURS.get(name, "sft"))
        for name in systems
        if (accuracy := estimate(node.summary, f"accuracy_{name}"))
    ]
    if not dots:
        return []
    svg = plots.dots(
        "rewards-accuracy",
        "; ".join(f"{dot.label}: {with_interval(dot.estimate, 1)}" for dot in dots),
        dots,
        "pairs in the people’s order (%)",
        lambda value: with_interval(value, 1),
        centre=50,
        limits=(min(45.0, *(100 * dot.estimate.low - 2 for dot in dots)), 100),
    )
    caption = "Lines are 95 % intervals over prompts and labelers."
    return [Figure(svg, "Accuracy on the same rankings", caption, (node.name,))]


def figures_table(node: Node, systems: list[str]) -> Table:
    """One line a system; what cannot be told is a dash."""
    summary = node.summary
    rows = []
    for name in systems:
        over = estimate(summary, f"over_length_{name}")
        tau = estimate(summary, f"tau_{name}")
        rows.append(
            [
                wording.clean(name, 40),
                with_interval(accuracy, 1) if (accuracy := estimate(summary, f"accuracy_{name}")) else "–",
                f"{100 * over.value:+.1f} ({100 * over.low:+.1f} to {100 * over.high:+.1f})" if over else "–",
                f"{tau.value:.2f} ({tau.low:.2f} to {tau.high:.2f})" if tau else "–",
                with_interval(best, 1) if (best := estimate(summary, f"best_of_{name}")) else "–",
                number(summary, f"ties_auc_{name}"),
                number(summary, f"ece_{name}"),
                count(summary.get(f"unjudged_pairs_{name}", 0)),
            ]
        )
    head = (
        "system",
        "accuracy",
        "points over length",
        "Kendall’s tau",
        "best of n",
        "ties (AUC)",
        "calibration error",
    )
    return Table("Systems in numbers", (*head, "pairs not judged"), rows, (node.name,))


def subset_tables(node: Node, systems: list[str]) -> list[Table]:
    """Accuracy by subset, where there are several."""
    lines = jsonl.read_objects(node.folder / "results.jsonl", ("system", "subset", "accuracy"))
    subsets = list(dict.fromkeys(str(line["subset"]) for line in lines if line["subset"] is not None))
    if not subsets:
        return []
    cells = {(str(line["subset"]), str(line["system"])): line for line in lines}
    rows = [
        [wording.clean(subset, 40), *(subset_cell(cells.get((subset, name))) for name in systems)]
        for subset in subsets
    ]
    rows.append(
        ["mean of subsets", *(share(node.summary, f"accuracy_of_subsets_{name}") for name in systems)]
    )
    head = ("subset", *(wording.clean(name, 40) for name in systems))
    return [Table("Accuracy by subset", head, rows, (node.name,))]


def subset_cell(line: dict[str, Any] | None) -> str:
    if line is None or line["accuracy"] is None:
        return "–"
    return f"{percent(line['accuracy'], 1)} ({percent(line['low'], 1)}–{percent(line['high'], 1)})"


def calibrations(node: Node, systems: list[str]) -> list[Figure]:
    """Observed against predicted preference, a plot for each reward model."""
    drawn = []
    for place, name in enumerate(systems):
        bins = node.summary.get(f"calibration_{name}", [])
        if len(bins) < 2:
            continue
        predicted, observed = [row["predicted"] for row in bins], [row["observed"] for row in bins]
        alt = "; ".join(
            f"predicted {percent(a)}, observed {percent(b)}" for a, b in zip(predicted, observed, strict=True)
        )
        labels = ("predicted: σ(difference) (%)", "observed (%)")
        svg = plots.against(f"rewards-calibration-{place}", alt, predicted, observed, labels, diagonal=True)
        caption = "On the dashed line a model is as sure as it should be; below it, too sure."
        drawn.append(Figure(svg, f"Calibration of {wording.clean(name, 40)}", caption, (node.name,)))
    return drawn


def share(summary: dict[str, Any], key: str) -> str:
    return "–" if summary.get(key) is None else percent(float(summary[key]), 1)


def number(summary: dict[str, Any], key: str) -> str:
    return "–" if summary.get(key) is None else f"{summary[key]:.3f}"
