"""Live progress: a bar with the time left and the numbers that matter in a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

PLAIN_SECONDS = 15.0
"""Time between plain lines when nobody looks at a terminal."""


def duration(seconds: float) -> str:
    """Seconds as people say them: "42 s", "3 min 20 s"."""
    whole = round(seconds)
    return f"{whole} s" if whole < 90 else f"{whole // 60} min {whole % 60} s"


class Progress:
    """One stage's progress; `report` is what the stage calls."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.began = self.printed = time.monotonic()
        self.first: tuple[int, float] | None = None
        self.bar: Any = None
        self.task: Any = None
        self.last = ""

    def __enter__(self) -> Progress:
        if sys.stdout.isatty():
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self.bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[numbers]}"),
                transient=True,
            )
            self.bar.start()
            self.task = self.bar.add_task(self.title, total=None, numbers="")
        else:
            print(f"{self.title}", flush=True)
        return self

    def report(self, step: int, steps: int, numbers: dict[str, float]) -> None:
        """Show step of steps, and at most a few numbers."""
        self.last = "  ".join(f"{name} {value:.3g}" for name, value in numbers.items())
        now = time.monotonic()
        if self.bar is not None:
            self.bar.update(self.task, completed=step, total=steps, numbers=self.last)
            return
        if self.first is None:
            self.first = (step, now)
        if now - self.printed < PLAIN_SECONDS:
            return
        self.printed = now
        done, since = self.first
        left = (now - since) / (step - done) * (steps - step) if step > done else 0.0
        print(f"  {self.title} {step}/{steps}  {duration(left)} left  {self.last}", flush=True)

    def close(self, word: str) -> None:
        """Say in one line how it ended."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
        print(f"{self.title}: {word}, {duration(time.monotonic() - self.began)}  {self.last}", flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
