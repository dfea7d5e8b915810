"""The reward model: accuracy beside the labelers' own agreement, calibration, and its training loss."""

from __future__ import annotations

from typing import Any

from biddable.measure.report import plots, wording
from biddable.measure.report.evidence import Chapter, Evidence, Figure, Table, estimate, series
from biddable.measure.report.plots import Curve, Dot
from biddable.measure.report.wording import between, percent, signed, with_interval
from biddable.run import jsonl
from biddable.run.lineage import Node

OPENING = (
    "The reward model reads a prompt and an answer and gives one number. It learned from rankings: of two "
    "answers the preferred "
    "one should get the higher number. People do not agree with each other all the time, so how often two "
    "labelers agree "
    "about a pair is what it can be compared with."
)
ACCURACIES = (
    ("agreement", "labelers with each other", "start"),
    ("accuracy_valid", "reward model, new prompts", "sft"),
    ("accuracy_held_out_labelers", "reward model, new labelers", "ppo"),
)
"""Key of the summary, label, colour."""
NUMBERS = (
    ("length_correlation", "correlation of score and length within a prompt"),
    ("pairs_valid", "pairs measured"),
    ("pairs", "pairs trained on"),
    ("bias", "bias that gives demonstrations a mean score of 0"),
)
"""Key of the summary, and what it is."""


def chapter(evidence: Evidence) -> Chapter:
    """Does the reward model know what labelers prefer, and does it know how sure it is?"""
    node, summary = evidence.reward, evidence.reward.summary
    paragraphs = [OPENING]
    accuracy, agreement = estimate(summary, "accuracy_valid"), estimate(summary, "agreement")
    if accuracy and agreement:
        points = 100 * (accuracy.value - agreement.value)
        paragraphs.append(
            f"On prompts it was not trained on it orders {percent(accuracy.value, 1)} of pairs as the "
            "labeler did "
            f"({between(accuracy, 1)}); two labelers agree about {percent(agreement.value, 1)} of pairs: a "
            "difference of "
            f"{signed(points, 1, 'points')}."
        )
    accuracies = accuracy_figures(node)
    left_out = [] if accuracies else ["Accuracy is left out: the reward model’s summary has none."]
    figures = [*accuracies, *margin_figures(node), *calibration_figures(node), *loss_figures(node)]
    rows = [[title, wording.number(summary[key])] for key, title in NUMBERS if key in summary]
    tables = [Table("The reward model in numbers", ("what", "number"), rows, (node.name,))] if rows else []
    return Chapter("reward-model", "The reward model", paragraphs, figures, tables, left_out)


def accuracy_figures(node: Node) -> list[Figure]:
    """How often it orders a pair as a labeler does, beside how often two labelers agree."""
    dots = [
        Dot(label, share, role) for key, label, role in ACCURACIES if (share := estimate(node.summary, key))
    ]
    if not dots:
        return []
    svg = plots.dots(
        "reward-accuracy",
        "; ".join(f"{dot.label}: {with_interval(dot.estimate, 1)}" for dot in dots),
        dots,
        "pairs (%)",
        lambda share: with_interval(share, 1),
        centre=50,
        limits=(min(50.0, *(100 * dot.estimate.low - 2 for dot in dots)), 100),
    )
    caption = "Chance is 50 %. New prompts, and labelers who gave no training data."
    return [Figure(svg, "Accuracy beside the labelers’ own agreement", caption, (node.name,))]


def margin_figures(node: Node) -> list[Figure]:
    """Accuracy against the difference of the two scores."""
    bins = filled_bins(node, "accuracy_by_margin")
    if len(bins) < 2:
        return []
    margins, accuracies = [row["margin"] for row in bins], [row["accuracy"] for row in bins]
    alt = "; ".join(f"margin {row['margin']:.2f}: {percent(row['accuracy'])}" for row in bins)
    labels = ("difference of the two scores", "pairs in the labeler’s order (%)")
    svg = plots.against("margin", alt, margins, accuracies, labels, (0.5, "chance"))
    caption = (
        "The further apart two scores are, the more often the labeler agrees. Each point is a fifth of "
        "the pairs."
    )
    return [Figure(svg, "Accuracy against margin", caption, (node.name,))]


def calibration_figures(node: Node) -> list[Figure]:
    """Observed against predicted preference: Bradley-Terry's probability is σ(difference of the two
    scores)."""
    bins = filled_bins(node, "calibration")
    if len(bins) < 2:
        return []
    predicted, observed = [row["predicted"] for row in bins], [row["observed"] for row in bins]
    alt = "; ".join(
        f"predicted {percent(row['predicted'])}, observed {percent(row['observed'])}" for row in bins
    )
    labels = ("predicted: σ(difference) (%)", "observed (%)")
    svg = plots.against("calibration", alt, predicted, observed, labels, diagonal=True)
    caption = "On the dashed line the reward model is as sure as it should be; below it, too sure."
    return [Figure(svg, "Calibration", caption, (node.name,))]


def loss_figures(node: Node) -> list[Figure]:
    """The training loss. A model that cannot tell the two answers apart has a loss of ln 2 = 0.693."""
    steps, losses = series(jsonl.read_objects(node.folder / "metrics.jsonl", ("step",)), "loss")
    if len(steps) < 2:
        return []
    alt = f"From {losses[0]:.3f} to {losses[-1]:.3f}"
    curve = Curve("loss", steps, losses, "sft")
    svg = plots.curves("reward-loss", alt, [curve], "step", "pairwise loss (nats)")
    caption = "Guessing gives a loss of 0.693. Bold: running mean."
    return [Figure(svg, "Learning to rank", caption, (node.name,))]


def filled_bins(node: Node, key: str) -> list[dict[str, Any]]:
    """The bins of a summary's histogram that hold pairs."""
    return [row for row in node.summary.get(key, []) if row["pairs"]]
