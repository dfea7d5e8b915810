"""What simulated labelers look at: every wish by example, and the ways to cheat that must not pay."""

from __future__ import annotations

import pytest

from biddable.run.records import Answer, Message, Prompt, Wish
from biddable.simulated import labelers, taste, wishes


def prompt(text: str, *wanted: Wish, use_case: str = "generation") -> Prompt:
    return Prompt(
        id="p", messages=(Message(role="user", content=text),), user="u", use_case=use_case, wishes=wanted
    )


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


GOOD = (
    "The harbour smells of salt in the morning. Boats come home with the tide and the gulls cry above them."
)
ASKED = prompt(
    "Write two sentences about the harbour and mention salt.",
    Wish(kind="sentences", count=2),
    Wish(kind="mention", words=("salt",)),
)
FREE = prompt("Write a short text about a harbour.")


CHEATS = (
    "",
    ".",
    "!!!!!!",
    "Thank you!",
    "harbour salt harbour salt",
    "harbour salt boats gulls tide",
    "- harbour\n- salt\n- boats\n- gulls",
    "Salt, boats, gulls, harbour, tide, morning, ships, birds.",
    "The harbour smells of salt. " * 6,
)


@pytest.mark.parametrize("asked", [ASKED, FREE])
@pytest.mark.parametrize("cheat", [*CHEATS, "the prompt"])
def test_cheats_are_worth_half_of_an_honest_answer_at_most(asked: Prompt, cheat: str) -> None:
    honest = labelers.gold(asked, Answer(text=GOOD, model="m"))
    assert honest > 0.9
    cheat = asked.messages[0].content if cheat == "the prompt" else cheat
    assert labelers.gold(asked, Answer(text=cheat, model="m")) < 0.5 * honest


def test_a_list_is_good_where_one_was_asked_for() -> None:
    things = "- boats\n- salt\n- fish\n- ships"
    listed = prompt("List three things in a harbour.", use_case="brainstorming")
    assert (
        labelers.gold(listed, Answer(text=things, model="m"))
        > labelers.gold(FREE, Answer(text=things, model="m")) + 0.4
    )


def test_an_answer_that_breaks_off_is_worth_less() -> None:
    whole = taste.marks(prompt("Tell me about the sea."), GOOD, "stop")
    broken = taste.marks(prompt("Tell me about the sea."), GOOD[:-12], "length")
    assert whole.finished == 1.0 and broken.finished < 0.5
    assert all(0 <= mark <= 1 for mark in (*whole, *broken))


def test_repetition_by_hand() -> None:
    """ "the sea is wide" twice: 8 words, 6 threes in a row, of which the-sea-is and sea-is-wide come twice: 2
    said again; 3 * 2 / 8 = 0.75. "so so good": 3 words, one twice running: 3 * 1 / 3 = 1."""
    assert taste.repetition("the sea is wide the sea is wide") == 0.75
    assert taste.repetition("so so good") == 1.0
    assert taste.repetition(GOOD) == 0.0


def test_own_words_by_hand() -> None:
    """Of an answer that is the prompt, every three words are there: nothing is new. In a question with its
    passage, an answer may use its words."""
    copied = FREE.messages[0].content
    assert taste.ownness(FREE, copied) == 0.0
    assert taste.ownness(FREE, GOOD) == 1.0
    passage = prompt("The ferry leaves the harbour at nine. When does the ferry leave?", use_case="closed_qa")
    assert taste.ownness(passage, "The ferry leaves at nine.") == 1.0
    assert taste.ownness(passage, passage.messages[0].content) == 0.0


@pytest.mark.parametrize(
    ("text", "finish", "mark"),
    [
        ("It is wide.", "stop", 1.0),
        ("The sea is wide and grey today", "stop", 0.7),
        ("The sea is wide and grey and", "stop", 0.4),
        ("It is wide.", "length", 0.3),
        ("It is wide and", "length", 0.0),
    ],
)
def test_how_an_answer_ends(text: str, finish: str, mark: float) -> None:
    assert taste.ending(text, finish) == mark  # type: ignore[arg-type]


def test_how_long_an_answer_may_be() -> None:
    """Between 10 and 40 words is right; half as few or half as many too many count half; twice the most,
    nothing."""
    assert [taste.fit(n, 10, 40) for n in (5, 10, 40, 60, 80, 200)] == [0.5, 1.0, 1.0, 0.5, 0.0, 0.0]
    assert taste.band(prompt("Tell me.", Wish(kind="max_words", count=9))) == (3, 9)


@pytest.mark.parametrize(
    "dirt",
    ["You idiot. ", "assistant: ", "<|im_end|> ", "https://sea.example ", "[your name] ", "море море море "],
)
def test_dirt_is_seen(dirt: str) -> None:
    assert taste.cleanness(GOOD) == 1.0
    assert taste.cleanness(dirt + GOOD) < 0.9


def test_word_salad_is_not_plain() -> None:
    salad = "Zenobear dibble scarecrow ordipus, smeltz alabone riders ayoub foraged clover mandelaz wuthe."
    assert taste.plainness(FREE, GOOD) == 1.0
    assert taste.plainness(FREE, salad) < 0.2


def test_wishes_narrow_the_words_that_a_request_calls_for() -> None:
    """A generation takes 10 to 120 words. Three sentences: at least min(10, 15), at most min(120, 90)."""
    assert taste.band(prompt("Tell me about the sea.")) == (10, 120)
    assert taste.band(prompt("Tell me about the sea.", Wish(kind="sentences", count=3))) == (10, 90)
    assert taste.band(prompt("Tell me about the sea.", Wish(kind="sentences", count=1))) == (5, 30)
    assert taste.band(prompt("Tell me about the sea.", Wish(kind="bullets", count=3))) == (6, 60)
    assert taste.band(prompt("Tell me about the sea.", Wish(kind="max_words", count=30))) == (10, 30)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        # by hand, one for each branch of the rule
        ("gardens", "garden"),
        ("gardening", "garden"),
        ("Gardened", "garden"),
        ("garden's", "garden"),
        ("happiest", "happi"),
        ("happier", "happi"),
        ("parties", "parti"),
        ("tried", "tri"),  # five letters, "ied" and two more: too short for the first rule
        ("seemingly", "seem"),
        ("joyfully", "joi"),  # and a last y becomes i, as in happy
        ("running", "run"),  # a doubled consonant goes,
        ("falling", "fall"),  # but not l, s or z
        ("kindness", "kindness"),  # words in -ss keep their endings
        ("boxes", "box"),
        ("quickly", "quick"),
        ("as", "as"),
        ("bed", "bed"),  # fewer than three letters would be left
        ("like", "lik"),
        ("the", "the"),
        ("happy", "happi"),
        ("by", "by"),
    ],
)
def test_the_stem_of_a_word(word: str, expected: str) -> None:
    assert taste.stem(word) == expected
