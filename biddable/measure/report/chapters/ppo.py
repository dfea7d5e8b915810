"""What PPO did: reward and KL over steps, and one against the other."""

from __future__ import annotations

from biddable.measure.report import plots
from biddable.measure.report.evidence import Chapter, Evidence, Figure, Metrics, series
from biddable.measure.report.plots import Curve

KL_AXIS = "KL to the SFT policy (nats per answer)"


def chapter(evidence: Evidence) -> Chapter:
    """Reward and KL over steps, and one against the other."""
    first = evidence.policies[0][1]
    coefficient = evidence.ppo.manifest.get("settings", {}).get("kl_coef")
    price = f" Each nat costs {coefficient} of reward." if coefficient is not None else ""
    paragraphs = [
        f"PPO lets the policy answer prompts, scores the answers with the reward model, and makes what scored well likelier. The KL says "
        f"how far it has moved from the SFT policy: 0 is not at all.{price}",
    ]
    own = tuple(node.name for node, _ in evidence.policies)
    figures, left = [], []
    if not first:
        left.append("Curves are left out: the policy’s folder has no metrics.jsonl.")
    for key, title, label, bottom in (
        ("reward", "Reward", "mean score of the reward model", None),
        ("kl", "Distance from the SFT policy", "KL (nats per answer)", 0.0),
        ("reward_with_kl", "What PPO maximises", "mean score minus the price of the KL", None),
    ):
        if lines := policy_curves(evidence, key):
            alt = "; ".join(f"{line.label}: from {line.y[0]:.2f} to {line.y[-1]:.2f}" for line in lines)
            figures.append(
                Figure(
                    plots.curves(key, alt, lines, "step", label, bottom=bottom),
                    title,
                    "Bold: running mean.",
                    own,
                )
            )
    paths = [
        Curve(
            evidence.title(evidence.short(node)),
            *paired_series(rows, "kl", "reward"),
            evidence.role(evidence.short(node)),
        )
        for node, rows in evidence.policies
    ]
    if paths := [line for line in paths if line.x]:
        alt = "; ".join(
            f"{line.label} ends at KL {line.x[-1]:.2f} with reward {line.y[-1]:.2f}" for line in paths
        )
        figures.append(
            Figure(
                plots.path("reward-kl", alt, paths, KL_AXIS, "mean score of the reward model"),
                "Reward against distance",
                "What each policy got for how far it went. The mark is the last step.",
                own,
            )
        )
    return Chapter("ppo", "What PPO did", paragraphs, figures, [], left)


def policy_curves(evidence: Evidence, key: str, scale: float = 1.0) -> list[Curve]:
    """One metric of every PPO policy."""
    found = [(node, *series(rows, key, scale)) for node, rows in evidence.policies]
    return [
        Curve(evidence.title(evidence.short(node)), x, y, evidence.role(evidence.short(node)))
        for node, x, y in found
        if x
    ]


def paired_series(rows: Metrics, one: str, other: str) -> tuple[list[float], list[float]]:
    """Two metrics of the same lines."""
    held = [
        (float(r[one]), float(r[other])) for r in rows if r.get(one) is not None and r.get(other) is not None
    ]
    return [x for x, _ in held], [y for _, y in held]
