"""The how-tos are carried out as they stand: their code goes into a copy of the package, their commands
run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with a copy of the package, examples and configurations."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "biddable", tmp_path / "biddable", ignore=ignore)
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=ignore)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    return tmp_path


def write_files(folder: Path, page: str) -> None:
    """Code and settings whose first line is a comment with a path go there."""
    for text in blocks(page, "python") + blocks(page, "toml"):
        path = folder / text.split("\n")[0].removeprefix("# ")
        path.write_text(text.split("\n", 1)[1], encoding="utf-8")


def biddable(folder: Path, line: str) -> str:
    words = shlex.split(line, comments=True)
    assert words[0] == "biddable"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "biddable.cli", *words[1:]]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, f"{line}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_a_new_stage(copy: Path) -> None:
    write_files(copy, "how-to/new-stage.md")
    outputs = [biddable(copy, line) for line in "".join(blocks("how-to/new-stage.md", "sh")).splitlines()]
    assert len(outputs) == 3 and "too_long" in outputs[-1]
    lines = (copy / "runs/short/curate.short/prompts.jsonl").read_text(encoding="utf-8").splitlines()
    whole = (copy / "runs/short/curate.prompts/prompts.jsonl").read_text(encoding="utf-8").splitlines()
    assert 0 < len(lines) < len(whole)
    assert "max_words = 40" in biddable(copy, "biddable curate.short --help")


def test_a_new_benchmark(copy: Path) -> None:
    page = "how-to/new-benchmark.md"
    write_files(copy, page)
    (items,) = blocks(page, "jsonl")
    (copy / "mine.jsonl").write_text(items, encoding="utf-8")
    for line in "".join(blocks(page, "sh")).splitlines():
        biddable(copy, line)
    assert (copy / "runs/mine/measure.benchmarks.mine/summary.json").is_file()
    code = (
        "from biddable.measure.benchmarks.tasks.exact import Exact\n"
        "item = Exact(id='1', question='Capital of France?', answers=['Paris', 'paris, France'])\n"
        "print(item.score(' PARIS '), item.score('Rome'), item.input_text())"
    )
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=copy, env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("{'exact': (1.0, 1.0)} {'exact': (0.0, 1.0)} Q: Capital of France?")


def test_a_new_algorithm(copy: Path, tiny_run: Path) -> None:
    """DPO's first loss is log 2 (policy and reference are equal) and its last is less; the policy it saves
    differs from the first."""
    write_files(copy, "how-to/new-algorithm.md")
    shutil.copytree(tiny_run / "runs", copy / "runs")
    settings = (
        'name = "dpo"\n[learn.dpo]\npolicy = "runs/tiny/learn.sft"\ncomparisons = '
        '"runs/tiny/label.comparisons"\n'
        "epochs = 6\nbatch = 4\nlearning_rate = 1e-3\n"
    )
    (copy / "dpo.toml").write_text(settings, encoding="utf-8")
    biddable(copy, "biddable run dpo.toml")
    metrics = (copy / "runs/dpo/learn.dpo/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [
        float(match[1]) for match in (re.search(r'"loss": ([\d.e-]+)', line) for line in metrics) if match
    ]
    assert losses[0] == pytest.approx(0.6931471805599453, abs=1e-5)
    assert losses[-1] < 0.65
    first, trained = (
        copy / f"runs/{name}/model/model.safetensors" for name in ("tiny/learn.sft", "dpo/learn.dpo")
    )
    assert first.read_bytes() != trained.read_bytes()


def test_a_new_migration(copy: Path) -> None:
    write_files(copy, "how-to/new-migration.md")
    code = (
        "import sqlite3\nfrom biddable.store.store import open_store\nopen_store('new.db').close()\n"
        "columns = [row[1] for row in sqlite3.connect('new.db').execute('PRAGMA table_info(tasks)')]\n"
        "assert 'title' in columns, columns"
    )
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=copy, check=True, capture_output=True)
