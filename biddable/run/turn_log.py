"""A folder of turns: what a served policy answered and what its users said about it, as two files that only
grow.

Any number of processes may append at once. A line is on the disk when `append` returns. Half a line of a
killed writer was never acknowledged; the next append cuts it off. Forgetting a user rewrites both files under
the same lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from biddable.run import jsonl
from biddable.run.records import Feedback, Turn

TURNS, FEEDBACK = "turns.jsonl", "feedback.jsonl"


def append(folder: Path, *rows: Turn | Feedback) -> None:
    """Add lines; they are on the disk when this returns. Raises OSError, for instance for a full disk: then
    none of a file's lines count."""
    for name, kind in ((TURNS, Turn), (FEEDBACK, Feedback)):
        lines = [row.model_dump_json(exclude_none=True) + "\n" for row in rows if isinstance(row, kind)]
        if lines:
            with _locked(folder):
                _append(folder / name, "".join(lines).encode("utf-8"))


def read(folder: Path) -> tuple[list[Turn], list[Feedback]]:
    """All turns and all feedback, in the order of writing. Raises UserError for lines that are not such
    records."""
    with _locked(folder):
        return _read(folder)


def forget(folder: Path, user: str) -> tuple[int, int]:
    """Take a user's turns and feedback out of the folder; returns how many of each there were."""
    with _locked(folder):
        turns, feedback = _read(folder)
        other_turns = [row for row in turns if row.user != user]
        other_feedback = [row for row in feedback if row.user != user]
        # feedback first: killed in between, no feedback is left whose turn is gone
        if len(other_feedback) < len(feedback):
            jsonl.write(folder / FEEDBACK, other_feedback, private=True)
        if len(other_turns) < len(turns):
            jsonl.write(folder / TURNS, other_turns, private=True)
    return len(turns) - len(other_turns), len(feedback) - len(other_feedback)


def _read(folder: Path) -> tuple[list[Turn], list[Feedback]]:
    turns, feedback = folder / TURNS, folder / FEEDBACK
    for path in (turns, feedback):
        _cut_partial_line(path)
    return (
        jsonl.read(turns, Turn) if turns.exists() and turns.stat().st_size else [],
        jsonl.read(feedback, Feedback) if feedback.exists() and feedback.stat().st_size else [],
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; a lock of its own, because forgetting gives the files another inode."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".turns.lock").open("a") as file:
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
