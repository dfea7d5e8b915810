"""Words of a text in any script: letters with their marks, and digits. Where a script has no blanks between
words (Chinese, Japanese, Thai, Lao, Tibetan, Burmese, Khmer), each character with its marks stands for one, as
metrics of those languages have it. For English these are the words that `\\w+` gives.

What needs real words, such as a count of them, cannot be told of such a text: ask `has_words` first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Literal, NamedTuple

UNSPACED = (
    "\u0e00-\u0e4e\u0e80-\u0eff\u0f00-\u0fff\u1000-\u103f\u1050-\u109f\u1780-\u17df\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Ranges of the letters and marks of scripts that put no blanks between words, as inside brackets of a
regular expression."""


_ASCII = re.compile(r"\w+")
_ASCII_WITH_APOSTROPHE = re.compile(r"\w+(?:'\w+)?")


class _Patterns(NamedTuple):
    words: re.Pattern[str]
    with_apostrophe: re.Pattern[str]
    chunks: re.Pattern[str]


@cache
def _patterns() -> _Patterns:
    """What finds words in texts that are not plain ASCII: the ranges of marks take a tenth of a second."""
    ranges: list[list[int]] = []
    for code in range(0x300, 0x20000):
        if unicodedata.category(chr(code))[0] == "M":
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    marks = "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
    unspaced = rf"(?=\w)[{UNSPACED}][{marks}]*"
    spaced = rf"(?![{UNSPACED}])\w(?:(?![{UNSPACED}])[\w{marks}])*"
    return _Patterns(
        re.compile(rf"{unspaced}|{spaced}"),
        re.compile(rf"{unspaced}|{spaced}(?:'{spaced})?"),
        re.compile(rf"{unspaced}|(?:(?!{unspaced})\S)+"),
    )


_UNSPACED = re.compile(rf"[{UNSPACED}]")
MOST_UNSPACED = 0.1
"""Share of letters of such scripts up to which a text still counts as one with words: a quoted name."""


def words(text: str, apostrophes: bool = False) -> list[str]:
    """The text's words, without punctuation; `apostrophes` keeps "don't" one word."""
    if text.isascii():
        return (_ASCII_WITH_APOSTROPHE if apostrophes else _ASCII).findall(text)
    return (_patterns().with_apostrophe if apostrophes else _patterns().words).findall(text)


def chunks(text: str) -> list[str]:
    """As `text.split()`, but a character of a script without blanks stands alone."""
    return text.split() if text.isascii() else _patterns().chunks.findall(text)


def has_words(text: str) -> bool:
    """Whether blanks stand between the text's words, so that they can be counted."""
    if text.isascii():
        return True
    letters = sum(letter.isalpha() for letter in text)
    return len(_UNSPACED.findall(text)) <= MOST_UNSPACED * letters


def is_latin(text: str) -> bool:
    """Whether most of the text's letters are Latin; a text without any letter is."""
    if text.isascii():
        return True
    letters = [letter for letter in text if letter.isalpha()]
    latin = sum(letter < "\u0250" or "\u1e00" <= letter <= "\u1eff" for letter in letters)
    return 2 * latin >= len(letters)


def length_unit(texts: Iterable[str]) -> Literal["words", "characters"]:
    """In what the lengths of these texts can be compared: words where all have some to count."""
    return "words" if all(map(has_words, texts)) else "characters"


def length(text: str, unit: Literal["words", "characters"]) -> int:
    """A text's length: what blanks part, or characters other than blanks."""
    return len(text.split()) if unit == "words" else sum(not letter.isspace() for letter in text)
