"""What simulated labelers read, by hand: stems, sentences, wishes at their edges, repetition, own and plain words."""

from __future__ import annotations

from typing import Any

import pytest

from biddable.run.records import Message, Prompt, Wish
from biddable.simulated import taste, wishes

WORDS = "ash bay cat dog elm fig gum hat ivy jar"
"""Ten words that the request allows, no small ones among them."""


def prompt(text: str, use_case: str | None = "generation", *wished: Wish) -> Prompt:
    return Prompt(
        id="p", messages=(Message(role="user", content=text),), user="u", use_case=use_case, wishes=wished
    )


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("supposedly", "suppos"),
        ("kindest", "kind"),
        ("kinder", "kind"),
        ("buried", "buri"),  # six letters: one more than "ied" and two
        ("cities", "citi"),
        ("earlier", "earli"),
        ("buzzing", "buzz"),
        ("passing", "pass"),
        ("adding", "add"),  # three letters keep the second of two
        ("planned", "plan"),
        ("asked", "ask"),
        ("gate", "gat"),
        ("try", "tri"),
        ("seas", "sea"),
        ("bus", "bus"),  # two letters would be left
        ("glass", "glass"),
    ],
)
def test_more_stems(word: str, expected: str) -> None:
    assert taste.stem(word) == expected


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("What a day \N{SLIGHTLY SMILING FACE}", 1.0),  # a symbol closes too
        ("(as they say here in the north)", 1.0),
        ("There is so much to see,", 0.4),
        ("There is so much to see here:", 0.4),
        ("There is so much to show you", 0.7),  # "you" may end a sentence, "the" may not
        ("There is so much to show the", 0.4),
        ("Four words have weight", 1.0),
        ("But five words won't suffice", 0.7),
        ("Dear Ada,\nsee you\nBob Gray of the old harbour office team", 1.0),  # a line of eight words
        ("Dear Ada,\nsee you\nBob Gray of the old grey harbour office team", 0.7),  # of nine
    ],
)
def test_how_more_answers_end(text: str, mark: float) -> None:
    assert taste.ending(text, "stop") == mark


def test_what_is_said_again_counts_three_times_over_all_words() -> None:
    """Twenty words each. A line of more than three characters twice: 3 * 3 / 20; a run of five letters: its
    half, 2; a word twice running, also with a hyphen between: 1; three words in a row twice: 1."""
    filler = "ice jam keg log map net oak pan quay rug"  # ten
    more = "sand tent urn vase wall xebec"  # six
    assert taste.repetition(f"sea air\n{filler}\nsea air\n{more}") == pytest.approx(3 * 3 / 20)
    assert taste.repetition(f"sea\n{filler}\nsea\n{more} yak zoo") == 0.0  # three characters are no line
    assert taste.repetition(f"waaaaave air {filler} {more} yak zoo") == pytest.approx(3 * 2 / 20)
    assert taste.repetition(f"waaave air {filler} {more} yak zoo") == 0.0
    assert taste.repetition(f"ho-ho air {filler} {more} yak") == pytest.approx(3 * 1 / 20)
    assert taste.repetition(f"sea air fog {filler} sea air fog {more[:18]}") == pytest.approx(3 * 1 / 20)
    assert taste.repetition("") == 0.0 and taste.repetition("5555 ---- ....") == 0.0


@pytest.mark.parametrize(
    ("use_case", "request_text", "answer", "mark"),
    [
        # of four triples one is the request's (below 0.3), of six things three are new
        ("generation", "ash bay cat dog", "ash bay cat elm fig gum", 1.0),
        # two of three triples: (2/3 - 0.3) / 0.6 is taken off; one of five things is new: 0.2 / 0.3
        ("generation", "ash bay cat dog", "ash bay cat dog elm", (1 - (2 / 3 - 0.3) / 0.6) * 0.2 / 0.3),
        ("generation", "ash bay cat dog", "bay ash", 0.0),  # no triple, and nothing new
        ("generation", "ash bay cat dog", "it is", 1.0),  # no thing at all is named
        # seven of the request's eight triples are handed back: (7/8 - 0.6) / 0.35
        ("closed_qa", WORDS, "ash bay cat dog elm fig gum hat ivy", 1 - (7 / 8 - 0.6) / 0.35),
        # five of eight back: (5/8 - 0.6) / 0.35; five of the answer's six are the request's: (5/6 - 0.7) / 0.3
        ("extract", WORDS, "ash bay cat dog elm fig gum zoo", 1 - (5 / 8 - 0.6) / 0.35),
        ("rewrite", WORDS, "ash bay cat dog elm fig gum zoo", 1 - (5 / 6 - 0.7) / 0.3),
        ("summarization", WORDS, "ash bay cat dog elm fig gum zoo", 1 - (5 / 6 - 0.7) / 0.3),
        ("rewrite", WORDS, "ash bay cat dog elm yak zoo", 1.0),
        ("rewrite", "ash bay", "ash bay", 1.0),  # too short for a row of three
    ],
)
def test_own_words_of_each_kind_of_request(
    use_case: str, request_text: str, answer: str, mark: float
) -> None:
    assert taste.ownness(prompt(request_text, use_case), answer) == pytest.approx(mark)


