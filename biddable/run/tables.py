"""Rows of Parquet and Arrow files, some at a time, within bounds: a small file makes no large memory."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from biddable.run.errors import UserError
from biddable.run.parse import MAX_RATIO, open_file, unpacked_bytes

BATCH_ROWS = 1000
"""Rows of a table that are read at once."""
MAX_BATCH_BYTES = 32 * 2**20
"""Bytes of texts that are read at once."""
FREE_CELLS = 1_000_000
"""Cells that any Parquet file may have, however small it is: equal ones take no room in it."""


def parquet(path: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """(where, row) for each row of a Parquet file; where is `file: row N`. Raises UserError where it cannot be
    read any further."""
    number = 0
    file, schema = _open_parquet(path)
    try:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=schema.names):
            for part in _parts(batch):
                for row in part.cast(schema).to_pylist():
                    number += 1
                    yield f"{path}: row {number}", _plain(row)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: row {number + 1} cannot be read: {error}") from error


def arrow(path: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """The same of an Arrow file, or of the stream that `datasets` writes."""
    pyarrow = _pyarrow(path)
    number = 0
    try:
        source = _readable(path) if _is_packed(path) else pyarrow.memory_map(str(path))
        with source:
            for batch in _batches(pyarrow, source):
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    for part in _parts(batch.slice(start, BATCH_ROWS)):
                        for row in part.to_pylist():
                            number += 1
                            yield f"{path}: row {number}", _plain(row)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: row {number + 1} cannot be read: {reason}") from error


def column_names(path: Path) -> list[str]:
    """The columns of a Parquet file that can be read."""
    return list(_open_parquet(path)[1].names)


def _batches(pyarrow: Any, source: Any) -> Iterator[Any]:
    is_file = source.read(6) == b"ARROW1"
    source.seek(0)
    if not is_file:
        yield from pyarrow.ipc.open_stream(source)
        return
    file = pyarrow.ipc.open_file(source)
    for i in range(file.num_record_batches):
        yield file.get_batch(i)


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
    pyarrow = _pyarrow(path)
    from pyarrow.parquet import ParquetFile

    try:
        plain = ParquetFile(_readable(path))
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
        file = ParquetFile(_readable(path), read_dictionary=sorted(texts))
        # a map is no list of turns, and cannot be measured before it is written out
        fields = [field for field in plain.schema_arrow if "map<" not in str(field.type)]
        return file, pyarrow.schema(fields)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a Parquet file: {str(error).splitlines()[0]}") from error


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow
    except ModuleNotFoundError:
        raise UserError(
            f"{path}: Parquet and Arrow need the package pyarrow: pip install 'biddable[collect]'"
        ) from None
    return pyarrow


def _is_packed(path: Path) -> bool:
    return path.suffix in (".gz", ".zst")


def _readable(path: Path) -> Any:
    """What pyarrow can read from: a path, or of a packed file its content."""
    if not _is_packed(path):
        return path
    from pyarrow import BufferReader

    with open_file(path) as packed:
        return BufferReader(packed.read())


def _plain(value: Any) -> Any:
    """A cell as JSON would hold it: moments as ISO 8601, bytes as text."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
