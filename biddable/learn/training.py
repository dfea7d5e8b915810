"""The training loop that all stages share: the order of the data, checkpoints, and going on after a break.
The loss is each stage's own.

for step, batch in epochs(context, len(train), cfg.batch, cfg.epochs, {"optimizer": optimizer},
cfg.checkpoint_seconds): ...  # the loss on train[i] for i in batch, and one optimizer step
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from biddable.model.sources import refusing
from biddable.model.trunk import DecoderBlocks
from biddable.run.config import UserError
from biddable.run.context import StageContext


class Resumable(Protocol):
    """What a checkpoint holds: an optimizer, an average, the best epoch so far."""

    def state(self) -> Any: ...

    def restore(self, state: Any) -> None: ...


def updates(
    context: StageContext,
    steps: int,
    parts: Mapping[str, Resumable],
    checkpoint_seconds: float,
    checkpoint_share: float = 1.0,
) -> Iterator[int]:
    """Steps from 0 to `steps` - 1, or from where the newest checkpoint was written; its state goes into
    `parts` first.

    When the caller comes for the next step, this one is done, and a checkpoint is written if the last is old
    enough.
    """
    step = resume(context, parts)
    timer = CheckpointTimer(checkpoint_seconds, checkpoint_share)
    while step < steps:
        yield step
        step += 1
        if timer.due():
            with timer.writing():
                save_checkpoint(context, step, parts)


def epochs(
    context: StageContext,
    examples: int,
    batch: int,
    epochs: int,
    parts: Mapping[str, Resumable],
    checkpoint_seconds: float,
    checkpoint_share: float = 1.0,
) -> Iterator[tuple[int, list[int]]]:
    """(step, indices of a batch): each epoch visits all examples once in an order of its own. An epoch's last
    batch may be smaller."""
    per_epoch = batches_per_epoch(examples, batch)
    for step in updates(context, epochs * per_epoch, parts, checkpoint_seconds, checkpoint_share):
        epoch, position = divmod(step, per_epoch)
        order = _cached_order(examples, context.seed, epoch)
        yield step, order[position * batch : (position + 1) * batch].tolist()


def batches_per_epoch(examples: int, batch: int) -> int:
    """Batches that hold all examples once, the last perhaps smaller."""
    return -(-examples // batch)


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from names and numbers: the same for the same parts, whatever runs beside it."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1


def epoch_order(count: int, seed: int, epoch: int) -> list[int]:
    """A shuffle of 0 to `count` - 1 that depends on seed and epoch only: a resumed epoch needs no stored
    order."""
    return _cached_order(count, seed, epoch).tolist()


@lru_cache(maxsize=8)
def _cached_order(count: int, seed: int, epoch: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    """An epoch's shuffle is made once and not at every one of its batches: 2 million texts take a second and
    8 MB."""
    order = list(range(count))
    random.Random(derive_seed("order", seed, epoch)).shuffle(order)
    return np.array(order, dtype=np.int32)


def shuffled_indices(count: int, seed: int, start: int) -> Iterator[int]:
    """Indices epoch after epoch, each in an order of its own, from the `start`-th on: the data cursor is one
    number."""
    epoch, position = divmod(start, count)
    while True:
        order = _cached_order(count, seed, epoch)
        yield from (int(order[place]) for place in range(position, count))
        epoch, position = epoch + 1, 0


class CheckpointTimer:
    """When to write the next checkpoint: by time, since minutes of work are what a checkpoint saves.

    Writing takes at most `share` of the time: when the last took w seconds, the next waits w / share. With
    `seconds` = 0 one follows every step.
    """

    def __init__(self, seconds: float, share: float = 1.0) -> None:
        self.seconds, self.share, self.written = seconds, share, 0.0
        self.last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time; if so, the time until the next begins."""
        wait = max(self.seconds, self.written / self.share) if self.seconds else 0.0
        if time.monotonic() - self.last < wait:
            return False
        self.last = time.monotonic()
        return True

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Measure how long the checkpoint written inside takes."""
        started = time.monotonic()
        yield
        self.last = time.monotonic()
        self.written = self.last - started


def save_checkpoint(context: StageContext, step: int, parts: Mapping[str, Resumable]) -> None:
    """Write every part's state, and torch's random states with them: dropout goes on with the draws it would
    have had."""
    state = {name: part.state() for name, part in parts.items()}
    state |= {"random": torch.get_rng_state(), "random_accelerator": torch.cuda.get_rng_state_all()}
    context.checkpoint(step, lambda folder: torch.save(state, folder / "state.pt"))


def resume(context: StageContext, parts: Mapping[str, Resumable]) -> int:
    """Put the newest checkpoint's state into `parts` and return its step; 0 to begin, with torch seeded for
    this stage."""
    checkpoint = context.restore()
    if checkpoint is None:
        torch.manual_seed(derive_seed("torch", context.seed, context.key))
        return 0
    step, folder = checkpoint
    with refusing(folder, "this checkpoint cannot be gone on from; remove it and run again"):
        state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.restore(state[name])
        torch.set_rng_state(state["random"])
        torch.cuda.set_rng_state_all(state["random_accelerator"])
    return step


ATTENTION_NAMES = ("self_attn", "attn", "attention")
MLP_NAMES = ("mlp", "feed_forward")


@contextmanager
def residual_dropout(branch: DecoderBlocks, rate: float) -> Iterator[None]:
    """Dropout on what each block's attention and MLP add to the residual stream (Ouyang et al. 2022, C.1: 0.2
    in SFT).

    On inside the `with` block, off in frozen copies made there and after it. Raises UserError for a family
    whose blocks have no attention and MLP by a known name.
    """

    def drop(module: nn.Module, _: Any, output: Any) -> Any:
        if not module.training:  # a frozen copy shares the hook: evaluation has no dropout
            return output
        if isinstance(output, tuple):
            return (nn.functional.dropout(output[0], rate), *output[1:])
        return nn.functional.dropout(output, rate)

    names = ATTENTION_NAMES + MLP_NAMES
    modules = [m for name, m in branch.named_modules() if name.rsplit(".", 1)[-1] in names]
    if rate and len(modules) != 2 * branch.depth:
        raise UserError(
            f"dropout = {rate}: this family's blocks have no known attention and MLP parts; set dropout = 0"
        )
    handles = [m.register_forward_hook(drop) for m in modules] if rate else []
    branch.train()
    try:
        yield
    finally:
        branch.eval()
        for handle in handles:
            handle.remove()
