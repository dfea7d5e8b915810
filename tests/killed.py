"""A stage that is killed with -9 at random moments, in real processes, until it is done."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TIMES = ("tokens_per_second",)
"""Metrics that are measured with a clock."""


def kill_and_finish(
    folder: Path, config: str, stage: str, settings: Sequence[str], between: tuple[float, float]
) -> None:
    """Run a stage of a file into `runs/killed`, kill it three times after so many seconds, then let it end."""
    seed = int(os.environ.get("BIDDABLE_KILL_SEED") or random.randrange(2**32))
    # shown when the test fails: the same moments can be tried again
    print(f"killed at moments of BIDDABLE_KILL_SEED={seed}")
    draw = random.Random(seed)
    for _ in range(3):
        process = _start(folder, config, stage, settings)
        try:
            process.communicate(timeout=draw.uniform(*between))
            break  # it was done sooner
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            if (folder / "runs" / "killed" / stage / "manifest.json").exists():
                break
    process = _start(folder, config, stage, settings)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out


def _start(folder: Path, config: str, stage: str, settings: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "biddable.cli", stage, config, "name=killed", *settings],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def results(folder: Path) -> tuple[dict[str, str], list[dict[str, float]]]:
    """Hashes of all outputs, and the metrics without times."""
    files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    metrics = [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]
    return {name: row["sha256"] for name, row in files.items() if name != "metrics.jsonl"}, metrics
