"""The reward model: accuracy beside the labelers' own agreement, calibration, and its training loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from biddable.measure.report import plots, wording
from biddable.measure.report.evidence import Chapter, Evidence, Figure, Table, estimate, series
from biddable.measure.report.plots import Curve, Dot
from biddable.measure.report.wording import between, percent, signed, with_interval
from biddable.run import jsonl
from biddable.run.lineage import Node


def chapter(evidence: Evidence) -> Chapter:
    """Does the reward model know what labelers prefer, and does it know when it knows?"""
    summary, own = evidence.reward.summary, (evidence.reward.name,)
    wanted = {
        "agreement": ("labelers with each other", "start"),
        "accuracy_valid": ("reward model, new prompts", "sft"),
        "accuracy_held_out_labelers": ("reward model, new labelers", "ppo"),
    }
    dots = [
        Dot(label, found, role) for key, (label, role) in wanted.items() if (found := estimate(summary, key))
    ]
    paragraphs = [
        "The reward model reads a prompt and an answer and gives one number. It learned from rankings: of two answers the preferred "
        "one should get the higher number. People do not agree with each other all the time, so how often two labelers agree "
        "about a pair is what it can be compared with.",
    ]
    accuracy, agreement = estimate(summary, "accuracy_valid"), estimate(summary, "agreement")
    if accuracy and agreement:
        points = 100 * (accuracy.value - agreement.value)
        paragraphs.append(
            f"On prompts it was not trained on it orders {percent(accuracy.value, 1)} of pairs as the labeler did "
            f"({between(accuracy, 1)}); two labelers agree about {percent(agreement.value, 1)} of pairs: a difference of "
            f"{signed(points, 1, 'points')}."
        )
    figures, left = [], []
    if dots:
        alt = "; ".join(f"{dot.label}: {with_interval(dot.estimate, 1)}" for dot in dots)
        low = min(50.0, *(100 * dot.estimate.low - 2 for dot in dots))
        figures.append(
            Figure(
                plots.dots(
                    "reward-accuracy",
                    alt,
                    dots,
                    "pairs (%)",
                    lambda d: with_interval(d, 1),
                    centre=50,
                    limits=(low, 100),
                ),
                "Accuracy beside the labelers’ own agreement",
                "Chance is 50 %. New prompts, and labelers who gave no training data.",
                own,
            )
        )
    else:
        left.append("Accuracy is left out: the reward model’s summary has none.")
    figures += margin_figures(evidence.reward)
    rows = [
        [title, wording.number(summary[key])]
        for key, title in (
            ("length_correlation", "correlation of score and length within a prompt"),
            ("pairs_valid", "pairs measured"),
            ("pairs", "pairs trained on"),
            ("bias", "bias that gives demonstrations a mean score of 0"),
        )
        if key in summary
    ]
    tables = [Table("The reward model in numbers", ("what", "number"), rows, own)] if rows else []
    return Chapter("reward-model", "The reward model", paragraphs, figures, tables, left)


def margin_figures(reward: Node) -> list[Figure]:
    """Accuracy against margin, calibration, and the curve of training."""
    figures = []
    by_margin: Sequence[dict[str, Any]] = [
        row for row in reward.summary.get("accuracy_by_margin", []) if row["pairs"]
    ]
    if len(by_margin) > 1:
        x, y = [row["margin"] for row in by_margin], [row["accuracy"] for row in by_margin]
        alt = "; ".join(f"margin {a:.2f}: {percent(b)}" for a, b in zip(x, y, strict=True))
        figures.append(
            Figure(
                plots.against(
                    "margin",
                    alt,
                    x,
                    y,
                    ("difference of the two scores", "pairs in the labeler’s order (%)"),
                    (0.5, "chance"),
                ),
                "Accuracy against margin",
                "The further apart two scores are, the more often the labeler agrees. Each point is a fifth of the pairs.",
                (reward.name,),
            )
        )
    bins: Sequence[dict[str, Any]] = [row for row in reward.summary.get("calibration", []) if row["pairs"]]
    if len(bins) > 1:
        x, y = [row["predicted"] for row in bins], [row["observed"] for row in bins]
        alt = "; ".join(f"predicted {percent(a)}, observed {percent(b)}" for a, b in zip(x, y, strict=True))
        figures.append(
            Figure(
                plots.against(
                    "calibration", alt, x, y, ("predicted: σ(difference) (%)", "observed (%)"), diagonal=True
                ),
                "Calibration",
                "On the dashed line the reward model is as sure as it should be; below it, too sure.",
                (reward.name,),
            )
        )
    steps, loss = series(jsonl.read_objects(reward.folder / "metrics.jsonl", ("step",)), "loss")
    if len(steps) > 1:
        curve = Curve("loss", steps, loss, "sft")
        figures.append(
            Figure(
                plots.curves(
                    "reward-loss",
                    f"From {loss[0]:.3f} to {loss[-1]:.3f}",
                    [curve],
                    "step",
                    "pairwise loss (nats)",
                ),
                "Learning to rank",
                "Guessing gives a loss of 0.693. Bold: running mean.",
                (reward.name,),
            )
        )
    return figures
