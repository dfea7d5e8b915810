"""The simulated labelers' lists and bands: which kinds of request may be answered by a list, in how many
words, in which form."""

from __future__ import annotations

import pytest

from biddable.run.records import Message, Prompt, Wish
from biddable.simulated import taste

LIST = "- salt\n- waves\n- gulls"


def prompt(text: str, use_case: str | None, *wished: Wish) -> Prompt:
    return Prompt(
        id="p", messages=(Message(role="user", content=text),), user="u", use_case=use_case, wishes=wished
    )


@pytest.mark.parametrize(
    ("use_case", "may"),
    [
        ("brainstorming", True),
        (None, True),
        ("rewrite", True),
        ("summarization", True),
        ("extract", True),
        ("closed_qa", True),
        ("classification", True),
        ("generation", False),
        ("open_qa", False),
        ("chat", False),
        ("other", False),
    ],
)
def test_where_a_list_may_stand(use_case: str | None, may: bool) -> None:
    request = prompt("Tell me of the sea.", use_case)
    assert taste.is_list(request, LIST) is may
    assert not taste.is_list(request, "- one point alone")
    assert taste.is_list(prompt("Tell me of the sea.", use_case, Wish(kind="bullets", count=3)), LIST)


LIST_WORDS = """list lists bullet bullets checklist checklists agenda menu steps ingredients recipe recipes plan
plans schedule schedules timetable"""


@pytest.mark.parametrize("word", LIST_WORDS.split())
def test_words_that_ask_for_a_list(word: str) -> None:
    assert taste.is_list(prompt(f"Write a {word.upper()} for me.", "generation"), LIST)
    assert not taste.is_list(prompt(f"Write a x{word}x for me.", "generation"), LIST)


@pytest.mark.parametrize(
    ("use_case", "expected"),
    [
        ("generation", (10, 120)),
        ("open_qa", (8, 80)),
        ("brainstorming", (8, 100)),
        ("chat", (6, 70)),
        ("classification", (1, 25)),
        ("closed_qa", (1, 40)),
        ("extract", (1, 40)),
        ("other", (1, 80)),
        (None, (1, 80)),
        ("never heard of", (1, 80)),
        # the request has 20 words: 1.3 times as many, 0.8 times as many, at least 12
        ("rewrite", (3, 26)),
        ("summarization", (5, 16)),
    ],
)
def test_words_that_a_kind_of_request_calls_for(use_case: str | None, expected: tuple[int, int]) -> None:
    assert taste.band(prompt("word " * 20, use_case)) == expected


def test_short_requests_and_short_things() -> None:
    """A request of two words may be rewritten in 12. A name, a slogan, a toast is 2 words to half as many as
    usual; in an open question the word changes nothing."""
    assert taste.band(prompt("Rewrite this.", "rewrite")) == (3, 12)
    assert taste.band(prompt("Shorten this.", "summarization")) == (5, 12)
    for word in ("name", "slogans", "title", "headline", "captions", "proverb", "toast", "signs", "mottos"):
        assert taste.band(prompt(f"Think of a {word}.", "generation")) == (2, 60)
        assert taste.band(prompt(f"Think of a {word}.", "brainstorming")) == (2, 50)
    assert taste.band(prompt("What is a slogan?", "open_qa")) == (8, 80)


def test_wishes_may_only_narrow() -> None:
    """`max_words = 2` asks for one word at least (2 // 3 is none); 200 words change neither end; 10 bullets
    of 2 to 20 words are 20 to 200: within the band already."""
    assert taste.band(prompt("x", "generation", Wish(kind="max_words", count=2))) == (1, 2)
    assert taste.band(prompt("x", "generation", Wish(kind="max_words", count=200))) == (10, 120)
    assert taste.band(prompt("x", "generation", Wish(kind="bullets", count=10))) == (10, 120)
    assert taste.band(prompt("x", "generation", Wish(kind="mention", words=("y",)))) == (10, 120)
    two_wishes = (Wish(kind="sentences", count=1), Wish(kind="max_words", count=12))
    assert taste.band(prompt("x", "generation", *two_wishes)) == (4, 12)


