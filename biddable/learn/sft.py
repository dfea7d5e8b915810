"""SFT: a policy fine-tuned on demonstrations (Ouyang et al. 2022, 3.5 and C.1).

start + demonstrations -> a policy folder. Loss on the answer's tokens only; several examples in a row without seeing each other; cosine decay without
warm-up; residual dropout. The epoch that is kept is the one whose answers to validation prompts the reward model scores highest when a reward model
is given (the paper's way: validation loss rises after the first epoch while answers still get better), else the one with the lowest validation loss.
With `text`, running text is mixed in with loss on all its tokens: so the paper made the model that RL starts from (C.3: 10 %).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from biddable.learn.training import (
    CheckpointTimer,
    Optimizer,
    answer_ids,
    cache_trunk_outputs,
    cosine_decay,
    derive_seed,
    epoch_order,
    microbatches,
    prompt_ids,
    residual_dropout,
    resume,
    save_checkpoint,
    shuffled_indices,
)
from biddable.model import checkpoints
from biddable.model.packing import Tree
from biddable.model.sampler import Request, sample
from biddable.model.trunk import Policy, Scorer
from biddable.run import jsonl
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.records import Demonstration, Text


class Config(Settings):
    runtime_settings = frozenset({"checkpoint_seconds"})
    start: Input = Path("learn.start")
    """The policy to begin with."""
    demonstrations: Input = Path("label.demonstrations")
    """What labelers would want to see; those on prompts of the split `valid` are for choosing the epoch."""
    reward: Input | None = None
    """A reward model to choose the epoch by; none: by validation loss."""
    text: Input | None = None
    """Running text to mix in; none: demonstrations only."""
    text_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of text pieces among a batch's examples when `text` is given (Ouyang et al. 2022, C.3: 10 %)."""
    text_tokens: int = Field(default=128, ge=2)
    """Tokens per piece of text at most."""
    epochs: int = Field(default=16, ge=1)
    """Passes over the demonstrations (C.1: 16; C.3: 2 for the model RL starts from)."""
    batch: int = Field(default=32, ge=1)
    """Demonstrations per update (C.1: 32)."""
    learning_rate: float = Field(default=9.65e-6, gt=0)
    """Peak, decaying along a cosine to a tenth (C.1: 9.65e-6 for 1.3B)."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Residual dropout (C.1: 0.2)."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's weight decay."""
    clip_norm: float = Field(default=1.0, gt=0)
    """The gradient is scaled down to this length."""
    max_tokens: int = Field(default=256, ge=1)
    """Tokens per answer when answers are sampled for the reward model; longer demonstrations are refused only by the context."""
    microbatch_tokens: int = Field(default=1024, ge=64)
    """Tokens per forward: less memory, same result."""
    trunk_cache_gb: float = Field(default=2.0, ge=0)
    """Memory for trunk outputs kept over the epochs, in GB."""
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    """Time between checkpoints."""


