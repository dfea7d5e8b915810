"""Progress: a plain line now and then where nobody looks at a terminal, a bar where somebody does."""

from __future__ import annotations

import sys

import pytest

from biddable.run import progress
from biddable.run.progress import Progress, duration


def test_seconds_as_people_say_them() -> None:
    assert [duration(s) for s in (0.4, 89, 90, 200)] == ["0 s", "89 s", "1 min 30 s", "3 min 20 s"]


def test_plain_lines_tell_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with Progress("learn.ppo") as shown:
        for step in range(1, 11):
            clock[0] = 10.0 * step
            shown.report(step, 40, {"reward": step / 3, "kl": 0.5})
        shown.close("done")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "learn.ppo"
    # a line every 15 s at most: at 20, 40, 60, 80 and 100 s; since the first report at 10 s a step takes 10 s
    assert lines[1] == "  learn.ppo 2/40  6 min 20 s left  reward 0.667  kl 0.5"
    assert len(lines) == 7
    assert lines[-1] == "learn.ppo: done, 1 min 40 s  reward 3.33  kl 0.5"


def test_a_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with Progress("learn.sft") as shown:
        shown.report(3, 9, {"loss": 1.5})
        task = shown.bar.tasks[0]
        assert (task.completed, task.total, task.fields["numbers"]) == (3, 9, "loss 1.5")
        shown.close("done")
        assert shown.bar is None


def test_a_mistake_within_takes_the_bar_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(ZeroDivisionError), Progress("learn.sft") as shown:
        raise ZeroDivisionError
    assert not shown.bar.live.is_started
