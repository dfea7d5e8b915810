"""A folder with prompts and a file of two stages, and the command line in real processes and in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from biddable.cli import main as cli

PROMPTS = "".join(
    json.dumps(
        {
            "id": f"p{i}",
            "messages": [{"role": "user", "content": f"{i}: why is the sea salt?"}],
            "user": f"u{i}",
        }
    )
    + "\n"
    for i in range(40)
)
TOML = '[collect.files]\nfiles = ["prompts.jsonl"]\n[curate.prompts]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prompts.jsonl").write_text(PROMPTS, encoding="utf-8")
    (tmp_path / "my.toml").write_text(TOML, encoding="utf-8")
    return tmp_path


def biddable(folder: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "biddable.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["biddable", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)
