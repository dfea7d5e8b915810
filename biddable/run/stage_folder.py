"""A stage's folder on disk: its lock, its checkpoints, and what is left when a stage is broken off.

`runs/NAME/<room.stage>/` holds `metrics.jsonl`, `samples.jsonl`, outputs, `summary.json` and, written last
and by rename, `manifest.json`: a folder with a manifest is complete. While a stage runs, `checkpoint/<step>/`
holds what it needs to go on, `begun.json` the settings and inputs it began with, and `progress.json` how far
it is.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from biddable.run.config import UserError
from biddable.run.manifest import read_manifest, write_json
from biddable.run.parse import read_object

LOCK, BEGUN, PROGRESS = ".lock", "begun.json", "progress.json"
LOCK_WAITS = (0.05, 0.2, 0.0)
"""Seconds before the next attempt at a lock: a `status` of another process holds it for an instant."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process a stage folder. The system drops the lock with its process, also when that is killed."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        for seconds in LOCK_WAITS:
            if _try_lock(file):
                break
            time.sleep(seconds)
        else:
            raise UserError(f"{folder}: another process is running this stage; wait for it or stop it")
        yield


def is_locked(folder: Path) -> bool:
    """Whether a process is running this stage now."""
    if not (folder / LOCK).exists():
        return False
    with (folder / LOCK).open("rb") as file:
        return not _try_lock(file)


def _try_lock(file: IO[Any]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_unfinished(folder: Path) -> bool:
    """Whether an input is missing or still being made. A folder that no stage made has no lock, and counts as
    finished."""
    return not folder.exists() or ((folder / LOCK).exists() and read_manifest(folder) is None)


def read_progress(folder: Path) -> dict[str, Any]:
    """How far a running stage was when it last noted it: `step`, `steps`, `left` (seconds) and its numbers,
    or the sentence `waiting`; {} when there is no such note."""
    try:
        return dict(json.loads((folder / PROGRESS).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def list_checkpoints(folder: Path) -> list[Path]:
    """A stage folder's complete checkpoints, the newest last."""
    return sorted(p for p in (folder / "checkpoint").glob("[0-9]*") if (p / "sizes.json").exists())


def write_checkpoint(folder: Path, step: int, seconds: float, write: Callable[[Path], None]) -> None:
    """Write `checkpoint/<step>/` and remove older ones.

    The folder gets its name last, by rename, with everything flushed to the disk: a checkpoint is complete or
    absent. It remembers how long the append-only files are, so that `read_checkpoint` can take back lines
    written after it.
    """
    parent = folder / "checkpoint"
    parent.mkdir(exist_ok=True)
    side, final = parent / "part", parent / f"{step:09d}"
    shutil.rmtree(side, ignore_errors=True)
    side.mkdir()
    write(side)
    lines = list(folder.glob("*.jsonl"))
    for path in lines:
        _flush(path)
    write_json(
        side / "sizes.json", {"sizes": {path.name: path.stat().st_size for path in lines}, "seconds": seconds}
    )
    for path in side.rglob("*"):
        _flush(path)
    if final.exists():  # the same step once more: a folder cannot be renamed over another
        final.rename(parent / "old")
    side.rename(final)
    _flush(parent)
    for path in parent.iterdir():
        if path != final:
            shutil.rmtree(path, ignore_errors=True)


def read_checkpoint(folder: Path) -> tuple[Path | None, float]:
    """The newest checkpoint and the seconds that had gone into it; lines written after it are cut off. None:
    there is none."""
    checkpoints = list_checkpoints(folder)
    checkpoint = checkpoints[-1] if checkpoints else None
    content: dict[str, Any] = {"sizes": {}, "seconds": 0.0}
    if checkpoint:
        content |= read_object(checkpoint / "sizes.json")
        if not isinstance(content["sizes"], dict) or not isinstance(content["seconds"], int | float):
            raise UserError(
                f"{checkpoint / 'sizes.json'}: not a checkpoint's; remove {checkpoint} and run again"
            )
    for path in folder.glob("*.jsonl"):
        os.truncate(path, content["sizes"].get(path.name, 0))
    return checkpoint, content["seconds"]


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(paths: Iterable[Path]) -> None:
    """Remove files and folders."""
    for path in paths:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def remove_transient(folder: Path) -> None:
    """Remove what only a running stage needs."""
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    for path in folder.glob("*.part.jsonl"):  # lines that checkpoints count, in another form in the results
        path.unlink()
    (folder / BEGUN).unlink(missing_ok=True)
