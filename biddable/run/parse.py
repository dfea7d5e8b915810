"""Files of any origin, unpacked and parsed within bounds: a small file makes no large memory, a deep one no
traceback."""

from __future__ import annotations

import gzip
import io
import json
import tomllib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from biddable.run.errors import UserError

MAX_RATIO = 100
"""How many times its size a packed file may unpack to. Text packs to a fifth; a bomb to a thousandth."""
FREE_BYTES = 64 * 2**20
"""What any packed file may unpack to, however small it is."""
MAX_LINE_BYTES = 32 * 2**20
"""Bytes of one line of JSON."""
MAX_DEPTH = 200
"""Lists and objects within each other. Records have five of them."""
MAX_ERRORS = 1000
"""Errors of a file that are named; more of them help nobody."""


class _Bounded(io.RawIOBase):
    """A packed file's content. Raises UserError when it is broken, or far larger than what it is packed in."""

    def __init__(self, path: Path, packing: str, file: Any) -> None:
        self._path = path
        self._packing = packing
        self._file = file
        self._left = unpacked_bytes(path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            part = self._file.read(len(buffer))
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{self._path}: the {self._packing} file is broken ({error})") from error
        buffer[: len(part)] = part
        self._left -= len(part)
        if self._left < 0:
            raise UserError(
                f"{self._path}: unpacks to more than {MAX_RATIO} times its size; unpack it yourself if it is meant to be"
            )
        return len(part)

    def close(self) -> None:
        self._file.close()
        super().close()


def unpacked_bytes(packed: int) -> int:
    """How much a packed file of so many bytes may hold."""
    return max(FREE_BYTES, MAX_RATIO * packed)


def open_file(path: Path) -> IO[bytes]:
    """A file's bytes, unpacked when its name or its first bytes say gzip or zstandard. Reading raises UserError
    for a bomb and for a broken file."""
    with path.open("rb") as file:
        first = file.read(4)
    if path.suffix == ".gz" or first[:2] == b"\x1f\x8b":
        return cast(IO[bytes], io.BufferedReader(_Bounded(path, "gzip", gzip.open(path)), 2**16))
    if path.suffix == ".zst" or first == b"\x28\xb5\x2f\xfd":
        return cast(IO[bytes], io.BufferedReader(_Bounded(path, "zstandard", _open_zstandard(path)), 2**16))
    return path.open("rb")


def _open_zstandard(path: Path) -> Any:
    try:
        import pyarrow
    except ModuleNotFoundError:
        raise UserError(
            f"{path}: zstandard needs the package pyarrow: pip install 'biddable[collect]'"
        ) from None
    return pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")


def encoding_of(file: IO[bytes]) -> str:
    """The encoding of a text: UTF-16 where a byte order mark or a zero beside the first letter says so, else
    UTF-8, a mark left out. Nothing is read."""
    first = cast(io.BufferedReader, file).peek(4)[:4]
    if first[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if len(first) > 1 and (first[0] == 0) != (first[1] == 0):
        return "utf-16-be" if first[0] == 0 else "utf-16-le"
    return "utf-8-sig"


def parse_json(text: str) -> Any:
    """A JSON value. Raises ValueError with what is wrong: `not JSON: ... at character N`, also for a number of
    thousands of digits, and for lists and objects deeper than MAX_DEPTH."""
    return _parse(lambda: (json.loads(text), len(text)), text)[0]


def parse_json_at(text: str, start: int) -> tuple[Any, int]:
    """The JSON value that begins at a character, and where it ends. Raises ValueError as `parse_json`."""
    return _parse(lambda: json.JSONDecoder().raw_decode(text, start), text, start)


def _parse(decode: Callable[[], tuple[Any, int]], text: str, start: int = 0) -> tuple[Any, int]:
    try:
        value, end = decode()
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("not JSON: nested too deeply") from None
    except ValueError:
        raise ValueError("not JSON: a number of thousands of digits") from None
    if text.count("[", start, end) + text.count("{", start, end) > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ValueError("not JSON: nested too deeply")
    return value, end


def _depth(value: Any) -> int:
    """How many lists and objects lie within each other."""
    level, depth = [value], 0
    while level := [child for parent in level for child in _children(parent)]:
        depth += 1
    return depth


def _children(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def read_object(path: Path) -> dict[str, Any]:
    """The object that a small JSON file holds. Raises UserError when there is none."""
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not JSON: not UTF-8") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: must be a JSON object")
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """A TOML file's content. Raises tomllib.TOMLDecodeError, also for a number of thousands of digits, and for
    lists and tables deeper than MAX_DEPTH."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise tomllib.TOMLDecodeError("nested too deeply") from None
    except ValueError:
        raise tomllib.TOMLDecodeError("a number of thousands of digits") from None
    if _depth(table) > MAX_DEPTH:
        raise tomllib.TOMLDecodeError("nested too deeply")
    return table
