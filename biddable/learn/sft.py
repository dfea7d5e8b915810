"""SFT: a policy fine-tuned on demonstrations (Ouyang et al. 2022, 3.5 and C.1).

start + demonstrations -> a policy folder. Loss on the answer's tokens only; several examples in a row without
seeing each other; cosine decay without warm-up; residual dropout. The epoch that is kept is the last, or the
best: the one whose answers to validation prompts the reward model scores highest when a reward model is given
(the paper's way: validation loss rises after the first epoch while answers still get better), else the one
with the lowest validation loss. With `text`, running text is mixed in with loss on all its tokens: so the
paper made the model that RL starts from (C.3: 10 %).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from biddable.learn import rollout
from biddable.learn.batches import (
    cache_trunk_outputs,
    counted_tokens,
    microbatches,
    text_trees,
)
from biddable.learn.demonstrations import read_demonstrations
from biddable.learn.lengths import LengthSettings, PromptLimits
from biddable.learn.optimizer import OptimizerSettings
from biddable.learn.training import (
    Resumable,
    batches_per_epoch,
    derive_seed,
    epochs,
    residual_dropout,
    shuffled_indices,
)
from biddable.learn.tree_store import TreeStore
from biddable.model import checkpoints
from biddable.model.encoding import answer_ids
from biddable.model.packing import Tree
from biddable.model.sampler import Request
from biddable.model.trunk import Policy, Scorer
from biddable.run.config import Input, UserError
from biddable.run.context import StageContext


class Config(OptimizerSettings, LengthSettings):
    runtime_settings = frozenset({"checkpoint_seconds", "checkpoint_share"})
    start: Input = Path("learn.start")
    """The policy to begin with."""
    demonstrations: Input | None = Path("label.demonstrations")
    """What labelers would want to see; those on prompts of the split `valid` are for choosing the epoch. May be
    none where chosen or followed are given."""
    chosen: tuple[Input, ...] = ()
    """Comparisons whose best answer is imitated too (Glaese et al. 2022: the replies that people preferred)."""
    followed: tuple[Input, ...] = ()
    """Rule checks; answers that break none of the rules they were checked for are imitated too (Glaese et al.
    2022)."""
    reward: Input | None = None
    """A reward model to choose the epoch by; none: by validation loss."""
    keep: Literal["best", "last"] = "best"
    """Whose weights are saved: the best epoch's by reward or validation loss, or the last one's (without a
    reward model validation loss would choose the first of 16, of which C.1 says that answers get better)."""
    text: Input | None = None
    """Running text to mix in; none: demonstrations only."""
    text_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of text pieces among a batch's examples when `text` is given (Ouyang et al. 2022, C.3: 10 %)."""
    text_tokens: int = Field(default=128, ge=2)
    """Tokens per piece of text; a longer text goes on in the next piece."""
    epochs: int = Field(default=16, ge=1)
    """Passes over the demonstrations (C.1: 16; C.3: 2 for the model RL starts from)."""
    batch: int = Field(default=32, ge=1)
    """Demonstrations per update (C.1: 32)."""
    learning_rate: float = Field(default=9.65e-6, gt=0)
    """Peak (C.1: 9.65e-6 for 1.3B)."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Residual dropout (C.1: 0.2)."""
    max_tokens: int = Field(default=256, ge=1)
    """Tokens per answer when answers are sampled for the reward model. Demonstrations may be as long as the
    context allows."""
    microbatch_tokens: int = Field(default=1024, ge=64)
    """Tokens per forward: less memory, same result."""
    trunk_cache_gb: float = Field(default=2.0, ge=0)
    """Memory for trunk outputs kept over the epochs, in GB."""
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    """Time between checkpoints."""


