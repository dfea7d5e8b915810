"""How well reward models, and a judge, order answers as people do: RewardBench's table for one's own models, offline.

Any rankings: a stage's comparisons, or a file that [label.imports] would read. Beside each system stands the plainest one, "the longer answer is better". Accuracy is
on pairs of answers that the labeler did not call equal, with intervals over prompts and labelers; by subset (a prompt's use case; RewardBench's `subset`); Kendall's
tau, best of n and ties where rankings have three answers and more (Lambert et al. 2024; Malik et al. 2025); calibration for reward models. `results.jsonl` has a line for
each system and subset, `scores.jsonl` what each system said of each ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from biddable.formats import known
from biddable.measure import statistics
from biddable.measure.benchmarks.answers import policy_names
from biddable.measure.judge import bias
from biddable.measure.judge.questions import JudgeSettings, ask_all, judge_hash, settings_errors
from biddable.measure.rewards import figures, rankings, scorers
from biddable.measure.rewards.rankings import Ranking
from biddable.measure.rewards.scorers import Scored
from biddable.model import checkpoints
from biddable.run import jsonl
from biddable.run.config import Input, UserError
from biddable.run.context import StageContext

JUDGE, LENGTH = "judge", "length"
"""What the judge and the baseline are called beside the reward models."""


class Config(JudgeSettings):
    comparisons: Input = Path("label.comparisons")
    """A stage's folder with rankings, or a file of preferences: ours, chosen and rejected, RewardBench's, answers with scores, ... (docs/data.md has all formats)."""
    format: str = "auto"
    """Who wrote the file, by a name of the table in docs/data.md; `auto`: what it looks like."""
    columns: dict[str, str] = Field(default={})
    """Where the file has other names than its format: {prompt = "question", chosen = "good"}."""
    split: Literal["train", "valid", "test"] | None = None
    """Measure only rankings on prompts of this split: a reward model knows those that it was trained on. None: all."""
    rewards: tuple[Input, ...] = (Path("learn.reward"),)
    """The reward models."""
    names: dict[str, str] = Field(default={})
    """Short names of reward models, e.g. {"learn.reward.large" = "large"}; one that is not named here goes by its last word."""
    judge: str | None = None
    """The language model to ask at `endpoint` about every two answers, in both orders; none: none is asked."""
    limit: int | None = Field(default=None, ge=1)
    """Rankings measured at most, drawn by the run's seed; none: all."""
    tokens: int = Field(default=4096, ge=1)
    """Tokens per forward of a reward model."""
    resamples: int = Field(default=2000, ge=200)
    """Bootstrap resamples of prompts and of labelers."""


def mistakes(cfg: Config) -> list[str]:
    """What is wrong with settings and files, read before anything runs: `biddable check` prints it."""
    errors = []
    if cfg.format != "auto" and cfg.format not in known.FORMATS:
        errors.append(f'format = "{cfg.format}": expected auto or one of {", ".join(known.FORMATS)}')
    if not cfg.rewards and cfg.judge is None:
        errors.append("rewards: name at least one reward model, or a judge")
    if cfg.judge is not None:
        errors += settings_errors(cfg)
    if not errors and cfg.comparisons.exists():
        try:
            rankings.read(cfg.comparisons, cfg.format, cfg.columns, cfg.split)
        except UserError as error:
            errors += error.lines
    return errors


def run(cfg: Config, context: StageContext) -> None:
    if errors := mistakes(cfg):
        raise UserError([f"[{context.key}] {line}" for line in errors])
    rows, skipped = rankings.read(cfg.comparisons, cfg.format, cfg.columns, cfg.split)
    rows = drawn(rows, cfg.limit, context.seed)
    names = policy_names(cfg.rewards, cfg.names, context.key) if cfg.rewards else {}
    check_rewards(names, context)
    systems: dict[str, list[Scored | None]] = {}
    for folder, name in names.items():
        systems[name] = scorers.by_reward_model(folder, rows, cfg.tokens, context)
    if cfg.judge is not None:
        judge_questions = scorers.questions(rows)
        choices = ask_all(cfg, cfg.judge, judge_questions, context)
        systems[JUDGE], judged = scorers.by_judge(rows, judge_questions, choices)
        effects = bias.order_and_length_effects(judged, cfg.resamples, context.seed)
        context.summary |= {"judge": cfg.judge, "judge_hash": judge_hash(cfg, cfg.judge)}
        context.summary |= {f"judge_{key}": value for key, value in effects.items()}
    systems[LENGTH] = scorers.by_length(rows)
    write_scores(rows, systems, context)
    results = []
    for name, scored in systems.items():
        numbers = measured(rows, scored, name in names.values(), cfg.resamples, context.seed)
        baseline = figures.difference(rows, scored, systems[LENGTH], cfg.resamples, context.seed)
        if name != LENGTH and baseline is not None:
            numbers |= statistics.keyed("over_length", baseline)
        lines = by_subset(rows, scored, cfg.resamples, context.seed)
        numbers["accuracy_of_subsets"] = mean_of_subsets(lines)
        context.summary |= {f"{key}_{name}": value for key, value in numbers.items()}
        of_judge = {"judge": cfg.judge, "judge_hash": context.summary["judge_hash"]} if name == JUDGE else {}
        results += [{"system": name} | of_judge | line for line in lines]
    jsonl.write_objects(context.path("results.jsonl"), results)
    context.summary |= {
        "systems": list(systems),
        "rankings": len(rows),
        "prompts": len({row.prompt.id for row in rows}),
        "labelers": len({row.labeler for row in rows}),
        "subsets": sorted({row.subset for row in rows}),
        "simulated": any(row.simulated for row in rows),
        "skipped": dict(sorted(skipped.items())),
    }