@pytest.mark.parametrize(
    ("use_case", "request_text", "good", "bad"),
    [
        ("generation", "Write a haiku.", "Sea\nand salt", "Sea and salt"),
        ("generation", "Write a short poem.", "Sea\n\nand salt", "Sea\n\n "),
        ("generation", "Write an e-mail.", "Dear Ada, come.", "Come, Ada."),
        ("generation", "Write a letter.", "Oh.\nHello Ada, come.", "Say hello to Ada."),
        ("brainstorming", "Think of things.", "salt, waves, gulls", "salt, waves"),
        ("brainstorming", "Think of things.", "salt\nwaves", "salt"),
        ("brainstorming", "Think of things.", "There is salt. There are waves.", "There is salt."),
        ("chat", "Hi.", "Good to see you", "Good to see people"),
        ("chat", "Hi.", "Yes.", "Certainly."),
        ("open_qa", "Where is it?", "In the north.", "In the north?"),
        ("closed_qa", "Where is it?", 'He says "north."', 'He asks "where?"'),
        ("classification", "Which?", "Fruit.", "Fruit?*"),
        ("extract", "Which?", "Fruit.", "Fruit?) "),
        ("summarization", "Shorten.", "It is far.", "Is it far?"),
    ],
)
def test_the_form_that_a_request_calls_for(use_case: str, request_text: str, good: str, bad: str) -> None:
    request = prompt(request_text, use_case)
    assert (taste.form(request, good), taste.form(request, bad)) == (1.0, 0.2)


def test_other_forms_are_free() -> None:
    assert taste.form(prompt("Write a text.", "generation"), "Why?") == 1.0
    assert taste.form(prompt("Rewrite a poem.", "rewrite"), "One line?") == 1.0
    single = Wish(kind="sentences", count=1)
    assert taste.form(prompt("Think of things.", "brainstorming", single), "salt") == 1.0
    two = Wish(kind="sentences", count=2)
    assert taste.form(prompt("Think of things.", "brainstorming", two), "salt") == 0.2


def test_what_a_text_is_about_by_hand() -> None:
    """`content` leaves small words and words of request out and brings the rest to stems. Of the request's
    four things three are enough: two of them are 2/3; of two things one is 1/2; nothing asked, nothing
    missing."""
    assert taste.content("Write two sentences about the wide harbours") == {"wid", "harbour"}
    assert taste.about("Describe salt, waves, gulls, boats", "The gulls and the waves.") == pytest.approx(
        2 / 3
    )
    assert taste.about("Describe salt, waves, gulls, boats", "Gulls, waves, salt, boats.") == 1.0
    assert taste.about("Describe salt and waves", "Waves.") == 0.5
    assert taste.about("Write a short text about it", "Waves.") == 1.0


def test_marks_by_hand() -> None:
    """Six plain words of the eight that make an answer long enough: sense = 6/8 / 0.5, at most 1; two words
    of eight: 1/4 / 0.5 = 1/2. Fitting: 6 of 10 words. One of two wishes is met."""
    request = prompt(
        "Tell me about the sea.",
        "generation",
        Wish(kind="mention", words=("sea",)),
        Wish(kind="mention", words=("gulls",)),
    )
    marks = taste.marks(request, "The sea is wide and cold.", "stop")
    assert (marks.wishes, marks.finished, marks.fresh, marks.clean) == (0.5, 1.0, 1.0, 1.0)
    assert marks.fitting == 0.6 and marks.sense == 1.0 and marks.asked == 1.0
    short = taste.marks(prompt("Tell me about the cold.", "generation"), "Winter comes.", "stop")
    assert (short.plain, short.sense, short.wishes) == (1.0, 0.5, 1.0)
    assert taste.marks(request, " \n", "stop") == (0.0,) * 8


def test_cleanness_by_hand() -> None:
    """Each kind of dirt costs its own; what is outside of letters, digits and common marks costs five times
    its share of the text, foreign letters three times theirs of the letters."""
    plain = "The sea is wide and the harbour is small"
    assert taste.cleanness(plain) == 1.0 and taste.cleanness("Caf\u00e9 \u2014 5 \u20ac, 20\u00b0.") == 1.0
    assert taste.cleanness(f"{plain}, stupid") == pytest.approx(0.2)
    assert taste.cleanness(f"user: {plain}") == pytest.approx(0.4)
    assert taste.cleanness(plain.upper()) == pytest.approx(0.7)
    assert taste.cleanness("THE SEA IS") == 1.0  # eight letters shout nothing
    assert taste.cleanness("a" * 99 + "#") == pytest.approx(1 - 5 / 100)
    assert taste.cleanness("a" * 18 + "\u043c\u043e") == pytest.approx(1 - 3 * 2 / 20)
    assert taste.cleanness("a" * 90 + "[your]") == pytest.approx(1 - 0.2 - 5 * 2 / 96)
