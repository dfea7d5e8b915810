"""Errors that a user is shown as plain lines, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

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
