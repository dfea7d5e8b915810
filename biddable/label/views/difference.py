"""What changed from one text to another, in paragraphs and words: for a guideline's new version."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

Change = Literal["same", "gone", "new"]


class Piece(NamedTuple):
    """A part of a paragraph that stayed, is gone or is new."""

    change: Change
    text: str


def difference(before: str, after: str) -> list[list[Piece]]:
    """The paragraphs of both texts in order, each as pieces. A paragraph that was reworded is one with its
    old and new words; one of which less than half stayed is shown as two."""
    old, new = (
        [
            " ".join(part.split())
            for part in re.split(r"\n\s*\n|\n(?=\s*(?:[-*#]|\d+\.)\s)", text)
            if part.strip()
        ]
        for text in (before, after)
    )
    rows: list[list[Piece]] = []
    for tag, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            rows += [[Piece("same", text)] for text in old[i:j]]
        else:
            rows += _reworded(old[i:j], new[k:m])
    return rows


def _reworded(old: Sequence[str], new: Sequence[str]) -> Iterator[list[Piece]]:
    for place in range(max(len(old), len(new))):
        before, after = (texts[place] if place < len(texts) else "" for texts in (old, new))
        words = [re.findall(r"\s*\S+", text) for text in (before, after)]
        matcher = SequenceMatcher(None, words[0], words[1], autojunk=False)
        if before and after and matcher.ratio() >= 0.5:
            yield list(_word_pieces(matcher, words[0], words[1]))
        else:
            if before:
                yield [Piece("gone", before)]
            if after:
                yield [Piece("new", after)]


def _word_pieces(matcher: SequenceMatcher[str], old: list[str], new: list[str]) -> Iterator[Piece]:
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag == "equal":
            yield Piece("same", "".join(old[i:j]))
            continue
        if i < j:
            yield Piece("gone", "".join(old[i:j]))
        if k < m:
            yield Piece("new", "".join(new[k:m]))
