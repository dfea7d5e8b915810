"""Simulated labelers are pure, differ from one another, and agree as often as their noise says."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from biddable.run.records import Answer, Message, Prompt
from biddable.simulated import labelers

PROMPT = Prompt(
    id="p", messages=(Message(role="user", content="Write about the sea."),), user="u", use_case="generation"
)
GOOD = Answer(text="The sea is wide and grey in the morning, and the boats are small on it.", model="a")
ANSWERS = [
    GOOD,
    Answer(text="The sea is wide and grey in the", model="b", finish="length"),
    Answer(text="Bananas bananas bananas", model="c", finish="length"),
    Answer(text="", model="d"),
]


def test_same_question_same_answer_in_any_order() -> None:
    (one, two, *_) = labelers.panel("training", 1, 12)
    ranks = labelers.rank(one, PROMPT, ANSWERS)
    assert labelers.rank(one, PROMPT, ANSWERS) == ranks
    assert labelers.rank(one, PROMPT, ANSWERS[::-1]) == ranks[::-1]
    assert labelers.utility(one, PROMPT, GOOD) != labelers.utility(two, PROMPT, GOOD)


def test_who_wrote_an_answer_changes_nothing() -> None:
    one = labelers.panel("training", 1, 12)[0]
    other = GOOD.model_copy(update={"model": "z", "step": 7, "score": 3.0})
    assert labelers.utility(one, PROMPT, GOOD) == labelers.utility(one, PROMPT, other)


def test_panels_share_nobody_and_an_empty_answer_is_last() -> None:
    training, held_out = labelers.panel("training", 1, 12), labelers.panel("held_out", 1, 8)
    assert not {p.id for p in training} & {p.id for p in held_out}
    for person in (*training, *held_out):
        assert sum(person.weights.values()) == pytest.approx(1.0)
        ranks = labelers.rank(person, PROMPT, ANSWERS)
        assert ranks[3] == max(ranks) and min(ranks) == 1
        assert labelers.choose(person, PROMPT, ANSWERS) != 3
        overall, form = labelers.rate(person, PROMPT, GOOD)
        assert 1 <= overall <= 7 and set(form.values()) <= {True, False, None}
        assert form["satisfies_constraint"] is None  # the prompt has no wish
        assert labelers.rate(person, PROMPT, ANSWERS[3])[0] == 1


def test_another_seed_is_other_people_and_the_same_seed_the_same() -> None:
    assert labelers.panel("training", 1, 3) == labelers.panel("training", 1, 3)
    assert labelers.panel("training", 1, 3)[0].weights != labelers.panel("training", 2, 3)[0].weights
    assert labelers.panel("training", 1, 3)[0].weights != labelers.panel("held_out", 1, 3)[0].weights


def test_ranks_are_dense_and_follow_utility(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worth 0.50, 0.49, 0.40, 0.39, 0.475 and nothing: 0.50 ties with what is less than 0.03 below it (0.49,
    0.475); 0.40 with 0.39; nothing is last."""
    worth = dict(zip("abcdef", (0.50, 0.49, 0.40, 0.39, 0.475, -math.inf), strict=True))
    monkeypatch.setattr(labelers, "utility", lambda person, prompt, answer: worth[answer.text])
    one = labelers.panel("training", 1, 1)[0]
    assert labelers.rank(one, PROMPT, [Answer(text=name, model="m") for name in worth]) == (1, 1, 2, 2, 1, 3)
    assert labelers.choose(one, PROMPT, [Answer(text=name, model="m") for name in "dba"]) == 2
    empty = [Answer(text="f", model="m")] * 2
    assert labelers.rank(one, PROMPT, empty) == (1, 1)


def test_a_rating_rises_with_utility(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven equal steps from 0 to 1: 0.5 is in the fourth (3/7 = 0.43 to 4/7 = 0.57)."""
    one = labelers.Person("x", "training", 1, labelers.panel("training", 1, 1)[0].weights, 0.0, 0.0)
    given = []
    for worth in (-0.2, 0.1, 0.5, 0.9, 1.3):
        monkeypatch.setattr(labelers, "utility", lambda person, prompt, answer, worth=worth: worth)
        given.append(labelers.rate(one, PROMPT, GOOD)[0])
    assert given == [1, 1, 4, 7, 7]


def test_a_lenient_person_rates_higher(monkeypatch: pytest.MonkeyPatch) -> None:
    """A utility of 0.5 is a 4; with a leniency of 0.1 it is 0.6, above 4/7 = 0.571: a 5; with -0.1 it is 0.4,
    below 3/7 = 0.429: a 3."""
    monkeypatch.setattr(labelers, "utility", lambda person, prompt, answer: 0.5)
    weights = labelers.panel("training", 1, 1)[0].weights
    people = [labelers.Person("x", "training", 1, weights, 0.0, leniency) for leniency in (-0.1, 0.0, 0.1)]
    assert [labelers.rate(person, PROMPT, GOOD)[0] for person in people] == [3, 4, 5]


def test_gold_is_the_mean_without_noise() -> None:
    crew = labelers.panel("training", 1, 200)
    alone = [labelers.gold(PROMPT, answer) for answer in ANSWERS]
    assert all(better > worse for better, worse in pairwise(alone[:3])) and alone[3] == 0.0
    for answer, average in zip(ANSWERS, alone, strict=True):
        assert labelers.gold(PROMPT, answer, crew) == pytest.approx(average, abs=0.03)
    noise = [labelers.utility(p, PROMPT, GOOD) - labelers.gold(PROMPT, GOOD, [p]) for p in crew]
    assert abs(sum(noise) / len(noise)) < 4 * labelers.NOISE / math.sqrt(len(crew))