@dataclass
class BestEpoch:
    """The weights of the best epoch so far, the earliest of equals."""

    epoch: int = 0
    quality: float = -float("inf")
    valid_loss: float = float("inf")
    masters: list[torch.Tensor] = field(default_factory=list)

    def offer(self, epoch: int, quality: float, valid_loss: float, masters: Sequence[torch.Tensor]) -> None:
        """Keep a copy of this epoch's weights if it is better than all before it."""
        if quality > self.quality:
            self.epoch, self.quality, self.valid_loss = epoch, quality, valid_loss
            self.masters = [master.detach().clone() for master in masters]

    def state(self) -> dict[str, Any]:
        return vars(self).copy()

    def restore(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def run(cfg: Config, context: StageContext) -> None:
    policy = checkpoints.load_policy(cfg.start)
    policy.branch.checkpointing = cfg.gradient_checkpointing
    tokenizer = checkpoints.tokenizer(cfg.start)
    scorer = checkpoints.load_scorer(cfg.reward, policy.trunk).freeze() if cfg.reward else None
    train, valid = demonstration_trees(cfg, tokenizer, context)
    train, valid = (
        cache_trunk_outputs(policy.trunk, part, cfg.trunk_cache_gb, cfg.microbatch_tokens)
        for part in (train, valid)
    )
    text = text_trees(tokenizer, cfg.text, cfg.text_tokens) if cfg.text else []
    optimizer, best = cfg.adamw(policy.parameters()), BestEpoch()
    per_epoch = batches_per_epoch(len(train), cfg.batch)
    steps = cfg.epochs * per_epoch
    parts: dict[str, Resumable] = {"optimizer": optimizer, "best": best}
    with residual_dropout(policy.branch, cfg.dropout):
        for step, batch in epochs(
            context, len(train), cfg.batch, cfg.epochs, parts, cfg.checkpoint_seconds, cfg.checkpoint_share
        ):
            trees = [train[i] for i in batch]
            trees += mixed_text(text, len(batch), cfg.text_share, step, context.seed)
            loss = accumulate_gradient(policy, trees, cfg.microbatch_tokens)
            rate = cfg.rate_at(step, steps, cfg.learning_rate)
            norm = optimizer.step(rate, cfg.clip_norm)
            context.log(step + 1, loss=loss, learning_rate=rate, grad_norm=norm)
            context.progress(step + 1, steps, loss=loss)
            if (step + 1) % per_epoch == 0:
                epoch = (step + 1) // per_epoch
                measured = evaluate(cfg, policy, scorer, valid, tokenizer, context.seed)
                context.log(step + 1, epoch=float(epoch), **measured)
                quality = measured.get("valid_reward", -measured["valid_loss"])
                if cfg.keep == "last":
                    best.epoch, best.quality, best.valid_loss = epoch, quality, measured["valid_loss"]
                else:
                    best.offer(epoch, quality, measured["valid_loss"], optimizer.masters)
    if cfg.keep == "best":
        optimizer.set_masters(best.masters)
    checkpoints.save_policy(policy, context.path("model"), cfg.start)
    context.summary |= {
        "epoch_chosen": best.epoch,
        "chosen_by": "last" if cfg.keep == "last" else "reward" if scorer else "valid_loss",
        "quality_chosen": best.quality,
        "valid_loss": best.valid_loss,
        "demonstrations": len(train),
        "valid_demonstrations": len(valid),
        "tokens": sum(len(tree) for tree in train),
        "steps": steps,
    }


def demonstration_trees(
    cfg: Config, tokenizer: Any, context: StageContext
) -> tuple[Sequence[Tree], Sequence[Tree]]:
    """Demonstrations as trees, train and valid. Raises UserError when one does not fit the context or a split
    is empty."""
    rows = read_demonstrations(cfg.demonstrations, cfg.chosen, cfg.followed)
    limits = PromptLimits(cfg, tokenizer, checkpoints.context_length(cfg.start))
    trees: dict[str, list[Tree]] = {"train": [], "valid": []}
    for row in rows:
        answer = answer_ids(tokenizer, row.answer)
        ids = limits.encode(row.prompt, len(answer))
        if row.prompt.split in trees and answer and ids is not None:
            trees[row.prompt.split].append(Tree(ids, (answer,)))
    errors = limits.errors + [
        f"no demonstration is on a prompt of the split {split}" for split, part in trees.items() if not part
    ]
    if errors:
        raise UserError([f"[{context.key}] demonstrations: {line}" for line in errors])
    context.summary |= limits.summary()
    return TreeStore(trees["train"]), TreeStore(trees["valid"])


def mixed_text(text: Sequence[Tree], examples: int, share: float, step: int, seed: int) -> list[Tree]:
    """The text pieces that go with a batch, so that over time they are `share` of all its examples.

    `rate` pieces an update need not be whole: update i takes those from ⌊i rate⌋ to ⌊(i + 1) rate⌋, so no
    piece is lost to rounding.
    """
    if not text:
        return []
    rate = examples * share / (1 - share)  # pieces / (pieces + examples) = share
    first, stop = int(step * rate), int((step + 1) * rate)
    order = shuffled_indices(len(text), derive_seed("text", seed), first)
    return [text[next(order)] for _ in range(stop - first)]


def accumulate_gradient(policy: Policy, trees: Sequence[Tree], tokens: int) -> float:
    """Add the gradient of the mean negative log-likelihood per counted token; returns that mean in nats.

    The mean is over the tokens of all trees together: long answers weigh more than short ones, and
    microbatches of any size add up to the same gradient. The prompt's tokens carry no loss.
    """
    counted = counted_tokens(trees)
    total = 0.0
    for _, packed in microbatches(trees, tokens):
        logp, _ = policy.logp(packed)  # (N,)
        loss = -logp.sum() / counted
        loss.backward()
        total += loss.item()
    if not torch.isfinite(torch.tensor(total)):
        raise UserError(f"the loss is {total}; lower learning_rate")
    return total


def evaluate(
    cfg: Config, policy: Policy, scorer: Scorer | None, valid: Sequence[Tree], tokenizer: Any, seed: int
) -> dict[str, float]:
    """`valid_loss`, and `valid_reward` when there is a reward model: an epoch's metrics, both without
    dropout."""
    measured = {"valid_loss": valid_loss(policy.freeze(), valid, cfg.microbatch_tokens)}
    if scorer is not None:
        # the same draws after every epoch: epochs are compared, not luck
        requests = [
            Request(tree.prompt, derive_seed(seed, "judge", i), cfg.max_tokens)
            for i, tree in enumerate(valid)
        ]
        eos = checkpoints.eos_ids(cfg.start, tokenizer)
        _, answered = rollout.sample_episodes(policy, requests, eos, slots=32)
        with torch.no_grad():
            scores = [scorer.scores(packed) for _, packed in microbatches(answered, cfg.microbatch_tokens)]
        measured["valid_reward"] = float(torch.cat(scores).mean())
    return measured


@torch.no_grad()
def valid_loss(policy: Policy, trees: Sequence[Tree], tokens: int) -> float:
    """Mean negative log-likelihood per answer token, in nats."""
    logps = [policy.logp(packed)[0] for _, packed in microbatches(trees, tokens)]
    return -float(torch.cat(logps).mean())
