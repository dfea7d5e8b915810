"""docs/data.md as a reader would follow it: its three files, from other people's files to trained models, at a tiny
size."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from biddable.cli.check import check
from biddable.run.errors import UserError
from biddable.run.plan import load_plan
from biddable.run.runner import run_stage

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
FRUITS = [f"fruit {n}" for n in range(40)]
TINY = {
    "learn.start": {"model": "tiny"},
    "learn.sft": {"epochs": 1, "batch": 8, "learning_rate": 1e-3},
    "learn.reward": {"batch": 8, "learning_rate": 1e-3, "head_learning_rate": 1e-2},
    "learn.replies.test": {"max_tokens": 8, "min_answers": 1, "max_answers": 2},
    "learn.ppo": {
        "episodes": 16,
        "batch": 8,
        "minibatch": 4,
        "max_tokens": 8,
        "eval_prompts": 2,
        "warmup": 1,
    },
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file of demonstrations and one of preferences, each prompt in both."""
    monkeypatch.chdir(tmp_path)
    demonstrations = [
        {"instruction": "Name it.", "input": fruit, "output": f"It is {fruit}."} for fruit in FRUITS
    ]
    preferences = [
        {"prompt": f"Name it.\n\n{fruit}", "chosen": f"It is {fruit}.", "rejected": "No."} for fruit in FRUITS
    ]
    for name, rows in (("demonstrations", demonstrations), ("preferences", preferences)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for text in re.findall(r"^```toml\n(.*?)^```", PAGE, re.M | re.S):
        (tmp_path / text.split("\n")[0].removeprefix("# ")).write_text(text)
    return tmp_path


def run(path: Path, more: str = "") -> dict[str, dict[str, Any]]:
    """Every stage's summary."""
    path.write_text(path.read_text() + more)
    keys = [stage.key for stage in load_plan(path).stages]
    plan = load_plan(path, overrides={key: TINY[key] for key in keys if key in TINY})
    summaries = {}
    for stage in plan.stages:
        assert run_stage(plan, stage, lambda *_: None)
        summaries[stage.key] = json.loads((plan.folder / stage.key / "summary.json").read_text())
    return summaries


@pytest.mark.parametrize("name", ["preferences.toml", "demonstrations.toml", "both.toml"])
def test_the_files_are_short(name: str, folder: Path) -> None:
    assert (folder / name).read_text().count("\n") < 12


def test_my_preferences(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(folder / "preferences.toml")
    assert "preferences.jsonl is read as preference: chosen and rejected" in capsys.readouterr().out
    summaries = run(folder / "preferences.toml")
    imported = summaries["label.imports"]
    assert imported["comparisons"] == imported["prompts"] == 40
    assert min(imported[split] for split in ("train", "valid", "test")) > 0
    assert summaries["learn.reward"]["rankings"] == imported["train"]
    assert summaries["learn.reward"]["pairs_valid"] == imported["valid"]
    assert (folder / "runs" / "preferences" / "learn.reward" / "model").is_dir()


def test_my_demonstrations(folder: Path) -> None:
    summaries = run(folder / "demonstrations.toml")
    assert summaries["learn.sft"]["demonstrations"] == summaries["label.imports"]["train"]
    assert summaries["learn.replies.test"]["prompts"] == summaries["label.imports"]["test"]


def test_both_and_ppo(folder: Path) -> None:
    summaries = run(folder / "both.toml")
    imported = summaries["label.imports"]
    # both files ask the same: a prompt is one prompt, and in one split
    assert imported["comparisons"] == imported["demonstrations"] == imported["prompts"] == 40
    assert imported["formats"] == {"demonstrations.jsonl": "alpaca", "preferences.jsonl": "preference"}
    assert summaries["learn.ppo"]["prompts"] == imported["train"] and summaries["learn.ppo"]["episodes"] == 16
    assert abs(summaries["learn.reward"]["bias"]) > 0, "demonstrations score 0 on average"


def test_measures_read_imports(folder: Path) -> None:
    battles = [
        {
            "instruction": fruit,
            "output_1": "No.",
            "generator_1": "reference",
            "output_2": f"It is {fruit}.",
            "generator_2": "mine",
            "annotator": "judge",
            "preference": 1.0 if n % 4 == 0 else 2.0,
        }
        for n, fruit in enumerate(FRUITS)
    ]
    (folder / "annotations.json").write_text(json.dumps(battles))
    stars = [
        {
            "id": n,
            "data": {"prompt": fruit, "answer": "It is."},
            "annotations": [
                {"completed_by": 1, "result": [{"from_name": "stars", "value": {"rating": 1 + n % 5}}]}
            ],
        }
        for n, fruit in enumerate(FRUITS)
    ]
    (folder / "stars.json").write_text(json.dumps(stars))
    (folder / "measures.toml").write_text("")
    summaries = run(
        folder / "measures.toml",
        'label.imports.files = ["annotations.json", "stars.json"]\nlabel.imports.panel = "held_out"\n'
        'measure.winrate.comparisons = "label.imports"\nmeasure.winrate.resamples = 200\n'
        'measure.ratings.ratings = "label.imports"\nmeasure.ratings.resamples = 200\n',
    )
    assert summaries["measure.winrate"]["reference_over_mine"] == 0.25
    # stars 1 to 5 are 1, 2.5, 4, 5.5 and 7 on the scale to 7; halves are rounded up: the mean of 1, 3, 4, 6, 7
    assert summaries["measure.ratings"]["overall_answer"] == pytest.approx(4.2)


def test_a_wrong_file_does_not_pass_the_check(folder: Path) -> None:
    """Prompts and responses given straight to a trainer: told by the check, in few lines, with what would read it."""
    (folder / "sft.toml").write_text(
        'learn.start.model = "tiny"\nlearn.sft.demonstrations = "demonstrations.jsonl"\n'
    )
    with pytest.raises(UserError) as error:
        check(folder / "sft.toml")
    assert len(error.value.lines) == 4 and "[label.imports] reads other people's formats" in "".join(
        error.value.lines
    )
    (folder / "wrong.jsonl").write_text('{"frage": "a"}\n' * 152)
    (folder / "wrong.toml").write_text('label.imports.files = ["wrong.jsonl", "demonstrations.jsonl"]\n')
    with pytest.raises(UserError) as error:
        check(folder / "wrong.toml")
    (line,) = error.value.lines
    assert (
        line.endswith('columns = {prompt = "NAME", chosen = "NAME", rejected = "NAME"}') and "frage" in line
    )
