"""Prompts of reinforcement learning: read, drawn in an order that a resumed run finds again, and asked.

Shared by the stages that learn from their own answers, `learn.ppo` and `learn.a2c`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from biddable.learn.batches import prompt_ids
from biddable.learn.training import derive_seed, shuffled_indices
from biddable.model import checkpoints
from biddable.model.sampler import Request
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Prompt

EncodedPrompt = tuple[Prompt, tuple[int, ...]]
"""A prompt and its token ids."""


def read_prompts(
    folder: Path, policy: Path, max_tokens: int, eval_prompts: int, tokenizer: Any, context: StageContext
) -> tuple[list[EncodedPrompt], list[EncodedPrompt]]:
    """Training prompts, and the first validation prompts. Raises UserError when one is too long for an answer
    of `max_tokens` behind it, or a split is empty."""
    rows = jsonl.read(folder / "prompts.jsonl", Prompt)
    errors: list[str] = []
    limit = checkpoints.context_length(policy) - max_tokens
    prompts = {
        split: [(p, prompt_ids(tokenizer, p.messages, limit, p.id, errors)) for p in rows if p.split == split]
        for split in ("train", "valid")
    }
    errors += [f"prompts: none belongs to the split {split}" for split, part in prompts.items() if not part]
    if errors:
        raise UserError([f"[{context.key}] {line}" for line in errors])
    return prompts["train"], prompts["valid"][:eval_prompts]


def draw_prompts(train: Sequence[EncodedPrompt], count: int, step: int, seed: int) -> list[EncodedPrompt]:
    """One rollout's prompts. All are answered once before any is again, each round in its own order; the
    cursor is the step number, so a resumed run goes on where it was."""
    order = shuffled_indices(len(train), seed, step * count)
    return [train[next(order)] for _ in range(count)]


def rollout_requests(
    prompts: Sequence[EncodedPrompt], max_tokens: int, step: int, context: StageContext
) -> list[Request]:
    """A request for each prompt, with a seed of its own. Temperature 1 and no top-p (Ouyang et al. 2022,
    C.4): the gradient needs samples of the policy itself."""
    return [
        Request(ids, derive_seed("rollout", context.seed, context.key, step, i), max_tokens)
        for i, (_, ids) in enumerate(prompts)
    ]


def reference_requests(
    train: Sequence[EncodedPrompt], count: int, max_tokens: int, context: StageContext
) -> tuple[list[EncodedPrompt], list[Request]]:
    """Prompts and requests for the answers of the first policy on which a reward's terms are measured."""
    prompts = draw_prompts(train, count, 0, derive_seed("reference", context.seed))
    seeds = [derive_seed("reference", context.seed, context.key, i) for i in range(count)]
    requests = [Request(ids, seed, max_tokens) for (_, ids), seed in zip(prompts, seeds, strict=True)]
    return prompts, requests
