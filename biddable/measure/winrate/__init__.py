"""Win rates: by how much held-out labelers prefer one model's answers to another's, with 95 % intervals over prompts and labelers.

Every verdict gives one pair for each two answers of different models; a tie is half a win (Ouyang et al. 2022, 3.6 and 4.1). A pair is named
LATER_over_EARLIER by the models' short names, e.g. `ppo_over_sft`. The main numbers go to summary.json, those of each use case to use_cases.jsonl, the
Bradley-Terry ladder of all models to ladder.jsonl and the paired tests of two models against a third to tests.jsonl.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from biddable.measure import statistics
from biddable.measure.winrate import bradley_terry, verdicts
from biddable.measure.winrate.verdicts import Pair, Verdict, length
from biddable.run import jsonl
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext


class Config(Settings):
    comparisons: Input = Path("label.comparisons.heldout")
    """Rankings of answers by several models to the same prompts, ratings of such answers, or a file of preferences as AlpacaEval publishes them."""
    panel: Literal["held_out", "training"] = "held_out"
    """Whose verdicts count: of people who gave no training data (3.6), or of those who did. The other panel's win rates are reported separately, beside these."""
    names: dict[str, str] = Field(default={})
    """Short names of models, e.g. {"learn.ppo.plain" = "plain"}; a model that is not named here goes by its last word (in a file of preferences by its
    full name)."""
    order: tuple[str, ...] = ("start", "sft", "plain", "ppo")
    """Short names from first to last: of two models the later one is measured over the earlier. The others follow in alphabetical order. A
    file of preferences says itself which model is measured over which."""
    resamples: int = Field(default=4000, ge=200)
    """Bootstrap resamples of prompts and of labelers."""


def run(cfg: Config, context: StageContext) -> None:
    if cfg.comparisons.is_file():
        pairs = named(verdicts.preferences(cfg.comparisons), cfg.names, context.key)
        measure(pairs, [], cfg.resamples, context)
        context.summary |= {
            "simulated": True,
            "panel": cfg.panel,
            "rankings": len(pairs),
            "prompts": len({pair.prompt for pair in pairs}),
            "labelers": len({pair.labeler for pair in pairs}),
            "length_unit": "characters",
        }
        return
    all_verdicts = verdicts.read(cfg.comparisons)
    rows = [row for row in all_verdicts if row.panel == cfg.panel]
    if not rows:
        raise UserError(
            f"[{context.key}] comparisons: {cfg.comparisons} holds no verdict of the panel {cfg.panel}; set panel or ask that panel"
        )
    names = short_names(sorted({s.model for row in all_verdicts for s in row.sides}), cfg.names, context.key)
    unit = verdicts.length_unit(side.answer for row in rows for side in row.sides)
    order = ranked(names.values(), cfg.order)
    pairs = [pair for row in rows for pair in verdicts.pairs_of(row, names, order, unit)]
    if not pairs:
        raise UserError(
            f"[{context.key}] comparisons: {cfg.comparisons} compares answers of one model only ({', '.join(names)}); "
            "answers of at least two are needed: see policies of [learn.replies]"
        )
    other_panel = [
        p
        for row in all_verdicts
        if row.panel != cfg.panel
        for p in verdicts.pairs_of(row, names, order, unit)
    ]
    measure(pairs, other_panel, cfg.resamples, context)
    context.summary |= by_model(rows, names, unit)
    context.summary |= {
        "simulated": any(row.simulated for row in rows),
        "panel": cfg.panel,
        "rankings": len(rows),
        "prompts": len({row.prompt for row in rows}),
        "labelers": len({row.labeler for row in rows}),
        "length_unit": unit,
    }
    context.summary |= judge_facts(cfg.comparisons)


def named(pairs: Sequence[Pair], names: dict[str, str], key: str) -> list[Pair]:
    """Pairs of a file of preferences under the names of the setting. Raises UserError for a name that no model has."""
    models = sorted({model for pair in pairs for model in (pair.first, pair.second)})
    short = short_names(models, {model: model for model in models} | names, key)
    return [pair._replace(first=short[pair.first], second=short[pair.second]) for pair in pairs]


