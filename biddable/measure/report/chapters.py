"""The report's chapters on results: win rates, the reward model, and what PPO did. Each takes the evidence and returns text, plots and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from biddable.measure import statistics
from biddable.measure.ratings import SCALE
from biddable.measure.report import costs, plots, wording
from biddable.measure.report.evidence import Chapter, Evidence, Figure, Metrics, Node, Table, estimate, series
from biddable.measure.report.plots import Curve, Dot
from biddable.measure.report.wording import between, count, percent, signed, with_interval
from biddable.measure.statistics import Estimate
from biddable.run import jsonl
from biddable.run.records import Rating

KL = "KL to the SFT policy (nats per answer)"


def win_rates(e: Evidence) -> Chapter:
    """Who is preferred to whom, overall and by use case."""
    summary, own = e.winrate.summary, (e.winrate.name,)
    who = "A language model" if "judge" in summary else f"{count(summary.get('labelers', 0))} {e.judges}"
    paragraphs = [
        f"{who} ranked the answers of all models to {count(summary.get('prompts', 0))} prompts "
        f"({count(summary.get('rankings', 0))} rankings) without being told whose they were; ties were allowed. A dot is "
        "the share of pairs that a model won, a tie counting half. The line through it is the 95 % interval: if other prompts and "
        "other labelers were drawn, the share would be expected within it.",
    ]
    dots = [
        Dot(f"{e.title(one)} over {e.title(other)}", found, e.role(one))
        for key, one, other in e.pairs()
        if (found := estimate(summary, key))
    ]
    alt = "; ".join(f"{dot.label}: {with_interval(dot.estimate)}" for dot in dots)
    if "judge" in summary:
        with_people = estimate(summary, "agreement_with_people")
        known = (
            f"agrees with people on {percent(with_people.value)} ({between(with_people)})"
            if with_people
            else "was not compared with people"
        )
        paragraphs.append(
            f"These verdicts are by a language model, {wording.clean(summary['judge'], 60)}, not by people. It {known} and says the same in both orders "
            f"of the answers in {percent(float(summary.get('consistent') or 0))} of pairs; the other pairs count as ties."
        )
    figures = [
        Figure(
            plots.dots("win-rates", alt, dots, "pairs won (%)", with_interval, centre=50, limits=(0, 100)),
            "Who is preferred to whom",
            "The dashed line at 50 % is where neither is preferred.",
            own,
        )
    ]
    figures += costs.ladder(e) + use_cases(e)
    return Chapter("win-rates", "Who is preferred", paragraphs, figures, [pair_table(e), answer_table(e)])


def use_cases(e: Evidence) -> list[Figure]:
    """The headline pair by use case."""
    key = f"{e.short(e.ppo)}_over_{e.short(e.sft)}"
    rows = [
        row
        for row in jsonl.read_objects(e.winrate.folder / "use_cases.jsonl", ("pair", "rate"))
        if row["pair"] == key
    ]
    if len(rows) < 2:
        return []
    rows.sort(key=lambda row: -float(row["rate"]))
    dots = [
        Dot(
            f"{wording.clean(row['use_case'], 22)} ({row['prompts']})",
            Estimate(row["rate"], row["low"], row["high"]),
            "ppo",
        )
        for row in rows
    ]
    alt = "; ".join(f"{dot.label}: {with_interval(dot.estimate)}" for dot in dots)
    return [
        Figure(
            plots.dots("use-cases", alt, dots, "pairs won (%)", with_interval, centre=50, limits=(0, 100)),
            f"{e.title(e.short(e.ppo))} over {e.title(e.short(e.sft))}, by use case",
            "In brackets: prompts. Few prompts make wide intervals.",
            (e.winrate.name,),
        )
    ]


def pair_table(e: Evidence) -> Table:
    """Every pair with what stands behind its rate."""
    summary, rows = e.winrate.summary, []
    for key, one, other in e.pairs():
        found, equal = estimate(summary, key), estimate(summary, f"{key}_equal_length")
        if found is None:
            continue
        rows.append(
            [
                f"{e.title(one)} over {e.title(other)}",
                percent(found.value, 1),
                between(found, 1),
                f"{percent(equal.value, 1)} ({between(equal, 1)})" if equal else "",
                signed(
                    float(summary.get(f"{key}_longer", 0.0)), 1, str(summary.get("length_unit", "tokens"))
                ),
                percent(float(summary.get(f"{key}_ties", 0.0)), 1),
                *(count(summary[f"{key}_{what}"]) for what in ("pairs", "prompts", "labelers")),
            ]
        )
    head = (
        "pair",
        "won",
        "95 % interval",
        "won at equal length",
        "longer by",
        "ties",
        "pairs",
        "prompts",
        "labelers",
    )
    return Table("Win rates in numbers", head, rows, (e.winrate.name,))


def answer_table(e: Evidence) -> Table:
    """Length and finish of each model's answers."""
    summary = e.winrate.summary
    names = [key.removeprefix("finished_") for key in summary if key.startswith("finished_")]
    unit = str(summary.get("length_unit", "tokens"))
    rows = [
        [e.title(name), f"{summary[f'length_{name}']:.1f}", percent(summary[f"finished_{name}"], 1)]
        for name in names
        if f"length_{name}" in summary
    ]
    return Table(
        "The answers that were ranked",
        ("model", f"mean length ({unit})", "finished"),
        rows,
        (e.winrate.name,),
    )


