"""Identifiers that hold digits and are nobody's: UUIDs, hashes, long hexadecimal runs, identifiers of papers and
books. No number is looked for inside them."""

from __future__ import annotations

import re

_IDENTIFIER = re.compile(
    r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}(?![0-9A-Za-z])"
    r"|(?<![0-9A-Za-z])(?=[0-9A-F]{2}[0-9]*[A-F])(?=[A-F]*[0-9])[0-9A-F]{24,128}(?![0-9A-Za-z])"  # not AD12 0001 ...
    r"|(?<![0-9A-F:])(?:[0-9A-F]{2}:){5,31}[0-9A-F]{2}(?![0-9A-F:])"
    r"|\b10\.\d{4,9}/[^\s\"<>]{1,100}|\barxiv:\d{4}\.\d{4,5}|\bISBN(?:-1[03])?:? ?[\d -]{9,16}[\dxX]",
    re.I,
)
_URL = re.compile(r"\b(?:https?|ftp|wss?|git|ssh|file|s3)://(?!wa\.me/|api\.whatsapp)[^\s\"'<>\0]{1,2000}")


def without_identifiers(bounded: str) -> str:
    """The text with letters in the place of such identifiers, of the same length."""
    return _IDENTIFIER.sub(lambda match: "x" * len(match[0]), bounded)


def without_urls(bounded: str) -> str:
    """The text with letters in the place of internet addresses, of the same length; what a URL's query names
    stays."""
    return _URL.sub(lambda match: _PATH.sub(lambda path: "x" * len(path[0]), match[0], count=1), bounded)


_PATH = re.compile(r"^[^?]+")
