"""Fine-tuning on demonstrations: its loss, and why its epoch was chosen."""

from __future__ import annotations

from biddable.measure.report import plots
from biddable.measure.report.evidence import Chapter, Evidence, Figure, Metrics, series
from biddable.measure.report.plots import Curve
from biddable.measure.report.wording import count
from biddable.run import jsonl


def chapter(evidence: Evidence) -> Chapter:
    """The curve of fine-tuning and why its epoch was chosen."""
    node = evidence.sft
    paragraphs = [
        "Before anything is optimised the model learns from demonstrations: answers that labelers want to "
        "see."
    ]
    if "epoch_chosen" in node.summary:
        by_reward = node.summary.get("chosen_by") == "reward"
        measure = "the reward model’s score on new prompts" if by_reward else "the loss on new prompts"
        paragraphs.append(f"Epoch {count(node.summary['epoch_chosen'])} was kept, chosen by {measure}.")
    rows = jsonl.read_objects(node.folder / "metrics.jsonl", ("step",))
    losses = loss_figures(rows, node.name)
    left_out = [] if losses else ["The curve is left out: the SFT folder has no metrics.jsonl."]
    figures = [*losses, *score_figures(rows, node.name)]
    return Chapter("sft", "Fine-tuning on demonstrations", paragraphs, figures, left_out=left_out)


def loss_figures(rows: Metrics, stage: str) -> list[Figure]:
    """NLL of the demonstrations, trained on and held out."""
    lines = [
        Curve("training", *series(rows, "loss"), "sft"),
        Curve("new prompts", *series(rows, "valid_loss"), "ppo"),
    ]
    lines = [line for line in lines if line.x]
    if not lines:
        return []
    alt = "; ".join(f"{line.label}: from {line.y[0]:.2f} to {line.y[-1]:.2f}" for line in lines)
    svg = plots.curves("sft-loss", alt, lines, "step", "NLL of the demonstrations (nats per token)")
    return [Figure(svg, "Loss", "The second curve has one point an epoch.", (stage,))]


def score_figures(rows: Metrics, stage: str) -> list[Figure]:
    """What the reward model thinks of each epoch's answers."""
    steps, scores = series(rows, "valid_reward")
    if not scores:
        return []
    alt = f"from {scores[0]:.2f} to {scores[-1]:.2f}"
    curve = Curve("score", steps, scores, "sft")
    svg = plots.curves("sft-reward", alt, [curve], "step", "mean score of the reward model")
    return [Figure(svg, "Score of answers to new prompts", "One point an epoch.", (stage,))]
