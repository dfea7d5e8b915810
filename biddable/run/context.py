"""What a running stage is given: its folder, its seed, and the ways to log, report progress, checkpoint and
go on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biddable.run import stage_folder
from biddable.run.progress import TimeLeft

Report = Callable[[int, int, dict[str, float]], None]
"""Called with step, number of steps, and the numbers that matter."""

NOTE_SECONDS = 1.0
"""Time between two notes in progress.json, which `status` of another process reads."""


@dataclass
class StageContext:
    """One stage under way. `summary` becomes summary.json when the stage is done."""

    folder: Path
    key: str
    seed: int
    report: Report
    summary: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.time)
    total_steps: int = 0
    _last_note: float = 0.0
    _time_left: TimeLeft = field(default_factory=TimeLeft)

    def path(self, name: str) -> Path:
        """A file or folder of this stage."""
        return self.folder / name

    def progress(self, step: int, steps: int, **numbers: float) -> None:
        """Show on the terminal how far the stage is, with the two or three numbers that matter; note it for
        `status`."""
        self.total_steps = steps
        self.report(step, steps, numbers)
        left = self._time_left.left(step, steps)
        if time.monotonic() - self._last_note >= NOTE_SECONDS:
            self._last_note = time.monotonic()
            note = {"step": step, "steps": steps, "left": left, **numbers}
            # not write_json: this note is written often, and nothing is lost with it when the machine stops
            side = self.path(stage_folder.PROGRESS + ".part")
            side.write_text(json.dumps(note, default=float), encoding="utf-8")
            side.replace(self.path(stage_folder.PROGRESS))

    def append(self, name: str, row: dict[str, Any]) -> None:
        """Append one JSON line to a file of this stage, e.g. metrics.jsonl; a checkpoint remembers the file's
        length."""
        with self.path(name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=True) + "\n")

    def log(self, step: int, **metrics: float) -> None:
        """One line in metrics.jsonl. Every name has a line in docs/flow.md."""
        self.append("metrics.jsonl", {"step": step, **metrics})

    def checkpoint(self, step: int, write: Callable[[Path], None]) -> None:
        """Save what is needed to go on from `step`: `write` puts it into the folder that it is called
        with."""
        stage_folder.write_checkpoint(self.folder, step, time.time() - self.started, write)

    def restore(self) -> tuple[int, Path] | None:
        """The newest checkpoint as (step, folder), with lines written after it taken back; None to start from
        nothing."""
        checkpoint, seconds = stage_folder.read_checkpoint(self.folder)
        self.started = time.time() - seconds
        return (int(checkpoint.name), checkpoint) if checkpoint else None
