"""Settings: what a stage's `Config` is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict

from biddable.run.errors import UserError, Waiting, suggestion

__all__ = [
    "TABLES",
    "Input",
    "Settings",
    "UserError",
    "Waiting",
    "input_fields",
    "inputs_of",
    "is_optional",
    "suggestion",
    "table_class",
    "with_inputs",
]


class _InputMark:
    """Marks a field as an arrow to another stage's folder."""


Input = Annotated[Path, _InputMark()]
"""What to read: another stage's name ("learn.sft"), or a path to a folder or a file, which may name
environment variables ("$BIDDABLE_DATA/eval_drop.jsonl.gz"). Stages receive the resolved path."""


TABLES = "tables"
"""Tag of a setting's array of tables where it may be something else too: no word of a user's file, so error
lines leave it out."""


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
    left_out: ClassVar[tuple[str, ...]] = ()
    """Optional inputs that are none where the run's file has no such table and does not write the setting."""


def input_fields(config: type[Settings]) -> frozenset[str]:
    """The fields that are arrows, or tables with arrows in them (`[[learn.ppo.reward]]`)."""
    return frozenset(
        name
        for name, info in config.model_fields.items()
        if any(isinstance(mark, _InputMark) for mark in info.metadata) or _is_input(info.annotation)
    )


def _is_input(annotation: Any) -> bool:
    """Whether a type is or holds an `Input`: Input | None, tuple[Input, ...], a table with such a field."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return bool(input_fields(annotation))
    return any(isinstance(part, _InputMark) or _is_input(part) for part in get_args(annotation))


def inputs_of(value: Any) -> Iterator[Path]:
    """Every arrow in the value of a field that is one: a path, a tuple of them, or tables that name some."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from inputs_of(part)
    elif isinstance(value, Settings):
        for name in type(value).model_fields:
            if name in input_fields(type(value)):
                yield from inputs_of(getattr(value, name))


def with_inputs(value: Any, folder: Callable[[Path], Path]) -> Any:
    """The same value with `folder(arrow)` in place of every arrow."""
    if isinstance(value, Path):
        return folder(value)
    if isinstance(value, tuple):
        return tuple(with_inputs(part, folder) for part in value)
    if isinstance(value, Settings):
        names = input_fields(type(value))
        return value.model_copy(update={name: with_inputs(getattr(value, name), folder) for name in names})
    return value


def table_class(config: type[Settings], name: str) -> type[Settings] | None:
    """The class of a setting that may be an array of tables; None for any other."""
    return _table_class(config.model_fields[name].annotation)


def _table_class(annotation: Any) -> type[Settings] | None:
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, Settings) else None
    return next((table for part in get_args(annotation) if (table := _table_class(part))), None)


def is_optional(config: type[Settings], name: str) -> bool:
    """Whether a setting may be none."""
    return type(None) in get_args(config.model_fields[name].annotation)