def drawn(rows: list[Ranking], limit: int | None, seed: int) -> list[Ranking]:
    """At most `limit` rankings, in the file's order."""
    if limit is None or limit >= len(rows):
        return rows
    places = np.random.default_rng(seed).permutation(len(rows))[:limit]
    return [rows[place] for place in sorted(places)]


def check_rewards(names: dict[Path, str], context: StageContext) -> None:
    """Raise UserError for folders without a reward model, and for names that the judge or the baseline has."""
    errors = [
        f"rewards: {folder} holds a {kind}; name the folder of a [learn.reward]"
        for folder in names
        if (kind := checkpoints.model_info(folder)["kind"]) != "scorer"
    ]
    errors += [
        f"names: {name} is not for a reward model; call it something else"
        for name in names.values()
        if name in (JUDGE, LENGTH)
    ]
    if errors:
        raise UserError([f"[{context.key}] {line}" for line in errors])


def measured(
    rows: Sequence[Ranking], scored: Sequence[Scored | None], is_model: bool, resamples: int, seed: int
) -> dict[str, Any]:
    """All figures of one system. None where it cannot be told."""
    pairs, unjudged = figures.pairs_of(rows, scored)
    share = figures.accuracy(rows, pairs, resamples, seed)
    tau, rankings_with_tau = figures.kendall(rows, scored, resamples, seed)
    numbers: dict[str, Any] = statistics.keyed("accuracy", share) if share else {"accuracy": None}
    numbers |= {
        "pairs": sum(not pair.is_tied for pair in pairs),
        "equal_scores": sum(pair.margin == 0 and not pair.is_tied for pair in pairs),
        "unjudged_pairs": unjudged,
    }
    numbers |= statistics.keyed("tau", tau) if tau else {"tau": None}
    numbers["tau_rankings"] = rankings_with_tau
    numbers |= figures.best_of(rows, scored, resamples, seed) | figures.several_right(rows, scored)
    numbers |= figures.ties(pairs)
    return numbers | (figures.calibration(pairs) if is_model else {})


def by_subset(
    rows: Sequence[Ranking], scored: Sequence[Scored | None], resamples: int, seed: int
) -> list[dict[str, Any]]:
    """A line for all rankings and one for each subset: accuracy, and best of n where it has one."""
    names = sorted({row.subset for row in rows})
    lines = []
    for subset in (None, *(names if len(names) > 1 else ())):
        inside = [n for n, row in enumerate(rows) if subset in (None, row.subset)]
        part, views = [rows[n] for n in inside], [scored[n] for n in inside]
        pairs, unjudged = figures.pairs_of(part, views)
        share = figures.accuracy(part, pairs, resamples, seed)
        line: dict[str, Any] = {"subset": subset, "accuracy": None, "low": None, "high": None}
        if share is not None:
            line |= {"accuracy": share.value, "low": share.low, "high": share.high}
        line |= {"pairs": sum(not pair.is_tied for pair in pairs), "unjudged_pairs": unjudged}
        best = figures.best_of(part, views, resamples, seed)
        line |= {key: best[key] for key in ("best_of", "best_of_low", "best_of_high") if key in best}
        lines.append(line)
    return lines


def mean_of_subsets(lines: Sequence[dict[str, Any]]) -> float | None:
    """Mean of the subsets' accuracies, each counting the same, as RewardBench averages its sections; None with one
    subset only."""
    shares = [
        line["accuracy"] for line in lines if line["subset"] is not None and line["accuracy"] is not None
    ]
    return float(np.mean(shares)) if shares else None


def write_scores(
    rows: Sequence[Ranking], systems: dict[str, list[Scored | None]], context: StageContext
) -> None:
    """What each system said of each ranking's answers, in their order."""
    jsonl.write_objects(
        context.path("scores.jsonl"),
        [
            {
                "prompt": row.prompt.id,
                "labeler": row.labeler,
                "subset": row.subset,
                "ranks": list(row.ranks),
                "scores": {
                    name: None if view is None or np.isnan(view.scores).any() else view.scores.tolist()
                    for name, scored in systems.items()
                    for view in (scored[number],)
                },
            }
            for number, row in enumerate(rows)
        ],
    )
