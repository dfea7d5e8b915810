"""What the program prints and logs: without secrets, and without characters that move a terminal's cursor.

Texts of people and of other servers end up in errors, samples and paths. An escape sequence in one could
rewrite the screen, a line's end could forge a line of the log.
"""

from __future__ import annotations

import logging
import sys
import unicodedata
from collections.abc import Iterable
from typing import Any, TextIO, cast

from biddable.run.redaction import redact


def visible(text: str, keep: str = "\n\t") -> str:
    """A text whose control characters, unpaired surrogates and marks of direction are written as their escapes
    (`\\x1b`); those in `keep` stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _is_visible(char) or char in keep else repr(char)[1:-1] for char in text)


def _is_visible(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) == "Zs"  # such as a narrow space in a number


def printable(text: str) -> str:
    """A text of somebody else's on one line of the log: what is not printable is written as its escape, and so
    is the backslash, so nobody can write lines of their own."""
    return "".join(c if c.isprintable() and c != "\\" else repr(c)[1:-1] for c in text)


class PlainStream:
    """A terminal, pipe or file through which only visible text without secrets gets."""

    def __init__(self, raw: TextIO) -> None:
        self.raw = raw

    def write(self, text: str) -> int:
        self.raw.write(redact(visible(text)))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


def plain(stream: TextIO) -> TextIO:
    """The stream as one through which only visible text without secrets gets."""
    return cast(TextIO, PlainStream(stream))


def print_lines(lines: Iterable[str], stream: TextIO | None = None) -> None:
    """Print each on one line, also when there are line's ends in it."""
    for line in lines:
        print(visible(line, keep="\t"), file=stream)


def screen() -> TextIO:
    """The standard output for what draws on a terminal itself, with escape sequences of its own; texts in it
    must be made `visible` before."""
    return sys.stdout.raw if isinstance(sys.stdout, PlainStream) else sys.stdout


class LogFormatter(logging.Formatter):
    """One record, one line, whatever texts are in it; a traceback is indented below it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return redact(visible(super().formatMessage(record), keep=""))

    def formatException(self, ei: Any) -> str:
        text = redact(visible(super().formatException(ei)))
        return "\n".join(f"  {line}" for line in text.split("\n"))


def start_log() -> None:
    """Log to the standard error, as every site does."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("%(asctime)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # its lines hold the whole URL
