"""Rows of JSONL, CSV and Parquet files of any origin, one at a time; each may be gzipped."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.parse import MAX_RATIO, open_file, parse_json, unpacked_bytes

MAX_CELL_CHARACTERS = 10_000_000
"""Characters in one cell of a CSV file."""
BATCH_ROWS = 1000
"""Rows of a Parquet file that are read at once."""
MAX_BATCH_BYTES = 32 * 2**20
"""Bytes of texts that are read at once."""
FREE_CELLS = 1_000_000
"""Cells that any Parquet file may have, however small it is: equal ones take no room in it."""


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
        return list(_open_parquet(path)[1].names)
    if ending(path) == ".csv" and path.is_file():
        return next((list(row) for _, row in _csv(path) if isinstance(row, dict)), None)
    return None


def _jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    for number, line in jsonl.read_lines(path):
        where = f"{path}:{number}"
        try:
            row = parse_json(line)
        except ValueError as error:
            yield where, str(error)
        else:
            yield where, row if isinstance(row, dict) else f"{line.strip()[:60]}: expected a JSON object"


def _csv(path: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Comma-separated, quoted as RFC 4180 says, names in the first row. Empty cells are left out: CSV cannot
    tell them from missing ones."""
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    try:
        with open_file(path) as raw:
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
    file, schema = _open_parquet(path)
    try:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=schema.names):
            for part in _parts(batch):
                for row in part.cast(schema).to_pylist():
                    number += 1
                    yield f"{path}: row {number}", {name: _json(value) for name, value in row.items()}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: row {number + 1} cannot be read: {error}") from error


def _parts(batch: Any) -> Iterator[Any]:
    """A batch in parts whose texts are few enough to be written out: one that stands in the file once may stand
    in a thousand rows. Raises ValueError for a row that is too large by itself."""
    if sum(_text_bytes(column) for column in batch.columns) <= MAX_BATCH_BYTES:
        yield batch
    elif batch.num_rows == 1:
        raise ValueError(f"its texts come to more than {MAX_BATCH_BYTES:,} bytes")
    else:
        half = batch.num_rows // 2
        yield from _parts(batch.slice(0, half))
        yield from _parts(batch.slice(half))


def _text_bytes(column: Any) -> int:
    """Bytes of a column's texts, each as often as it is repeated."""
    from pyarrow import compute, types

    if types.is_dictionary(column.type):
        lengths = compute.binary_length(column.dictionary)
        return int(compute.sum(lengths.take(column.indices)).as_py() or 0)
    if not types.is_nested(column.type):
        return 0
    parts = column.flatten()
    return sum(map(_text_bytes, parts)) if isinstance(parts, list) else _text_bytes(parts)


def _open_parquet(path: Path) -> tuple[Any, Any]:
    """A Parquet file whose texts are read once each, however often they are repeated, and the columns to be
    read as they are in it. Raises UserError when it is none, or says itself that it unpacks to far more than its size."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise UserError(
            f"{path}: Parquet needs the package pyarrow: pip install 'biddable[collect]'"
        ) from None
    try:
        plain = parquet.ParquetFile(_unzipped(path))
        metadata = plain.metadata
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        columns = [group.column(number) for group in groups for number in range(metadata.num_columns)]
        size = path.stat().st_size
        if sum(group.total_byte_size for group in groups) > unpacked_bytes(size):
            raise UserError(
                f"{path}: unpacks to more than {MAX_RATIO} times its size; save it anew if it is meant to"
            )
        cells = sum(column.num_values for column in columns)
        if cells > max(FREE_CELLS, MAX_RATIO * size):
            raise UserError(
                f"{path}: {cells:,} cells in {size:,} bytes; save it anew if it is meant to be so"
            )
        texts = {column.path_in_schema for column in columns if column.physical_type == "BYTE_ARRAY"}
        file = parquet.ParquetFile(_unzipped(path), read_dictionary=sorted(texts))
        # a map is no list of turns, and cannot be measured before it is written out
        fields = [field for field in plain.schema_arrow if "map<" not in str(field.type)]
        return file, pyarrow.schema(fields)
    except (pyarrow.ArrowException, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a Parquet file: {str(error).splitlines()[0]}") from error


def _unzipped(path: Path) -> Any:
    """What pyarrow can read from: a path, or of a gzipped file its content."""
    if path.suffix != ".gz":
        return path
    from pyarrow import BufferReader

    with open_file(path) as packed:
        return BufferReader(packed.read())


def _json(value: Any) -> Any:
    """A cell as JSON would hold it: moments as ISO 8601."""
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
