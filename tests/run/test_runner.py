"""Run folders: done, skipped, changed, refused; going on after kill -9 to the same bytes; a full disk; two
processes at once."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from biddable.run import runner, states
from biddable.run.config import Settings, UserError, Waiting
from biddable.run.context import StageContext
from biddable.run.plan import Plan, Stage

TOY = '''
import json, random, sys, time
from pathlib import Path
from types import SimpleNamespace
from biddable.run import runner, states
from biddable.run.plan import Plan, Stage

def run(cfg, context):
    """A random walk of 60 steps: its generator and its place are what a checkpoint has to keep."""
    rng, place, step = random.Random(context.seed), 0.0, 0
    if found := context.restore():
        step, folder = found
        kept = json.loads((folder / "state.json").read_text())
        place = kept["place"]
        rng.setstate((kept["rng"][0], tuple(kept["rng"][1]), kept["rng"][2]))
    while step < 60:
        place += rng.gauss(0, 1)
        step += 1
        context.log(step, place=place)
        if step % 4 == 0:
            context.append("samples.jsonl", {"step": step, "text": "x" * 50})
        time.sleep(0.004)
        if step % 7 == 0:
            state = json.dumps({"place": place, "rng": rng.getstate()})
            context.checkpoint(step, lambda folder: (folder / "state.json").write_text(state))
        context.progress(step, 60, place=place)
    context.path("walk.json").write_text(json.dumps(place))
    context.summary["place"] = place

folder = Path(sys.argv[1])
runner.import_stage = lambda name: SimpleNamespace(run=run)
plan = Plan(Path("toy.toml"), folder.name, 3, folder, (Stage("learn.toy", {"steps": 60}, None),))
print("began", flush=True)
runner.run_stage(plan, plan.stages[0], lambda step, steps, numbers: print(step, flush=True))
'''


def toy(folder: Path, settings: dict[str, Any] | None = None, inputs: dict[str, Any] | None = None) -> Plan:
    return Plan(
        Path("t.toml"),
        folder.name,
        3,
        folder,
        (Stage("learn.toy", settings or {"a": 1}, None, inputs or {}),),
    )


def go(plan: Plan) -> bool:
    return runner.run_stage(plan, plan.stages[0], lambda step, steps, numbers: None)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stage whose `run` a test may replace; it writes one file."""

    def run(cfg: Any, context: StageContext) -> None:
        context.path("out.txt").write_text("made", encoding="utf-8")
        context.progress(1, 2, loss=0.5)
        context.log(1, loss=0.5)
        context.summary["loss"] = 0.5

    made = SimpleNamespace(run=run)
    monkeypatch.setattr(runner, "import_stage", lambda name: made)
    return made


def test_done_then_skipped_then_changed(tmp_path: Path, stage: SimpleNamespace) -> None:
    plan = toy(tmp_path / "r")
    folder = tmp_path / "r" / "learn.toy"
    assert states.stage_state(plan, plan.stages[0]) == ("ready", "")
    assert go(plan)
    assert sorted(p.name for p in folder.iterdir()) == [
        ".lock",
        "manifest.json",
        "metrics.jsonl",
        "out.txt",
        "summary.json",
    ]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["settings"] == {"a": 1}
    assert (manifest["seed"], manifest["stage"]) == (3, "learn.toy")
    assert set(manifest["files"]) == {"metrics.jsonl", "out.txt", "summary.json"}
    assert json.loads((folder / "summary.json").read_text()) == {"loss": 0.5}
    assert states.stage_state(plan, plan.stages[0])[0] == "done"
    assert not go(plan)
    other = toy(tmp_path / "r", {"a": 2})
    assert states.stage_state(other, other.stages[0]) == ("changed", "a was 1, is 2")
    with pytest.raises(
        UserError, match=rf"t.toml: \[learn.toy\] a was 1, is 2; to make it again: rm -r {folder}; to keep it"
    ):
        go(other)


def test_a_younger_setting_at_its_default_changes_nothing(tmp_path: Path, stage: SimpleNamespace) -> None:
    class Config(Settings):
        a: int = 1
        later: int = 5

    def plan(settings: dict[str, Any], config: Any) -> Plan:
        return Plan(Path("t.toml"), "r", 3, tmp_path / "r", (Stage("learn.toy", settings, config),))

    go(plan({"a": 1}, Config()))  # as an older version wrote it
    now = plan({"a": 1, "later": 5}, Config())
    assert states.stage_state(now, now.stages[0])[0] == "done"
    now = plan({"a": 1, "later": 6}, Config(later=6))
    assert states.stage_state(now, now.stages[0]) == ("changed", "later was None, is 6")
    now = plan({"later": 5}, Config())  # one that is gone
    assert states.stage_state(now, now.stages[0]) == ("changed", "a was 1, is None")


