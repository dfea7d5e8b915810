"""The README's commands run, as they stand there, with the random model."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    lines = [
        line for block in re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S) for line in block.splitlines()
    ]
    return [line for line in lines if line.startswith("biddable ")]


def test_every_command_runs(tiny_run: Path) -> None:
    found = commands()
    assert len(found) >= 7
    for line in found:
        words = shlex.split(line, comments=True)[1:]
        done = subprocess.run(
            [sys.executable, "-m", "biddable.cli", *words],
            cwd=tiny_run,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        assert done.stdout


def test_every_path_it_names_exists() -> None:
    root = Path(__file__).resolve().parents[1]
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (root / target).exists(), target
    tree = README.split("## What is where")[1].split("```")[1]
    for line in tree.strip().splitlines():
        if line.startswith("     "):
            continue  # goes on with the line above
        name = line.split()[0]
        inside = (root / "biddable" / name) if line.startswith("  ") else (root / name)
        assert inside.exists(), line
