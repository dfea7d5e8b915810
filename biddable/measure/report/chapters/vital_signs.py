"""PPO's vital signs: small plots of what goes wrong first when something goes wrong."""

from __future__ import annotations

from markupsafe import Markup

from biddable.measure.report import plots
from biddable.measure.report.chapters.ppo import policy_curves
from biddable.measure.report.evidence import Chapter, Evidence, Figure, series
from biddable.measure.report.plots import Curve
from biddable.measure.report.wording import count

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


def chapter(evidence: Evidence) -> Chapter:
    """Small plots of what goes wrong first when something goes wrong."""
    own = tuple(node.name for node, _ in evidence.policies)
    figures = []
    for key, title, unit, factor in SIGNS:
        lines = policy_curves(evidence, key, factor)
        if not any(len(line.y) > 1 for line in lines) or (
            key == "kl_coef" and len({y for x in lines for y in x.y}) < 2
        ):
            continue
        alt = "; ".join(f"{line.label}: from {line.y[0]:.3g} to {line.y[-1]:.3g}" for line in lines)
        svg = plots.curves(key, alt, lines, "step", unit, height=175, width=SMALL, legend=False)
        figures.append(Figure(svg, title, MEANINGS.get(key, ""), own, small=True))
    figures += gradient_figures(evidence)
    paragraphs: list[str | Markup] = [
        "Numbers that show early when learning goes astray. Bold lines are running means."
    ]
    worst = [
        f"{max(abs(ratio - 1) for ratio in ratios):.1g} for {evidence.title(evidence.short(node))} in {count(len(ratios))} steps"
        for node, rows in evidence.policies
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
    colours = [
        (evidence.role(evidence.short(node)), evidence.title(evidence.short(node)))
        for node, _ in evidence.policies
    ]
    return Chapter(
        "vital-signs", "Vital signs", paragraphs, figures, [], left, colours if len(colours) > 1 else ()
    )


def gradient_figures(evidence: Evidence) -> list[Figure]:
    """Lengths of the main policy's gradients: which term pulls how hard."""
    rows = evidence.policies[0][1]
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
            Figure(
                svg,
                f"Gradients of {evidence.title(evidence.short(evidence.ppo))}",
                meaning,
                (evidence.ppo.name,),
                small=True,
            )
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
            Figure(svg, "Two estimates of the KL", "They should agree.", (evidence.ppo.name,), small=True)
        )
    return figures
