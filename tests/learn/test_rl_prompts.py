"""Which prompts a rollout answers: every one before any again, and self-play from a buffer that grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from biddable.learn import rl_prompts
from biddable.learn.lengths import LengthSettings
from biddable.learn.reward_terms import Episode
from biddable.learn.rl_prompts import PromptStream, draw_prompts
from biddable.learn.training import derive_seed
from biddable.model import checkpoints
from biddable.model.packing import Tree
from biddable.model.sampler import Request
from biddable.run.config import UserError
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


def read(folder: Path, policy: Path, rows: list[Any], max_tokens: int = 4, count: int = 2) -> Any:
    context = plain.make_context(folder / "learn.a2c", "learn.a2c", seed=5)
    tokenizer = checkpoints.tokenizer(policy)
    prompts = plain.write(folder / "prompts", "prompts.jsonl", rows)
    cfg = LengthSettings()
    return rl_prompts.read_prompts(cfg, prompts, policy, max_tokens, count, tokenizer, context), context


def test_training_prompts_and_the_first_validation_prompts(tmp_path: Path, models: tuple[Path, Path]) -> None:
    splits = ("train", "valid", "test", "valid", "valid", "train", None)
    rows = [plain.prompt(number, split) for number, split in enumerate(splits)]
    (train, valid), _ = read(tmp_path, models[0], rows)
    assert [row.id for row, _ in train] == ["p0", "p5"] and [row.id for row, _ in valid] == ["p1", "p3"]
    for row, ids in (*train, *valid):
        assert list(ids) == plain.encode(models[0], row)


def test_prompts_that_leave_nothing_are_refused_with_every_cause(
    tmp_path: Path, models: tuple[Path, Path]
) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, models[0], [plain.prompt(0, "test")])
    assert error.value.lines == [
        "[learn.a2c] prompts: none belongs to the split train",
        "[learn.a2c] prompts: none belongs to the split valid",
    ]
    rows = [plain.prompt(0), plain.prompt(1, "valid")]
    size = len(
        plain.encode(models[0], rows[1])
    )  # the longer one: 512 tokens hold it and an answer of the rest
    (train, _), _ = read(tmp_path, models[0], rows, max_tokens=512 - size)
    assert len(train) == 1
    line = rf"^\[learn\.a2c\] prompt p1: {size} tokens, but {size - 1} fit beside its answer"
    with pytest.raises(UserError, match=line):
        read(tmp_path, models[0], rows, max_tokens=513 - size)


def test_every_answer_has_a_seed_of_its_own(train: tuple[list[Any], Any], tmp_path: Path) -> None:
    """The seed hangs on the stage, the step and the place; temperature 1, the whole distribution."""
    rows, _ = train
    context = plain.make_context(tmp_path / "learn.a2c", "learn.a2c", seed=5)
    requests = rl_prompts.rollout_requests(rows[:2], 7, 3, context)
    seeds = [derive_seed("rollout", 5, "learn.a2c", 3, place) for place in range(2)]
    assert requests == [Request(rows[0][1], seeds[0], 7), Request(rows[1][1], seeds[1], 7)]
    assert (requests[0].temperature, requests[0].top_p) == (1.0, 1.0)
    prompts, requests = rl_prompts.reference_requests(rows, 6, 9, context)
    assert [row.id for row, _ in prompts] == [
        row.id for row, _ in draw_prompts(rows, 6, 0, derive_seed("reference", 5))
    ]
    assert requests == [
        Request(ids, derive_seed("reference", 5, "learn.a2c", place), 9)
        for place, (_, ids) in enumerate(prompts)
    ]


def test_a_stages_stream_leaves_room_for_a_statement(
    models: tuple[Path, Path], train: tuple[list[Any], Any], tmp_path: Path
) -> None:
    rows, tokenizer = train
    context = plain.make_context(tmp_path / "learn.a2c", "learn.a2c", seed=5)
    stream = rl_prompts.prompt_stream(0.25, rows, models[0], 12, tokenizer, context)
    assert (stream.share, stream.limit, stream.seed) == (0.25, 512 - 12, 5)
    assert stream.train is rows and [d.messages for d in stream.buffer.first] == [p.messages for p, _ in rows]
    dialogues = stream.buffer.draw(2, derive_seed("selfplay", 5, 3))
    openings = stream.draw(8, 3)
    assert openings[6:] == [(d.messages, d.ids(tokenizer)) for d in dialogues]
    assert openings[:6] == [(p.messages, ids) for p, ids in draw_prompts(rows, 6, 3, 5)]


def test_a_statement_that_just_fits_and_is_paid_the_median_joins(train: tuple[list[Any], Any]) -> None:
    """Two statements of four episodes: one is paid the median exactly, the other is a token too long."""
    rows, tokenizer = train
    first = PromptStream(rows, 0.5, tokenizer, 10_000, seed=1)
    openings = play(first, 0, ["x", "y", "salt", "salt and salt"], [0.0, 2.0, 1.0, 1.0])
    assert len(first.buffer.grown) == 2  # median of 0, 1, 1, 2 is 1
    sizes = [len(dialogue.ids(tokenizer)) for dialogue in first.buffer.grown]
    assert sizes[0] < sizes[1]
    for limit, count in ((sizes[1], 2), (sizes[1] - 1, 1), (sizes[0], 1), (sizes[0] - 1, 0)):
        stream = PromptStream(rows, 0.5, tokenizer, limit, seed=1)
        assert play(stream, 0, ["x", "y", "salt", "salt and salt"], [0.0, 2.0, 1.0, 1.0]) == openings
        assert len(stream.buffer.grown) == count
