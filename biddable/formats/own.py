"""This project's own records, from any container: Comparison, Demonstration and Rating."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from biddable.formats.labels import Fields, Result, Rows
from biddable.run.jsonl import validation_errors
from biddable.run.records import Comparison, Demonstration, Rating
from biddable.run.rows import Row

OwnRecord = Comparison | Demonstration | Rating


def looks_own(row: Row) -> bool:
    """Whether a row is such a record, or was meant to be."""
    return kind_of(row) is not None and isinstance(row.get("prompt"), dict) and "id" in row


def kind_of(row: Row) -> type[OwnRecord] | None:
    """Which record a row is by its keys."""
    if "answers" in row and "ranks" in row:
        return Comparison
    if "answer" in row:
        return Rating if "overall" in row else Demonstration
    return None


def read(rows: Rows, fields: Fields) -> Iterator[tuple[str, Result | OwnRecord | list[str]]]:
    """Records as they are; what is wrong with one, a line each."""
    required = {"comparisons": Comparison, "demonstrations": Demonstration, "ratings": Rating}.get(
        str(fields.kind)
    )
    for where, row in rows:
        kind: type[Any] = required or kind_of(row) or Comparison
        try:
            record = kind.model_validate(_without_nulls(row))
        except ValidationError as error:
            yield where, [line.removeprefix(f"{where}: ") for line in validation_errors(where, kind, error)]
            continue
        reason = rank_error(record.ranks) if isinstance(record, Comparison) else None
        yield where, reason or record


def rank_error(ranks: tuple[int, ...]) -> str | None:
    """What is wrong with the ranks of K answers: they are 1 (best) to at most K, and somebody is first. None:
    nothing."""
    if min(ranks) != 1 or max(ranks) > len(ranks):
        return f"ranks {list(ranks)}: the best of {len(ranks)} answers has rank 1, and none is above {len(ranks)}"
    return None


def _without_nulls(value: Any) -> Any:
    """A table gives every row every key of a struct: null is as good as not there. In `metadata` null means that a
    question was not asked."""
    if isinstance(value, dict):
        return {
            name: part if name == "metadata" else _without_nulls(part)
            for name, part in value.items()
            if part is not None
        }
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value
