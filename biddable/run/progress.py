"""Live progress: a bar with the time left and the numbers that matter in a terminal, a plain line now and
then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from biddable.run.output import screen

PLAIN_SECONDS = 15.0
"""Time between plain lines when nobody looks at a terminal."""


def duration(seconds: float) -> str:
    """Seconds as people say them: "42 s", "3 min 20 s"."""
    rounded = round(seconds)
    return f"{rounded} s" if rounded < 90 else f"{rounded // 60} min {rounded % 60} s"


class TimeLeft:
    """The time left, from the time a phase has taken so far. A smaller step, or another number of steps: a
    new phase."""

    def __init__(self) -> None:
        self.first = self.last = (0, 0, 0.0)  # step, steps, when

    def left(self, step: int, steps: int) -> float | None:
        """Seconds to the end of this phase; None while nothing is known."""
        now = time.monotonic()
        if steps != self.last[1] or step < self.last[0]:
            self.first = (step, steps, now)
        self.last = (step, steps, now)
        elapsed, steps_taken = now - self.first[2], step - self.first[0]
        return elapsed / steps_taken * (steps - step) if steps_taken else None


class Progress:
    """One stage's progress; `report` is what the stage calls."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.began = self.printed = time.monotonic()
        self.pace = TimeLeft()
        self.bar: Any = None
        self.task: Any = None
        self.last = ""

    def __enter__(self) -> Progress:
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            self.bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total}"),
                TextColumn("{task.fields[left]}"),
                TextColumn("{task.fields[numbers]}"),
                console=Console(file=screen()),
                redirect_stdout=False,  # what others print must go through its own stream
                redirect_stderr=False,
                transient=True,
            )
            self.bar.start()
            self.task = self.bar.add_task(self.title, total=None, left="", numbers="")
        else:
            print(f"{self.title}", flush=True)
        return self

    def report(self, step: int, steps: int, numbers: dict[str, float]) -> None:
        """Show step of steps, and at most a few numbers."""
        self.last = "  ".join(f"{name} {value:.3g}" for name, value in numbers.items())
        now = time.monotonic()
        left = self.pace.left(step, steps)
        remaining = "" if left is None else f"{duration(left)} left"
        if self.bar is not None:
            self.bar.update(self.task, completed=step, total=steps, left=remaining, numbers=self.last)
            return
        if now - self.printed < PLAIN_SECONDS:
            return
        self.printed = now
        print(
            "  ".join(part for part in (f"  {self.title} {step}/{steps}", remaining, self.last) if part),
            flush=True,
        )

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
