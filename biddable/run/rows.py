"""Rows of a file of any origin, one at a time: the one reader of what others wrote.

JSONL, a JSON list, CSV, Parquet and Arrow (also a folder that `datasets` saved), each also packed by gzip or
zstandard. Text is UTF-8, with or without a mark, or UTF-16; lines end as they like. Memory stays that of a few
rows, whatever the file's size.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from biddable.run import jsonl, tables
from biddable.run.errors import UserError
from biddable.run.parse import encoding_of, open_file, parse_json, parse_json_at

Row = dict[str, Any]

MAX_CELL_CHARACTERS = 10_000_000
"""Characters in one cell of a CSV file."""
MAX_OBJECT_CHARACTERS = 2**26
"""Characters of one object of a JSON list; an export with a whole chat in it has some 100,000."""


def rows(path: Path) -> Iterator[tuple[str, Row | str]]:
    """(where, row) for each row; where is `file:line`, for tables `file: row N`. In place of a broken row stands
    what is wrong with it.

    The format is the name's ending (.csv, .tsv, .parquet, .arrow), else what the content looks like: a JSON list
    or JSONL. Raises UserError when a file cannot be read any further.
    """
    if path.is_dir():
        for shard in _shards(path):
            yield from tables.arrow(shard)
        return
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a JSONL, JSON, CSV, Parquet or Arrow file")
    yield from {"csv": _csv, "parquet": tables.parquet, "arrow": tables.arrow, "list": _json_list}.get(
        container(path), _jsonl
    )(path)


def ending(path: Path) -> str:
    """'.csv' of 'a.CSV.gz'."""
    return Path(path.name.removesuffix(".gz").removesuffix(".zst")).suffix.lower()


def container(path: Path) -> str:
    """csv, parquet, arrow, list (one JSON list) or jsonl."""
    by_name = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}
    if (name := by_name.get(ending(path))) is not None:
        return name
    with open_file(path) as file:
        encoding = encoding_of(file)
        first = file.read(256)
    if first[:4] == b"PAR1":
        return "parquet"
    if first[:6] == b"ARROW1" or first[:4] == b"\xff\xff\xff\xff":
        return "arrow"
    text = first.decode(encoding, "ignore").lstrip()
    # one object over several lines, as a pretty-printing program writes it, is read as a list of one
    return "list" if re.match(r"\[\s*([{\]]|$)|\{\s*\n", text) else "jsonl"


def columns(path: Path) -> list[str] | None:
    """The column names of a table; None for JSON, where every row has its own."""
    kind = container(path) if path.is_file() else None
    if kind == "parquet":
        return tables.column_names(path)
    if kind == "csv":
        return next((list(row) for _, row in _csv(path, keep_empty=True) if isinstance(row, dict)), None)
    return None


def _jsonl(path: Path) -> Iterator[tuple[str, Row | str]]:
    for number, line in jsonl.read_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = parse_json(line)
        except ValueError as error:
            yield where, str(error)
        else:
            yield where, row if isinstance(row, dict) else _no_object(line.strip())


def _no_object(text: str) -> str:
    return f"{text[:60]}: expected a JSON object"


def _json_list(path: Path) -> Iterator[tuple[str, Row | str]]:
    """The objects of a JSON list, or objects one after the other; a piece of the file is in memory at a time."""
    separators = re.compile(r"[\s,]*")
    with open_file(path) as raw:
        file = _text(raw)
        text, position, line, counted = "", 0, 1, 0  # lines are counted up to there
        is_list: bool | None = None
        ended = False
        while True:
            position = cast(re.Match[str], separators.match(text, position)).end()
            if position < len(text):
                if is_list is None and (is_list := text[position] == "["):
                    position += 1
                    continue
                if is_list and text[position] == "]":
                    return
                line, counted = line + text.count("\n", counted, position), position
                try:
                    value, position = parse_json_at(text, position)
                except ValueError as error:
                    if ended or len(text) - position > MAX_OBJECT_CHARACTERS:
                        raise UserError(f"{path}:{line}: {error}") from None
                else:
                    where = f"{path}:{line}"
                    yield where, value if isinstance(value, dict) else _no_object(json.dumps(value))
                    continue
            elif ended:
                if is_list:
                    raise UserError(f"{path}: the list does not end; the file was cut off")
                return
            line += text.count("\n", counted, position)
            part = _read(path, file, max(2**16, len(text)))  # twice as much each time: no time is lost
            text, position, counted, ended = text[position:] + part, 0, 0, not part


def _text(raw: IO[bytes]) -> io.TextIOWrapper:
    return io.TextIOWrapper(raw, encoding=encoding_of(raw), newline="")


def _read(path: Path, file: io.TextIOWrapper, characters: int) -> str:
    try:
        return file.read(characters)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error


def _not_utf8(path: Path, error: UnicodeDecodeError) -> UserError:
    return UserError(f"{path}: not UTF-8 (byte {error.object[error.start]:#04x}); save the file as UTF-8")


def _csv(path: Path, keep_empty: bool = False) -> Iterator[tuple[str, Row | str]]:
    """Cells quoted as RFC 4180 says, names in the first row, separated by what is most frequent there: comma,
    semicolon or tab. Empty cells are left out: CSV cannot tell them from missing ones."""
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    try:
        with open_file(path) as raw:
            text = _text(raw)
            first = text.readline(MAX_CELL_CHARACTERS)
            reader = csv.reader(
                _with_first(first, text),
                strict=True,
                delimiter=max(",;\t", key=lambda sign: first.count(sign)),
            )
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
                    yield where, {n: cell for n, cell in zip(names, cells, strict=True) if cell or keep_empty}
                elif cells:
                    yield where, f"{len(cells)} cells, but the first row names {len(names)} columns"
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not CSV: {error}") from error
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error


def _with_first(first: str, rest: io.TextIOWrapper) -> Iterator[str]:
    yield first
    while line := rest.readline(MAX_CELL_CHARACTERS):
        yield line


def _shards(folder: Path) -> list[Path]:
    """The files of a folder that `datasets` saved, in its order. Raises UserError for any other folder."""
    state = folder / "state.json"
    if state.is_file():
        try:
            names = [file["filename"] for file in json.loads(state.read_text("utf-8"))["_data_files"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{state}: is none that `datasets` wrote ({error!r})") from None
        return [folder / Path(str(name)).name for name in names]
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(path.parent.name for path in folder.glob("*/state.json"))
        raise UserError(
            f"{folder}: holds the splits {', '.join(splits)}; name one, such as {folder}/{splits[0]}"
        )
    raise UserError(f"{folder}: is a folder; expected a file, or a folder that `datasets` saved")
