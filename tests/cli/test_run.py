"""`biddable run` and `status`: done, skipped, changed; what waits for people holds up only what needs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from biddable.cli import run as run_verb
from biddable.run.errors import Waiting
from biddable.run.plan import Plan, Stage

from .conftest import TOML, biddable, main


def test_run_status_show_and_exceptions(folder: Path) -> None:
    code, out, err = biddable(folder, "run", "my.toml")
    assert (code, err) == (0, "")
    assert "1/2 collect.files" in out
    assert "2/2 curate.prompts: done" in out
    code, out, _ = biddable(folder, "run", "my.toml")
    assert (code, out.count("done already, skipped")) == (0, 2)

    code, out, _ = biddable(folder, "show", "runs/my/curate.prompts")
    assert code == 0
    assert "curate.prompts of run my" in out

    code, out, err = biddable(
        folder, "curate.prompts", "my.toml", "user_cap=1", "valid_share=0.3", "name=other"
    )
    assert (code, err) == (0, "")
    manifest = json.loads((folder / "runs/other/curate.prompts/manifest.json").read_text())
    assert (manifest["run"], manifest["settings"]["user_cap"], manifest["settings"]["valid_share"]) == (
        "other",
        1,
        0.3,
    )
    assert manifest["inputs"]["prompts"][0]["path"] == "runs/my/collect.files"

    (folder / "my.toml").write_text(TOML + "valid_share = 0.3\n", encoding="utf-8")
    code, out, err = biddable(folder, "run", "my.toml")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "my.toml: [curate.prompts] valid_share was 0.12, is 0.3; to make it again: rm -r "
        "runs/my/curate.prompts; "
        'to keep it and run into another folder: name = "NAME" at the top of the file'
    ]
    code, out, _ = biddable(folder, "status", "my.toml")
    assert code == 0
    assert "changed" in out


def test_what_waits_for_people_holds_up_only_what_needs_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    text = (folder / "my.toml").read_text(encoding="utf-8")
    (folder / "my.toml").write_text(text + "[collect.text]\n", encoding="utf-8")
    ran: list[str] = []

    def run_stage(plan: Plan, stage: Stage, title: str) -> None:
        ran.append(stage.key)
        if stage.key == "collect.files":
            raise Waiting("163 of 200 prompts to go")

    monkeypatch.setattr(run_verb, "run_with_progress", run_stage)
    assert main(monkeypatch, "run", "my.toml") == 3
    assert set(ran) == {"collect.files", "collect.text"}  # not curate.prompts, which needs the first
    assert capsys.readouterr().out.strip() == "163 of 200 prompts to go"
