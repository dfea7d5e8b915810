"""Rows of JSONL, CSV and Parquet files of any origin, one at a time; each may be gzipped."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from biddable.run import jsonl
from biddable.run.config import UserError

MAX_CELL_CHARACTERS = 10_000_000
"""Characters in one cell of a CSV file."""


def rows(path: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """(where, row) for each row; where is `file:line`, for Parquet `file: row N`. In place of a broken row
    stands what is wrong with it.

    The format is the name's ending: .csv or .parquet, anything else is JSONL; `.gz` after it: gzipped. Raises
    UserError when a file cannot be read any further.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a JSONL, CSV or Parquet file")
    return {".csv": _csv, ".parquet": _parquet}.get(ending(path), _jsonl)(path)


def ending(path: Path) -> str:
    """'.csv' of 'a.CSV.gz'."""
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def columns(path: Path) -> list[str] | None:
    """The column names of a table; None for JSONL, where every line has its own."""
    if ending(path) == ".parquet" and path.is_file():
        return list(_open_parquet(path).schema_arrow.names)
    if ending(path) == ".csv" and path.is_file():
        return next((list(row) for _, row in _csv(path) if isinstance(row, dict)), None)
    return None


def _jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    for number, line in jsonl.read_lines(path):
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            yield where, f"not JSON: {error.msg} at character {error.pos + 1}"
        except RecursionError:
            yield where, "not JSON: nested too deeply"
        else:
            yield where, row if isinstance(row, dict) else f"{line.strip()[:60]}: expected a JSON object"


def _csv(path: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Comma-separated, quoted as RFC 4180 says, names in the first row. Empty cells are left out: CSV cannot
    tell them from missing ones."""
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as raw:
            text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
            reader = csv.reader(text, strict=True)
            names = next(reader, [])
            duplicates = sorted({name for name in names if names.count(name) > 1})
            if duplicates:
                raise UserError(
                    f"{path}:1: two columns are called {', '.join(map(repr, duplicates))}; give each a name "
                    "of its own"
                )
            line = reader.line_num + 1
            for cells in reader:
                where, line = f"{path}:{line}", reader.line_num + 1
                if len(cells) == len(names):
                    yield where, {name: cell for name, cell in zip(names, cells, strict=True) if cell != ""}
                elif cells:
                    yield where, f"{len(cells)} cells, but the first row names {len(names)} columns"
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not CSV: {error}") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not UTF-8 (byte {error.object[error.start]:#04x}); save the file as UTF-8"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: the gzip file is broken ({error})") from error


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    number = 0
    file = _open_parquet(path)
    try:
        for batch in file.iter_batches(batch_size=1000):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}: row {number}", {name: _json(value) for name, value in row.items()}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: row {number + 1} cannot be read: {error}") from error


def _open_parquet(path: Path) -> Any:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise UserError(
            f"{path}: Parquet needs the package pyarrow: pip install 'biddable[collect]'"
        ) from None
    try:
        if path.suffix == ".gz":
            return parquet.ParquetFile(pyarrow.BufferReader(gzip.decompress(path.read_bytes())))
        return parquet.ParquetFile(path)
    except (pyarrow.ArrowException, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a Parquet file: {str(error).splitlines()[0]}") from error


def _json(value: Any) -> Any:
    """A cell as JSON would hold it: moments as ISO 8601."""
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
