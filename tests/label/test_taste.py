"""What simulated labelers look at: every wish by example, and the ways to cheat that must not pay."""

from __future__ import annotations

import pytest
from biddable.base.records import Answer, Message, Prompt, Wish
from biddable.label import people, taste, wishes


def prompt(text: str, *wanted: Wish, use_case: str = "generation") -> Prompt:
    return Prompt(id="p", messages=(Message(role="user", content=text),), user="u", use_case=use_case, wishes=wanted)


@pytest.mark.parametrize(
    ("wish", "good", "bad"),
    [
        (Wish(kind="sentences", count=2), "The sea is wide. It is also deep.", "The sea is wide."),
        (Wish(kind="max_words", count=4), "The sea is wide.", "The sea is very wide indeed."),
        (Wish(kind="bullets", count=2), "- salt\n- waves", "salt and waves"),
        (Wish(kind="mention", words=("salt", "waves")), "Salt on the waves.", "Salt on the water."),
        (Wish(kind="end_with", words=("Thank you!",)), "I will come. Thank you!", "Thank you! I will come."),
        (Wish(kind="start_with", words=("Dear Ada",)), "Dear Ada, I am here.", "I am here, dear Ada."),
        (Wish(kind="avoid", words=("but",)), "Butter is good.", "Good, but dear."),
    ],
)
def test_each_wish_by_example(wish: Wish, good: str, bad: str) -> None:
    assert wishes.met(wish, good)
    assert not wishes.met(wish, bad)


GOOD = "The harbour smells of salt in the morning. Boats come home with the tide and the gulls cry above them."


@pytest.mark.parametrize(
    "cheat",
    [
        ".",
        "Write two sentences about the harbour and mention salt.",
        "harbour salt harbour salt",
        "The harbour smells of salt. " * 6,
        "",
    ],
)
def test_cheats_are_worth_less_than_an_honest_answer(cheat: str) -> None:
    asked = prompt(
        "Write two sentences about the harbour and mention salt.",
        Wish(kind="sentences", count=2),
        Wish(kind="mention", words=("salt",)),
    )
    crew = people.panel("held_out", 1, 8)
    honest = people.gold(asked, Answer(text=GOOD, model="m"), crew)
    assert people.gold(asked, Answer(text=cheat, model="m"), crew) < honest - 0.1


def test_an_answer_that_breaks_off_is_worth_less() -> None:
    whole = taste.marks(prompt("Tell me about the sea."), GOOD, "stop")
    broken = taste.marks(prompt("Tell me about the sea."), GOOD[:-12], "length")
    assert whole.finished == 1.0 and broken.finished < 0.5
    assert all(0 <= mark <= 1 for mark in (*whole, *broken))
