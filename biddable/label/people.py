"""Simulated labelers: two panels of invented people who share the marks of `taste` but weigh them each in their own way, with a noise of their own.

They stand in for people where a loop has to be shown or tested without any. What they prefer is known exactly, so nothing measured with
them is a claim about people. Everything they do is a pure function of person, prompt and answer: the same question gets the same
answer in whatever order it is asked, today and after a restart.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist, fmean
from typing import Literal, NamedTuple

from biddable.base.records import Finish, Prompt
from biddable.label.taste import Marks, marks

Panel = Literal["training", "held_out"]
SIZES: dict[Panel, int] = {"training": 12, "held_out": 8}
"""People in each panel. Nobody is in both."""
WEIGHTS = {
    "asked": 0.24,
    "wishes": 0.22,
    "finished": 0.20,
    "plain": 0.14,
    "fitting": 0.08,
    "fresh": 0.06,
    "clean": 0.06,
}
"""What the average person gives for each mark; each person's are these times exp(SPREAD * z), scaled to a sum of 1."""
SPREAD = 0.4
"""How much tastes differ: two in three people weigh a mark between 0.67 and 1.5 times the average."""
NOISE = 0.14
"""Standard deviation of the average person's noise, on the scale of the utility (0 to 1). Chosen so that two people agree on about 73 % of
the pairs that both rank without a tie (Ouyang et al. 2022, 3.4: 72.6 % and 77.3 %; Stiennon et al. 2020: 73 %)."""
NOISE_SPREAD = 0.2
"""How much steadiness differs: the noise of each person is NOISE * exp(NOISE_SPREAD * z), z evenly over the panel, so that the panels are alike."""
TIE = 0.03
"""Answers whose utility differs by less than this are equally good to a person."""
LENIENCY = 0.05
"""Standard deviation of what a person adds to every rating."""
_NORMAL = NormalDist()


class Seen(NamedTuple):
    """One answer as a labeler sees it: without its model."""

    text: str
    finish: Finish


@dataclass(frozen=True)
class Labeler:
    """One invented person."""

    name: str
    panel: Panel
    weights: dict[str, float]  # mark -> share; they sum to 1
    noise: float
    leniency: float


@cache
def panel(name: Panel) -> tuple[Labeler, ...]:
    """The people of a panel, always the same ones."""
    size = SIZES[name]
    steadiness = [_NORMAL.inv_cdf((number + 0.5) / size) for number in range(size)]
    return tuple(_person(f"sim-{name.replace('_', '-')}-{n:02d}", name, z) for n, z in enumerate(steadiness, 1))


def _person(name: str, panel: Panel, steadiness: float) -> Labeler:
    raw = {mark: weight * math.exp(SPREAD * _normal(name, "weight", mark)) for mark, weight in WEIGHTS.items()}
    total = sum(raw.values())
    return Labeler(
        name=name,
        panel=panel,
        weights={mark: weight / total for mark, weight in raw.items()},
        noise=NOISE * math.exp(NOISE_SPREAD * steadiness),
        leniency=LENIENCY * _normal(name, "leniency"),
    )


def _normal(*key: str) -> float:
    """A draw from the standard normal distribution that belongs to this key."""
    number = int.from_bytes(hashlib.sha256("\x1f".join(key).encode()).digest()[:8], "big")
    return _NORMAL.inv_cdf((number + 0.5) / 2**64)


def taste(labeler: Labeler, found: Marks) -> float:
    """What a person thinks of an answer's marks, without noise: from 0 to 1."""
    return found.sense * sum(weight * getattr(found, mark) for mark, weight in labeler.weights.items())


def utility(labeler: Labeler, prompt: Prompt, answer: Seen) -> float:
    """What a person thinks of an answer this once, noise included. An empty answer is worse than any other."""
    if not answer.text.strip():
        return -math.inf
    said = [message.content for message in prompt.messages]
    noise = labeler.noise * _normal(labeler.name, "noise of", *said, "answer", answer.text, answer.finish)
    return taste(labeler, marks(prompt, answer.text, answer.finish)) + noise


def rank(labeler: Labeler, prompt: Prompt, answers: Sequence[Seen]) -> tuple[int, ...]:
    """A person's ranking: one rank an answer, 1 is best, near-equal answers tie (and the rank after a tie of two skips one: 1, 1, 3).

    An answer ties with the best one of its group, so that ties do not chain along a row of small steps.
    """
    worth = [utility(labeler, prompt, answer) for answer in answers]
    ranks = [0] * len(worth)
    group, best = 0, math.inf
    for place, index in enumerate(sorted(range(len(worth)), key=lambda i: -worth[i]), 1):
        if not (worth[index] == best or best - worth[index] < TIE):
            group, best = place, worth[index]
        ranks[index] = group
    return tuple(ranks)


def choose(labeler: Labeler, prompt: Prompt, answers: Sequence[Seen]) -> int:
    """The place of the answer that a person likes best; the first of equals."""
    worth = [utility(labeler, prompt, answer) for answer in answers]
    return worth.index(max(worth))


def rate(labeler: Labeler, prompt: Prompt, answer: Seen) -> int:
    """A person's rating from 1 (worst) to 7: seven equal steps of the utility from 0 to 1, after adding the person's leniency."""
    worth = utility(labeler, prompt, answer) + labeler.leniency
    return 1 if worth < 0 else min(7, 1 + int(7 * worth))


def form(prompt: Prompt, answer: Seen) -> dict[str, bool | None]:
    """The yes/no questions of the form (Ouyang et al. 2022, table 3) that these people can answer; None: not applicable."""
    found = marks(prompt, answer.text, answer.finish)
    return {
        "fails_task": found.sense < 0.5 or found.asked < 0.4,
        "inappropriate_for_assistant": found.clean < 0.5,
        "satisfies_constraint": found.wishes == 1.0 if prompt.wishes else None,
    }


def gold(prompt: Prompt, answer: Seen, name: Panel = "held_out") -> float:
    """The panel's mean taste of an answer, without noise: from 0 to 1. What the noisy rankings are made from."""
    found = marks(prompt, answer.text, answer.finish)
    return fmean(taste(labeler, found) for labeler in panel(name))