def judge_facts(folder: Path) -> dict[str, Any]:
    """Whether a program judged, and how often it agrees with people: stands beside every figure made from its verdicts."""
    path = folder / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    keys = (
        "judge_hash",
        "agreement_with_people",
        "agreement_with_people_low",
        "agreement_with_people_high",
        "consistent",
    )
    return {"judge": summary["judge"]} | {key: summary.get(key) for key in keys} if "judge" in summary else {}


def measure(
    pairs: Sequence[Pair], other_panel: Sequence[Pair], resamples: int, context: StageContext
) -> None:
    """Everything that follows from pairs: rates, use cases, the other panel, paired tests and the ladder."""
    groups = {
        name: [pair for pair in pairs if pair.names == name]
        for name in sorted({pair.names for pair in pairs})
    }
    use_cases: list[dict[str, Any]] = []
    for number, (name, group) in enumerate(groups.items()):
        numbers = measured(group, resamples, context.seed) | at_equal_length(group, resamples, context.seed)
        context.summary[name] = numbers.pop("rate")
        context.summary |= {f"{name}_{key}": value for key, value in numbers.items()}
        if apart := [pair for pair in other_panel if pair.names == name]:
            theirs = measured(apart, resamples, context.seed)
            context.summary |= {f"{name}_other_panel": theirs["rate"]}
            context.summary |= {f"{name}_other_panel_{key}": theirs[key] for key in ("low", "high")}
            context.summary[f"{name}_other_panel_verdicts"] = theirs["pairs"]
        for use_case in sorted({pair.use_case for pair in group}):
            part = [pair for pair in group if pair.use_case == use_case]
            use_cases.append({"pair": name, "use_case": use_case} | measured(part, resamples, context.seed))
        context.progress(number + 1, len(groups), rate=context.summary[name])
    jsonl.write_objects(context.path("use_cases.jsonl"), use_cases)
    jsonl.write_objects(context.path("tests.jsonl"), paired_tests(pairs, resamples, context.seed))
    if rungs := ladder_rows(pairs, resamples, context):
        jsonl.write_objects(context.path("ladder.jsonl"), rungs)


def ladder_rows(pairs: Sequence[Pair], resamples: int, context: StageContext) -> list[dict[str, Any]]:
    """The ladder's rungs, the strongest model first; none when there are only two models, or groups that never met."""
    if len({pair.first for pair in pairs} | {pair.second for pair in pairs}) < 3:
        return []
    first, second, outcomes, _, prompts, labelers, _ = zip(*pairs, strict=True)
    try:
        ladder = bradley_terry.ladder(first, second, outcomes, prompts, labelers, resamples, context.seed)
    except ValueError as error:
        context.summary["ladder"] = str(error)
        return []
    if not all(math.isfinite(p.low) for p in ladder.values()):
        context.summary["ladder"] = "one person's verdicts on one prompt: nothing shows what others would say"
        return []
    for name, points in ladder.items():
        context.summary |= {
            f"elo_{name}": points.value,
            f"elo_{name}_low": points.low,
            f"elo_{name}_high": points.high,
        }
    return [{"model": name, "elo": p.value, "low": p.low, "high": p.high} for name, p in ladder.items()]


def paired_tests(pairs: Sequence[Pair], resamples: int, seed: int) -> list[dict[str, Any]]:
    """For every two models that met a third: the difference of their win rates over it, where the same judge saw both on the same prompt."""
    # base -> model -> (prompt, labeler) -> the model's outcomes against the base
    met: dict[str, dict[str, dict[tuple[str, str], list[float]]]] = {}
    for p in pairs:
        for model, base, outcome in ((p.first, p.second, p.outcome), (p.second, p.first, 1 - p.outcome)):
            outcomes = met.setdefault(base, {}).setdefault(model, {})
            outcomes.setdefault((p.prompt, p.labeler), []).append(outcome)
    rows = []
    for base, models in sorted(met.items()):
        for first, second in itertools.combinations(sorted(models), 2):
            keys = sorted(models[first].keys() & models[second].keys())
            if not keys:
                continue
            differences = [float(np.mean(models[first][key]) - np.mean(models[second][key])) for key in keys]
            test = statistics.mean_test(
                differences, [p for p, _ in keys], [w for _, w in keys], resamples, seed, (-1.0, 1.0)
            )
            value, low, high = test.estimate
            row = {"over": base, "model": first, "minus": second, "difference": value}
            rows.append(row | {"low": low, "high": high, "p": test.p, "pairs": len(keys)})
    return rows