def test_the_manifest_comes_last_and_by_rename(
    tmp_path: Path, stage: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[tuple[str, str]] = []
    replace = Path.replace

    def seen(self: Path, target: Path) -> Path:
        order.append((self.name, Path(target).name))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", seen)
    go(toy(tmp_path / "r"))
    assert order[-1] == ("manifest.json.part", "manifest.json")
    assert ("summary.json.part", "summary.json") in order


def test_an_input_that_is_not_done_or_has_changed(tmp_path: Path, stage: SimpleNamespace) -> None:
    (tmp_path / "r").mkdir()
    source = tmp_path / "r" / "collect.x"
    plan = toy(tmp_path / "r", inputs={"text": [("collect.x", source)]})
    assert states.stage_state(plan, plan.stages[0]) == ("waiting", "for collect.x")
    with pytest.raises(UserError, match=r"\[learn.toy\] text: .* is not done; run \[collect.x\] first"):
        go(plan)
    assert not (tmp_path / "r" / "learn.toy").exists()  # refused before anything was written
    source.mkdir()
    (source / "text.jsonl").write_text("one\n", encoding="utf-8")
    go(plan)
    assert states.stage_state(plan, plan.stages[0])[0] == "done"
    (source / "text.jsonl").write_text("two\n", encoding="utf-8")
    known, why = states.stage_state(plan, plan.stages[0])
    assert known == "changed"
    assert "text (collect.x) has changed since" in why


def test_a_folder_of_another_version(tmp_path: Path, stage: SimpleNamespace) -> None:
    plan = toy(tmp_path / "r")
    go(plan)
    path = tmp_path / "r" / "learn.toy" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "format": 99}), encoding="utf-8")
    with pytest.raises(UserError, match=r"manifest.json: format 99, but this is biddable .* with format 1"):
        go(plan)
    path.write_text("{half", encoding="utf-8")
    with pytest.raises(UserError, match="not a manifest of biddable"):
        go(plan)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("SafetensorError: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_line(tmp_path: Path, stage: SimpleNamespace, error: Exception) -> None:
    work = stage.run

    def run(cfg: Any, context: StageContext) -> None:
        context.log(1, loss=0.5)
        raise error

    stage.run = run
    plan = toy(tmp_path / "r")
    with pytest.raises(UserError) as refusal:
        go(plan)
    assert len(refusal.value.lines) == 1
    assert "the disk is full; make room and run again" in refusal.value.lines[0]
    assert not (tmp_path / "r" / "learn.toy" / "manifest.json").exists()
    stage.run = work
    assert go(plan)


def test_a_full_disk_while_the_manifest_is_written(
    tmp_path: Path, stage: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync
    count = [0]

    def full(handle: int) -> None:
        count[0] += 1
        if count[0] >= 3:  # begun.json, summary.json, manifest.json
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    plan = toy(tmp_path / "r")
    with pytest.raises(UserError, match="the disk is full"):
        go(plan)
    names = {p.name for p in (tmp_path / "r" / "learn.toy").iterdir()}
    assert not {n for n in names if n.endswith(".part")}
    assert "manifest.json" not in names
    monkeypatch.setattr(os, "fsync", sync)
    assert go(plan)


def test_other_errors_stay_what_they_are(tmp_path: Path, stage: SimpleNamespace) -> None:
    def run(cfg: Any, context: StageContext) -> None:
        raise FileNotFoundError(errno.ENOENT, "gone")

    stage.run = run
    with pytest.raises(FileNotFoundError):
        go(toy(tmp_path / "r"))


def test_waiting_for_people_is_a_state(tmp_path: Path, stage: SimpleNamespace) -> None:
    def run(cfg: Any, context: StageContext) -> None:
        raise Waiting("163 of 200 comparisons to go")

    work, stage.run = stage.run, run
    plan = toy(tmp_path / "r")
    with pytest.raises(Waiting):
        go(plan)
    assert states.stage_state(plan, plan.stages[0]) == ("waiting", "163 of 200 comparisons to go")
    stage.run = work
    assert go(plan)


def test_a_broken_off_attempt_without_a_checkpoint_begins_in_an_empty_folder(
    tmp_path: Path, stage: SimpleNamespace
) -> None:
    def run(cfg: Any, context: StageContext) -> None:
        context.path("half.part").write_text("h", encoding="utf-8")
        context.path("model").mkdir()
        context.log(1, loss=9.0)
        raise ZeroDivisionError

    work, stage.run = stage.run, run
    with pytest.raises(ZeroDivisionError):
        go(toy(tmp_path / "r"))
    stage.run = work
    plan = toy(tmp_path / "r", {"a": 2})  # nothing was kept, so other settings are no contradiction
    assert states.stage_state(plan, plan.stages[0])[0] == "begun"
    assert go(plan)
    files = json.loads((tmp_path / "r/learn.toy/manifest.json").read_text())["files"]
    assert set(files) == {"metrics.jsonl", "out.txt", "summary.json"}
    assert (tmp_path / "r/learn.toy/metrics.jsonl").read_text().count("\n") == 1


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path, stage: SimpleNamespace) -> None:
    def run(cfg: Any, context: StageContext) -> None:
        context.checkpoint(1, lambda folder: None)
        raise ZeroDivisionError

    stage.run = run
    with pytest.raises(ZeroDivisionError):
        go(toy(tmp_path / "r"))
    with pytest.raises(UserError, match="was begun with other settings or inputs; to begin anew: rm -r"):
        go(toy(tmp_path / "r", {"a": 2}))


def test_how_the_work_is_done_may_change_under_way(tmp_path: Path, stage: SimpleNamespace) -> None:
    """A setting that a stage calls a runtime setting decides nothing about what comes out: neither begun nor
    finished work is thrown away for it."""
    work, patient = stage.run, SimpleNamespace(runtime_settings=frozenset({"a"}))

    def planned(a: int) -> Plan:
        made = toy(tmp_path / "r", {"a": a})
        return replace(made, stages=(replace(made.stages[0], config=patient),))

    def run(cfg: Any, context: StageContext) -> None:
        context.checkpoint(1, lambda folder: None)
        raise ZeroDivisionError

    stage.run = run
    with pytest.raises(ZeroDivisionError):
        go(planned(1))
    stage.run = lambda cfg, context: context.path("out.txt").write_text("x") and None
    assert go(planned(2))
    assert states.stage_state(planned(3), planned(3).stages[0])[0] == "done"
    stage.run = work


def test_lines_after_the_checkpoint_are_taken_back(tmp_path: Path) -> None:
    context = StageContext(tmp_path, "learn.toy", 1, lambda step, steps, numbers: None)
    for step in (1, 2):
        context.log(step, loss=1.0)
    context.checkpoint(2, lambda folder: (folder / "state").write_text("2") and None)
    context.checkpoint(3, lambda folder: (folder / "state").write_text("3") and None)
    assert [p.name for p in (tmp_path / "checkpoint").iterdir()] == ["000000003"]
    context.log(4, loss=1.0)
    context.append("samples.jsonl", {"step": 4})  # began after the checkpoint: nothing of it stays
    (tmp_path / "checkpoint" / "part").mkdir()  # a checkpoint that was being written
    found = context.restore()
    assert found is not None
    assert (found[0], (found[1] / "state").read_text()) == (3, "3")
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [
        1,
        2,
    ]
    assert (tmp_path / "samples.jsonl").read_text() == ""


def test_progress_is_noted_at_most_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    context = StageContext(tmp_path, "learn.toy", 1, lambda step, steps, numbers: None)
    first = {"step": 1, "steps": 9, "left": None, "loss": 0.25}
    third = {"step": 3, "steps": 9, "left": 3.0, "loss": 0.25}  # two steps took 1 s, six remain
    for step, now, told in ((1, 100.0, first), (2, 100.9, first), (3, 101.0, third)):
        clock[0] = now
        context.progress(step, 9, loss=0.25)
        assert json.loads((tmp_path / "progress.json").read_text()) == told


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", TOY, str(folder)], stdout=subprocess.PIPE, text=True)


def finished(folder: Path) -> dict[str, bytes]:
    own = folder / "learn.toy"
    return {p.name: p.read_bytes() for p in own.iterdir() if p.is_file() and p.name != "manifest.json"}


def test_killed_at_random_points_and_the_same_bytes_in_the_end(tmp_path: Path) -> None:
    unbroken = start(tmp_path / "unbroken")
    unbroken.communicate(timeout=60)
    assert unbroken.returncode == 0
    wanted = finished(tmp_path / "unbroken")
    assert set(wanted) == {".lock", "metrics.jsonl", "samples.jsonl", "summary.json", "walk.json"}

    rng = random.Random()
    killed = 0
    for _ in range(12):
        process = start(tmp_path / "broken")
        assert process.stdout is not None
        process.stdout.readline()  # it began
        for _ in range(rng.randrange(25)):
            if not process.stdout.readline():
                break
        time.sleep(rng.random() * 0.004)
        if killed < 5 and process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        killed += process.returncode == -signal.SIGKILL
        if process.returncode == 0:
            break
    assert killed
    assert process.returncode == 0
    assert finished(tmp_path / "broken") == wanted
    manifests = [
        json.loads((tmp_path / n / "learn.toy/manifest.json").read_text()) for n in ("unbroken", "broken")
    ]
    assert manifests[0]["content"] == manifests[1]["content"]
    assert not (tmp_path / "broken/learn.toy/checkpoint").exists()


def test_a_second_process_is_refused(tmp_path: Path, stage: SimpleNamespace) -> None:
    process = start(tmp_path / "r")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.readline()  # its first step: it holds the lock
    process.send_signal(signal.SIGSTOP)
    plan = toy(tmp_path / "r")
    try:
        assert states.stage_state(plan, plan.stages[0])[0] == "running"
        with pytest.raises(UserError, match="another process is running this stage; wait for it or stop it"):
            go(plan)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    assert states.stage_state(plan, plan.stages[0])[0] == "begun"  # the lock went with its process
