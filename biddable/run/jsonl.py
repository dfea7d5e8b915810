"""JSONL files: one JSON object a line, read with the line number in every error, written whole or not at
all."""

from __future__ import annotations

import codecs
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from biddable.run.errors import SHOWN, Mistakes, UserError
from biddable.run.parse import MAX_ERRORS, MAX_LINE_BYTES, encoding_of, open_file, parse_json
from biddable.run.records import Record

R = TypeVar("R", bound=Record)

LABELS = ("Comparison", "Demonstration", "Rating")
"""Records that other people's files hold in formats of their own."""


def find_file(path: Path, name: str) -> Path:
    """A file as it is; of a stage's folder the file of this name."""
    return path if path.is_file() else path / name


def read(path: Path, kind: type[R]) -> list[R]:
    """All records of one JSONL file. Wrong lines are named at once, of each kind of mistake the first three; an
    empty file is refused.

    Raises UserError with a line `file:line: field: what is wrong` for each mistake.
    """
    mistakes = Mistakes()
    rows = list(read_good(path, kind, mistakes))
    if mistakes:
        raise UserError(mistakes.lines())
    return rows


def read_good(path: Path, kind: type[R], mistakes: Mistakes) -> Iterator[R]:
    """The good records of a file, one at a time; what is wrong with the others gathers in `mistakes`."""
    if not path.is_file():
        mistakes.add([f"{path}: no such file; expected one {kind.__name__} record a line"])
        return
    bad: list[list[str]] = []  # what is wrong, a list a line of the file
    good = False
    for number, line in read_lines(path):
        try:
            record = kind.model_validate_json(line)
        except ValidationError as error:
            empty = [f"{path}:{number}: empty line; expected one JSON record a line"]
            bad.append(validation_errors(f"{path}:{number}", kind, error) if line.strip() else empty)
            if len(bad) >= MAX_ERRORS:
                break
        else:
            good = True
            yield record
    if not good and not bad:
        mistakes.add([f"{path}: the file is empty; expected at least one {kind.__name__} record"])
    elif not good and kind.__name__ in LABELS:  # another format: what its first row lacks is enough
        mistakes.add(bad[0][:SHOWN])
        mistakes.add(
            [f"{path}: holds no {kind.__name__} record; [label.imports] reads other people's formats"]
        )
        return
    for lines in bad:
        mistakes.add(lines)
    if len(bad) >= MAX_ERRORS:
        mistakes.add([f"{path}: the rest of the file was not read"])


def validation_errors(where: str, kind: type[BaseModel], error: ValidationError) -> list[str]:
    """What is wrong with a line, a sentence for each field."""
    lines = []
    for mistake in error.errors(include_url=False):
        field = ".".join(str(part) for part in mistake["loc"]) or "line"
        if mistake["type"] == "json_invalid":
            # the parser counts lines within the record, which would be a second line number
            message = re.sub(r" at line 1 column (\d+)$", r" at character \1", mistake["msg"])
            lines.append(f"{where}: {message} (got {str(mistake.get('input')).strip()[:80]})")
            continue
        value = json.dumps(mistake.get("input"), default=str)[:80]
        lines.append(f"{where}: {kind.__name__} {field}: {mistake['msg']} (got {value})")
    return lines


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line of a text file, UTF-8 or UTF-16, also of a packed one (`.gz`, `.zst`). A line
    ends at the newline only.

    Raises UserError for a folder, for bytes that are no text, for a broken packed file, for one that unpacks to
    far more than its size, and for an endless line.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; expected a file")
    number = 0
    try:
        with open_file(path) as file:
            encoding = encoding_of(file)
            if encoding != "utf-8-sig":
                file = cast(IO[bytes], _as_utf8(file, encoding))
            while raw := file.readline(MAX_LINE_BYTES):
                number += 1
                if len(raw) == MAX_LINE_BYTES:
                    raise UserError(f"{path}:{number}: a line of more than {MAX_LINE_BYTES:,} bytes")
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}:{number}: not UTF-8 at byte {error.start}; save the file as UTF-8"
        ) from error


def _as_utf8(file: IO[bytes], encoding: str) -> io.BufferedReader:
    """A text of another encoding as bytes of UTF-8."""
    return io.BufferedReader(_Recoded(file, encoding), 2**16)


class _Recoded(io.RawIOBase):
    def __init__(self, file: IO[bytes], encoding: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._waiting and (part := self._file.read(2**15)):
            self._waiting = self._decoder.decode(part).encode()
        count = min(len(buffer), len(self._waiting))
        buffer[:count], self._waiting = self._waiting[:count], self._waiting[count:]
        return count


def read_objects(path: Path, keys: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Lines of a metrics or samples file; none when there is no such file.

    Raises UserError with a line for every row that is not a JSON object or lacks one of `keys`.
    """
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = []
    errors: list[str] = []
    for number, line in read_lines(path):
        try:
            row = parse_json(line)
        except ValueError as error:
            errors.append(f"{path}:{number}: {error}; expected one object a line")
            continue
        missing = [key for key in keys if not isinstance(row, dict) or key not in row]
        if missing:
            errors.append(f"{path}:{number}: expected {', '.join(missing)} in every line")
            continue
        rows.append(row)
    if errors:
        raise UserError(errors)
    return rows


class LineWriter:
    """Writes a file line by line: to a side name, which is renamed when the `with` block ends well and
    removed when not.

    `private`: only the owner may read the file and its folder, and without a line there is no file.
    """

    def __init__(self, path: Path, private: bool = False) -> None:
        self.path = path
        self.private = private
        self.count = 0
        self._side = path.with_name(path.name + ".part")

    def __enter__(self) -> LineWriter:
        if self.private:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = 0o600 if self.private else 0o666
        handle = os.open(self._side, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        self._file = os.fdopen(handle, "w", encoding="utf-8")
        return self

    def add(self, lines: Iterable[str]) -> None:
        """Write lines; each ends with a newline."""
        for line in lines:
            self._file.write(line)
            self.count += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._file:
                self._file.flush()
                os.fsync(self._file.fileno())
            if kind is None and (self.count or not self.private):
                self._side.replace(self.path)
            elif kind is None:
                self.path.unlink(missing_ok=True)
        finally:
            self._side.unlink(missing_ok=True)


def write(path: Path, rows: Iterable[Record], private: bool = False) -> int:
    """Write one record a line to a side name, then rename: the file is complete or absent. Returns the number
    of rows. `private`: readable by its owner alone."""
    with LineWriter(path, private=private) as file:
        file.add(row.model_dump_json(exclude_none=True) + "\n" for row in rows)
    return file.count


def write_objects(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """`write` for what is no record: one JSON object a line, to a side name, then renamed."""
    with LineWriter(path) as file:
        file.add(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
