"""Stages that train or ask, killed with -9 at random moments in real processes: the same command goes on, and
the results are the same bytes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest


def command(stage: str, folder: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "biddable.cli",
            stage,
            "configs/tiny.toml",
            f"name={name}",
            *EXCEPTIONS.get(stage, ()),
        ],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


EXCEPTIONS = {"learn.sft": ("checkpoint_seconds=0",), "learn.reward": ("checkpoint_seconds=0",)}
TIMES = ("tokens_per_second",)
"""Metrics that are measured with a clock."""


def results(folder: Path) -> tuple[dict[str, str], list[dict[str, float]]]:
    """Hashes of all outputs, and the metrics without times."""
    files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    metrics = [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]
    return {name: one["sha256"] for name, one in files.items() if name != "metrics.jsonl"}, metrics


@pytest.mark.parametrize(
    "stage", ["label.comparisons", "learn.sft", "learn.reward", "learn.ppo", "learn.a2c"]
)
def test_killed_stages_end_the_same(tiny_run: Path, stage: str) -> None:
    seed = int(os.environ.get("BIDDABLE_KILL_SEED") or random.randrange(2**32))
    print(
        f"killed at moments of BIDDABLE_KILL_SEED={seed}"
    )  # shown when the test fails: the same moments can be tried again
    rng = random.Random(seed)
    folder = tiny_run / "runs" / "killed" / stage
    killed = 0
    while killed < 3:
        process = command(stage, tiny_run, "killed")
        try:
            process.communicate(
                timeout=rng.uniform(1.0, 4.0) if stage.startswith("learn") else rng.uniform(0.2, 0.7)
            )
            break  # it was done sooner
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
            if (folder / "manifest.json").exists():
                break
    process = command(stage, tiny_run, "killed")
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert results(folder) == results(tiny_run / "runs" / "tiny" / stage)