def short_names(models: Sequence[str], names: dict[str, str], key: str) -> dict[str, str]:
    """Model -> short name. Raises UserError when a name is for no model, or two models share one."""
    short = {model: names.get(model, model.rsplit(".", 1)[-1]) for model in models}
    errors = [
        f"[{key}] names: no answer is by the model {model}; the models are {', '.join(models)}"
        for model in names
        if model not in models
    ]
    for name in sorted(set(short.values())):
        twins = [model for model in models if short[model] == name]
        if len(twins) > 1:
            errors.append(
                f"[{key}] names: {' and '.join(twins)} would both be called {name}; give them other names"
            )
    if errors:
        raise UserError(errors)
    return short


def ranked(names: Any, order: Sequence[str]) -> list[str]:
    """Short names from earlier to later."""
    return [name for name in order if name in names] + sorted(name for name in names if name not in order)


def measured(pairs: Sequence[Pair], resamples: int, seed: int) -> dict[str, float]:
    """Win rate, interval and what stands behind it."""
    prompts, labelers = [p.prompt for p in pairs], [p.labeler for p in pairs]
    outcomes = [p.outcome for p in pairs]
    test = statistics.win_test(outcomes, prompts, labelers, resamples, seed)
    exact = statistics.exact(outcomes, prompts, labelers)
    return {
        "rate": test.estimate.value,
        "low": test.estimate.low,
        "high": test.estimate.high,
        "p": test.p,
        "plain_error": float(np.std(outcomes, ddof=1) / len(outcomes) ** 0.5) if len(outcomes) > 1 else 0.0,
        "ties": sum(p.outcome == 0.5 for p in pairs) / len(pairs),
        "pairs": len(pairs),
        "prompts": len(set(prompts)),
        "labelers": len(set(labelers)),
    } | ({"exact_low": exact.low, "exact_high": exact.high} if exact else {})


def at_equal_length(pairs: Sequence[Pair], resamples: int, seed: int) -> dict[str, float | None]:
    """The win rate with length taken out, and how much longer the first answers are on average. None, and how many lengths are missing, where some are not
    known; None, too, where all first answers are longer by the same."""
    outcomes, longer = [p.outcome for p in pairs], [p.longer for p in pairs]
    none: dict[str, float | None] = dict.fromkeys(("equal_length", "equal_length_low", "equal_length_high"))
    if unknown := sum(map(math.isnan, longer)):
        return none | {"longer": None, "lengths_unknown": unknown}
    numbers: dict[str, float | None] = {"longer": sum(longer) / len(longer)}
    prompts, labelers = [p.prompt for p in pairs], [p.labeler for p in pairs]
    try:
        rate = statistics.equal_length_rate(outcomes, longer, prompts, labelers, resamples, seed)
    except ValueError:  # all are longer by the same: nothing shows what would be at equal length
        return numbers | none
    return numbers | {
        "equal_length": rate.value,
        "equal_length_low": rate.low,
        "equal_length_high": rate.high,
    }


def by_model(rows: Sequence[Verdict], names: dict[str, str], unit: verdicts.Unit) -> dict[str, float]:
    """Mean length and share of finished answers of each model; an answer that several people saw counts once."""
    judged = [(row.prompt, side.answer) for row in rows for side in row.sides]
    answers = {(prompt, a.model, a.text, a.tokens): a for prompt, a in judged}
    summary: dict[str, float] = {}
    for model, name in names.items():
        model_answers = [a for a in answers.values() if a.model == model]
        if not model_answers:  # only the other panel saw it
            continue
        summary[f"length_{name}"] = sum(length(a, unit) for a in model_answers) / len(model_answers)
        summary[f"finished_{name}"] = sum(a.finish == "stop" for a in model_answers) / len(model_answers)
    return summary
