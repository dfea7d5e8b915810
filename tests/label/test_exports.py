"""Exports for other trainers: what is written, from which labels, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biddable.label import exports
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer, Comparison, Demonstration, Message, Prompt


def prompt(name: str, split: str) -> Prompt:
    messages = (Message(role="user", content=f"Question {name}?"),)
    return Prompt(id=name, messages=messages, user="amber-badger", split=split)


def comparison(name: str, split: str, ranks: tuple[int, ...], simulated: bool = False) -> Comparison:
    answers = tuple(Answer(text=f"{name}{place}", model="m") for place in range(len(ranks)))
    return Comparison(
        id=name,
        prompt=prompt(name, split),
        answers=answers,
        ranks=ranks,
        labeler="ada",
        panel="training",
        simulated=simulated,
        guideline="g",
    )


def run(folder: Path, **settings: Any) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    target = folder / "label.exports"
    target.mkdir()
    context = StageContext(target, "label.exports", 1, lambda step, steps, numbers: None)
    exports.run(exports.Config(**settings), context)
    files = {
        path.name: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in target.glob("*.jsonl")
    }
    return context.summary, files


def test_comparisons_alone(tmp_path: Path) -> None:
    """Ranks 1 2 2: the first beats the second and the third, these two are tied. Prompts of another split stay out."""
    rows = [comparison("a", "train", (1, 2, 2)), comparison("b", "valid", (2, 1), simulated=True)]
    jsonl.write(tmp_path / "comparisons.jsonl", rows)
    summary, files = run(
        tmp_path, comparisons=tmp_path / "comparisons.jsonl", demonstrations=None, splits=("train",)
    )
    assert summary == {"pairs": 2, "rankings": 1, "dialogues": 0, "simulated": False}
    assert list(files) == ["preferences.jsonl"]
    assert files["preferences.jsonl"] == [
        {
            "prompt": [{"role": "user", "content": "Question a?"}],
            "chosen": [{"role": "assistant", "content": "a0"}],
            "rejected": [{"role": "assistant", "content": rejected}],
        }
        for rejected in ("a1", "a2")
    ]


def test_demonstrations_alone_from_a_folder(tmp_path: Path) -> None:
    row = Demonstration(
        id="d",
        prompt=prompt("d", "train"),
        answer=Answer(text="Like this.", model="people"),
        labeler="ada",
        simulated=True,
        guideline="g",
    )
    jsonl.write(tmp_path / "demonstrations.jsonl", [row])
    summary, files = run(tmp_path, comparisons=None, demonstrations=tmp_path, splits=None)
    assert summary == {"pairs": 0, "rankings": 0, "dialogues": 1, "simulated": True}
    expected = [{"role": "user", "content": "Question d?"}, {"role": "assistant", "content": "Like this."}]
    assert files == {"sft.jsonl": [{"messages": expected}]}


def test_nothing_to_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one"):
        run(tmp_path, comparisons=None, demonstrations=None)
    jsonl.write(tmp_path / "comparisons.jsonl", [comparison("a", "train", (1, 2))])
    (tmp_path / "label.exports").rmdir()
    with pytest.raises(UserError, match="no label belongs to test"):
        run(tmp_path, comparisons=tmp_path / "comparisons.jsonl", demonstrations=None, splits=("test",))
