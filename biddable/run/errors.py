"""Errors that a user is shown as plain lines, without a traceback."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from biddable.run.redaction import redact


class UserError(Exception):
    """The user's mistake, one line each in `lines`, without secrets of URLs. The command line prints them and
    exits with 2."""

    def __init__(self, lines: list[str] | str) -> None:
        self.lines = [redact(line) for line in ([lines] if isinstance(lines, str) else lines)]
        super().__init__("\n".join(self.lines))


class MissingPackage(UserError):
    """A stage needs a package that is not installed; `install` is the command that brings it."""

    def __init__(self, stage: str, package: str, extra: str) -> None:
        self.package, self.extra = package, extra
        self.install = f"pip install 'biddable[{extra}]'"
        super().__init__(f"[{stage}] needs the package {package}: {self.install}")


class Waiting(Exception):
    """A stage waits for people: a plain sentence. The command line prints it and exits with 3."""


def suggestion(word: str, choices: Sequence[str]) -> str:
    """`; did you mean 'CHOICE'?`, or nothing when no choice is close to the word."""
    close = difflib.get_close_matches(word, choices, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


SHOWN = 3
"""Mistakes of a kind that are shown; how many more there are says the rest."""


class Mistakes:
    """What is wrong with a file, a line each: of each kind the first SHOWN, and how many more. Two lines are of a
    kind when they differ only in where they stand, in numbers and in what they quote."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._counts: Counter[str] = Counter()
        self.count = 0

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, lines: Iterable[str]) -> None:
        """Note these mistakes; each begins with where it is: `file:line: ...`."""
        for line in lines:
            kind = _kind(line)
            self.count += 1
            self._counts[kind] += 1
            if self._counts[kind] <= SHOWN:
                self._lines.append(line)

    def lines(self) -> list[str]:
        """The lines to show, in the order in which they came."""
        more = [
            f"and {count - SHOWN} more like: {line.split(': ', 1)[-1]}"
            for kind, count in self._counts.items()
            if count > SHOWN
            for line in [next(line for line in self._lines if _kind(line) == kind)]
        ]
        return self._lines + more


def _kind(line: str) -> str:
    """A mistake without where it is, what it quotes, and words with numbers in them. Each line about a setting is a
    kind of its own."""
    text = re.sub(r"\(got .*", "", line.split(": ", 1)[-1])
    return text if text.startswith("[") else re.sub(r"'[^']*'|\"[^\"]*\"|\[[^\]]*\]|\S*\d\S*", "", text)
