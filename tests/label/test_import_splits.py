"""Splits of imported prompts: by user where files name users, by prompt otherwise, and never empty by chance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biddable.label import imports
from biddable.run import jsonl
from biddable.run.context import StageContext
from biddable.run.records import Demonstration, draw_split


def imported(
    folder: Path, rows: list[dict[str, Any]], **settings: Any
) -> tuple[dict[str, Any], list[Demonstration]]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "out").mkdir(exist_ok=True)
    context = StageContext(folder / "out", "label.imports", 1, lambda *_: None)
    imports.run(imports.Config(files=(path,), **settings), context)
    return context.summary, jsonl.read(context.path("demonstrations.jsonl"), Demonstration)


def asked(number: int, **more: Any) -> dict[str, Any]:
    return {"prompt": f"question {number}", "response": f"answer {number}", **more}


def test_a_user_s_prompts_stay_together(tmp_path: Path) -> None:
    summary, rows = imported(tmp_path, [asked(n, user_id=f"user-{n % 60}") for n in range(240)])
    splits = {
        n: {row.prompt.split for row in rows if row.prompt.user == rows[n].prompt.user} for n in range(60)
    }
    assert summary["split_by"] == "user"
    assert all(splits[n] == {draw_split(f"user-{n}", 0.1, 0.1, 1)} for n in range(60))
    assert "user-1" not in {row.prompt.user for row in rows}, "names are replaced"


def test_one_user_s_prompts_are_split_by_prompt(tmp_path: Path) -> None:
    summary, rows = imported(tmp_path, [asked(n, user_id="ada") for n in range(200)])
    assert summary["split_by"] == "prompt" and min(summary[s] for s in ("train", "valid", "test")) > 5
    again, more = imported(tmp_path, [asked(n, user_id="ada") for n in range(300)])
    assert [row.prompt.split for row in more[:200]] == [row.prompt.split for row in rows], "nothing moves"
    assert again["train"] + again["valid"] + again["test"] == 300


@pytest.mark.parametrize("count", [3, 4, 10])
def test_no_split_of_a_small_file_is_empty(count: int, tmp_path: Path) -> None:
    summary, _ = imported(tmp_path, [asked(n) for n in range(count)])
    assert min(summary[split] for split in ("train", "valid", "test")) >= 1
    summary, _ = imported(tmp_path, [asked(n) for n in range(count)], test_share=0)
    assert summary["test"] == 0 and summary["valid"] >= 1


def test_splits_that_a_file_names_are_kept(tmp_path: Path) -> None:
    names = ("train", "validation", "test")
    _, rows = imported(tmp_path, [asked(n, split=names[n % 3]) for n in range(30)])
    assert [row.prompt.split for row in rows] == ["train", "valid", "test"] * 10


def test_an_equal_prompt_is_in_one_split_and_once_among_the_prompts(tmp_path: Path) -> None:
    rows = [asked(0, user_id=f"user-{n}") | {"response": f"answer {n}"} for n in range(50)]
    summary, labels = imported(tmp_path, rows + [asked(n, user_id=f"user-{n}") for n in range(1, 60)])
    assert len({row.prompt.split for row in labels[:50]}) == 1 and summary["prompts"] == 60


def test_the_check_waits_for_folders_that_are_not_made_yet(tmp_path: Path) -> None:
    assert imports.mistakes(imports.Config(files=(tmp_path / "label.comparisons",))) == []