def reward_model(e: Evidence) -> Chapter:
    """Does the reward model know what labelers prefer, and does it know when it knows?"""
    summary, own = e.reward.summary, (e.reward.name,)
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
    figures += margin_figures(e.reward)
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


def learning(e: Evidence) -> Chapter:
    """Reward and KL over steps, and one against the other."""
    first = e.policies[0][1]
    coefficient = e.ppo.manifest.get("settings", {}).get("kl_coef")
    price = f" Each nat costs {coefficient} of reward." if coefficient is not None else ""
    paragraphs = [
        f"PPO lets the policy answer prompts, scores the answers with the reward model, and makes what scored well likelier. The KL says "
        f"how far it has moved from the SFT policy: 0 is not at all.{price}",
    ]
    own = tuple(node.name for node, _ in e.policies)
    figures, left = [], []
    if not first:
        left.append("Curves are left out: the policy’s folder has no metrics.jsonl.")
    for key, title, label, bottom in (
        ("reward", "Reward", "mean score of the reward model", None),
        ("kl", "Distance from the SFT policy", "KL (nats per answer)", 0.0),
        ("reward_with_kl", "What PPO maximises", "mean score minus the price of the KL", None),
    ):
        if lines := policy_curves(e, key):
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
        Curve(e.title(e.short(node)), *both(rows, "kl", "reward"), e.role(e.short(node)))
        for node, rows in e.policies
    ]
    if paths := [line for line in paths if line.x]:
        alt = "; ".join(
            f"{line.label} ends at KL {line.x[-1]:.2f} with reward {line.y[-1]:.2f}" for line in paths
        )
        figures.append(
            Figure(
                plots.path("reward-kl", alt, paths, KL, "mean score of the reward model"),
                "Reward against distance",
                "What each policy got for how far it went. The mark is the last step.",
                own,
            )
        )
    return Chapter("ppo", "What PPO did", paragraphs, figures, [], left)


def policy_curves(e: Evidence, key: str, scale: float = 1.0) -> list[Curve]:
    """One metric of every PPO policy."""
    found = [(node, *series(rows, key, scale)) for node, rows in e.policies]
    return [Curve(e.title(e.short(node)), x, y, e.role(e.short(node))) for node, x, y in found if x]


