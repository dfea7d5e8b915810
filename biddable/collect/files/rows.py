"""Prompts from the rows of a file: Prompt records as they are, or rows of any names by way of the setting
`columns`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from biddable.run import jsonl
from biddable.run import rows as files
from biddable.run.config import UserError, suggestion
from biddable.run.parse import MAX_ERRORS
from biddable.run.records import Prompt

if TYPE_CHECKING:
    from biddable.collect.files import Config

OPTIONAL_FIELDS = ("use_case", "source", "licence", "consent", "time")
"""Fields of a Prompt that a row may lack."""

MOST_ERRORS = 10 * MAX_ERRORS
"""Errors after which a file is not read any further."""

Row = dict[str, Any]
Result = tuple[str, Prompt | list[str]]
"""Where a row stands, and its prompt, or its errors."""


def read_prompts(cfg: Config, path: Path, errors: list[str]) -> Iterator[tuple[str, Prompt]]:
    """(where, prompt) of a file's good rows; errors in the others, and in the file, are added to `errors`."""
    empty = True
    try:
        are_records = not cfg.columns and (not path.is_file() or files.container(path) == "jsonl")
        for where, result in read_records(path) if are_records else read_mapped_rows(cfg, path):
            empty = False
            if isinstance(result, list):
                errors += result
            elif not result.messages[-1].content.strip():
                errors.append(
                    f"{where}: Prompt {result.id}: the last message is blank; expected the user's question"
                )
            else:
                yield where, result
            if len(errors) >= MOST_ERRORS:
                return
        if empty:
            kind = "Prompt record" if are_records else "row"
            errors.append(f"{path}: the file is empty; expected at least one {kind}")
    except UserError as error:
        errors += error.lines


def read_records(path: Path) -> Iterator[Result]:
    """A file of Prompt records, one JSON object a line."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected one Prompt record a line")
    hinted = False
    for number, line in jsonl.read_lines(path):
        where = f"{path}:{number}"
        if not line.strip():
            yield where, [f"{where}: empty line; expected one JSON record a line"]
            continue
        try:
            yield where, Prompt.model_validate_json(line)
        except ValidationError as error:
            lines = jsonl.validation_errors(where, Prompt, error)
            # A top-level field is missing: most likely a file with names of its own. Say so once, not in
            # every line.
            if not hinted and any(
                detail["type"] == "missing" and len(detail["loc"]) == 1 for detail in error.errors()
            ):
                lines[-1] += '; if rows have other names, say so: columns = {text = "NAME", user = "NAME"}'
                hinted = True
            yield where, lines


def read_mapped_rows(cfg: Config, path: Path) -> Iterator[Result]:
    """Rows of any names as prompts. Raises UserError at once when a table lacks a column that `columns`
    names."""
    columns = {str(field): column for field, column in cfg.columns.items()}
    check_columns(path, columns)
    for where, row in files.rows(path):
        if isinstance(row, str):
            yield where, [f"{where}: {row}"]
            continue
        try:
            yield where, to_prompt(row, columns, cfg)
        except (ValidationError, ValueError) as error:
            yield where, format_errors(where, row, columns, error)


def check_columns(path: Path, columns: Mapping[str, str]) -> None:
    """Raise UserError with the columns that a table should have and has not; JSONL has no columns to
    check."""
    names = files.columns(path)
    if names is None:
        return
    required = {columns.get("user", "user"), *columns.values()}
    if "messages" not in columns:
        required.add(columns.get("text", "text"))
    missing = sorted(name for name in required if name not in names)
    if missing:
        listed = ", ".join(names)
        raise UserError(
            [
                f"{path}: there is no column {name!r}{suggestion(name, names)}; it has {listed}"
                for name in missing
            ]
        )


def to_prompt(row: Row, columns: Mapping[str, str], cfg: Config) -> Prompt:
    """One prompt of one row. Validated as JSON, so that what is accepted can be written again."""
    defaults = {"source": cfg.source, "licence": cfg.licence, "consent": cfg.consent}
    fields: dict[str, Any] = {"user": as_name(row.get(columns.get("user", "user")))}
    for field in OPTIONAL_FIELDS:
        value = row.get(columns.get(field, field))
        if value is None:
            value = defaults.get(field)
        if value is not None:
            fields[field] = value
    if "messages" in columns:
        fields["messages"] = row.get(columns["messages"])
    else:
        fields["messages"] = [{"role": "user", "content": row.get(columns.get("text", "text"))}]
    fields["id"] = as_name(row.get(columns.get("id", "id")))
    if fields["id"] is None and "id" not in columns:
        content = json.dumps([fields["user"], fields["messages"]], ensure_ascii=False, sort_keys=True)
        fields["id"] = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:20]
    return Prompt.model_validate_json(json.dumps(fields))


def as_name(value: Any) -> Any:
    """Tables often number users and prompts: a whole number is read as its digits."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def format_errors(where: str, row: Row, columns: Mapping[str, str], error: ValueError) -> list[str]:
    """One line a field, under the name that the file has for it."""
    if not isinstance(error, ValidationError):
        return [f"{where}: {error}"]
    messages: dict[str, str] = {}  # the first of each field: a bad text is also too few messages
    for detail in error.errors(include_url=False):
        field = str(detail["loc"][0]) if detail["loc"] else "line"
        if field == "messages" and "messages" not in columns:
            field = "text"
        messages.setdefault(field, detail["msg"])
    lines = []
    for field, message in messages.items():
        column = columns.get(field, field)
        value = row if field == "line" else row.get(column, "nothing")
        lines.append(f"{where}: {column}: {message} (got {json.dumps(value)[:80]})")
    return lines
