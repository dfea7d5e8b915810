"""Over-optimisation: labelers' ratings of the policy at several steps beside the reward model's score.

The reward model is a proxy for the labelers. Its score can only rise while PPO runs; the gold score, here the
mean of labelers' ratings, peaks and falls once the policy exploits the proxy's mistakes (Stiennon et al.
2020, figure 5; Gao et al. 2023, figure 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from biddable.measure import statistics
from biddable.measure.ratings import SCALE
from biddable.measure.report import plots
from biddable.measure.report.chapters.ppo import KL_AXIS
from biddable.measure.report.evidence import Chapter, Evidence, Figure
from biddable.measure.report.plots import Curve
from biddable.measure.report.wording import count
from biddable.measure.statistics import Estimate
from biddable.run import jsonl
from biddable.run.lineage import Node
from biddable.run.records import Rating

ANCHOR, TITLE = "over-optimisation", "Does the score still mean what labelers mean?"
OPENING = (
    "The reward model is only a stand-in for the labelers. Pushed too far, a policy finds answers that score "
    "well and that nobody "
    "likes: the score still rises while the labelers’ opinion falls. So labelers rated the answers that the "
    "policy gave to the same "
    "prompts at several steps, from 1 to 7."
)
RESAMPLES = 1000
"""Bootstrap resamples behind each interval."""


class StepRatings(NamedTuple):
    """The policy at one step of PPO, judged twice."""

    step: int
    kl: float  # mean over the answers, nats to the SFT policy
    score: float  # mean over the answers, by the reward model
    gold: Estimate  # mean rating by labelers, 1 to 7


def chapter(evidence: Evidence) -> Chapter:
    """What labelers think of the policy's answers at several steps, beside what the reward model thinks."""
    node = evidence.ratings_by_step
    if node is None:
        reason = "This is left out: the run has no ratings of the policy’s answers at several steps."
        return Chapter(ANCHOR, TITLE, [OPENING], left_out=[reason])
    ratings = policy_ratings(node, evidence.ppo.name)
    if len({row.answer.step for row in ratings}) < 2 or any(
        row.answer.kl is None or row.answer.score is None for row in ratings
    ):
        reason = (
            "This is left out: ratings of answers at two steps or more, with their KL and score, are needed."
        )
        return Chapter(ANCHOR, TITLE, [OPENING], left_out=[reason])
    steps = by_step(ratings, evidence.seed)
    figure = Figure(
        gold_plot(steps, node.simulated),
        "Labelers’ ratings and the reward model’s score against KL",
        f"The same answers, judged twice. {count(len(ratings))} ratings; lines are 95 % intervals.",
        (node.name, evidence.ppo.name),
    )
    return Chapter(ANCHOR, TITLE, [OPENING, finding(steps)], [figure])


def policy_ratings(node: Node, policy: str) -> list[Rating]:
    """Ratings of answers whose step is known: the policy's where there are any, else all of them (of a policy
    under another name)."""
    rows = [row for row in jsonl.read(node.folder / "ratings.jsonl", Rating) if row.answer.step is not None]
    # A checkpoint's answers are signed POLICY@STEP.
    return [row for row in rows if row.answer.model.split("@")[0] == policy] or rows


def by_step(ratings: Sequence[Rating], seed: int) -> list[StepRatings]:
    """Means at each step, in the order of training; intervals are a bootstrap over prompts and labelers."""
    steps = []
    for step in sorted({int(row.answer.step or 0) for row in ratings}):
        rows = [row for row in ratings if row.answer.step == step]
        # Several labelers rate one answer: its KL and score count once, its ratings each.
        answers = {(row.prompt.id, row.answer.text): row.answer for row in rows}.values()
        gold = statistics.mean(
            [row.overall for row in rows],
            [row.prompt.id for row in rows],
            [row.labeler for row in rows],
            RESAMPLES,
            seed,
            SCALE,
        )
        kl = float(np.mean([answer.kl for answer in answers]))
        score = float(np.mean([answer.score for answer in answers]))
        steps.append(StepRatings(step, kl, score, gold))
    return steps


def finding(steps: Sequence[StepRatings]) -> str:
    """Whether the gold score peaked before the last step, in a sentence."""
    best, last = max(steps, key=lambda step: step.gold.value), steps[-1]
    if best is last:
        return "The labelers’ mean rating is highest at the last step: no over-optimisation is seen."
    gold = last.gold
    return (
        f"The labelers’ mean rating is highest at step {best.step}, at a KL of {best.kl:.1f} nats, and "
        f"{best.gold.value - gold.value:.2f} lower at the last "
        f"step ({gold.value:.2f}, 95 % interval {gold.low:.2f} to {gold.high:.2f})."
    )


def gold_plot(steps: Sequence[StepRatings], simulated: bool) -> str:
    """Ratings above, scores below, over the same axis of KL: two units never share an axis."""
    kl = [step.kl for step in steps]
    golds = [step.gold for step in steps]
    upper = Curve(
        "labelers",
        kl,
        [gold.value for gold in golds],
        "ppo",
        [gold.low for gold in golds],
        [gold.high for gold in golds],
    )
    lower = Curve("reward model", kl, [step.score for step in steps], "sft")
    alt = "; ".join(
        f"step {step.step}: rating {step.gold.value:.2f}, score {step.score:.2f}, KL {step.kl:.2f}"
        for step in steps
    )
    labelers = "simulated labelers" if simulated else "labelers"
    titles = (f"mean rating by {labelers} (1 to 7)", "mean score of the reward model")
    return plots.stacked("gold", alt, upper, lower, KL_AXIS, titles, [step.step for step in steps])
