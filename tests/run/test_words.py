"""Words in many scripts; English as regular expressions have it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biddable.run import words

CASES = [
    ("Hello, don't stop_it 3.5", ["Hello", "don", "t", "stop_it", "3", "5"], True, True),
    ("Ça va? Größe!", ["Ça", "va", "Größe"], True, True),
    ("नमस्ते दुनिया।", ["नमस्ते", "दुनिया"], True, False),
    ("한국어 단어", ["한국어", "단어"], True, False),
    ("Привет, мир", ["Привет", "мир"], True, False),
    ("السلام عليكم", ["السلام", "عليكم"], True, False),
    ("你好，世界", ["你", "好", "世", "界"], False, False),
    ("これはペンです。", ["こ", "れ", "は", "ペ", "ン", "で", "す"], False, False),
    ("น้ำดี", ["น้", "ำ", "ดี"], False, False),
    ("The word 水 means water, as everybody here knows", None, True, True),
    ("?!", [], True, True),
]


@pytest.mark.parametrize(("text", "parts", "has_words", "is_latin"), CASES)
def test_words_by_hand(text: str, parts: list[str] | None, has_words: bool, is_latin: bool) -> None:
    assert parts is None or words.words(text) == parts
    assert words.has_words(text) is has_words
    assert words.is_latin(text) is is_latin


@given(st.text(alphabet="abcXYZ éüñ0123_.,'’-–\n\t"))
def test_texts_in_latin_letters_are_parted_as_ever(text: str) -> None:
    assert words.words(text) == re.findall(r"\w+", text)
    assert words.words(text, apostrophes=True) == re.findall(r"\w+(?:'\w+)?", text)
    assert words.chunks(text) == text.split()


def test_lengths_of_one_comparison_have_one_unit() -> None:
    assert words.length_unit(["two words", "नमस्ते"]) == "words" and words.length("two words", "words") == 2
    assert words.length_unit(["two words", "你好"]) == "characters"
    assert words.length("你 好", "characters") == 2
