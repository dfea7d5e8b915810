"""The report's chapters on how the run went: PPO's vital signs, fine-tuning, time and memory."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from biddable.measure.report import plots, wording
from biddable.measure.report.chapters import policy_curves
from biddable.measure.report.evidence import Chapter, Evidence, Figure, Table, series
from biddable.measure.report.plots import Curve
from biddable.measure.report.wording import count
from biddable.run import jsonl
from biddable.run.lineage import Node

SIGNS: tuple[tuple[str, str, str, float], ...] = (
    ("length", "Length", "tokens per answer", 1),
    ("finished", "Finished answers", "answers with an end (%)", 100),
    ("entropy", "Entropy", "nats per token", 1),
    ("clip_fraction", "Clipped ratios", "tokens whose ratio was held (%)", 100),
    ("explained_variance", "Value function", "explained variance of the returns", 1),
    ("distinct_2", "Variety", "distinct pairs of tokens (share)", 1),
    ("length_reward_correlation", "Length and reward", "correlation within a rollout", 1),
    ("tokens_per_second", "Speed", "tokens per second", 1),
    ("kl_coef", "Price of KL", "reward per nat", 1),
    ("ptx_loss", "Pretraining text", "NLL (nats per token)", 1),
    ("value_loss", "Value loss", "squared error", 1),
)
"""Metric, title, unit, factor: one small plot each."""
MEANINGS = {
    "length": "Growing without end is a way to please a reward model.",
    "finished": "An answer that runs into the limit has no end.",
    "entropy": "Falling to 0: the policy says the same thing every time.",
    "clip_fraction": "Far above a few percent: steps are too large.",
    "explained_variance": "1: the value function foresees every return; 0 or less: none.",
    "distinct_2": "Falling: answers repeat themselves.",
    "length_reward_correlation": "Near 1 or −1: length alone explains the reward.",
}
SMALL = 280


def signs(e: Evidence) -> Chapter:
    """Small plots of what goes wrong first when something goes wrong."""
    own = tuple(node.name for node, _ in e.policies)
    figures = []
    for key, title, unit, factor in SIGNS:
        lines = policy_curves(e, key, factor)
        if not any(len(line.y) > 1 for line in lines) or (
            key == "kl_coef" and len({y for x in lines for y in x.y}) < 2
        ):
            continue
        alt = "; ".join(f"{line.label}: from {line.y[0]:.3g} to {line.y[-1]:.3g}" for line in lines)
        svg = plots.curves(key, alt, lines, "step", unit, height=175, width=SMALL, legend=False)
        figures.append(Figure(svg, title, MEANINGS.get(key, ""), own, small=True))
    figures += gradients(e)
    paragraphs: list[str | Markup] = [
        "Numbers that show early when learning goes astray. Bold lines are running means."
    ]
    worst = [
        f"{max(abs(ratio - 1) for ratio in ratios):.1g} for {e.title(e.short(node))} in {count(len(ratios))} steps"
        for node, rows in e.policies
        if (ratios := series(rows, "ratio_first")[1])
    ]
    if worst:
        paragraphs.append(
            "Before the first update of a rollout the new policy is the old one, so the ratio of their probabilities must be 1. Its largest "
            f"distance from 1 was {' and '.join(worst)}."
        )
    left = (
        []
        if figures
        else ["The curves are left out: the policies' folders have no metrics.jsonl with more than one step."]
    )
    colours = [(e.role(e.short(node)), e.title(e.short(node))) for node, _ in e.policies]
    return Chapter(
        "vital-signs", "Vital signs", paragraphs, figures, [], left, colours if len(colours) > 1 else ()
    )


def gradients(e: Evidence) -> list[Figure]:
    """Lengths of the main policy's gradients: which term pulls how hard."""
    rows = e.policies[0][1]
    wanted = (
        ("grad_norm_ppo", "PPO", "ppo"),
        ("grad_norm_ptx", "text", "plain"),
        ("grad_norm_value", "value", "start"),
    )
    lines = [Curve(label, *series(rows, key), role) for key, label, role in wanted]
    lines = [line for line in lines if len(line.y) > 1]
    figures = []
    if lines:
        alt = "; ".join(f"{line.label}: {line.y[-1]:.3g} at the end" for line in lines)
        svg = plots.curves(
            "gradients", alt, lines, "step", "length of the gradient", height=200, width=SMALL, bottom=0
        )
        meaning = (
            "The text’s is already times its coefficient."
            if any(line.label == "text" for line in lines)
            else ""
        )
        figures.append(
            Figure(svg, f"Gradients of {e.title(e.short(e.ppo))}", meaning, (e.ppo.name,), small=True)
        )
    lines = [
        Curve(label, *series(rows, key), role)
        for key, label, role in (("kl", "k1", "ppo"), ("kl_k3", "k3", "start"))
    ]
    lines = [line for line in lines if len(line.y) > 1]
    if len(lines) > 1:
        alt = "; ".join(f"{line.label}: {line.y[-1]:.3g} at the end" for line in lines)
        svg = plots.curves("kl-estimators", alt, lines, "step", "nats per answer", height=200, width=SMALL)
        figures.append(
            Figure(svg, "Two estimates of the KL", "They should agree.", (e.ppo.name,), small=True)
        )
    return figures


def supervised(e: Evidence) -> Chapter:
    """The curve of fine-tuning and why its epoch was chosen."""
    rows, own, summary = (
        jsonl.read_objects(e.sft.folder / "metrics.jsonl", ("step",)),
        (e.sft.name,),
        e.sft.summary,
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


def costs(e: Evidence) -> Chapter:
    """How long every stage took, on what machine, and its memory where it was recorded."""
    nodes = [node for node in e.lineage.nodes.values() if node.manifest]
    total = sum(float(node.manifest["seconds"]) for node in nodes)
    longest = max((float(node.manifest["seconds"]) for node in nodes), default=0.0) or 1.0
    memory = {node.name: peak for node in nodes if (peak := peak_memory(node)) is not None}
    hosts = sorted(
        {f"{node.manifest['host']['machine']}, {node.manifest['host']['cores']} cores" for node in nodes}
    )
    rows: list[list[Any]] = []
    for node in nodes:
        took = float(node.manifest["seconds"])
        bar = Markup('<span class="bar" style="--share: {}%"></span>').format(f"{100 * took / longest:.2f}")
        row = [Markup('<a href="#stage-{0}">{0}</a>').format(node.name), wording.seconds(took), bar]
        rows.append(
            [*row, f"{memory[node.name]:.2f}{wording.THIN}GB" if node.name in memory else ""]
            if memory
            else row
        )
    head = ("stage", "time", "", "peak memory") if memory else ("stage", "time", "")
    paragraphs = [f"The stages behind this page took {wording.seconds(total)} together ({'; '.join(hosts)})."]
    left = [] if memory else ["Peak memory is left out: no stage recorded it."]
    return Chapter(
        "time", "Time and memory", paragraphs, [], [Table("Stages, inputs first", head, rows, ())], left
    )


def peak_memory(node: Node) -> float | None:
    """GB at most in use while a stage ran, where its manifest or summary says so."""
    found = node.manifest.get("peak_memory_gb", node.summary.get("peak_memory_gb"))
    return float(found) if isinstance(found, int | float) else None
