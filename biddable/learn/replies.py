"""Replies: K answers of one or several policies to each prompt, with the token ids they were sampled as."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from biddable.learn.training import derive_seed, prompt_ids
from biddable.model import checkpoints
from biddable.model.sampler import Request, SampledAnswer, sample
from biddable.model.trunk import Trunk
from biddable.run import jsonl
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer, Prompt, Replies, Split


class Config(Settings):
    renamed: ClassVar[dict[str, str]] = {"least": "min_answers", "most": "max_answers"}
    policies: tuple[Input, ...] = (Path("learn.sft"),)
    """The policies that answer. With several, every one answers every prompt."""
    prompts: Input = Path("curate.prompts")
    """The prompts."""
    splits: tuple[Split, ...] = ("train", "valid")
    """Which splits of the prompts are answered."""
    sources: tuple[str, ...] = ()
    """Only prompts of these sources, such as "served"; empty: all."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many prompts of each split, in the prompts' order; none: all."""
    min_answers: int = Field(default=4, ge=1)
    """Fewest answers per prompt and policy (K = 4 to 9: Ouyang et al. 2022, 3.5)."""
    max_answers: int = Field(default=9, ge=1)
    """Most answers per prompt and policy; each prompt's number is drawn evenly between the two."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature; 0 takes the likeliest token."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling (Holtzman et al. 2020); 1 is off."""
    max_tokens: int = Field(default=256, ge=1)
    """Tokens per answer at most (the paper: 1,000)."""
    slots: int = Field(default=32, ge=1)
    """Answers under way at once."""


def run(cfg: Config, context: StageContext) -> None:
    if cfg.max_answers < cfg.min_answers:
        raise UserError(
            f"[{context.key}] min_answers = {cfg.min_answers}, max_answers = {cfg.max_answers}: min_answers must not exceed max_answers"
        )
    every = jsonl.read(cfg.prompts / "prompts.jsonl", Prompt)
    if cfg.sources:
        every = [prompt for prompt in every if prompt.source in cfg.sources]
    prompts = chosen(every, cfg.splits, cfg.limit, context.key)
    count = [
        random.Random(derive_seed("k", context.seed, p.id)).randint(cfg.min_answers, cfg.max_answers)
        for p in prompts
    ]
    answers: list[list[Answer]] = [[] for _ in prompts]
    shared: Trunk | None = None
    for number, folder in enumerate(cfg.policies):
        policy = checkpoints.load_policy(folder, shared=shared).freeze()
        shared = shared or policy.trunk
        tokenizer = checkpoints.tokenizer(folder)
        owners = [i for i, k in enumerate(count) for _ in range(k)]
        requests = asked(tokenizer, prompts, count, folder, cfg, context)
        done = offset_progress(context, number * len(owners), len(cfg.policies) * len(owners))
        for owner, got in zip(
            owners,
            sample(policy, requests, checkpoints.eos_ids(folder, tokenizer), cfg.slots, progress=done),
            strict=True,
        ):
            answers[owner].append(answer(tokenizer, got, folder.name))
    rows = [Replies(prompt=p, answers=tuple(a)) for p, a in zip(prompts, answers, strict=True)]
    jsonl.write(context.path("replies.jsonl"), rows)
    everything = [a for row in rows for a in row.answers]
    context.summary = {
        "prompts": len(rows),
        "answers": len(everything),
        "finished": sum(a.finish == "stop" for a in everything) / len(everything),
        "mean_tokens": sum(len(a.tokens or ()) for a in everything) / len(everything),
    }


def chosen(prompts: Sequence[Prompt], splits: Sequence[Split], limit: int | None, key: str) -> list[Prompt]:
    """The prompts of these splits. Raises UserError when a split has none."""
    found = [p for split in splits for p in [p for p in prompts if p.split == split][:limit]]
    missing = [split for split in splits if not any(p.split == split for p in prompts)]
    if missing:
        raise UserError(
            f"[{key}] splits: no prompt belongs to {', '.join(missing)}; change the shares of [curate.prompts]"
        )
    return found


def asked(
    tokenizer: Any,
    prompts: Sequence[Prompt],
    count: Sequence[int],
    folder: Path,
    cfg: Config,
    context: StageContext,
) -> list[Request]:
    """The sampler's requests. Raises UserError with a line for every prompt that does not fit into the context."""
    wrong: list[str] = []
    room = checkpoints.context_length(folder) - cfg.max_tokens
    ids = [prompt_ids(tokenizer, p.messages, room, p.id, wrong) for p in prompts]
    if wrong:
        raise UserError([f"[{context.key}] {line}" for line in wrong])
    return [
        Request(
            i,
            derive_seed(context.seed, context.key, folder.name, p.id, k),
            cfg.max_tokens,
            cfg.temperature,
            cfg.top_p,
        )
        for p, i, n in zip(prompts, ids, count, strict=True)
        for k in range(n)
    ]


def offset_progress(context: StageContext, before: int, total: int) -> Any:
    """The sampler's `done` that moves this stage's progress bar."""
    return lambda finished, tokens: context.progress(before + finished, total)


def answer(tokenizer: Any, got: SampledAnswer, model: str, step: int | None = None) -> Answer:
    """A sampled answer as a record: its ids as they are, its text without the token that ended it."""
    ids = got.tokens[:-1] if got.finish == "stop" else got.tokens
    text = tokenizer.decode(ids, skip_special_tokens=True)
    return Answer(text=text, model=model, tokens=got.tokens, finish=got.finish, step=step)
