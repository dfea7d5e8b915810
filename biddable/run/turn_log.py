"""A folder of turns: what a served policy answered and what its users said about it, as two files that only
grow.

Any number of processes may append at once. A line is on the disk when `append` returns. Half a line of a
killed writer was never acknowledged; the next append cuts it off. Whether something may be kept is decided
within the lock: whoever takes a consent back holds it too, so nothing is kept afterwards. Forgetting a user
copies the lines of the others beside the file and takes the lock for what was appended meanwhile only.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from biddable.run import jsonl
from biddable.run.records import Feedback, Turn

TURNS, FEEDBACK = "turns.jsonl", "feedback.jsonl"
BLOCK = 1 << 20
"""Bytes that are read at once where a file is searched from its end."""


class TurnLog:
    """A folder of turns while nobody else writes to it; made by `locked`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def append(self, *rows: Turn | Feedback) -> None:
        """Add lines; they are on the disk when this returns. Raises OSError, for instance for a full disk:
        then none of a file's lines count."""
        for name, kind in ((TURNS, Turn), (FEEDBACK, Feedback)):
            lines = [row.model_dump_json(exclude_none=True) + "\n" for row in rows if isinstance(row, kind)]
            if lines:
                _append(self.folder / name, "".join(lines).encode("utf-8"))

    def holds(self, turns: Sequence[str]) -> bool:
        """Whether all turns of these ids are there."""
        path = self.folder / TURNS
        return path.exists() and all(_find_from_end(path, _line_start(turn)) for turn in turns)


@contextmanager
def locked(folder: Path) -> Iterator[TurnLog]:
    """The folder for one thread of one process at a time."""
    with _lock(folder, ".turns.lock"):  # a file of its own, because forgetting gives the others another inode
        yield TurnLog(folder)


def append(folder: Path, *rows: Turn | Feedback) -> None:
    """`TurnLog.append`, within the lock."""
    with locked(folder) as log:
        log.append(*rows)


def read(folder: Path) -> tuple[list[Turn], list[Feedback]]:
    """All turns and all feedback, in the order of writing. Raises UserError for lines that are not such
    records."""
    turns, feedback = folder / TURNS, folder / FEEDBACK
    with locked(folder):
        for path in (turns, feedback):
            _cut_partial_line(path)
        return (
            jsonl.read(turns, Turn) if turns.exists() and turns.stat().st_size else [],
            jsonl.read(feedback, Feedback) if feedback.exists() and feedback.stat().st_size else [],
        )


def forget(folder: Path, user: str) -> tuple[int, int]:
    """Take a user's turns and feedback out of the folder; returns how many of each there were."""
    with _lock(folder, ".forget.lock"):  # one deletion at a time: no other replaces a file meanwhile
        # feedback first: killed in between, no feedback is left whose turn is gone
        feedback = _remove_user(folder, FEEDBACK, user)
        return _remove_user(folder, TURNS, user), feedback


def _remove_user(folder: Path, name: str, user: str) -> int:
    """Replace a file by one without a user's lines; returns how many they were."""
    path, side = folder / name, folder / f"{name}.part"
    needle = f'"user":{json.dumps(user, ensure_ascii=False)}'.encode("utf-8", "surrogatepass")

    def is_theirs(line: bytes) -> bool:
        return needle in line and json.loads(line).get("user") == user

    with locked(folder):
        _cut_partial_line(path)
        end = path.stat().st_size if path.exists() else 0
    if not end:
        return 0
    if not any(is_theirs(line) for line in _lines(path, 0, end)):
        return 0
    try:
        with os.fdopen(os.open(side, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            removed = _copy_others(path, 0, end, file, is_theirs)
            with locked(folder):
                _cut_partial_line(path)
                removed += _copy_others(path, end, path.stat().st_size, file, is_theirs)
                if file.tell():
                    side.replace(path)
                else:
                    path.unlink()
                _flush_folder(folder)
    finally:
        side.unlink(missing_ok=True)
    return removed


def _copy_others(path: Path, begin: int, end: int, file: BinaryIO, is_theirs: Callable[[bytes], bool]) -> int:
    """Copy the lines between two places that are not theirs, onto the disk; returns how many were left
    out."""
    removed = 0
    for line in _lines(path, begin, end):
        if is_theirs(line):
            removed += 1
        else:
            file.write(line)
    file.flush()
    os.fsync(file.fileno())
    return removed


def _lines(path: Path, begin: int, end: int) -> Iterator[bytes]:
    """The lines between two places of a file, each behind a newline."""
    with path.open("rb") as file:
        file.seek(begin)
        while file.tell() < end:
            yield file.readline()


def _line_start(turn: str) -> bytes:
    """How the line of a turn begins. No text of anybody's holds this: quotes in texts are escaped."""
    return f'{{"id":{json.dumps(turn, ensure_ascii=False)},'.encode("utf-8", "surrogatepass")


def _find_from_end(path: Path, needle: bytes) -> bool:
    """Whether a file holds these bytes; what was written last is looked at first."""
    with path.open("rb") as file:
        begin = file.seek(0, os.SEEK_END)
        while begin > 0:
            end, begin = begin, max(0, begin - BLOCK)
            file.seek(begin)
            if needle in file.read(end - begin + len(needle) - 1):
                return True
    return False


@contextmanager
def _lock(folder: Path, name: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _append(path: Path, data: bytes) -> None:
    new = not path.exists()
    _cut_partial_line(path)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.fchmod(handle, 0o600)  # also one that an earlier version left readable to all
        before = os.fstat(handle).st_size
        try:
            while data:
                data = data[os.write(handle, data) :]
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, before)
            raise
    finally:
        os.close(handle)
    if new:
        _flush_folder(path.parent)


def _cut_partial_line(path: Path) -> None:
    """Cut off what follows the last newline; read from the end, block by block: a log may be large."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end > 0:
            begin = max(0, end - 65536)
            file.seek(begin)
            newline = file.read(end - begin).rfind(b"\n")
            if newline >= 0:
                end = begin + newline + 1
                break
            end = begin
        if end < size:
            file.truncate(end)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
