"""Replies: K answers of one or several policies to each prompt, with the token ids they were sampled as."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from biddable.learn.lengths import LengthSettings, PromptLimits
from biddable.learn.training import derive_seed
from biddable.model import checkpoints
from biddable.model.sampler import Request, SampledAnswer, sample
from biddable.model.token_bytes import Vocabulary
from biddable.model.trunk import Trunk
from biddable.run import jsonl
from biddable.run.config import Input, UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer, Prompt, Replies, Split

SAMPLED = "sampled.part.jsonl"
"""Answers in the order in which they were asked for, until all are there: what a broken run goes on from."""


class Config(LengthSettings):
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
    top_k: int = Field(default=0, ge=0)
    """Only so many likeliest tokens are drawn from; 0 is off."""
    stop: tuple[str, ...] = ()
    """Strings that end an answer; its text ends before them, its tokens are kept as they were drawn."""
    max_tokens: int = Field(default=256, ge=1)
    """Tokens per answer at most (the paper: 1,000)."""
    slots: int = Field(default=32, ge=1)
    """Answers under way at once."""
    checkpoint_answers: int = Field(default=1024, ge=1)
    """Answers after which they are on disk: a run that breaks off samples at most so many again. Answers of
    two such parts are never under way together, so that a resumed run gives the same ones bit for bit."""


def run(cfg: Config, context: StageContext) -> None:
    if cfg.max_answers < cfg.min_answers:
        raise UserError(
            f"[{context.key}] min_answers = {cfg.min_answers}, max_answers = {cfg.max_answers}: "
            "min_answers must not exceed max_answers"
        )
    prompts = select_prompts(cfg, jsonl.read(cfg.prompts / "prompts.jsonl", Prompt), context.key)
    prompts, encoded = encode_prompts(cfg, prompts, context)
    counts = [answers_per_prompt(cfg, prompt, context.seed) for prompt in prompts]
    owners = [i for i, count in enumerate(counts) for _ in range(count)]  # the prompt of each request
    parts = -(-len(owners) // cfg.checkpoint_answers)  # of each policy
    checkpoint = context.restore()
    complete = checkpoint[0] if checkpoint else 0
    answers: list[list[Answer]] = [[] for _ in prompts]
    for row in jsonl.read_objects(context.path(SAMPLED)) if complete else ():
        answers[row["prompt"]].append(Answer.model_validate(row["answer"]))
    shared: Trunk | None = None  # policies on one trunk hold it in memory once
    for number, folder in enumerate(cfg.policies):
        if complete >= (number + 1) * parts:
            continue
        policy = checkpoints.load_policy(folder, shared=shared).freeze()
        shared = shared or policy.trunk
        tokenizer = checkpoints.tokenizer(folder)
        requests = build_requests(cfg, prompts, encoded[number], counts, folder, context)
        vocabulary = Vocabulary(tokenizer) if cfg.stop else None
        eos = checkpoints.eos_ids(folder, tokenizer)
        for part in range(max(0, complete - number * parts), parts):
            start = part * cfg.checkpoint_answers
            stop = start + cfg.checkpoint_answers
            report = offset_progress(context, number * len(owners) + start, len(cfg.policies) * len(owners))
            samples = sample(
                policy, requests[start:stop], eos, cfg.slots, progress=report, vocabulary=vocabulary
            )
            for owner, sampled in zip(owners[start:stop], samples, strict=True):
                answer = sampled_answer(tokenizer, sampled, folder.name)
                answers[owner].append(answer)
                context.append(SAMPLED, {"prompt": owner, "answer": answer.model_dump(exclude_none=True)})
            context.checkpoint(number * parts + part + 1, lambda _: None)  # the answers are the state
    rows = [Replies(prompt=p, answers=tuple(a)) for p, a in zip(prompts, answers, strict=True)]
    jsonl.write(context.path("replies.jsonl"), rows)
    written = [answer for row in rows for answer in row.answers]
    context.summary |= {
        "prompts": len(rows),
        "answers": len(written),
        "finished": sum(answer.finish == "stop" for answer in written) / len(written),
        "mean_tokens": sum(len(answer.tokens or ()) for answer in written) / len(written),
    }


def select_prompts(cfg: Config, prompts: Sequence[Prompt], key: str) -> list[Prompt]:
    """The prompts of the wanted sources and splits. Raises UserError when a split has none."""
    if cfg.sources:
        prompts = [prompt for prompt in prompts if prompt.source in cfg.sources]
    by_split = {split: [p for p in prompts if p.split == split] for split in cfg.splits}
    empty = [split for split in cfg.splits if not by_split[split]]
    if empty:
        raise UserError(
            f"[{key}] splits: no prompt belongs to {', '.join(empty)}; change the shares of [curate.prompts]"
        )
    return [prompt for split in cfg.splits for prompt in by_split[split][: cfg.limit]]


def answers_per_prompt(cfg: Config, prompt: Prompt, seed: int) -> int:
    """K of a prompt: it depends on the prompt and the seed only, so all policies give the same number."""
    return random.Random(derive_seed("k", seed, prompt.id)).randint(cfg.min_answers, cfg.max_answers)


def encode_prompts(
    cfg: Config, prompts: Sequence[Prompt], context: StageContext
) -> tuple[list[Prompt], list[list[tuple[int, ...]]]]:
    """The prompts that all policies can answer, and for each policy their ids: a prompt is left out for all
    or for none. Raises UserError with a line for every prompt that is refused."""
    all_limits = [
        PromptLimits(cfg, checkpoints.tokenizer(folder), checkpoints.context_length(folder))
        for folder in cfg.policies
    ]
    encoded = [[limits.encode(prompt, cfg.max_tokens) for prompt in prompts] for limits in all_limits]
    errors = list(dict.fromkeys(line for limits in all_limits for line in limits.errors))
    fitting = [i for i in range(len(prompts)) if all(ids[i] is not None for ids in encoded)]
    if not errors and not fitting:
        errors = [f"too_long = {cfg.too_long!r}: every prompt is left out"]
    if errors:
        raise UserError([f"[{context.key}] {line}" for line in errors])
    if len(fitting) < len(prompts):
        context.summary["dropped_too_long"] = len(prompts) - len(fitting)
    if cut := max(limits.cut for limits in all_limits):
        context.summary["cut_too_long"] = cut
    return [prompts[i] for i in fitting], [[ids[i] or () for i in fitting] for ids in encoded]


def build_requests(
    cfg: Config,
    prompts: Sequence[Prompt],
    encoded: Sequence[tuple[int, ...]],
    counts: Sequence[int],
    folder: Path,
    context: StageContext,
) -> list[Request]:
    """The sampler's requests, a prompt's K behind each other: they share its prefill, and each has a seed of
    its own."""
    return [
        Request(
            prompt_tokens,
            derive_seed(context.seed, context.key, folder.name, prompt.id, k),
            cfg.max_tokens,
            cfg.temperature,
            cfg.top_p,
            cfg.top_k,
            cfg.stop,
        )
        for prompt, prompt_tokens, count in zip(prompts, encoded, counts, strict=True)
        for k in range(count)
    ]


def offset_progress(context: StageContext, before: int, total: int) -> Callable[[int, int], None]:
    """The sampler's callback for one of several parts: answers of the earlier ones count as finished."""
    return lambda finished, tokens: context.progress(before + finished, total)


def sampled_answer(tokenizer: Any, sampled: SampledAnswer, model: str, step: int | None = None) -> Answer:
    """A sampled answer as a record: its ids as they are, its text without the token that ended it."""
    text = sampled.text  # where a stop string ended it
    if text is None:
        ids = sampled.tokens[:-1] if sampled.finish == "stop" else sampled.tokens
        text = tokenizer.decode(ids, skip_special_tokens=True)
    return Answer(text=text, model=model, tokens=sampled.tokens, finish=sampled.finish, step=step)
