"""Characters of other widths and scripts, read as the plain ones they stand for. One for one: places stay."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache

UNSPACED = (
    "\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
)
"""Ranges of the scripts whose words stand without blanks between them, or take endings without one: Thai, Lao,
Tibetan, Burmese, Khmer, Japanese, Chinese, Korean."""
_NOT_LATIN = re.compile(r"[^\W\d_\u0000-\u024f\u1e00-\u1eff]")


@cache
def _plain_forms() -> dict[int, int]:
    """Characters that stand for an ASCII one: digits of all scripts, full-width forms, blanks, dashes.
    Invisible ones, as address books put around telephone numbers, become \\x01."""
    table = {0x2212: ord("-")}
    for code in range(0x80, sys.maxunicode + 1):
        letter = chr(code)
        category = unicodedata.category(letter)
        if category == "Nd":
            table[code] = ord("0") + unicodedata.decimal(letter)
        elif category == "Zs":
            table[code] = ord(" ")
        elif category == "Pd":
            table[code] = ord("-")
        elif category == "Cf":
            table[code] = 1
        elif 0xFF01 <= code <= 0xFF5E:
            table[code] = code - 0xFEE0
    return table


def to_ascii(text: str) -> str:
    """The text with such characters replaced, of the same length."""
    return text if text.isascii() else text.translate(_plain_forms())


def bounded(plain: str) -> str:
    """The text with \\0 for every letter that is not Latin: a number beside Chinese or Thai is as alone as one
    beside a blank."""
    return plain if plain.isascii() else _NOT_LATIN.sub("\0", plain)
