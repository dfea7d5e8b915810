"""What a running stage holds: its folder, its seed, and the ways to log, checkpoint and go on after being killed."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biddable.run.manifest import write_json
from biddable.run.progress import TimeLeft

Report = Callable[[int, int, dict[str, float]], None]
"""Called with step, number of steps, and the numbers that matter."""

NOTED_SECONDS = 1.0
"""Time between two notes in progress.json, which `status` of another process reads."""


@dataclass
class StageContext:
    """What a running stage holds: its folder, its seed, and the ways to log, keep, checkpoint and finish."""

    folder: Path
    key: str
    seed: int
    report: Report
    summary: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.time)
    total_steps: int = 0
    _noted: float = 0.0
    _pace: TimeLeft = field(default_factory=TimeLeft)

    def path(self, name: str) -> Path:
        """A file or folder of this stage."""
        return self.folder / name

    def progress(self, step: int, steps: int, **numbers: float) -> None:
        """Tell the terminal how far the stage is, with the two or three numbers that matter; note it for `status`."""
        self.total_steps = steps
        self.report(step, steps, numbers)
        left = self._pace.left(step, steps)
        if time.monotonic() - self._noted >= NOTED_SECONDS:
            self._noted = time.monotonic()
            side = self.path("progress.json.part")
            told = {"step": step, "steps": steps, "left": left, **numbers}
            side.write_text(json.dumps(told, default=float), encoding="utf-8")
            side.replace(self.path("progress.json"))

    def append(self, name: str, row: dict[str, Any]) -> None:
        """Append one JSON line to a file of this stage, e.g. metrics.jsonl; a checkpoint remembers the file's length."""
        with self.path(name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=True) + "\n")

    def log(self, step: int, **metrics: float) -> None:
        """One line in metrics.jsonl. Every name has a line in docs/flow.md."""
        self.append("metrics.jsonl", {"step": step, **metrics})

    def checkpoint(self, step: int, write: Callable[[Path], None]) -> None:
        """Keep what is needed to go on from `step`; `write` puts it into the folder it is given. Older checkpoints go."""
        parent = self.path("checkpoint")
        parent.mkdir(exist_ok=True)
        side, final = parent / "part", parent / f"{step:09d}"
        shutil.rmtree(side, ignore_errors=True)
        side.mkdir()
        write(side)
        lines = list(self.folder.glob("*.jsonl"))
        for path in lines:
            _flush(path)
        sizes = {p.name: p.stat().st_size for p in lines}
        write_json(side / "sizes.json", {"sizes": sizes, "seconds": time.time() - self.started})
        for path in side.rglob("*"):
            _flush(path)
        if final.exists():  # the same step once more
            final.rename(parent / "old")
        side.rename(final)
        _flush(parent)
        for old in sorted(parent.iterdir()):
            if old != final:
                shutil.rmtree(old, ignore_errors=True)

    def restore(self) -> tuple[int, Path] | None:
        """The newest checkpoint as (step, folder), with lines written after it taken back; None to start from nothing."""
        whole = list_checkpoints(self.folder)
        kept: dict[str, Any] = (
            json.loads((whole[-1] / "sizes.json").read_text()) if whole else {"sizes": {}, "seconds": 0.0}
        )
        for path in self.folder.glob("*.jsonl"):
            os.truncate(path, kept["sizes"].get(path.name, 0))
        self.started = time.time() - kept["seconds"]
        return (int(whole[-1].name), whole[-1]) if whole else None


def list_checkpoints(folder: Path) -> list[Path]:
    """A stage folder's whole checkpoints, the newest last."""
    return sorted(p for p in (folder / "checkpoint").glob("[0-9]*") if (p / "sizes.json").exists())


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
