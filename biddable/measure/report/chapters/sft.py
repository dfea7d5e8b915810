"""Fine-tuning on demonstrations: its loss, and why its epoch was chosen."""

from __future__ import annotations

from biddable.measure.report import plots
from biddable.measure.report.evidence import Chapter, Evidence, Figure, series
from biddable.measure.report.plots import Curve
from biddable.measure.report.wording import count
from biddable.run import jsonl


def chapter(evidence: Evidence) -> Chapter:
    """The curve of fine-tuning and why its epoch was chosen."""
    rows, own, summary = (
        jsonl.read_objects(evidence.sft.folder / "metrics.jsonl", ("step",)),
        (evidence.sft.name,),
        evidence.sft.summary,
    )
    paragraphs = [
        "Before anything is optimised the model learns from demonstrations: answers that labelers want to see."
    ]
    if "epoch_chosen" in summary:
        how = (
            "the reward model’s score on new prompts"
            if summary.get("chosen_by") == "reward"
            else "the loss on new prompts"
        )
        paragraphs.append(f"Epoch {count(summary['epoch_chosen'])} was kept, chosen by {how}.")
    figures, left = [], []
    lines = [
        Curve("training", *series(rows, "loss"), "sft"),
        Curve("new prompts", *series(rows, "valid_loss"), "ppo"),
    ]
    lines = [line for line in lines if line.x]
    if lines:
        alt = "; ".join(f"{line.label}: from {line.y[0]:.2f} to {line.y[-1]:.2f}" for line in lines)
        svg = plots.curves("sft-loss", alt, lines, "step", "NLL of the demonstrations (nats per token)")
        figures.append(Figure(svg, "Loss", "The second curve has one point an epoch.", own))
    else:
        left.append("The curve is left out: the SFT folder has no metrics.jsonl.")
    steps, scores = series(rows, "valid_reward")
    if scores:
        alt = f"from {scores[0]:.2f} to {scores[-1]:.2f}"
        svg = plots.curves(
            "sft-reward",
            alt,
            [Curve("score", steps, scores, "sft")],
            "step",
            "mean score of the reward model",
        )
        figures.append(Figure(svg, "Score of answers to new prompts", "One point an epoch.", own))
    return Chapter("sft", "Fine-tuning on demonstrations", paragraphs, figures, [], left)
