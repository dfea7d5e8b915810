"""Settings: what a stage's `Config` is made of, and the errors that a user is shown."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict


class UserError(Exception):
    """The user's mistake, one line each in `lines`. The command line prints them and exits with 2."""

    def __init__(self, lines: list[str] | str) -> None:
        self.lines = [lines] if isinstance(lines, str) else list(lines)
        super().__init__("\n".join(self.lines))


class Waiting(Exception):
    """People are not done yet: a plain sentence. The command line prints it and exits with 3."""


class _InputMark:
    """Marks a field as an arrow to another stage's folder."""


Input = Annotated[Path, _InputMark()]
"""What to read: another stage's name ("learn.sft"), or a path to a folder or a file, which may name environment variables
("$BIDDABLE_DATA/eval_drop.jsonl.gz"). Stages receive the resolved path."""


class Settings(BaseModel):
    """Base of every stage's `Config`: frozen, unknown keys refused, the docstring under a field is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
    runtime_settings: ClassVar[frozenset[str]] = frozenset()
    """Settings that say how the work is done and not what comes out: they may change while a stage is under way."""
    renamed: ClassVar[dict[str, str]] = {}
    """Former names of settings and today's. A file with a former name is refused and told today's; old folders are read by it."""


def input_fields(config: type[Settings]) -> dict[str, bool]:
    """Names of the fields that are arrows; the value says whether the field holds several."""
    found = {}
    for name, info in config.model_fields.items():
        if any(isinstance(mark, _InputMark) for mark in info.metadata):
            found[name] = False
        elif _marked(info.annotation):
            found[name] = "tuple" in str(info.annotation)
    return found


def _marked(annotation: Any) -> bool:
    return any(isinstance(part, _InputMark) or _marked(part) for part in get_args(annotation))


def suggestion(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
