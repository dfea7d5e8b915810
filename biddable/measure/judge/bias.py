"""What a judge's verdicts are made of: the order of the answers, their length, and how often people say the same. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from biddable.measure import statistics
from biddable.measure.statistics import Estimate
from biddable.run.records import Answer, Comparison, Prompt

WON = {"A": 1.0, "B": 0.0, "C": 0.5}
"""A verdict as the outcome of the answer shown first."""


class Judged(NamedTuple):
    """One pair with the verdicts on both of its orders; None: the judge gave none."""

    prompt: Prompt
    first: Answer
    second: Answer
    forwards: str | None  # first shown first
    backwards: str | None  # second shown first

    @property
    def outcomes(self) -> tuple[float, float] | None:
        """The first answer's outcome in each order: 1 won, 0 lost, 0.5 a tie; None when a verdict is missing."""
        if self.forwards is None or self.backwards is None:
            return None
        return WON[self.forwards], 1 - WON[self.backwards]

    @property
    def outcome(self) -> float | None:
        """The pair's outcome: what both orders say, else a tie."""
        both = self.outcomes
        return None if both is None else both[0] if both[0] == both[1] else 0.5


def effects(judged: Sequence[Judged], resamples: int, seed: int) -> dict[str, float]:
    """How far order and length decide. Intervals are over prompts."""
    whole = [one for one in judged if one.outcomes is not None]
    prompts = [one.prompt.id for one in whole]
    found: dict[str, float] = {"pairs": len(judged), "without_verdict": len(judged) - len(whole)}
    if not whole:
        return found
    same = [float(a == b) for a, b in (one.outcomes or (0, 0) for one in whole)]
    shown_first = [WON[said] for one in whole for said in (one.forwards, one.backwards) if said is not None]
    found |= keyed("consistent", statistics.win_rate(same, prompts, ["judge"] * len(same), resamples, seed))
    twice = [prompt for prompt in prompts for _ in range(2)]
    found |= keyed(
        "first_preferred", statistics.win_rate(shown_first, twice, ["judge"] * len(twice), resamples, seed)
    )
    longer, where, gaps, won = [], [], [], []
    for one in whole:
        gap = words(one.first) - words(one.second)
        outcome = one.outcome
        assert outcome is not None
        gaps.append(float(gap))
        won.append(outcome)
        if gap and outcome != 0.5:
            longer.append(float((gap > 0) == (outcome == 1.0)))
            where.append(one.prompt.id)
    if longer:
        found |= keyed(
            "longer_preferred", statistics.win_rate(longer, where, ["judge"] * len(longer), resamples, seed)
        )
    return found


def words(answer: Answer) -> int:
    """An answer's length in words."""
    return len(answer.text.split())


def agreement(
    judge: Sequence[Comparison], people: Sequence[Comparison], resamples: int, seed: int
) -> dict[str, float | None]:
    """How often judge and person order the same two answers to the same prompt alike, and how often two people do: of the pairs that both order without a tie, as
    Ouyang et al. 2022, 3.4 count. Where `people` ranked none of the judge's pairs the figures are None.
    """
    own = {key: outcome for row in judge for key, outcome in outcomes(row).items()}
    theirs = [
        (key, outcome, row.labeler) for row in people for key, outcome in outcomes(row).items() if key in own
    ]
    found: dict[str, float | None] = {"agreement_with_people": None, "people_with_each_other": None}
    theirs = [one for one in theirs if one[1] != 0.5]
    judged = [one for one in theirs if own[one[0]] != 0.5]
    if judged:
        told = [float(own[key] == outcome) for key, outcome, _ in judged]
        prompts, labelers = [key[0] for key, _, _ in judged], [labeler for _, _, labeler in judged]
        found |= keyed("agreement_with_people", statistics.win_rate(told, prompts, labelers, resamples, seed))
        found["agreement_verdicts"] = len(judged)
    by_pair: dict[tuple[str, str, str], dict[str, float]] = {}
    for key, outcome, labeler in theirs:
        by_pair.setdefault(key, {})[labeler] = outcome
    both = [  # once under each of the two names, so that what shares a person is one cluster
        (float(a == b), key[0], name)
        for key, held in by_pair.items()
        for (one, a), (other, b) in itertools.combinations(held.items(), 2)
        for name in (one, other)
    ]
    if both:
        told, prompts, labelers = (list(column) for column in zip(*both, strict=True))
        found |= keyed(
            "people_with_each_other", statistics.win_rate(told, prompts, labelers, resamples, seed)
        )
    return found


def outcomes(row: Comparison) -> dict[tuple[str, str, str], float]:
    """(prompt, one text, other text) in the texts' order -> the former's outcome, for every two different texts of a ranking."""
    found = {}
    for (a, rank), (b, other) in itertools.combinations(zip(row.answers, row.ranks, strict=True), 2):
        if a.text == b.text:
            continue
        outcome = 0.5 if rank == other else float(rank < other)
        one, two, outcome = (a, b, outcome) if a.text < b.text else (b, a, 1 - outcome)
        found[(row.prompt.id, one.text, two.text)] = outcome
    return found


def keyed(key: str, found: Estimate) -> dict[str, float]:
    """An estimate under its names in a summary."""
    return {key: found.value, f"{key}_low": found.low, f"{key}_high": found.high}
