"""Which prompts a rollout answers: every one before any again, and self-play from a buffer that grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from biddable.learn.reward_terms import Episode
from biddable.learn.rl_prompts import PromptStream, draw_prompts
from biddable.model import checkpoints
from biddable.model.packing import Tree
from tests.learn import plain


@pytest.fixture
def train(models: tuple[Path, Path]) -> tuple[list[Any], Any]:
    tokenizer = checkpoints.tokenizer(models[0])
    prompts = [plain.prompt(i) for i in range(4)]
    return [(p, tuple(plain.encode(models[0], p))) for p in prompts], tokenizer


def test_all_prompts_before_any_again(train: tuple[list[Any], Any]) -> None:
    rows, _ = train
    drawn = [p.id for step in range(2) for p, _ in draw_prompts(rows, 6, step, seed=1)]
    assert all(sorted(drawn[i : i + 4]) == ["p0", "p1", "p2", "p3"] for i in (0, 4, 8))
    assert drawn[:6] == [p.id for p, _ in draw_prompts(rows, 6, 0, seed=1)]


def play(stream: PromptStream, step: int, texts: list[str], rewards: list[float]) -> list[Any]:
    openings = stream.draw(4, step)
    trees = [Tree(ids, ((9, 2),)) for _, ids in openings]
    rows = zip(openings, trees, texts, strict=True)
    stream.grow([Episode(m, tree, text, "stop") for (m, _), tree, text in rows], torch.tensor(rewards))
    return openings


def test_good_statements_of_self_play_are_gone_on_from(train: tuple[list[Any], Any]) -> None:
    """Half of the four episodes are self-play: the third is good, the fourth is paid less than the median
    (1), so one dialogue joins."""
    rows, tokenizer = train
    stream = PromptStream(rows, 0.5, tokenizer, 200, seed=1)
    openings = play(stream, 0, ["one", "two", "three words here", "four"], [1.0, 1.0, 2.0, 0.0])
    assert stream.metrics() == {"selfplay_dialogues": 1.0}
    grown = stream.buffer.grown[0]
    assert grown.messages == (*openings[2][0], grown.messages[-1])
    assert grown.messages[-1].content == "three words here" and grown.messages[-1].role == "assistant"
    play(stream, 1, ["a", "b", "User: me", "  "], [0.0, 0.0, 9.0, 9.0])  # well paid, but invalid
    assert stream.metrics() == {"selfplay_dialogues": 1.0}
    copied = PromptStream(rows, 0.5, tokenizer, 200, seed=1)
    copied.restore(stream.state())
    assert copied.draw(4, 7) == stream.draw(4, 7)


def test_a_dialogue_without_room_stays_out(train: tuple[list[Any], Any]) -> None:
    rows, tokenizer = train
    longest = max(len(ids) for _, ids in rows)
    stream = PromptStream(rows, 1.0, tokenizer, longest, seed=1)
    play(stream, 0, ["fine answer"] * 4, [1.0] * 4)
    assert stream.metrics() == {"selfplay_dialogues": 0.0}


def test_without_self_play_the_order_is_that_of_the_prompts(train: tuple[list[Any], Any]) -> None:
    rows, tokenizer = train
    stream = PromptStream(rows, 0.0, tokenizer, 200, seed=1)
    assert [ids for _, ids in stream.draw(6, 3)] == [ids for _, ids in draw_prompts(rows, 6, 3, seed=1)]
    assert stream.metrics() == {}