def run(cfg: Config, context: StageContext) -> None:
    policy = checkpoints.load_policy(cfg.start)
    tokenizer = checkpoints.tokenizer(cfg.start)
    scorer = checkpoints.load_scorer(cfg.reward, policy.trunk).freeze() if cfg.reward else None
    train, valid = trees_of(cfg, tokenizer, context)
    train, valid = (cache_trunk_outputs(policy.trunk, part, cfg.trunk_cache_gb) for part in (train, valid))
    text = text_trees(tokenizer, cfg.text, cfg.text_tokens) if cfg.text else []
    optimizer = Optimizer(policy.parameters(), cfg.weight_decay)
    per_epoch = -(-len(train) // cfg.batch)
    steps = cfg.epochs * per_epoch
    step = 0
    best: dict[str, Any] = {"epoch": 0, "quality": -float("inf")}
    if found := resume(context):
        step, state = found
        optimizer.restore(state["optimizer"])
        best = state["best"]
    clock = CheckpointTimer(cfg.checkpoint_seconds)
    with residual_dropout(policy.branch, cfg.dropout):
        while step < steps:
            epoch, at = divmod(step, per_epoch)
            order = epoch_order(len(train), context.seed, epoch)[at * cfg.batch : (at + 1) * cfg.batch]
            batch = [train[i] for i in order] + mixed(text, len(order), cfg.text_share, step, context.seed)
            loss = accumulate(policy, batch, cfg.microbatch_tokens)
            rate = cosine_decay(step, steps, cfg.learning_rate)
            norm = optimizer.step(rate, cfg.clip_norm)
            step += 1
            context.log(step, loss=loss, learning_rate=rate, grad_norm=norm)
            context.progress(step, steps, loss=loss)
            if step % per_epoch == 0:
                best = judge(policy, scorer, valid, epoch + 1, best, optimizer, cfg, tokenizer, context, step)
            if clock.due():
                save_checkpoint(context, step, {"optimizer": optimizer.state(), "best": best})
    optimizer.set_masters(best["masters"])
    checkpoints.save_policy(policy, context.path("model"), cfg.start)
    context.summary |= {
        "epoch_chosen": best["epoch"],
        "chosen_by": "reward" if scorer else "valid_loss",
        "quality_chosen": best["quality"],
        "valid_loss": best["valid_loss"],
        "demonstrations": len(train),
        "valid_demonstrations": len(valid),
        "tokens": sum(len(tree) for tree in train),
        "steps": steps,
    }


def trees_of(cfg: Config, tokenizer: Any, context: StageContext) -> tuple[list[Tree], list[Tree]]:
    """Demonstrations as trees, train and valid. Raises UserError when one does not fit the context or a split is empty."""
    rows = jsonl.read(cfg.demonstrations / "demonstrations.jsonl", Demonstration)
    wrong: list[str] = []
    room = checkpoints.context_length(cfg.start)
    found: dict[str, list[Tree]] = {"train": [], "valid": []}
    for row in rows:
        answer = answer_ids(tokenizer, row.answer)
        ids = prompt_ids(tokenizer, row.prompt.messages, room - len(answer), row.prompt.id, wrong)
        if row.prompt.split in found and answer:
            found[row.prompt.split].append(Tree(ids, (answer,)))
    wrong += [
        f"no demonstration is on a prompt of the split {split}" for split, trees in found.items() if not trees
    ]
    if wrong:
        raise UserError([f"[{context.key}] demonstrations: {line}" for line in wrong])
    return found["train"], found["valid"]


def text_trees(tokenizer: Any, folder: Path, tokens: int, split: str = "train") -> list[Tree]:
    """Running text as trees without a prompt: no chat template, and every token but the first counts."""
    rows = [row for row in jsonl.read(folder / "text.jsonl", Text) if row.split == split]
    ids = [tuple(tokenizer.encode(row.text, add_special_tokens=False)[:tokens]) for row in rows]
    trees = [Tree((), (one,)) for one in ids if len(one) > 1]
    if not trees:
        raise UserError(f"{folder / 'text.jsonl'}: holds no text of the split {split}")
    return trees


def mixed(text: list[Tree], examples: int, share: float, step: int, seed: int) -> list[Tree]:
    """The text pieces that go with a batch, so that they are `share` of its examples on average."""
    if not text:
        return []
    rate = examples * share / (1 - share)
    first, last = int(step * rate), int((step + 1) * rate)
    order = shuffled_indices(len(text), derive_seed("text", seed), first)
    return [text[next(order)] for _ in range(last - first)]


def accumulate(policy: Policy, trees: list[Tree], tokens: int, scale: float = 1.0) -> float:
    """Add the gradient of `scale` times the mean negative log-likelihood per counted token; returns that mean in nats."""
    counted = sum(len(a) - (0 if t.prompt else 1) for t in trees for a in t.answers)
    total = 0.0
    for _, packed in microbatches(trees, tokens):
        loss = -policy.logp(packed)[0].sum() / counted
        (scale * loss).backward()
        total += loss.item()
    if not torch.isfinite(torch.tensor(total)):
        raise UserError(f"the loss is {total}; lower learning_rate")
    return total


@torch.no_grad()
def valid_loss(policy: Policy, trees: list[Tree], tokens: int) -> float:
    """Mean negative log-likelihood per answer token, in nats."""
    sums = [policy.logp(packed)[0] for _, packed in microbatches(trees, tokens)]
    return -float(torch.cat(sums).mean())


def judge(
    policy: Policy,
    scorer: Scorer | None,
    valid: list[Tree],
    epoch: int,
    best: dict[str, Any],
    optimizer: Optimizer,
    cfg: Config,
    tokenizer: Any,
    context: StageContext,
    step: int,
) -> dict[str, Any]:
    """Measure an epoch and keep its weights if it is the best so far."""
    dropout_off = policy.freeze()
    loss = valid_loss(dropout_off, valid, cfg.microbatch_tokens)
    measured = {"epoch": float(epoch), "valid_loss": loss}
    quality = -loss
    if scorer is not None:
        eos = checkpoints.eos_ids(cfg.start, tokenizer)
        requests = [
            Request(t.prompt, derive_seed(context.seed, "judge", i), cfg.max_tokens)
            for i, t in enumerate(valid)
        ]
        got = sample(dropout_off, requests, eos, keep_trunk=policy.trunk.depth > 0)
        kept = [(g.hidden,) if g.hidden is not None and policy.trunk.depth else None for g in got]
        answered = [Tree(t.prompt, (g.tokens,), h) for t, g, h in zip(valid, got, kept, strict=True)]
        with torch.no_grad():
            quality = float(
                torch.cat([scorer.scores(p) for _, p in microbatches(answered, cfg.microbatch_tokens)]).mean()
            )
        measured["valid_reward"] = quality
    context.log(step, **measured)
    if quality <= best["quality"]:
        return best
    masters = [m.detach().clone() for m in optimizer.masters]
    return {"epoch": epoch, "quality": quality, "valid_loss": loss, "masters": masters}
