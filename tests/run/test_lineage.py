"""The walk from a stage back to the people: order, names, changed and moved folders, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.lineage import Lineage
from biddable.run.manifest import read_summary


def test_inputs_come_before_what_was_made_from_them(whole: Path) -> None:
    walked = Lineage([whole / "measure.winrate"])
    order = list(walked.nodes)
    assert order[-1] == "measure.winrate"
    for node in walked.nodes.values():
        assert all(order.index(arrow.name) < order.index(node.name) for arrow in node.arrows)
        assert all(arrow.same for arrow in node.arrows)
    assert {
        "learn.ppo",
        "learn.ppo.plain",
        "learn.reward",
        "label.comparisons",
        "label.demonstrations",
        "collect.files",
    } <= set(order)


def test_people_and_guidelines_are_counted(whole: Path) -> None:
    people = Lineage([whole / "measure.winrate"]).people()
    held_out = [one for one in people if one.panel == "held_out"]
    assert {one.labeler for one in held_out} == {f"held-out-{i}" for i in range(1, 6)}
    assert all(one.labels == 48 and one.kind == "rankings" and one.simulated for one in held_out)
    assert {g for one in held_out for g in one.guidelines} == {"evaluation-1"}
    demonstrations = [one for one in people if one.kind == "demonstrations"]
    lines = (whole / "label.demonstrations" / "demonstrations.jsonl").read_text().splitlines()
    assert sum(one.labels for one in demonstrations) == len(lines)


def test_a_moved_run_is_found_again(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "elsewhere" / "sample")
    walked = Lineage([tmp_path / "elsewhere" / "sample" / "measure.winrate"])
    assert all(tmp_path in node.folder.parents for node in walked.nodes.values())


def test_changed_and_lost_inputs_are_marked(whole: Path, tmp_path: Path) -> None:
    own = tmp_path / "sample"
    shutil.copytree(whole, own)
    manifest = json.loads((own / "learn.sft" / "manifest.json").read_text())
    (own / "learn.sft" / "manifest.json").write_text(json.dumps(manifest | {"content": "other"}))
    shutil.rmtree(own / "collect.text")
    for stage in ("learn.ppo",):
        made = json.loads((own / stage / "manifest.json").read_text())
        made["inputs"]["text"][0]["path"] = str(own / "collect.text")
        (own / stage / "manifest.json").write_text(json.dumps(made))
    arrows = {arrow.word: arrow for arrow in Lineage([own / "learn.ppo"]).nodes["learn.ppo"].arrows}
    assert {word: arrow.same for word, arrow in arrows.items()} == {
        "policy": False,
        "reward": True,
        "prompts": True,
        "text": False,
    }


def test_another_run_keeps_its_name_in_front(whole: Path, tmp_path: Path) -> None:
    own = tmp_path / "second"
    shutil.copytree(whole, own)
    for file in own.glob("*/manifest.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"run": "second"}))
    walked = Lineage([whole / "learn.sft", own / "learn.sft"])
    assert {"learn.sft", "second/learn.sft"} <= set(walked.nodes)
    assert walked.of(own / "learn.sft").name == "second/learn.sft"


def test_a_folder_that_no_stage_made_is_a_leaf(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    walked = Lineage([tmp_path / "model"])
    assert walked.of(tmp_path / "model").manifest == {}


def test_broken_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"loss": 2}\nnot json\n[1]\n')
    with pytest.raises(UserError) as refused:
        jsonl.read_objects(tmp_path / "metrics.jsonl", ("step",))
    assert [line.split(": ", 1)[0].rsplit(":", 1)[1] for line in refused.value.lines] == ["2", "3", "4"]
    assert jsonl.read_objects(tmp_path / "nowhere.jsonl") == []
    with pytest.raises(UserError, match="no such file"):
        read_summary(tmp_path)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        read_summary(tmp_path)
    (tmp_path / "summary.json").write_text("[]")
    with pytest.raises(UserError, match="names and numbers"):
        read_summary(tmp_path)
