"""What PPO did: reward and KL over steps, and one against the other."""

from __future__ import annotations

from biddable.measure.report import plots
from biddable.measure.report.evidence import Chapter, Evidence, Figure, Metrics, series
from biddable.measure.report.plots import Curve

KL_AXIS = "KL to the SFT policy (nats per answer)"


def chapter(evidence: Evidence) -> Chapter:
    """Reward and KL over steps, and one against the other."""
    settings = evidence.ppo.manifest.get("settings", {})
    # of learn.a2c with kl = "loss" no nat is paid for in reward
    coefficient = settings.get("kl_coef") if settings.get("kl", "reward") == "reward" else None
    price = f" Each nat costs {coefficient} of reward." if coefficient is not None else ""
    opening = (
        f"{evidence.algorithm} lets the policy answer prompts, scores the answers with the reward model, and makes what "
        "scored well likelier. The KL says "
        f"how far it has moved from the SFT policy: 0 is not at all.{price}"
    )
    metrics = evidence.policies[0][1]
    left_out = [] if metrics else ["Curves are left out: the policy’s folder has no metrics.jsonl."]
    figures = [*step_figures(evidence), *reward_against_kl(evidence)]
    return Chapter("ppo", f"What {evidence.algorithm} did", [opening], figures, left_out=left_out)


def step_figures(evidence: Evidence) -> list[Figure]:
    """Reward, KL and their difference over PPO's steps."""
    sources = tuple(node.name for node, _ in evidence.policies)
    figures = []
    for key, title, label, bottom in (
        ("reward", "Reward", "mean score of the reward model", None),
        ("kl", "Distance from the SFT policy", "KL (nats per answer)", 0.0),
        (
            "reward_with_kl",
            f"What {evidence.algorithm} maximises",
            "mean score minus the price of the KL",
            None,
        ),
    ):
        if lines := policy_curves(evidence, key):
            alt = "; ".join(f"{line.label}: from {line.y[0]:.2f} to {line.y[-1]:.2f}" for line in lines)
            svg = plots.curves(key, alt, lines, "step", label, bottom=bottom)
            figures.append(Figure(svg, title, "Bold: running mean.", sources))
    return figures


def reward_against_kl(evidence: Evidence) -> list[Figure]:
    """The path of each policy: what reward it got for how far it went."""
    lines = [
        Curve(evidence.node_title(node), *paired_series(rows, "kl", "reward"), evidence.node_role(node))
        for node, rows in evidence.policies
    ]
    lines = [line for line in lines if line.x]
    if not lines:
        return []
    alt = "; ".join(
        f"{line.label} ends at KL {line.x[-1]:.2f} with reward {line.y[-1]:.2f}" for line in lines
    )
    svg = plots.path("reward-kl", alt, lines, KL_AXIS, "mean score of the reward model")
    caption = "What each policy got for how far it went. The mark is the last step."
    sources = tuple(node.name for node, _ in evidence.policies)
    return [Figure(svg, "Reward against distance", caption, sources)]


def policy_curves(evidence: Evidence, key: str, scale: float = 1.0) -> list[Curve]:
    """One metric of every PPO policy that logged it, over steps."""
    curves = [
        Curve(evidence.node_title(node), *series(rows, key, scale), evidence.node_role(node))
        for node, rows in evidence.policies
    ]
    return [curve for curve in curves if curve.x]


def paired_series(rows: Metrics, x_key: str, y_key: str) -> tuple[list[float], list[float]]:
    """Two metrics at the steps where both were logged."""
    points = [
        (float(row[x_key]), float(row[y_key]))
        for row in rows
        if row.get(x_key) is not None and row.get(y_key) is not None
    ]
    return [x for x, _ in points], [y for _, y in points]
