"""Settings: what a stage's `Config` is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict

from biddable.run.errors import UserError, Waiting, suggestion

__all__ = ["Input", "Settings", "UserError", "Waiting", "input_fields", "is_optional", "suggestion"]


class _InputMark:
    """Marks a field as an arrow to another stage's folder."""


Input = Annotated[Path, _InputMark()]
"""What to read: another stage's name ("learn.sft"), or a path to a folder or a file, which may name
environment variables ("$BIDDABLE_DATA/eval_drop.jsonl.gz"). Stages receive the resolved path."""


class Settings(BaseModel):
    """Base of every stage's `Config`: frozen, unknown keys refused, the docstring below a field describes
    it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
    runtime_settings: ClassVar[frozenset[str]] = frozenset()
    """Settings that change how the work is done, not what comes out: they may change while a stage is under
    way."""
    renamed: ClassVar[dict[str, str]] = {}
    """Former name of a setting -> today's name. In a run's file the former name is an error that names
    today's; folders made under the former name stay valid."""


def input_fields(config: type[Settings]) -> dict[str, bool]:
    """The fields that are arrows -> whether the field holds several."""
    fields = {}
    for name, info in config.model_fields.items():
        if any(isinstance(mark, _InputMark) for mark in info.metadata):
            fields[name] = False
        elif _is_input(info.annotation):  # Input | None, tuple[Input, ...]
            fields[name] = "tuple" in str(info.annotation)
    return fields


def _is_input(annotation: Any) -> bool:
    return any(isinstance(part, _InputMark) or _is_input(part) for part in get_args(annotation))


def is_optional(config: type[Settings], name: str) -> bool:
    """Whether a setting may be none."""
    return type(None) in get_args(config.model_fields[name].annotation)
