"""A benchmark killed with -9 in the middle, several times: the same command goes on, and the results are the
same bytes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

TABLES = """
name = "{name}"

[measure.benchmarks]
file = "items.jsonl"
task = "{task}"
policies = ["{policy}", "{policy}/../learn.twin"]
temperature = 1.0
max_tokens = 24
resamples = 200
"""
COMMAND = """
import sys
from biddable.cli import main as cli
from biddable.measure.benchmarks import answers
answers.CHUNK, answers.CHECKPOINT_SECONDS = 4, 0.0  # a note after every fourth item
sys.argv = ["biddable", "measure.benchmarks", sys.argv[1]]
cli.main()
"""
ITEMS = 120


def start(folder: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, f"{name}.toml"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def answered(folder: Path) -> int:
    path = folder / "answers.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize("task", ["choice", "refusal"])
def test_killed_benchmarks_end_the_same(tmp_path: Path, policy: Path, task: str) -> None:
    twin = policy.with_name("learn.twin")
    if not twin.exists():
        twin.symlink_to(policy)
    rows = [
        {
            "id": f"{i}",
            "prompt": f"Do {i}",
            "label": "safe",
            "context": f"Item {i} is",
            "choices": ["odd", "even", "a fish"],
        }
        | ({"label": i % 2} if task == "choice" else {})
        for i in range(ITEMS)
    ]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("straight", "killed"):
        (tmp_path / f"{name}.toml").write_text(TABLES.format(name=name, task=task, policy=policy))
    process = start(tmp_path, "straight")
    out, _ = process.communicate()
    assert process.returncode == 0, out
    folder, chance = tmp_path / "runs" / "killed" / "measure.benchmarks", random.Random()
    aims, killed = sorted(chance.sample(range(4, 2 * ITEMS - 40), 3)), 0
    for aim in aims:
        process = start(tmp_path, "killed")
        while process.poll() is None and answered(folder) < aim:
            time.sleep(0.002)
        process.kill()
        killed += process.wait() == -9
        process.communicate()
    assert killed, "it was never caught in the middle"
    assert not (folder / "manifest.json").exists()
    process = start(tmp_path, "killed")
    out, _ = process.communicate()
    assert process.returncode == 0, out
    for name in ("answers.jsonl", "results.jsonl"):
        assert (folder / name).read_bytes() == (
            tmp_path / "runs" / "straight" / "measure.benchmarks" / name
        ).read_bytes()
