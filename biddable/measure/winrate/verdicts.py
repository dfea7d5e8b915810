"""Verdicts: who was preferred to whom for one prompt by one judge, whatever the file they come from.

Read are rankings (`comparisons.jsonl`, by people, simulated people or `measure.judge`), ratings from 1 to 7
(`ratings.jsonl`: of two answers to one prompt that one person rated, the higher is preferred), and files of
preferences as AlpacaEval publishes them.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from biddable.run import jsonl, words
from biddable.run.config import UserError
from biddable.run.parse import parse_json
from biddable.run.records import Answer, Comparison, Rating


class Side(NamedTuple):
    """One answer as a judge saw it."""

    model: str
    worth: float  # higher is better: minus the rank, or the rating
    answer: Answer


class Verdict(NamedTuple):
    """What one judge said about all answers to one prompt."""

    sides: tuple[Side, ...]
    prompt: str
    labeler: str
    panel: str
    simulated: bool
    use_case: str


class Pair(NamedTuple):
    """One judge's verdict on two answers to one prompt."""

    first: str
    second: str
    outcome: (
        float  # 1: the first was preferred, 0: the second, 0.5: a tie; a probability where the judge gave one
    )
    longer: float  # length of the first minus length of the second; not a number when one is not known
    prompt: str
    labeler: str
    use_case: str

    @property
    def names(self) -> str:
        """What the pair is called in summaries: "ppo_over_sft"."""
        return f"{self.first}_over_{self.second}"


def read(folder: Path) -> list[Verdict]:
    """All verdicts of a stage folder: its rankings, or its ratings. Raises UserError when it holds
    neither."""
    if (folder / "ratings.jsonl").is_file() and not (folder / "comparisons.jsonl").is_file():
        return from_ratings(jsonl.read(folder / "ratings.jsonl", Rating))
    return [from_comparison(row) for row in jsonl.read(folder / "comparisons.jsonl", Comparison)]


def from_comparison(row: Comparison) -> Verdict:
    """A ranking as a verdict."""
    sides = tuple(Side(a.model, -float(rank), a) for a, rank in zip(row.answers, row.ranks, strict=True))
    return Verdict(
        sides, row.prompt.id, row.labeler, row.panel, row.simulated, row.prompt.use_case or "not stated"
    )


def from_ratings(rows: Sequence[Rating]) -> list[Verdict]:
    """What each person rated of one prompt's answers, together; of an answer that a person rated twice the
    last rating counts."""
    by_person: dict[tuple[str, str], dict[tuple[str, str], Rating]] = {}
    for row in rows:
        by_person.setdefault((row.prompt.id, row.labeler), {})[(row.answer.model, row.answer.text)] = row
    rated = []
    for (prompt, labeler), ratings in by_person.items():
        first = next(iter(ratings.values()))
        sides = tuple(Side(r.answer.model, float(r.overall), r.answer) for r in ratings.values())
        use_case = first.prompt.use_case or "not stated"
        rated.append(Verdict(sides, prompt, labeler, first.panel, first.simulated, use_case))
    return rated


def pairs_of(row: Verdict, names: dict[str, str], order: Sequence[str], unit: Unit) -> list[Pair]:
    """One verdict's pairs of answers by different models, the later model of `order` first."""
    pairs = []
    for first, second in itertools.combinations(row.sides, 2):
        if first.model == second.model:
            continue
        if order.index(names[first.model]) < order.index(names[second.model]):
            first, second = second, first
        outcome = 0.5 if first.worth == second.worth else float(first.worth > second.worth)
        longer = length(first.answer, unit) - length(second.answer, unit)
        pairs.append(
            Pair(
                names[first.model],
                names[second.model],
                outcome,
                longer,
                row.prompt,
                row.labeler,
                row.use_case,
            )
        )
    return pairs


Unit = Literal["tokens", "words", "characters"]


def length_unit(answers: Iterable[Answer]) -> Unit:
    """Tokens; words when some answer's tokens are not known; characters when one has no words to count."""
    every = list(answers)
    if all(answer.tokens for answer in every):
        return "tokens"
    return words.length_unit(answer.text for answer in every)


def length(answer: Answer, unit: Unit) -> float:
    return float(len(answer.tokens or ()) if unit == "tokens" else words.length(answer.text, unit))


def number_of(value: Any) -> float:
    """A JSON number. Raises ValueError for anything else, true and false among them."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{json.dumps(value)} is no number")
    return float(value)


def preferences(path: Path) -> list[Pair]:
    """Pairs from a file of preferences as AlpacaEval publishes them, one JSON object a line: `model`,
    `baseline`, `prompt_id`, `preference` (1: the baseline is better, 2: the model; 1.5 or 0: a tie; anything
    between 1 and 2: 1 plus the judge's probability; null: no verdict, left out), and, where lengths are
    known, `len_model`, `len_baseline` and `dataset`.

    Raises UserError with a line for every row that is none of these.
    """
    pairs, errors = [], []
    for number, line in jsonl.read_lines(path):
        try:
            row: dict[str, Any] = parse_json(line)
            if row["preference"] is None:
                continue
            preference = number_of(row["preference"])
            names = str(row["model"]), str(row["baseline"]), str(row["prompt_id"])
            lengths = [
                number_of(row[key]) for key in ("len_model", "len_baseline") if row.get(key) is not None
            ]
        except (ValueError, KeyError, TypeError) as error:
            what = (
                f"the key {error} is missing"
                if isinstance(error, KeyError)
                else f"not a preference ({error})"
            )
            errors.append(f"{path}:{number}: {what}; a line needs model, baseline, prompt_id and preference")
            continue
        if preference != 0 and not 1 <= preference <= 2:
            errors.append(f"{path}:{number}: preference = {preference}: must be 0 or a number from 1 to 2")
            continue
        longer = lengths[0] - lengths[1] if len(lengths) == 2 else math.nan
        outcome = 0.5 if preference == 0 else preference - 1
        judge = str(row.get("leaderboard", "judge"))
        pairs.append(
            Pair(names[0], names[1], outcome, longer, names[2], judge, str(row.get("dataset", "not stated")))
        )
    if not pairs and not errors:
        errors.append(f"{path}: holds no preference; it must hold one JSON object a line")
    if errors:
        raise UserError(errors)
    return pairs
