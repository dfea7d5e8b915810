"""Prompts that are too long: refused, left out and counted, or cut at their beginning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from biddable.learn import replies, reward, rl_prompts, sft
from biddable.learn.lengths import LengthSettings, PromptLimits, cut_dialogue
from biddable.model import checkpoints, random_model
from biddable.model.encoding import encode_chat
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.records import Message, Prompt, Replies
from tests.learn import plain

pytestmark = pytest.mark.usefixtures("fp32")

TOKENIZER = random_model.tokenizer()


def user(content: str) -> Message:
    return Message(role="user", content=content)


def long_prompt(name: str = "long", split: Any = "train") -> Prompt:
    return Prompt(id=name, messages=(user("fox kettle " * 400),), user="u", split=split)


def test_a_cut_dialogue_keeps_its_end_and_the_template() -> None:
    """40 words, of which the last must stay; the ids are those of the template around the rest."""
    messages = [Message(role="system", content="Be brief."), user("salt " * 39 + "fox")]
    full = encode_chat(TOKENIZER, messages)
    assert cut_dialogue(TOKENIZER, messages, len(full)) == full
    for limit in (len(full) - 1, len(full) - 20):
        ids = cut_dialogue(TOKENIZER, messages, limit)
        assert ids is not None and 0 < limit - len(ids) + 1 <= 3
        start = next(i for i, (a, b) in enumerate(zip(full, ids, strict=False)) if a != b or i == limit - 1)
        empty = encode_chat(TOKENIZER, [messages[0], user("")])
        assert start >= len(empty) // 2  # the system's message and the opening are as they were
        assert "fox" in TOKENIZER.decode(ids) and "Be brief." in TOKENIZER.decode(ids)
    assert cut_dialogue(TOKENIZER, messages, 5) is None


def test_whole_turns_go_first() -> None:
    messages = [user("one"), Message(role="assistant", content="two"), user("three")]
    last = encode_chat(TOKENIZER, messages[2:])
    assert cut_dialogue(TOKENIZER, messages, len(encode_chat(TOKENIZER, messages)) - 1) == last


@pytest.mark.parametrize("prompt_tokens", [None, 60])
def test_limits_by_setting(prompt_tokens: int | None) -> None:
    """A context of 100 tokens and an answer of 30: 70 are left, or the limit of 60."""
    limit = 60 if prompt_tokens else 70
    lengths_seen = {}
    for count in range(1, 60):
        row = Prompt(id=str(count), messages=(user("fox " * count),), user="u", split="train")
        lengths_seen[count] = (row, len(encode_chat(TOKENIZER, row.messages)))
    for too_long in ("refuse", "drop", "cut"):
        limits = PromptLimits(LengthSettings(too_long=too_long, prompt_tokens=prompt_tokens), TOKENIZER, 100)
        beyond = 0
        for row, length in lengths_seen.values():
            ids = limits.encode(row, 30)
            beyond += length > limit
            if length <= limit:
                assert ids == encode_chat(TOKENIZER, row.messages)
            elif too_long == "drop":
                assert ids is None
            elif too_long == "cut":
                assert ids is not None and len(ids) <= limit
        assert beyond > 2
        assert len(limits.errors) == (beyond if too_long == "refuse" else 0)
        names = {"drop": "dropped_too_long", "cut": "cut_too_long"}
        assert limits.summary() == ({names[too_long]: beyond} if too_long in names else {})


@pytest.mark.parametrize("too_long", ["drop", "cut"])
def test_every_stage_leaves_out_or_cuts(tmp_path: Path, models: tuple[Path, Path], too_long: Any) -> None:
    start, _ = models
    name = {"drop": "dropped_too_long", "cut": "cut_too_long"}[too_long]
    rows = [plain.prompt(0), long_prompt(), plain.prompt(1, "valid")]
    prompts = plain.write(tmp_path / "prompts", "prompts.jsonl", rows)
    context = plain.make_context(tmp_path / "learn.replies", "learn.replies")
    cfg = replies.Config(policies=(start,), prompts=prompts, max_tokens=3, too_long=too_long, max_answers=4)
    replies.run(cfg, context)
    answered = [row.prompt.id for row in jsonl.read(context.path("replies.jsonl"), Replies)]
    assert answered == (["p0", "p1"] if too_long == "drop" else ["p0", "long", "p1"])
    assert context.summary[name] == 1

    context = plain.make_context(tmp_path / "learn.ppo", "learn.ppo")
    settings = LengthSettings(too_long=too_long)
    train, valid = rl_prompts.read_prompts(
        settings, prompts, start, 3, 2, checkpoints.tokenizer(start), context
    )
    assert ([p.id for p, _ in train], [p.id for p, _ in valid]) == (
        [["p0"], ["p0", "long"]][too_long == "cut"],
        ["p1"],
    )
    assert context.summary == {name: 1} and all(len(ids) <= 512 - 3 for _, ids in train)

    demonstrations = [
        plain.demonstration(i, split, plain.answer(50 + i, 2)) for i, split in enumerate(["train", "valid"])
    ]
    demonstrations.append(demonstrations[0].model_copy(update={"id": "dl", "prompt": long_prompt()}))
    data = plain.write(tmp_path / "demonstrations", "demonstrations.jsonl", demonstrations)
    context = plain.make_context(tmp_path / "learn.sft", "learn.sft")
    cfg_sft = sft.Config(start=start, demonstrations=data, epochs=1, dropout=0, too_long=too_long)
    sft.run(cfg_sft, context)
    assert context.summary[name] == 1
    assert context.summary["demonstrations"] == (1 if too_long == "drop" else 2)

    answers = [plain.answer(50, 2), plain.answer(60, 61, 2)]
    rankings = [plain.comparison(i, split, answers, (1, 2)) for i, split in enumerate(["train", "valid"])]
    rankings.append(rankings[0].model_copy(update={"id": "cl", "prompt": long_prompt()}))
    compared = plain.write(tmp_path / "comparisons", "comparisons.jsonl", rankings)
    context = plain.make_context(tmp_path / "learn.reward", "learn.reward")
    shown: list[tuple[int, int]] = []
    context.report = lambda step, steps, numbers: shown.append((step, steps))
    reward.run(
        reward.Config(policy=start, comparisons=compared, demonstrations=data, too_long=too_long), context
    )
    assert context.summary[name] == 1
    assert context.summary["rankings"] == (1 if too_long == "drop" else 2)
    steps = context.summary["steps"]
    after = shown[shown.index((steps, steps)) + 1 :]
    assert after and after[-1][0] == after[-1][1]  # what is measured after the last step shows its progress


def test_refused_line_by_line(tmp_path: Path, models: tuple[Path, Path]) -> None:
    prompts = plain.write(
        tmp_path / "prompts", "prompts.jsonl", [long_prompt("a"), long_prompt("b", "valid")]
    )
    context = plain.make_context(tmp_path / "learn.replies", "learn.replies")
    with pytest.raises(UserError) as refusal:
        replies.run(replies.Config(policies=(models[0],), prompts=prompts), context)
    assert [line.split(":")[0] for line in refusal.value.lines] == [
        "[learn.replies] prompt a",
        "[learn.replies] prompt b",
    ]
    with pytest.raises(UserError, match="too_long = 'drop': every prompt is left out"):
        replies.run(replies.Config(policies=(models[0],), prompts=prompts, too_long="drop"), context)
