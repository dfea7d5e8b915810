"""A run of November 2026, made before settings were renamed: its folders still count as done, open, and are
read."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from pathlib import Path

import pytest

from biddable.cli.lineage import describe_lineage
from biddable.cli.show import describe_folder
from biddable.run import catalog
from biddable.run.context import StageContext
from biddable.run.errors import UserError
from biddable.run.plan import load_plan
from biddable.run.states import stage_states
from biddable.store.store import open_store

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run_of_november_2026.tar.xz"
EXAMPLES = Path(__file__).parents[2] / "examples"
OLD = Path("runs/old")


def rename_as_told(text: str) -> str:
    """The text of a run's file with former names of settings replaced, as its error lines tell a user to."""
    lines, stage = [], ""
    for line in text.splitlines():
        if header := re.match(r"\[(\w+\.\w+)", line):
            stage = header[1]
        name, equals, value = line.partition(" = ")
        renamed = catalog.renamed_settings(stage) if stage and equals else {}
        lines.append(f"{renamed.get(name, name)}{equals}{value}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The old run's file; the working directory holds it, its run and the examples that it reads."""
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    for name in ("judgements.jsonl", "toxicity.jsonl"):  # as then, by the hashes in the manifests
        shutil.copy(EXAMPLES / name, tmp_path / "examples" / name)
    monkeypatch.chdir(tmp_path)
    return Path("old.toml")


@pytest.fixture
def old(unpacked: Path) -> Path:
    """The old run's file with today's names of settings."""
    file = unpacked
    file.write_text(rename_as_told(file.read_text(encoding="utf-8")), encoding="utf-8")
    return file


def test_every_former_name_is_one_line_that_says_todays(unpacked: Path) -> None:
    before = unpacked.read_text(encoding="utf-8")
    after = rename_as_told(before)
    pairs = [
        (old.partition(" = ")[0], new.partition(" = ")[0])
        for old, new in zip(before.splitlines(), after.splitlines(), strict=True)
        if old != new
    ]
    assert ("lam", "gae_lambda") in pairs or ("ema", "ema_decay") in pairs
    with pytest.raises(UserError) as error:
        load_plan(unpacked)
    renames = [
        re.search(r"\] (\w+) = .*: unknown key; it is called (\w+) now$", line) for line in error.value.lines
    ]
    assert sorted(match.groups() for match in renames if match) == sorted(pairs)
    assert len(renames) == len(pairs)


def test_every_stage_is_done(old: Path) -> None:
    states = {stage.key: state for stage, state in stage_states(load_plan(old))}
    assert set(states) == {path.name for path in OLD.glob("*.*") if path.is_dir()}
    assert {key: state for key, state in states.items() if state.name != "done"} == {}


def test_a_changed_setting_is_still_seen(old: Path) -> None:
    """Under its former name in the manifest, under today's name in the reason."""
    renamed = catalog.renamed_settings("learn.ppo")
    manifest = json.loads((OLD / "learn.ppo/manifest.json").read_text(encoding="utf-8"))
    former, today = next(
        (former, today)
        for former, today in renamed.items()
        if isinstance(manifest["settings"].get(former), float)
    )
    value = manifest["settings"][former]
    plan = load_plan(old, {"learn.ppo": {today: value / 2}})
    states = {stage.key: state for stage, state in stage_states(plan)}
    assert states["learn.ppo"] == ("changed", f"{today} was {value}, is {value / 2}")


def test_every_folder_is_shown_with_todays_names(old: Path) -> None:
    for folder in sorted(path for path in OLD.glob("*.*") if path.is_dir()):
        lines = list(describe_folder(folder))
        assert lines[0] == f"{folder.name} of run old"
        start = lines.index("settings") + 1
        section = lines[start : lines.index("", start)]
        names = {line.split()[0] for line in section if not line.startswith("   ")}
        stage = ".".join(folder.name.split(".")[:2])
        assert names and names <= {setting.name for setting in catalog.settings(stage)}


def test_the_lineage_is_walked_to_the_prompts(old: Path) -> None:
    lines = list(describe_lineage(OLD / "measure.winrate"))
    text = "\n".join(lines)
    assert lines[0].startswith("measure.winrate  ")
    assert "collect.files  " in text and "people of the panel training (simulated): 4" in text
    assert not [line for line in lines if line.startswith("not what it was")]


def test_the_policy_loads(old: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from biddable.model.checkpoints import load_policy

    policy = load_policy(OLD / "learn.ppo")
    saved = load_file(OLD / "learn.ppo/model/model.safetensors")
    last_norm = next(tensor for name, tensor in saved.items() if name.endswith("model.norm.weight"))
    assert any(
        torch.equal(weight.float(), last_norm.to(weight.dtype).float()) for weight in policy.parameters()
    )
    logits = policy.logits(torch.ones(1, policy.weight.shape[1], dtype=policy.weight.dtype))
    assert logits.shape == (1, saved["model.embed_tokens.weight"].shape[0])
    assert torch.isfinite(logits).all()


def test_labels_are_read_from_the_old_store_and_nobody_is_asked_again(old: Path) -> None:
    """The stage goes through the queue again: with the same task set in the store it finds all its
    answers."""
    plan = load_plan(old, only="label.comparisons")
    stage, folder = plan.stages[0], OLD / "label.comparisons"
    frozen = (folder / "comparisons.jsonl").read_bytes()
    with open_store(OLD / "store.db") as store:
        sets = sorted(task_set.name for task_set in store.task_sets())
    (folder / "comparisons.jsonl").unlink()
    context = StageContext(folder, stage.key, plan.seed, lambda step, steps, numbers: None)
    catalog.import_stage(stage.name).run(stage.config, context)
    assert (folder / "comparisons.jsonl").read_bytes() == frozen
    with open_store(OLD / "store.db") as store:
        assert sorted(task_set.name for task_set in store.task_sets()) == sets
