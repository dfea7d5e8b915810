"""Replies: how many answers, which draws, and that records hold what was sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from biddable.learn import replies
from biddable.model import checkpoints, sampler
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.records import Message, Prompt, Replies
from tests.learn import plain

pytestmark = pytest.mark.usefixtures("fp32")

PROMPTS = [
    plain.prompt(i, split) for i, split in enumerate(["train", "valid", "train", "test", "train", "valid"])
]


def run(folder: Path, prompts: list[Prompt], **settings: Any) -> tuple[list[Replies], Any]:
    context = plain.make_context(folder / "learn.replies", "learn.replies")
    data = plain.write(folder / "prompts", "prompts.jsonl", prompts)
    replies.run(replies.Config(prompts=data, max_tokens=5, **settings), context)
    return jsonl.read(context.path("replies.jsonl"), Replies), context


def test_k_answers_with_draws_of_their_own(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """K between min_answers and max_answers, both reached; no two requests share a seed; ids and text as
    sampled."""
    many = [plain.prompt(i) for i in range(20)]
    monkeypatch.setattr(replies.checkpoints, "eos_ids", lambda *_: frozenset(range(60)))
    requests: list[Any] = []
    real = sampler.sample
    monkeypatch.setattr(replies, "sample", lambda p, r, *a, **k: requests.extend(r) or real(p, r, *a, **k))
    rows, context = run(
        tmp_path, many, policies=(models[0],), splits=("train",), min_answers=2, max_answers=4, top_p=0.9
    )
    counts = [len(row.answers) for row in rows]
    assert [row.prompt.id for row in rows] == [p.id for p in many]
    assert set(counts) == {2, 3, 4}
    assert len({r.seed for r in requests}) == len(requests) == sum(counts)
    assert {(r.temperature, r.top_p, r.max_tokens) for r in requests} == {(1.0, 0.9, 5)}
    tokenizer = checkpoints.tokenizer(models[0])
    prompts = iter(requests)
    for row in rows:
        for answer in row.answers:
            assert next(prompts).prompt == tuple(plain.encode(models[0], row.prompt))
            assert answer.tokens and answer.model == "learn.start" and answer.step is None
            ended = answer.tokens[-1] < 60
            assert answer.finish == ("stop" if ended else "length") and (ended or len(answer.tokens) == 5)
            text = answer.tokens[:-1] if ended else answer.tokens
            assert answer.text == tokenizer.decode(text, skip_special_tokens=True)
        assert len({a.tokens for a in row.answers}) > 1
    answers = [a for row in rows for a in row.answers]
    assert context.summary == {
        "prompts": 20,
        "answers": len(answers),
        "finished": sum(a.tokens[-1] < 60 for a in answers if a.tokens) / len(answers),
        "mean_tokens": sum(len(a.tokens or ()) for a in answers) / len(answers),
    }


def test_every_policy_answers_every_prompt_as_often(tmp_path: Path, models: tuple[Path, Path]) -> None:
    """Temperature 0 takes the likeliest token of a plain model; both policies are the same model under two
    names."""
    twin = tmp_path / "learn.twin"
    twin.symlink_to(models[0])
    rows, _ = run(tmp_path, PROMPTS, policies=(models[0], twin), min_answers=1, max_answers=3, temperature=0)
    network = plain.load(models[0])
    assert [row.prompt.id for row in rows] == ["p0", "p2", "p4", "p1", "p5"]  # split after split
    for row in rows:
        half = len(row.answers) // 2
        assert [a.model for a in row.answers] == ["learn.start"] * half + ["learn.twin"] * half
        ids = plain.encode(models[0], row.prompt)
        for token in row.answers[0].tokens or ():
            assert token == plain_next(network, ids)
            ids.append(token)
        assert len({a.tokens for a in row.answers}) == 1


def plain_next(network: Any, ids: list[int]) -> int:
    import torch

    return int(network(torch.tensor([ids])).logits[0, -1].argmax())


def test_limit_counts_in_each_split_and_sources_choose(tmp_path: Path, models: tuple[Path, Path]) -> None:
    few = {"policies": (models[0],), "min_answers": 1, "max_answers": 1}
    rows, _ = run(tmp_path, PROMPTS, splits=("valid", "train"), limit=2, **few)
    assert [row.prompt.id for row in rows] == ["p1", "p5", "p0", "p2"]
    served = [p.model_copy(update={"source": "served" if p.id in ("p2", "p5") else "files"}) for p in PROMPTS]
    rows, _ = run(tmp_path, served, sources=("served",), **few)
    assert [row.prompt.id for row in rows] == ["p2", "p5"]


def test_refusals(tmp_path: Path, models: tuple[Path, Path]) -> None:
    policies = {"policies": (models[0],)}
    with pytest.raises(UserError, match="min_answers = 3, max_answers = 2: min_answers must not exceed"):
        run(tmp_path, PROMPTS, min_answers=3, max_answers=2, **policies)
    with pytest.raises(UserError, match="splits: no prompt belongs to valid, test"):
        run(tmp_path, PROMPTS[:1], splits=("train", "valid", "test"), **policies)
    words = "a " * 600
    long = [
        Prompt(id=i, messages=(Message(role="user", content=words),), user="u", split="train") for i in "xy"
    ]
    with pytest.raises(UserError) as refusal:
        run(tmp_path, [*PROMPTS, *long], splits=("train",), **policies)
    assert [line[:25] for line in refusal.value.lines] == [
        "[learn.replies] prompt x:",
        "[learn.replies] prompt y:",
    ]


def test_a_prompt_may_fill_the_context_but_for_its_answer(tmp_path: Path, models: tuple[Path, Path]) -> None:
    """512 tokens of context less 5 of an answer."""
    size = len(plain.encode(models[0], plain.prompt(0))) - 1  # without the prompt's one word
    exact = "\n" * (507 - size)

    def filled(content: str) -> list[Prompt]:
        return [Prompt(id="x", messages=(Message(role="user", content=content),), user="u", split="train")]

    while len(plain.encode(models[0], filled(exact)[0])) != 507:  # the word joins what stands beside it
        exact += "\n" if len(plain.encode(models[0], filled(exact)[0])) < 507 else ""
        exact = exact[:-1] if len(plain.encode(models[0], filled(exact)[0])) > 507 else exact
    settings = {"policies": (models[0],), "splits": ("train",), "min_answers": 1, "max_answers": 1}
    run(tmp_path, filled(exact), **settings)
    with pytest.raises(UserError, match="508 tokens, but 507 fit beside its answer"):
        run(tmp_path, filled(exact + "\n"), **settings)


def test_the_number_of_answers_depends_on_prompt_and_seed_alone() -> None:
    cfg = replies.Config(min_answers=1, max_answers=1000)
    prompts = [plain.prompt(i) for i in range(8)]
    counts = [replies.answers_per_prompt(cfg, prompt, 3) for prompt in prompts]
    assert counts == [replies.answers_per_prompt(cfg, prompt, 3) for prompt in prompts]
    assert counts != [replies.answers_per_prompt(cfg, prompt, 4) for prompt in prompts]
    assert len(set(counts)) > 1
