"""`biddable new`: a commented file that is in order as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from biddable.cli import new
from biddable.run import catalog
from biddable.run.plan import load_plan

from .conftest import main


def test_new_writes_a_file_that_is_in_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "examples").symlink_to(
        Path(__file__).resolve().parents[2] / "examples"
    )  # what the defaults name
    assert main(monkeypatch, "new", "fresh.toml") == 0
    plan = load_plan(Path("fresh.toml"))
    assert {stage.name for stage in plan.stages} | set(new.COMMENTED_OUT) == set(catalog.stage_names())
    assert {stage.key for stage in plan.stages} > set(new.VARIANTS)
    text = (folder / "fresh.toml").read_text(encoding="utf-8")
    assert text.count("\n# ") > 50  # commented
