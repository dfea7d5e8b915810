"""Simulated people and a live policy: records, roles, reranking, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from biddable.learn import simulate
from biddable.learn.simulate import preferences
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer, Comparison, Message, Probe, Prompt
from biddable.simulated import probers


def context_in(folder: Path) -> StageContext:
    folder.mkdir(parents=True)
    return StageContext(folder, "learn.simulate", 3, lambda step, steps, numbers: None)


def config(folder: Path, models: tuple[Path, Path], **more: Any) -> simulate.Config:
    """Six prompts, and the two-block model as policy."""
    rows = [
        Prompt(id=f"p{i}", messages=(Message(role="user", content=f"What is {i}?"),), user="u", split="train")
        for i in range(6)
    ]
    (folder / "prompts").mkdir()
    jsonl.write(folder / "prompts" / "prompts.jsonl", rows)
    return simulate.Config(
        policies=(models[0],), prompts=folder / "prompts", splits=("train",), people=3, max_tokens=6, **more
    )


def test_records_of_both_kinds_and_the_same_ones_again(tmp_path: Path, models: tuple[Path, Path]) -> None:
    cfg = config(tmp_path, models, dialogues=5, turns=1, candidates=3, probes=1, probe_turns=2)
    first, second = context_in(tmp_path / "a"), context_in(tmp_path / "b")
    for context in (first, second):
        simulate.run(cfg, context)
    for name in ("comparisons.jsonl", "probes.jsonl"):
        assert first.path(name).read_bytes() == second.path(name).read_bytes()
    comparisons = jsonl.read(first.path("comparisons.jsonl"), Comparison)
    assert len(comparisons) == 5 and all(len(row.answers) == 3 and row.simulated for row in comparisons)
    assert len({row.labeler for row in comparisons}) == 3
    probes = jsonl.read(first.path("probes.jsonl"), Probe)
    assert [row.rule for row in probes] == sorted_like_file(probers.probed_rules())
    for row in probes:
        assert [message.role for message in row.messages] == ["user", "assistant"] * 2
        assert row.messages[0].content == probers.opening(row.rule, "training", 0)
        assert row.messages[2].content == probers.next_message(row.rule, "training", 0, row.messages[:2])
    broken = sum(row.level.endswith("breaks") for row in probes) / len(probes)
    assert first.summary[f"broken_{models[0].name}"] == broken


def sorted_like_file(names: tuple[str, ...]) -> list[str]:
    """Rule ids in the order of the file of rules."""
    from biddable.run import rules

    return [rule.id for rule in rules.load(None) if rule.id in names]


def test_the_chosen_answer_is_appended_and_the_user_comes_next() -> None:
    prompt = Prompt(id="p", messages=(Message(role="user", content="A?"),), user="u", split="train")
    after = preferences.continued(prompt, Answer(text="B.", model="m"), 0)
    assert after.id == "p-t2" and [m.content for m in after.messages] == ["A?", "B."]
    assert preferences.continued(after, Answer(text="C.", model="m"), 1).id == "p-t3"


def test_what_contradicts_itself_is_refused_in_one_line_each(
    tmp_path: Path, models: tuple[Path, Path]
) -> None:
    for settings, text in (
        ({}, "dialogues and probes: both are 0"),
        ({"dialogues": 1, "candidates": 1}, "candidates = 1"),
        ({"probes": 1, "reranked": (models[0],)}, "reranked: needs reward and rule_model"),
        ({"dialogues": 99}, "dialogues = 99: only 6 prompts"),
    ):
        folder = tmp_path / text.split(":")[0].replace(" ", "_")
        folder.mkdir()
        cfg = config(folder, models, **settings)
        with pytest.raises(UserError, match=text):
            simulate.run(cfg, context_in(folder / "out"))
