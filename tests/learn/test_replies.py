"""Replies: how many answers, which draws, and that records hold what was sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from biddable.learn import replies
from biddable.model import checkpoints, sampler
from biddable.run import jsonl, stage_folder
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
    stage_folder.remove_transient(context.folder)  # as the runner does
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


@pytest.mark.parametrize("breaks", [1, 2, 3, 4, 5])
def test_a_broken_run_goes_on_to_the_same_answers(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, breaks: int
) -> None:
    """Two policies, 20 answers each in parts of 8. Broken before a part, or between the end of one and its
    checkpoint: the file is the same, bit for bit, and no complete part is sampled again."""
    twin = tmp_path / "learn.twin"
    twin.symlink_to(models[0])
    settings = {"policies": (models[0], twin), "splits": ("train",), "checkpoint_answers": 8}
    settings |= {"min_answers": 5, "max_answers": 5}
    many = [plain.prompt(i) for i in range(4)]
    run(tmp_path / "straight", many, **settings)
    expected = (tmp_path / "straight/learn.replies/replies.jsonl").read_bytes()
    assert len(expected.splitlines()) == 4
    real, calls = replies.sample, []

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(len(arguments[1]))
        if len(calls) == breaks:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(replies, "sample", counted)
    folder = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        run(folder, many, **settings)
    # lines of a part that was never complete are taken back
    with (folder / "learn.replies/sampled.part.jsonl").open("a") as file:
        file.write('{"prompt": 0, "ans')
    run(folder, many, **settings)
    assert (folder / "learn.replies/replies.jsonl").read_bytes() == expected
    sizes = [8, 8, 4, 8, 8, 4]
    assert calls == sizes[:breaks] + sizes[breaks - 1 :]
    assert sorted(p.name for p in (folder / "learn.replies").iterdir() if p.suffix == ".jsonl") == [
        "replies.jsonl"
    ]


def test_broken_after_the_last_answer(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All parts are complete, the records are not: nothing is sampled again."""
    few = {"policies": (models[0],), "splits": ("train",), "min_answers": 2, "max_answers": 2}
    run(tmp_path / "straight", PROMPTS, **few)
    real = replies.jsonl.write
    monkeypatch.setattr(replies.jsonl, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    context = plain.make_context(tmp_path / "broken/learn.replies", "learn.replies")
    data = tmp_path / "straight/prompts"
    cfg = replies.Config(prompts=data, max_tokens=5, **few)
    with pytest.raises(KeyboardInterrupt):
        replies.run(cfg, context)
    monkeypatch.setattr(replies.jsonl, "write", real)
    monkeypatch.setattr(replies, "sample", None)  # calling it would raise
    replies.run(cfg, context)
    ours, theirs = (tmp_path / name / "learn.replies/replies.jsonl" for name in ("broken", "straight"))
    assert ours.read_bytes() == theirs.read_bytes()


def test_separators_in_answers_are_no_ends_of_lines(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every answer holds U+2028, U+2029 and U+0085, and the run is broken after its last answer."""
    text = "one\u2028two\u2029three\x85four"
    real = replies.sampled_answer
    monkeypatch.setattr(replies, "sampled_answer", lambda *row: real(*row).model_copy(update={"text": text}))
    settings = {"policies": (models[0],), "splits": ("train",), "min_answers": 2, "max_answers": 2}
    write = replies.jsonl.write
    data = plain.write(tmp_path / "prompts", "prompts.jsonl", PROMPTS)
    cfg = replies.Config(prompts=data, max_tokens=5, **settings)
    context = plain.make_context(tmp_path / "run/learn.replies", "learn.replies")
    monkeypatch.setattr(replies.jsonl, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        replies.run(cfg, context)
    monkeypatch.setattr(replies.jsonl, "write", write)
    replies.run(cfg, context)
    rows = jsonl.read(context.path("replies.jsonl"), Replies)
    assert {answer.text for row in rows for answer in row.answers} == {text}


def test_a_stop_string_ends_the_text_before_it(tmp_path: Path, models: tuple[Path, Path]) -> None:
    """The same draws without and with stop strings: each text is the other's up to the first of them, its
    tokens the other's up to the one that completed it."""
    settings = {"policies": (models[0],), "splits": ("train",), "min_answers": 8, "max_answers": 8}
    plainly, _ = run(tmp_path / "plain", PROMPTS, **settings)
    letters = "".join(a.text for row in plainly for a in row.answers)
    stop = (max("aeiou", key=letters.count), "q")
    stopped, context = run(tmp_path / "stop", PROMPTS, **settings, stop=stop)
    ended = 0
    for before, after in zip(plainly, stopped, strict=True):
        for a, b in zip(before.answers, after.answers, strict=True):
            places = [a.text.find(word) for word in stop if word in a.text]
            assert a.tokens and b.tokens and a.tokens[: len(b.tokens)] == b.tokens
            if places:
                ended += 1
                assert (b.text, b.finish) == (a.text[: min(places)], "stop")
            else:
                assert b == a
    assert 0 < ended < context.summary["answers"]


def test_top_k_draws_from_the_k_likeliest(tmp_path: Path, models: tuple[Path, Path]) -> None:
    import torch

    rows, _ = run(tmp_path, PROMPTS[:1], policies=(models[0],), splits=("train",), min_answers=9, top_k=2)
    network = plain.load(models[0])
    ids = plain.encode(models[0], PROMPTS[0])
    two = set(network(torch.tensor([ids])).logits[0, -1].topk(2).indices.tolist())
    assert {a.tokens[0] for a in rows[0].answers if a.tokens} == two