@pytest.mark.parametrize(
    ("use_case", "answer", "mark"),
    [
        # four of five words are ordinary: (0.8 - 0.6) / 0.35
        (None, "ash bay cat dog zxq", 0.2 / 0.35),
        (None, "ash bay cat 42 zxq", 0.2 / 0.35),  # digits are
        (None, "ash-bay cat dog zxq", 0.2 / 0.35),  # parts at hyphens count
        (None, "ash bay cat zxq vrk", 0.0),  # three of five: 0.6
        # six words need small ones, and five do not; where ten words are called for, four do
        (None, "ash bay cat dog elm", 1.0),
        (None, "ash bay cat dog elm fig", 0.0),
        ("generation", "ash bay cat", 1.0),
        ("generation", "ash bay cat dog", 0.0),
        # one small word in ten is half of the fifth that there should be
        ("generation", "the ash bay cat dog elm fig gum hat ivy", 0.5),
        ("generation", "the ash and bay cat dog elm fig gum hat", 1.0),
        # a list where one may stand needs none
        ("brainstorming", "- ash bay cat\n- dog elm fig", 1.0),
    ],
)
def test_plain_words(use_case: str | None, answer: str, mark: float) -> None:
    assert taste.plainness(prompt(WORDS, use_case), answer) == pytest.approx(mark)


def test_asked_is_mostly_what_it_is_about_and_partly_its_form() -> None:
    """Of salt and waves the answer speaks of one: 0.65 / 2; its form is right, 0.35, or worth a fifth of
    that."""
    request = prompt("Describe salt and waves.", "open_qa")
    assert taste.marks(request, "The waves are wide.", "stop").asked == pytest.approx(0.65 / 2 + 0.35)
    assert taste.marks(request, "Are the waves wide?", "stop").asked == pytest.approx(0.65 / 2 + 0.35 * 0.2)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Dr. Gray came. He left.", 2),
        ("It was 5 p.m. by the clock.", 1),
        ("Take herbs, e.g. Basil. Then stop.", 2),
        ("J. Smith came.", 1),
        ("It was I. He left.", 2),  # an I is a word
        ('He said "Go." Then he left.', 2),
        ("Well\N{HORIZONTAL ELLIPSIS} Yes! No?", 3),
        ("It is far. And wide", 2),
        ("One. two. Three.", 2),  # a small letter goes on
        ("The sea\nis wide.", 1),
        ("The sea\n\nis wide.", 2),
        ("Dear Ada,\n\nCome soon.", 1),
        ("Shopping:\n- salt\n- milk", 2),
        ("Here is my whole list:\n1. salt\n2) milk", 3),  # five words are no heading
        ("!!! ...", 0),
        ("", 0),
    ],
)
def test_sentences_as_a_reader_counts_them(text: str, count: int) -> None:
    assert len(wishes.sentences(text)) == count
    if count:
        assert wishes.met(Wish(kind="sentences", count=count), text)
        assert not wishes.met(Wish(kind="sentences", count=count + 1), text)


def test_words_and_lists() -> None:
    assert wishes.words("It\N{RIGHT SINGLE QUOTATION MARK}s a well-known FACT, 42_x.") == [
        "it's", "a", "well-known", "fact", "42", "x",
    ]  # fmt: skip
    assert wishes.bullets("- a\n * b\n\N{BULLET} c\n1. d\n12) e\n+ f") == 6
    assert wishes.bullets("-a\n123. b\nc - d\n- \n") == 0
    assert not wishes.met(Wish(kind="max_words", count=9), "...")  # no word meets no wish


WISHES: list[tuple[str, str, str, bool]] = [
    ("mention", "gull", "Two gulls came.", True),
    ("mention", "gull", "The gull's cry.", True),
    ("mention", "box", "Two BOXES came.", True),
    ("mention", "gull", "A gullible man.", False),
    ("mention", "gull", "A seagull came.", False),
    ("mention", "old  sea", "The old\nsea.", True),
    ("avoid", "sea", "The seas.", True),  # another word
    ("avoid", "sea", "The SEA!", False),
    ("start_with", "Dear Ada", '"*Dear  Ada*, come."', True),
    ("start_with", "Dear Ada", "Dear Adam, come.", False),
    ("start_with", "Dear Ada", "Oh dear Ada", False),
    ("end_with", "the end", "This is the end!\N{RIGHT DOUBLE QUOTATION MARK} ", True),
    ("end_with", "the end", "This is the end, friend", False),
    ("end_with", "the end", "Breathe end.", False),
    ("end_with", "Thank you!", 'He said "Thank you!"', True),
    ("end_with", "Thank you!", "Thank you!!", False),
    ("end_with", "Thank you!", "Thank you.", False),
]


@pytest.mark.parametrize(("kind", "phrase", "text", "met"), WISHES)
def test_phrases(kind: Any, phrase: str, text: str, met: bool) -> None:
    assert wishes.met(Wish(kind=kind, words=(phrase,)), text) is met


def test_of_several_words_all_are_mentioned_none_is_used_and_one_begins() -> None:
    both = ("salt", "waves")
    assert not wishes.met(Wish(kind="mention", words=both), "Salt.")
    assert not wishes.met(Wish(kind="avoid", words=both), "Waves.")
    assert wishes.met(Wish(kind="start_with", words=both), "Waves came.")
    assert wishes.met(Wish(kind="end_with", words=both), "Only salt.")
