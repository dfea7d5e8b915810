"""Prompts of reinforcement learning: read, drawn in an order that a resumed run finds again, and asked.

Shared by the stages that learn from their own answers, `learn.ppo` and `learn.a2c`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from biddable.learn.lengths import LengthSettings, PromptLimits
from biddable.learn.reward_sources import is_invalid
from biddable.learn.reward_terms import Episode
from biddable.learn.selfplay import Buffer, Dialogue
from biddable.learn.training import derive_seed, shuffled_indices
from biddable.model import checkpoints
from biddable.model.sampler import Request
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Message, Prompt

EncodedPrompt = tuple[Prompt, tuple[int, ...]]
"""A prompt and its token ids."""

Opening = tuple[tuple[Message, ...], tuple[int, ...]]
"""A dialogue that goes on with one more statement, and its token ids up to where that begins."""


def read_prompts(
    cfg: LengthSettings,
    folder: Path,
    policy: Path,
    max_tokens: int,
    eval_prompts: int,
    tokenizer: Any,
    context: StageContext,
) -> tuple[list[EncodedPrompt], list[EncodedPrompt]]:
    """Training prompts, and the first validation prompts, with room for an answer of `max_tokens` behind each.
    Raises UserError when one is too long and too_long is `refuse`, or a split is empty."""
    rows = jsonl.read(folder / "prompts.jsonl", Prompt)
    limits = PromptLimits(cfg, tokenizer, checkpoints.context_length(policy))
    prompts: dict[str, list[EncodedPrompt]] = {"train": [], "valid": []}
    for row in rows:
        if row.split in prompts and (ids := limits.encode(row, max_tokens)) is not None:
            prompts[row.split].append((row, ids))
    context.summary |= limits.summary()
    errors = limits.errors + [
        f"prompts: none belongs to the split {split}" for split, part in prompts.items() if not part
    ]
    if errors:
        raise UserError([f"[{context.key}] {line}" for line in errors])
    return prompts["train"], prompts["valid"][:eval_prompts]


def draw_prompts(train: Sequence[EncodedPrompt], count: int, step: int, seed: int) -> list[EncodedPrompt]:
    """One rollout's prompts. All are answered once before any is again, each round in its own order; the
    cursor is the step number, so a resumed run goes on where it was."""
    order = shuffled_indices(len(train), seed, step * count)
    return [train[next(order)] for _ in range(count)]


class PromptStream:
    """What a stage's rollouts answer: the training prompts, and beside them, where `share` asks for it,
    dialogues of self-play from a buffer that grows with the policy's own statements (Glaese et al. 2022).

    An episode of self-play is one statement, of the user or of the assistant. It joins the buffer, with the
    dialogue before it, if it is valid and paid at least the rollout's median, so that the policy goes on from
    its own turns and not from broken ones.
    """

    def __init__(
        self, train: Sequence[EncodedPrompt], share: float, tokenizer: Any, limit: int, seed: int
    ) -> None:
        self.train, self.share, self.tokenizer, self.limit, self.seed = train, share, tokenizer, limit, seed
        self.buffer = Buffer(Dialogue(prompt.messages) for prompt, _ in train)

    def draw(self, count: int, step: int) -> list[Opening]:
        """One rollout's openings; those of self-play are the last of them."""
        played = round(self.share * count)
        prompts = draw_prompts(self.train, count - played, step, self.seed)
        openings = [(prompt.messages, ids) for prompt, ids in prompts]
        dialogues = self.buffer.draw(played, derive_seed("selfplay", self.seed, step)) if played else []
        return openings + [(d.messages, d.ids(self.tokenizer)) for d in dialogues]

    def grow(self, episodes: Sequence[Episode], rewards: torch.Tensor) -> None:
        """Add to the buffer what a rollout's episodes of self-play said, where it is good enough. A dialogue
        too long for another statement stays out."""
        played = round(self.share * len(episodes))
        least = float(rewards.median())
        for episode, reward in list(zip(episodes, rewards.tolist(), strict=True))[len(episodes) - played :]:
            dialogue = Dialogue(episode.messages)
            fits = len(dialogue.with_statement(episode.text).ids(self.tokenizer)) <= self.limit
            self.buffer.add(dialogue, episode.text, fits and reward >= least and not is_invalid(episode))

    def metrics(self) -> dict[str, float]:
        """How far self-play has come; nothing without it."""
        return {"selfplay_dialogues": float(len(self.buffer.grown))} if self.share else {}

    def state(self) -> dict[str, Any]:
        return self.buffer.state()

    def restore(self, state: dict[str, Any]) -> None:
        self.buffer.restore(state)


def prompt_stream(
    share: float,
    train: Sequence[EncodedPrompt],
    policy: Path,
    max_tokens: int,
    tokenizer: Any,
    context: StageContext,
) -> PromptStream:
    """The stream of a stage; `share` of its episodes are self-play, in dialogues that leave room for
    `max_tokens`."""
    limit = checkpoints.context_length(policy) - max_tokens
    return PromptStream(train, share, tokenizer, limit, context.seed)


def rollout_requests(
    prompts: Sequence[tuple[Any, tuple[int, ...]]], max_tokens: int, step: int, context: StageContext
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
