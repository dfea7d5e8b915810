"""Stages that train or ask, killed with -9 at random moments in real processes: the same command goes on, and
the results are the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.killed import kill_and_finish, results

OFTEN = ("checkpoint_seconds=0",)


@pytest.mark.parametrize(
    ("stage", "settings", "between"),
    [
        ("label.comparisons", (), (0.2, 0.7)),
        ("learn.sft", OFTEN, (1.0, 4.0)),
        ("learn.reward", OFTEN, (1.0, 4.0)),
        ("learn.ppo", (), (1.0, 4.0)),
        ("learn.a2c", (), (1.0, 4.0)),
    ],
)
def test_killed_stages_end_the_same(
    tiny_run: Path, stage: str, settings: tuple[str, ...], between: tuple[float, float]
) -> None:
    kill_and_finish(tiny_run, "configs/tiny.toml", stage, settings, between)
    assert results(tiny_run / "runs" / "killed" / stage) == results(tiny_run / "runs" / "tiny" / stage)
