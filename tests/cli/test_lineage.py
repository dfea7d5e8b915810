"""The walk as text: every stage once, people and guidelines counted, what changed is said, other folders are
refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from biddable.cli import lineage
from biddable.run.config import UserError


def test_every_stage_is_told_once_and_then_only_named(whole: Path) -> None:
    lines = list(lineage.describe_lineage(whole / "measure.winrate"))
    tree = lines[: lines.index("")]
    assert tree[0].startswith("measure.winrate  ")
    full = [
        line.lstrip("│├└─ ").split("  ")[0].split(": ")[-1] for line in tree if not line.endswith("(above)")
    ]
    assert len(full) == len(set(full)) and {"learn.ppo", "label.demonstrations", "collect.files"} <= set(full)
    assert any(line.endswith("(above)") for line in tree)


def test_people_guidelines_prompts_and_code_are_counted(whole: Path) -> None:
    lines = list(lineage.describe_lineage(whole / "measure.winrate"))
    assert "people of the panel held_out (simulated): 5" in lines
    assert any("held-out-1: 48 rankings" in line for line in lines)
    assert any(line.startswith("guidelines: ") and "evaluation-1" in line for line in lines)
    assert any(line.startswith("prompts: ") for line in lines) and any(
        line.startswith("code: ") for line in lines
    )


def test_what_has_changed_since_is_said(whole: Path, tmp_path: Path) -> None:
    own = tmp_path / "sample"
    shutil.copytree(whole, own)
    manifest = json.loads((own / "learn.sft" / "manifest.json").read_text())
    (own / "learn.sft" / "manifest.json").write_text(json.dumps(manifest | {"content": "other"}))
    assert "learn.ppo reads learn.sft" in list(lineage.describe_lineage(own / "learn.ppo"))[-1]


def test_a_folder_that_no_stage_finished_is_refused(tmp_path: Path) -> None:
    for folder, why in ((tmp_path, "not done"), (tmp_path / "none", "no such folder")):
        with pytest.raises(UserError, match=why):
            list(lineage.describe_lineage(folder))