def both(rows: Metrics, one: str, other: str) -> tuple[list[float], list[float]]:
    """Two metrics of the same lines."""
    held = [
        (float(r[one]), float(r[other])) for r in rows if r.get(one) is not None and r.get(other) is not None
    ]
    return [x for x, _ in held], [y for _, y in held]


def over_optimisation(e: Evidence, seed: int) -> Chapter:
    """What labelers think of the policy's answers at several steps, beside what the reward model thinks (Stiennon et al. 2020, figure 5)."""
    opening = (
        "The reward model is only a stand-in for the labelers. Pushed too far, a policy finds answers that score well and that nobody "
        "likes: the score still rises while the labelers’ opinion falls. So labelers rated the answers that the policy gave to the same "
        "prompts at several steps, from 1 to 7."
    )
    anchor, title = "over-optimisation", "Does the score still mean what labelers mean?"
    if e.ratings is None:
        return Chapter(
            anchor,
            title,
            [opening],
            left_out=["This is left out: the run has no ratings of the policy’s answers at several steps."],
        )
    rated = [r for r in jsonl.read(e.ratings.folder / "ratings.jsonl", Rating) if r.answer.step is not None]
    own = [r for r in rated if r.answer.model.split("@")[0] == e.ppo.name] or rated
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
        gold.append(statistics.mean([r.overall for r in part], prompts, labelers, 1000, seed, SCALE))
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
    who = "simulated labelers" if e.ratings.simulated else "labelers"
    figure = Figure(
        plots.stacked(
            "gold",
            alt,
            upper,
            lower,
            KL,
            (f"mean rating by {who} (1 to 7)", "mean score of the reward model"),
            steps,
        ),
        "Labelers’ ratings and the reward model’s score against KL",
        f"The same answers, judged twice. {count(len(own))} ratings; lines are 95 % intervals.",
        (e.ratings.name, e.ppo.name),
    )
    return Chapter(anchor, title, [opening, finding], [figure])


def tax(e: Evidence) -> Chapter:
    """What reading running text costs after PPO, with and without the pretraining mix."""
    title, anchor = "The alignment tax", "alignment-tax"
    opening = (
        "A policy that learns to please may forget how ordinary text goes on. We measure the negative log-likelihood of running text that no "
        "policy was trained on; PPO-ptx mixes pretraining text into each update to hold it down."
    )
    if e.text is None:
        return Chapter(
            anchor, title, [opening], left_out=["This is left out: the run has no [measure.text]."]
        )
    summary, own = e.text.summary, (e.text.name,)
    base = e.title(e.short_of(str(e.text.manifest.get("settings", {}).get("relative_to", e.sft.name))))
    names = [
        k.removeprefix("nll_change_")
        for k in summary
        if k.startswith("nll_change_") and f"{k}_low" in summary
    ]
    found = {n: (estimate(summary, f"nll_{n}"), estimate(summary, f"nll_change_{n}")) for n in names}
    changes = [Dot(e.title(name), change, e.role(name)) for name, (_, change) in found.items() if change]
    alt = "; ".join(f"{dot.label}: {signed(dot.estimate.value)}" for dot in changes)
    xlabel = f"change of the NLL relative to {base} (%)"
    svg = plots.dots("tax", alt, changes, xlabel, lambda change: signed(change.value, 2), scale=1, centre=0)
    caption = "Right of the dashed line: text has become more surprising. 95 % intervals over pieces of text."
    rows = [
        [e.title(n), wording.plain_interval(nll, 3), signed(change.value, 2), span(change)]
        for n, (nll, change) in found.items()
        if nll and change
    ]
    table = Table(
        "Text likelihood in numbers",
        ("model", "NLL (nats per token)", f"change from {base}", "95 % interval"),
        rows,
        own,
    )
    return Chapter(anchor, title, [opening], [Figure(svg, "Change on held-out text", caption, own)], [table])


def span(found: Estimate) -> str:
    """An interval of changes, in percent with signs."""
    return f"{signed(found.low, 2)} to {signed(found.high, 2)}"
