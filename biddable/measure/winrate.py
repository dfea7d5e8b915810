"""Win rates: by how much held-out labelers prefer one model's answers to another's, with 95 % intervals over prompts and labelers.

Every ranking gives one pair for each two answers of different models; a tie is half a win (Ouyang et al. 2022, 3.6 and 4.1). A pair is named
LATER_over_EARLIER by the models' short names, e.g. `ppo_over_sft`. The main numbers go to summary.json, those of each use case to use_cases.jsonl.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from biddable.base import records
from biddable.base.config import Input, Refusal, Settings
from biddable.base.records import Answer, Comparison
from biddable.base.runs import Here
from biddable.measure import statistics


class Config(Settings):
    comparisons: Input = Path("label.comparisons.heldout")
    """Rankings of answers by several models to the same prompts."""
    panel: Literal["held_out", "training"] = "held_out"
    """Whose rankings count: of people who gave no training data (3.6), or of those who did."""
    names: dict[str, str] = Field(default={})
    """Short names of models, e.g. {"learn.ppo.plain" = "plain"}; a model that is not named here is called by its last word."""
    order: tuple[str, ...] = ("start", "sft", "plain", "ppo")
    """Short names from first to last: of two models the later one is measured over the earlier. Others follow in the order of the alphabet."""
    resamples: int = Field(default=4000, ge=200)
    """Bootstrap resamples of prompts and of labelers."""


class Pair(NamedTuple):
    """One labeler's verdict on two answers to one prompt."""

    names: str  # "ppo_over_sft"
    outcome: float  # 1: the first was preferred, 0: the second, 0.5: a tie
    longer: float  # length of the first minus length of the second
    prompt: str
    labeler: str
    use_case: str


def run(cfg: Config, here: Here) -> None:
    file = cfg.comparisons / "comparisons.jsonl"
    rows = [row for row in records.read(file, Comparison) if row.panel == cfg.panel]
    if not rows:
        raise Refusal(
            f"[{here.key}] comparisons: {file} holds no ranking of the panel {cfg.panel}; set panel or ask that panel"
        )
    names = short_names(sorted({a.model for row in rows for a in row.answers}), cfg.names, here.key)
    in_tokens = all(a.tokens for row in rows for a in row.answers)
    pairs = [pair for row in rows for pair in pairs_of(row, names, ranked(names.values(), cfg.order), in_tokens)]
    if not pairs:
        raise Refusal(
            f"[{here.key}] comparisons: {file} compares answers of one model only ({', '.join(names)}); "
            "answers of at least two are needed: see policies of [learn.replies]"
        )
    groups = sorted({pair.names for pair in pairs})
    use_cases: list[dict[str, Any]] = []
    for number, name in enumerate(groups):
        own = [pair for pair in pairs if pair.names == name]
        numbers = measured(own, cfg.resamples, here.seed) | at_equal_length(own, cfg.resamples, here.seed)
        here.summary[name] = numbers.pop("rate")
        here.summary |= {f"{name}_{key}": value for key, value in numbers.items()}
        for use_case in sorted({pair.use_case for pair in own}):
            part = [pair for pair in own if pair.use_case == use_case]
            use_cases.append({"pair": name, "use_case": use_case} | measured(part, cfg.resamples, here.seed))
        here.progress(number + 1, len(groups), rate=here.summary[name])
    here.path("use_cases.jsonl").write_text("".join(json.dumps(one) + "\n" for one in use_cases), encoding="utf-8")
    here.summary |= by_model(rows, names, in_tokens)
    here.summary |= {
        "simulated": any(row.simulated for row in rows),
        "panel": cfg.panel,
        "rankings": len(rows),
        "prompts": len({row.prompt.id for row in rows}),
        "labelers": len({row.labeler for row in rows}),
        "length_unit": "tokens" if in_tokens else "words",
    }


def short_names(models: Sequence[str], given: dict[str, str], key: str) -> dict[str, str]:
    """Model -> short name. Raises Refusal when a given name fits no model or when two models share one name."""
    names = {model: given.get(model, model.rsplit(".", 1)[-1]) for model in models}
    wrong = [
        f"[{key}] names: no answer is by the model {model}; the models are {', '.join(models)}"
        for model in given
        if model not in models
    ]
    for name in sorted(set(names.values())):
        twins = [model for model in models if names[model] == name]
        if len(twins) > 1:
            wrong.append(f"[{key}] names: {' and '.join(twins)} would both be called {name}; give them other names")
    if wrong:
        raise Refusal(wrong)
    return names


def ranked(names: Any, order: Sequence[str]) -> list[str]:
    """Short names from earlier to later."""
    return [name for name in order if name in names] + sorted(name for name in names if name not in order)


def pairs_of(row: Comparison, names: dict[str, str], order: Sequence[str], in_tokens: bool) -> list[Pair]:
    """One ranking's pairs of answers by different models, the later model first."""
    found = []
    for (one, rank), (other, other_rank) in itertools.combinations(zip(row.answers, row.ranks, strict=True), 2):
        if one.model == other.model:
            continue
        if order.index(names[one.model]) < order.index(names[other.model]):
            one, rank, other, other_rank = other, other_rank, one, rank
        outcome = 0.5 if rank == other_rank else float(rank < other_rank)
        found.append(
            Pair(
                f"{names[one.model]}_over_{names[other.model]}",
                outcome,
                length(one, in_tokens) - length(other, in_tokens),
                row.prompt.id,
                row.labeler,
                row.prompt.use_case or "not stated",
            )
        )
    return found


def length(answer: Answer, in_tokens: bool) -> float:
    """Tokens, or words when some answer's tokens are not known."""
    return float(len(answer.tokens or ()) if in_tokens else len(answer.text.split()))


def measured(pairs: Sequence[Pair], resamples: int, seed: int) -> dict[str, float]:
    """Win rate, interval and what stands behind it."""
    prompts, labelers = [p.prompt for p in pairs], [p.labeler for p in pairs]
    rate = statistics.win_rate([p.outcome for p in pairs], prompts, labelers, resamples, seed)
    return {
        "rate": rate.value,
        "low": rate.low,
        "high": rate.high,
        "ties": sum(p.outcome == 0.5 for p in pairs) / len(pairs),
        "pairs": len(pairs),
        "prompts": len(set(prompts)),
        "labelers": len(set(labelers)),
    }


def at_equal_length(pairs: Sequence[Pair], resamples: int, seed: int) -> dict[str, float]:
    """The win rate with length taken out, and how much longer the first answers are on average."""
    outcomes, longer = [p.outcome for p in pairs], [p.longer for p in pairs]
    prompts, labelers = [p.prompt for p in pairs], [p.labeler for p in pairs]
    rate = statistics.equal_length_rate(outcomes, longer, prompts, labelers, resamples, seed)
    return {
        "equal_length": rate.value,
        "equal_length_low": rate.low,
        "equal_length_high": rate.high,
        "longer": sum(longer) / len(longer),
    }


def by_model(rows: Sequence[Comparison], names: dict[str, str], in_tokens: bool) -> dict[str, float]:
    """Mean length and share of finished answers of each model; an answer that several people saw counts once."""
    answers = {(row.prompt.id, a.model, a.text, a.tokens): a for row in rows for a in row.answers}
    found: dict[str, float] = {}
    for model, name in names.items():
        own = [a for a in answers.values() if a.model == model]
        found[f"length_{name}"] = sum(length(a, in_tokens) for a in own) / len(own)
        found[f"finished_{name}"] = sum(a.finish == "stop" for a in own) / len(own)
    return found
