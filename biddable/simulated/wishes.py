"""Exact checks of the wishes that a program can check ("in one sentence", "mention the price"). Pure: text
in, yes or no out."""

from __future__ import annotations

import re
from collections.abc import Callable

from biddable.run.records import Wish

WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
"""A word: letters or digits, with apostrophes and hyphens inside."""
BULLET = re.compile(r"^[ \t]*(?:[-*•–·+]|\d{1,2}[.)])[ \t]+(?=\S)", re.M)
"""What a line of a list begins with: a dash, a star, a dot, or a number."""
_ABBREVIATION = re.compile(
    r"(?:\b(?:[Mm]rs?|[Mm]s|[Dd]r|[Pp]rof|[Ss]t|vs|e\.g|i\.e|a\.m|p\.m)|(?:^|[\s(\"“])[A-HJ-Z])\.$"
)
_STOP = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’)\]*_]*+(?=\s)")
_NEXT = re.compile(r"\s*(\S)")
_LONGEST_ABBREVIATION = 12
"""Characters before a stop that decide whether it is one."""


def met(wish: Wish, text: str) -> bool:
    """Whether an answer meets a wish. An answer without a word meets none."""
    return bool(WORD.search(text)) and _CHECKS[wish.kind](wish, text)


def words(text: str) -> list[str]:
    """The words in lower case: "It's a well-known fact." -> it's, a, well-known, fact."""
    return [word.casefold().replace("’", "'") for word in WORD.findall(text)]


def sentences(text: str) -> list[str]:
    """The sentences as a reader counts them.

    A sentence ends with . ! ? or … before a space and no small letter; line breaks inside a paragraph end
    none (verse); a paragraph or a line of a list ends one. A closing line without an end counts when it has a
    word; a greeting ("Dear Ada,") and a heading ("Shopping:") do not.
    """
    rows: list[str] = []
    for paragraph in re.split(r"\n\s*\n|\n(?=[ \t]*(?:[-*•–·+]|\d{1,2}[.)])[ \t])", text.strip()):
        rest = re.sub(r"\s+", " ", BULLET.sub("", paragraph)).strip()
        parts = _split(rest)
        if len(parts) == 1 and re.search(r"[,:]$", rest) and len(words(rest)) <= 4:
            continue
        rows += [part for part in parts if WORD.search(part)]
    return rows


def _split(paragraph: str) -> list[str]:
    parts, begin = [], 0
    for stop in _STOP.finditer(paragraph):
        follows = _NEXT.match(paragraph, stop.end())
        before = paragraph[max(0, stop.end() - _LONGEST_ABBREVIATION) : stop.end()]
        if (follows and follows[1].islower()) or _ABBREVIATION.search(before):
            continue
        parts.append(paragraph[begin : stop.end()].strip())
        begin = stop.end()
    return [*parts, rest] if (rest := paragraph[begin:].strip()) else parts


def bullets(text: str) -> int:
    """Lines of a list: those that begin with a dash, star, dot or number and go on."""
    return len(BULLET.findall(text))


def mentions(phrase: str, text: str) -> bool:
    """Whether a word or phrase stands in the text as whole words, in any case; a plural or possessive ending
    may follow."""
    return re.search(rf"(?<!\w){_loose(phrase)}(?:['’]s|e?s)?(?!\w)", text, re.I) is not None


def _loose(phrase: str) -> str:
    return r"\s+".join(re.escape(part) for part in phrase.split())


def _contains(phrase: str, text: str) -> bool:
    return re.search(rf"(?<!\w){_loose(phrase)}(?!\w)", text, re.I) is not None


def _starts(phrase: str, text: str) -> bool:
    return re.match(rf"[\s\"'“‘*_(]*{_loose(phrase)}(?!\w)", text, re.I) is not None


def _ends(phrase: str, text: str) -> bool:
    """A phrase that ends with a mark of its own ("Thank you!") wants that mark; any other may be followed by
    one."""
    marks = r"\"'”’*_)\s" if re.search(r"\W$", phrase) else r".!?…\"'”’*_)\s"
    return re.search(rf"(?<!\w){_loose(phrase)}[{marks}]*$", text, re.I) is not None


def _count(wish: Wish) -> int:
    assert wish.count is not None  # the record's own check
    return wish.count


_CHECKS: dict[str, Callable[[Wish, str], bool]] = {
    "sentences": lambda wish, text: len(sentences(text)) == _count(wish),
    "max_words": lambda wish, text: len(words(text)) <= _count(wish),
    "bullets": lambda wish, text: bullets(text) == _count(wish),
    "mention": lambda wish, text: all(mentions(word, text) for word in wish.words),
    "avoid": lambda wish, text: not any(_contains(word, text) for word in wish.words),
    "start_with": lambda wish, text: any(_starts(word, text) for word in wish.words),
    "end_with": lambda wish, text: any(_ends(word, text) for word in wish.words),
}
