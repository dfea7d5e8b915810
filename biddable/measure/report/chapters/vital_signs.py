"""PPO's vital signs: small plots of what goes wrong first when something goes wrong."""

from __future__ import annotations

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
"""What to look for."""
SMALL = 280
"""Width of a small plot, in points."""


def chapter(evidence: Evidence) -> Chapter:
    """Small plots of what goes wrong first when something goes wrong."""
    paragraphs = ["Numbers that show early when learning goes astray. Bold lines are running means."]
    if ratios := first_ratios(evidence):
        paragraphs.append(
            "Before the first update of a rollout the new policy is the old one, so the ratio of their "
            "probabilities must be 1. Its largest "
            f"distance from 1 was {' and '.join(ratios)}."
        )
    figures = [*sign_figures(evidence), *gradient_figures(evidence), *kl_estimator_figures(evidence)]
    left_out = (
        []
        if figures
        else ["The curves are left out: the policies' folders have no metrics.jsonl with more than one step."]
    )
    colours = [(evidence.node_role(node), evidence.node_title(node)) for node, _ in evidence.policies]
    return Chapter(
        "vital-signs",
        "Vital signs",
        paragraphs,
        figures,
        left_out=left_out,
        key=colours if len(colours) > 1 else (),
    )


def first_ratios(evidence: Evidence) -> list[str]:
    """For each policy the largest |ratio - 1| before an update: beyond rounding, sampling and training
    disagree about probabilities."""
    texts = []
    for node, rows in evidence.policies:
        _, ratios = series(rows, "ratio_first")
        if ratios:
            distance = max(abs(ratio - 1) for ratio in ratios)
            texts.append(f"{distance:.1g} for {evidence.node_title(node)} in {count(len(ratios))} steps")
    return texts


def sign_figures(evidence: Evidence) -> list[Figure]:
    """One plot a sign that was logged at several steps."""
    sources = tuple(node.name for node, _ in evidence.policies)
    figures = []
    for key, title, unit, factor in SIGNS:
        lines = policy_curves(evidence, key, factor)
        if not any(len(line.y) > 1 for line in lines):
            continue
        if key == "kl_coef" and len({y for line in lines for y in line.y}) < 2:
            continue  # a price that never changes is a setting, not a curve
        alt = "; ".join(f"{line.label}: from {line.y[0]:.3g} to {line.y[-1]:.3g}" for line in lines)
        svg = plots.curves(key, alt, lines, "step", unit, height=175, width=SMALL, legend=False)
        figures.append(Figure(svg, title, MEANINGS.get(key, ""), sources, small=True))
    return figures


def gradient_figures(evidence: Evidence) -> list[Figure]:
    """Norms of the main policy's gradients: which term of PPO-ptx pulls how hard."""
    lines = main_policy_curves(
        evidence,
        ("grad_norm_ppo", "PPO", "ppo"),
        ("grad_norm_ptx", "text", "plain"),
        ("grad_norm_value", "value", "start"),
    )
    if not lines:
        return []
    alt = describe_ends(lines)
    svg = plots.curves(
        "gradients", alt, lines, "step", "length of the gradient", height=200, width=SMALL, bottom=0
    )
    mixed = any(line.label == "text" for line in lines)
    caption = "The text’s is already times its coefficient." if mixed else ""
    title = f"Gradients of {evidence.node_title(evidence.ppo)}"
    return [Figure(svg, title, caption, (evidence.ppo.name,), small=True)]


def kl_estimator_figures(evidence: Evidence) -> list[Figure]:
    """Two estimators of the same KL, k1 = -log r and k3 = r - 1 - log r with r the ratio of probabilities
    (Schulman 2020)."""
    lines = main_policy_curves(evidence, ("kl", "k1", "ppo"), ("kl_k3", "k3", "start"))
    if len(lines) < 2:
        return []
    alt = describe_ends(lines)
    svg = plots.curves("kl-estimators", alt, lines, "step", "nats per answer", height=200, width=SMALL)
    return [Figure(svg, "Two estimates of the KL", "They should agree.", (evidence.ppo.name,), small=True)]


def main_policy_curves(evidence: Evidence, *curves: tuple[str, str, str]) -> list[Curve]:
    """(metric, label, colour) of the main policy as curves; those with less than two points are left out."""
    rows = evidence.policies[0][1]
    lines = [Curve(label, *series(rows, key), role) for key, label, role in curves]
    return [line for line in lines if len(line.y) > 1]


def describe_ends(lines: list[Curve]) -> str:
    """Curves in words, for screen readers."""
    return "; ".join(f"{line.label}: {line.y[-1]:.3g} at the end" for line in lines)
