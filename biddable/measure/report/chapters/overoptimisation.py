"""Over-optimisation: labelers' ratings of the policy at several steps beside the reward model's score."""

from __future__ import annotations

import numpy as np

from biddable.measure import statistics
from biddable.measure.ratings import SCALE
from biddable.measure.report import plots
from biddable.measure.report.chapters.ppo import KL_AXIS
from biddable.measure.report.evidence import Chapter, Evidence, Figure
from biddable.measure.report.plots import Curve
from biddable.measure.report.wording import count
from biddable.run import jsonl
from biddable.run.records import Rating


def chapter(evidence: Evidence) -> Chapter:
    """What labelers think of the policy's answers at several steps, beside what the reward model thinks (Stiennon et al. 2020, figure 5)."""
    opening = (
        "The reward model is only a stand-in for the labelers. Pushed too far, a policy finds answers that score well and that nobody "
        "likes: the score still rises while the labelers’ opinion falls. So labelers rated the answers that the policy gave to the same "
        "prompts at several steps, from 1 to 7."
    )
    anchor, title = "over-optimisation", "Does the score still mean what labelers mean?"
    if evidence.ratings_by_step is None:
        return Chapter(
            anchor,
            title,
            [opening],
            left_out=["This is left out: the run has no ratings of the policy’s answers at several steps."],
        )
    rated = [
        r
        for r in jsonl.read(evidence.ratings_by_step.folder / "ratings.jsonl", Rating)
        if r.answer.step is not None
    ]
    own = [r for r in rated if r.answer.model.split("@")[0] == evidence.ppo.name] or rated
    steps = sorted({int(r.answer.step or 0) for r in own})
    if len(steps) < 2 or any(r.answer.kl is None or r.answer.score is None for r in own):
        line = (
            "This is left out: ratings of answers at two steps or more, with their KL and score, are needed."
        )
        return Chapter(anchor, title, [opening], left_out=[line])
    kl, score, gold = [], [], []
    for step in steps:
        part = [r for r in own if r.answer.step == step]
        answers = {(r.prompt.id, r.answer.text): r.answer for r in part}.values()
        kl.append(float(np.mean([a.kl for a in answers])))
        score.append(float(np.mean([a.score for a in answers])))
        prompts, labelers = [r.prompt.id for r in part], [r.labeler for r in part]
        gold.append(statistics.mean([r.overall for r in part], prompts, labelers, 1000, evidence.seed, SCALE))
    best = int(np.argmax([found.value for found in gold]))
    if best == len(steps) - 1:
        finding = "The labelers’ mean rating is highest at the last step: no over-optimisation is seen."
    else:
        drop = gold[best].value - gold[-1].value
        finding = (
            f"The labelers’ mean rating is highest at step {steps[best]}, at a KL of {kl[best]:.1f} nats, and {drop:.2f} lower at the last "
            f"step ({gold[-1].value:.2f}, 95 % interval {gold[-1].low:.2f} to {gold[-1].high:.2f})."
        )
    upper = Curve(
        "labelers", kl, [g.value for g in gold], "ppo", [g.low for g in gold], [g.high for g in gold]
    )
    lower = Curve("reward model", kl, score, "sft")
    alt = "; ".join(
        f"step {s}: rating {g.value:.2f}, score {r:.2f}, KL {k:.2f}"
        for s, g, r, k in zip(steps, gold, score, kl, strict=True)
    )
    who = "simulated labelers" if evidence.ratings_by_step.simulated else "labelers"
    figure = Figure(
        plots.stacked(
            "gold",
            alt,
            upper,
            lower,
            KL_AXIS,
            (f"mean rating by {who} (1 to 7)", "mean score of the reward model"),
            steps,
        ),
        "Labelers’ ratings and the reward model’s score against KL",
        f"The same answers, judged twice. {count(len(own))} ratings; lines are 95 % intervals.",
        (evidence.ratings_by_step.name, evidence.ppo.name),
    )
    return Chapter(anchor, title, [opening, finding], [figure])
