"""Simulated labelers are pure, differ from one another, and agree as often as their noise says."""

from __future__ import annotations

from biddable.base.records import Answer, Message, Prompt
from biddable.label import agreement, people

PROMPT = Prompt(
    id="p", messages=(Message(role="user", content="Write about the sea."),), user="u", use_case="generation"
)
ANSWERS = [
    Answer(text="The sea is wide and grey in the morning, and the boats are small on it.", model="a"),
    Answer(text="The sea is wide and grey in the", model="b", finish="length"),
    Answer(text="Bananas bananas bananas", model="c", finish="length"),
    Answer(text="", model="d"),
]


def test_same_question_same_answer_in_any_order() -> None:
    (one, two, *_) = people.panel("training", 1, 12)
    ranks = people.rank(one, PROMPT, ANSWERS)
    assert people.rank(one, PROMPT, ANSWERS) == ranks
    assert people.rank(one, PROMPT, ANSWERS[::-1]) == ranks[::-1]
    assert people.utility(one, PROMPT, ANSWERS[0]) != people.utility(two, PROMPT, ANSWERS[0])


def test_panels_share_nobody_and_an_empty_answer_is_last() -> None:
    training, held_out = people.panel("training", 1, 12), people.panel("held_out", 1, 8)
    assert not {p.id for p in training} & {p.id for p in held_out}
    for person in (*training, *held_out):
        ranks = people.rank(person, PROMPT, ANSWERS)
        assert ranks[3] == max(ranks) and min(ranks) == 1
        assert people.choose(person, PROMPT, ANSWERS) != 3
        overall, form = people.rate(person, PROMPT, ANSWERS[0])
        assert 1 <= overall <= 7 and set(form.values()) <= {True, False, None}


def test_agreement_by_hand() -> None:
    """Item x: 1 2 3 against 1 3 2: the pairs (0,1), (0,2) alike, (1,2) not: 2 of 3. Item y: 1 1 against 1 2: a tie, nothing to compare.
    Item z: 2 1 against 2 1: 1 of 1. Together 3 of 4."""
    rows = [
        ("x", "a", (1, 2, 3)),
        ("x", "b", (1, 3, 2)),
        ("y", "a", (1, 1)),
        ("y", "b", (1, 2)),
        ("z", "a", (2, 1)),
        ("z", "b", (2, 1)),
    ]
    found = agreement.pairwise(rows)
    assert found["agreement"] == 0.75 and found["agreement_pairs"] == 4
    assert found["agreement_low"] <= 0.75 <= found["agreement_high"]
    assert agreement.pairwise(rows[2:4]) == {}
    assert agreement.pairwise([("x", "a", (1, 2)), ("x", "a", (2, 1))]) == {}  # nobody agrees with themselves
