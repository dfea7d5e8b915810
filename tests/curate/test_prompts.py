"""The stage: order of the steps, reasons, splits, refusals, and real prompts when they are at hand."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from biddable.base import records
from biddable.base.config import Refusal
from biddable.base.records import Message, Prompt
from biddable.base.runs import Here
from biddable.curate import prompts as stage
from biddable.curate.clean import Dropped


def here(folder: Path) -> Here:
    folder.mkdir(exist_ok=True)
    return Here(folder, "curate.prompts", 1, lambda step, steps, numbers: None)


def prompt(number: int, user: str, text: str = "") -> Prompt:
    return Prompt(id=f"p{number}", messages=(Message(role="user", content=text or f"Question {number}?"),), user=user)


def put(folder: Path, rows: list[Prompt]) -> Path:
    folder.mkdir(exist_ok=True)
    records.write(folder / "prompts.jsonl", rows)
    return folder


def many(users: int = 60, each: int = 3) -> list[Prompt]:
    return [prompt(user * each + number, f"user-{user}") for user in range(users) for number in range(each)]


def test_splits_are_by_user_and_counted(tmp_path: Path) -> None:
    cfg = stage.Config(prompts=put(tmp_path / "in", many()))
    out = here(tmp_path / "out")
    stage.run(cfg, out)
    placed = records.read(out.path("prompts.jsonl"), Prompt)
    assert [one.id for one in placed] == [one.id for one in many()]
    splits: dict[str, set[str]] = {}
    for one in placed:
        splits.setdefault(one.user, set()).add(str(one.split))
    assert all(len(found) == 1 for found in splits.values())
    for split in ("train", "valid", "test"):
        assert out.summary[f"prompts_{split}"] == sum(one.split == split for one in placed) > 0
        assert out.summary[f"users_{split}"] == sum(found == {split} for found in splits.values())
    assert out.path("dropped.jsonl").read_text() == ""


def test_nobody_moves_when_users_come(tmp_path: Path) -> None:
    before, after = here(tmp_path / "a"), here(tmp_path / "b")
    stage.run(stage.Config(prompts=put(tmp_path / "in", many(60))), before)
    stage.run(stage.Config(prompts=put(tmp_path / "in", list(reversed(many(200))))), after)
    then = {one.user: one.split for one in records.read(before.path("prompts.jsonl"), Prompt)}
    now = {one.user: one.split for one in records.read(after.path("prompts.jsonl"), Prompt)}
    assert len(now) == 200 and all(now[user] == split for user, split in then.items())


def test_the_run_s_seed_does_not_move_anybody(tmp_path: Path) -> None:
    folder = put(tmp_path / "in", many())
    one, other = here(tmp_path / "a"), here(tmp_path / "b")
    other.seed = 99
    for out in (one, other):
        stage.run(stage.Config(prompts=folder), out)
    assert one.path("prompts.jsonl").read_bytes() == other.path("prompts.jsonl").read_bytes()


def test_duplicates_go_before_the_cap(tmp_path: Path) -> None:
    """A user with two prompts, one of them twice, and a cap of two loses the duplicate only."""
    mine = [
        prompt(900, "busy", "One?"),
        prompt(901, "busy", "ONE?"),
        prompt(902, "busy", "Two?"),
        prompt(903, "busy", "Three?"),
    ]
    cfg = stage.Config(prompts=put(tmp_path / "in", many() + mine), user_cap=2, prefix_characters=3)
    out = here(tmp_path / "out")
    with pytest.raises(
        Refusal
    ):  # "question 1..." prefixes are all alike at three characters: one prompt is left of them
        stage.run(cfg, out)
    cfg = cfg.model_copy(update={"prefix_characters": 100, "user_cap": 3})
    stage.run(cfg, out)
    dropped = records.read(out.path("dropped.jsonl"), Dropped)
    assert [(one.id, one.reason, one.like) for one in dropped] == [("p901", "same_text", "p900")]
    stage.run(cfg.model_copy(update={"user_cap": 2}), out)
    dropped = records.read(out.path("dropped.jsonl"), Dropped)
    assert {one.id for one in dropped if one.user == "busy"} == {"p901", "p903"}
    assert out.summary["dropped_user_cap"] == 61 and out.summary["dropped_same_text"] == 1


def test_an_empty_split_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    folder = put(tmp_path / "in", [prompt(1, "only-one")])
    out = here(tmp_path / "out")
    with pytest.raises(Refusal) as refusal:
        stage.run(stage.Config(prompts=folder), out)
    assert len(refusal.value.lines) == 2
    assert all("add prompts of more users, or change the shares or the seed" in line for line in refusal.value.lines)
    assert not [p for p in out.folder.iterdir() if p.name != "progress.json"]


def test_shares_that_leave_nothing_to_train_are_refused(tmp_path: Path) -> None:
    cfg = stage.Config(prompts=put(tmp_path / "in", many()), valid_share=0.5, test_share=0.5)
    with pytest.raises(Refusal, match=r"valid_share \+ test_share = 1: less than 1"):
        stage.run(cfg, here(tmp_path / "out"))


def test_real_prompts_of_real_users(tmp_path: Path) -> None:
    data = os.environ.get("BIDDABLE_DATA")
    if not data:
        pytest.skip("set BIDDABLE_DATA to the folder with prompts_with_users.jsonl.gz")
    with gzip.open(Path(data) / "prompts_with_users.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    turns = [(Message(role="user", content=row["prompt"]),) for row in rows]
    found = [Prompt(id=row["id"], messages=turn, user=row["user_id"]) for row, turn in zip(rows, turns, strict=True)]
    out = here(tmp_path / "out")
    stage.run(stage.Config(prompts=put(tmp_path / "in", found), user_cap=50), out)
    dropped = records.read(out.path("dropped.jsonl"), Dropped)
    kept = records.read(out.path("prompts.jsonl"), Prompt)
    assert len(dropped) + len(kept) == len(found)
    assert {one.id for one in dropped if one.reason == "same_text"} >= {
        "prompts-343",
        "prompts-1374",
    }  # twice in the source
    assert out.summary["dropped_user_cap"] > 20  # one user wrote 82
