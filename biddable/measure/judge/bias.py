"""What a judge's verdicts are made of: the order of the answers, their length, and how often people agree.
Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from biddable.measure import statistics
from biddable.run import words
from biddable.run.records import Answer, Comparison, Prompt

WON = {"A": 1.0, "B": 0.0, "C": 0.5}
"""A verdict as the outcome of the answer shown first."""


class JudgedPair(NamedTuple):
    """One pair with the verdicts on both of its orders; None: the judge gave none."""

    prompt: Prompt
    first: Answer
    second: Answer
    forwards: str | None  # first shown first
    backwards: str | None  # second shown first

    @property
    def outcomes(self) -> tuple[float, float] | None:
        """The first answer's outcome in each order: 1 won, 0 lost, 0.5 a tie; None when a verdict is
        missing."""
        if self.forwards is None or self.backwards is None:
            return None
        return WON[self.forwards], 1 - WON[self.backwards]

    @property
    def outcome(self) -> float | None:
        """The pair's outcome: what both orders say, else a tie."""
        if self.outcomes is None:
            return None
        forwards, backwards = self.outcomes
        return forwards if forwards == backwards else 0.5


def order_and_length_effects(judged: Sequence[JudgedPair], resamples: int, seed: int) -> dict[str, float]:
    """How far order and length decide. Intervals are over prompts."""
    complete = [pair for pair in judged if pair.outcomes is not None]
    prompts = [pair.prompt.id for pair in complete]
    effects: dict[str, float] = {"pairs": len(judged), "without_verdict": len(judged) - len(complete)}
    if not complete:
        return effects
    same = [float(a == b) for a, b in (pair.outcomes or (0, 0) for pair in complete)]
    shown_first = [WON[v] for pair in complete for v in (pair.forwards, pair.backwards) if v is not None]
    effects |= statistics.keyed(
        "consistent", statistics.win_rate(same, prompts, ["judge"] * len(same), resamples, seed)
    )
    twice = [prompt for prompt in prompts for _ in range(2)]
    effects |= statistics.keyed(
        "first_preferred", statistics.win_rate(shown_first, twice, ["judge"] * len(twice), resamples, seed)
    )
    # Only pairs of different lengths that are no tie say whether the longer answer wins.
    unit = words.length_unit(answer.text for pair in complete for answer in (pair.first, pair.second))
    longer_won, longer_prompts = [], []
    for pair in complete:
        gap = words.length(pair.first.text, unit) - words.length(pair.second.text, unit)
        if gap and pair.outcome != 0.5:
            longer_won.append(float((gap > 0) == (pair.outcome == 1.0)))
            longer_prompts.append(pair.prompt.id)
    if longer_won:
        judges = ["judge"] * len(longer_won)
        rate = statistics.win_rate(longer_won, longer_prompts, judges, resamples, seed)
        effects |= statistics.keyed("longer_preferred", rate)
    return effects


def agreement(
    judge: Sequence[Comparison], people: Sequence[Comparison], resamples: int, seed: int
) -> dict[str, float | None]:
    """How often judge and person order the same two answers to the same prompt alike, and how often two
    people do: of the pairs that both order without a tie, as Ouyang et al. 2022, 3.4 count. Where `people`
    ranked none of the judge's pairs the figures are None.
    """
    by_judge = {key: outcome for row in judge for key, outcome in outcomes(row).items()}
    by_people = [
        (key, outcome, row.labeler)
        for row in people
        for key, outcome in outcomes(row).items()
        if key in by_judge and outcome != 0.5
    ]
    summary: dict[str, float | None] = {"agreement_with_people": None, "people_with_each_other": None}
    comparable = [verdict for verdict in by_people if by_judge[verdict[0]] != 0.5]
    if comparable:
        agrees = [float(by_judge[key] == outcome) for key, outcome, _ in comparable]
        prompts, labelers = [key[0] for key, _, _ in comparable], [labeler for _, _, labeler in comparable]
        rate = statistics.win_rate(agrees, prompts, labelers, resamples, seed)
        summary |= statistics.keyed("agreement_with_people", rate)
        summary["agreement_verdicts"] = len(comparable)
    by_pair: dict[tuple[str, str, str], dict[str, float]] = {}
    for key, outcome, labeler in by_people:
        by_pair.setdefault(key, {})[labeler] = outcome
    between_people = [  # once under each of the two names, so that what shares a person is one cluster
        (float(a == b), key[0], name)
        for key, by_labeler in by_pair.items()
        for (first, a), (second, b) in itertools.combinations(by_labeler.items(), 2)
        for name in (first, second)
    ]
    if between_people:
        agrees, prompts, labelers = (list(column) for column in zip(*between_people, strict=True))
        rate = statistics.win_rate(agrees, prompts, labelers, resamples, seed)
        summary |= statistics.keyed("people_with_each_other", rate)
    return summary


def outcomes(row: Comparison) -> dict[tuple[str, str, str], float]:
    """(prompt, first text, second text) in the texts' order -> the former's outcome, for every two different
    texts of a ranking."""
    by_texts = {}
    for (a, rank_a), (b, rank_b) in itertools.combinations(zip(row.answers, row.ranks, strict=True), 2):
        if a.text == b.text:
            continue
        outcome = 0.5 if rank_a == rank_b else float(rank_a < rank_b)
        first, second, outcome = (a, b, outcome) if a.text < b.text else (b, a, 1 - outcome)
        by_texts[(row.prompt.id, first.text, second.text)] = outcome
    return by_texts
