"""Simulated labelers: two panels of invented people who share the marks of `taste` but weigh them each in
their own way, with a noise of their own.

They stand in for people where a loop has to be shown or tested without any. What they prefer is known
exactly, so nothing measured with them is a claim about people. Everything they do is a pure function of
person, prompt and answer: the same question gets the same answer in whatever order it is asked, today and
after a restart.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist, fmean
from typing import Literal

from biddable.run.records import Answer, Prompt
from biddable.simulated.taste import Marks, marks

Panel = Literal["training", "held_out"]
WEIGHTS = {
    "asked": 0.14,
    "wishes": 0.20,
    "finished": 0.38,
    "plain": 0.12,
    "fitting": 0.10,
    "fresh": 0.03,
    "clean": 0.03,
}
"""What the average person gives for each mark; each person's are these times exp(SPREAD * z), scaled to a sum
of 1."""
SPREAD = 0.4
"""How much tastes differ: two in three people weigh a mark between 0.67 and 1.5 times the average."""
NOISE = 0.14
"""Standard deviation of the average person's noise, on the scale of the utility (0 to 1). Chosen so that two
people agree on about 73 % of the pairs that both rank without a tie (Ouyang et al. 2022, 3.4: 72.6 % and
77.3 %; Stiennon et al. 2020: 73 %)."""
NOISE_SPREAD = 0.2
"""How much steadiness differs: the noise of each person is NOISE * exp(NOISE_SPREAD * z), z evenly over the
panel, so that the panels are alike."""
TIE = 0.03
"""Answers whose utility differs by less than this are equally good to a person."""
LENIENCY = 0.05
"""Standard deviation of what a person adds to every rating."""
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Person:
    """One invented person."""

    id: str
    panel: Panel
    seed: int
    weights: dict[str, float]  # mark -> share; they sum to 1
    noise: float
    leniency: float


@cache
def panel(name: Panel, seed: int, size: int) -> tuple[Person, ...]:
    """The people of a panel: the same ones for the same seed and size. Nobody is in both panels."""
    steadiness = [_NORMAL.inv_cdf((number + 0.5) / size) for number in range(size)]
    return tuple(
        _person(f"sim-{name.replace('_', '-')}-{n:02d}", name, seed, z) for n, z in enumerate(steadiness, 1)
    )


def _person(name: str, panel: Panel, seed: int, steadiness: float) -> Person:
    raw = {
        mark: weight * math.exp(SPREAD * normal_draw(seed, name, "weight", mark))
        for mark, weight in WEIGHTS.items()
    }
    total = sum(raw.values())
    return Person(
        id=name,
        panel=panel,
        seed=seed,
        weights={mark: weight / total for mark, weight in raw.items()},
        noise=NOISE * math.exp(NOISE_SPREAD * steadiness),
        leniency=LENIENCY * normal_draw(seed, name, "leniency"),
    )


def normal_draw(*key: object) -> float:
    """A draw from the standard normal distribution that belongs to this key."""
    number = int.from_bytes(
        hashlib.sha256("\x1f".join(str(part) for part in key).encode("utf-8", "surrogatepass")).digest()[:8],
        "big",
    )
    return _NORMAL.inv_cdf((number + 0.5) / 2**64)


def taste(person: Person, answer_marks: Marks) -> float:
    """What a person thinks of an answer's marks, without noise: from 0 to 1."""
    return answer_marks.sense * sum(
        weight * getattr(answer_marks, mark) for mark, weight in person.weights.items()
    )


def utility(person: Person, prompt: Prompt, answer: Answer) -> float:
    """What a person thinks of an answer this once, noise included. An empty answer is worse than any
    other."""
    if not answer.text.strip():
        return -math.inf
    messages = [message.content for message in prompt.messages]
    noise = person.noise * normal_draw(
        person.seed, person.id, "noise of", *messages, "answer", answer.text, answer.finish
    )
    return taste(person, marks(prompt, answer.text, answer.finish)) + noise


def rank(person: Person, prompt: Prompt, answers: Sequence[Answer]) -> tuple[int, ...]:
    """A person's ranking: one rank an answer, 1 is best, near-equal answers tie. Ranks are dense: after a tie
    of two comes the next number (1, 1, 2).

    An answer ties with the best one of its group, so that ties do not chain along a row of small steps.
    """
    utilities = [utility(person, prompt, answer) for answer in answers]
    ranks = [0] * len(utilities)
    group, best = 0, math.inf
    for index in sorted(range(len(utilities)), key=lambda i: -utilities[i]):
        if not (utilities[index] == best or best - utilities[index] < TIE):
            group, best = group + 1, utilities[index]
        ranks[index] = group
    return tuple(ranks)


def choose(person: Person, prompt: Prompt, answers: Sequence[Answer]) -> int:
    """The place of the answer that a person likes best; the first of equals."""
    utilities = [utility(person, prompt, answer) for answer in answers]
    return utilities.index(max(utilities))


def rate(person: Person, prompt: Prompt, answer: Answer) -> tuple[int, dict[str, bool | None]]:
    """A person's rating from 1 (worst) to 7, and the yes/no questions of the form.

    The rating is seven equal steps of the utility from 0 to 1, after adding the person's leniency.
    """
    value = utility(person, prompt, answer) + person.leniency
    return 1 if value < 0 else min(7, 1 + int(7 * value)), form(prompt, answer)


def form(prompt: Prompt, answer: Answer) -> dict[str, bool | None]:
    """The yes/no questions of the form (Ouyang et al. 2022, table 3) that these people can answer; None: not
    applicable."""
    answer_marks = marks(prompt, answer.text, answer.finish)
    return {
        "fails_task": answer_marks.sense < 0.5 or answer_marks.asked < 0.4,
        "inappropriate_for_assistant": answer_marks.clean < 0.5,
        "satisfies_constraint": answer_marks.wishes == 1.0 if prompt.wishes else None,
    }


def gold(prompt: Prompt, answer: Answer, people: Sequence[Person] = ()) -> float:
    """The people's mean taste of an answer without noise, from 0 to 1; without people, that of the average
    person.

    What their noisy rankings are made from.
    """
    answer_marks = marks(prompt, answer.text, answer.finish)
    if not people:
        return answer_marks.sense * sum(
            weight * getattr(answer_marks, mark) for mark, weight in WEIGHTS.items()
        )
    return fmean(taste(person, answer_marks) for person in people)
