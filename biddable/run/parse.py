"""Files of any origin, unpacked and parsed within bounds: a small file makes no large memory, a deep one no
traceback."""

from __future__ import annotations

import gzip
import io
import json
import tomllib
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
    """A packed file's content. Raises UserError when it is far larger than what it is packed in."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = gzip.open(path)  # noqa: SIM115 (closed by `close`)
        self._left = unpacked_bytes(path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        self._left -= count
        if self._left < 0:
            raise UserError(
                f"{self._path}: unpacks to more than {MAX_RATIO} times its size; unpack it yourself if it is meant to be"
            )
        return int(count)

    def close(self) -> None:
        self._file.close()
        super().close()


def unpacked_bytes(packed: int) -> int:
    """How much a packed file of so many bytes may hold."""
    return max(FREE_BYTES, MAX_RATIO * packed)


def open_file(path: Path) -> IO[bytes]:
    """A file's bytes, unpacked when its name ends in .gz. Reading raises UserError for a bomb, and what `gzip`
    raises for a broken file."""
    if path.suffix != ".gz":
        return path.open("rb")
    return cast(IO[bytes], io.BufferedReader(_Bounded(path), 2**16))


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
