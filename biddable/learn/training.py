"""What every training loop needs, as functions: an optimizer with fp32 masters, schedules, order of data, checkpoints, records to trees."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from biddable.model.checkpoints import encode_chat
from biddable.model.packing import PackedBatch, Tree, pack
from biddable.model.trunk import DecoderBlocks, Trunk
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer, Message


class Optimizer:
    """AdamW on fp32 masters of parameters that compute in their own dtype. Gradients are added up in fp32, microbatch after microbatch.

    Betas 0.9, 0.95 are the paper's (Ouyang et al. 2022, C); eps 1e-5 as in Huang et al. 2024, detail 18.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], weight_decay: float = 0.0, eps: float = 1e-5
    ) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self.masters = [
            p if p.dtype == torch.float32 else p.detach().float().requires_grad_(True)
            for p in self.parameters
        ]
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if parameter is not master:
                parameter.register_post_accumulate_grad_hook(_into(master))
        self.adam = torch.optim.AdamW(
            self.masters, lr=0.0, betas=(0.9, 0.95), eps=eps, weight_decay=weight_decay, fused=True
        )

    def norm(self) -> float:
        """Length of the gradient added up so far."""
        found = [m.grad.norm() for m in self.masters if m.grad is not None]
        return float(torch.stack(found).norm()) if found else 0.0

    def gradient(self) -> torch.Tensor:
        """A copy of the gradient added up so far, as one vector."""
        return torch.cat(
            [(torch.zeros_like(m) if m.grad is None else m.grad).flatten() for m in self.masters]
        )

    @torch.no_grad()
    def step(self, learning_rate: float, clip_norm: float) -> float:
        """Clip the gradient to `clip_norm`, update masters and parameters, forget the gradient. Returns its length before clipping."""
        norm = self.norm()
        if norm > clip_norm:
            for master in self.masters:
                if master.grad is not None:
                    master.grad.mul_(clip_norm / norm)
        self.adam.param_groups[0]["lr"] = learning_rate
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        self.publish()
        return norm

    @torch.no_grad()
    def publish(self) -> None:
        """Write the masters into the parameters that compute."""
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if parameter is not master:
                parameter.copy_(master)

    def state(self) -> dict[str, Any]:
        return {"masters": [m.detach() for m in self.masters], "adam": self.adam.state_dict()}

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        self.set_masters(state["masters"])
        self.adam.load_state_dict(state["adam"])

    @torch.no_grad()
    def set_masters(self, values: Sequence[torch.Tensor]) -> None:
        for master, kept in zip(self.masters, values, strict=True):
            master.copy_(kept)
        self.publish()


def _into(master: torch.Tensor) -> Any:
    def hook(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        if master.grad is None:
            master.grad = parameter.grad.float()
        else:
            master.grad += parameter.grad
        parameter.grad = None

    return hook


def cosine_decay(step: int, steps: int, peak: float, floor: float = 0.1) -> float:
    """Cosine decay from the peak to `floor` of it, without warm-up (Ouyang et al. 2022, C.1). `step` counts from 0."""
    done = torch.tensor(step / max(steps, 1) * torch.pi)
    return peak * (floor + (1 - floor) * 0.5 * (1 + float(torch.cos(done))))


def linear_warmup(iteration: int, peak: float, warmup: int = 10) -> float:
    """Constant after a warm-up over the first iterations from a tenth of the peak (Ouyang et al. 2022, C.4)."""
    return peak * (0.1 + 0.9 * min(1.0, iteration / warmup)) if warmup else peak


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from names and numbers: the same for the same request, whatever runs beside it."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1


def epoch_order(count: int, seed: int, epoch: int) -> list[int]:
    """The order of an epoch."""
    order = list(range(count))
    random.Random(derive_seed("order", seed, epoch)).shuffle(order)
    return order


def shuffled_indices(count: int, seed: int, start: int) -> Iterator[int]:
    """Indices epoch after epoch, each in its own order, from the `start`-th on: the data cursor is one number."""
    epoch, at = divmod(start, count)
    while True:
        yield from epoch_order(count, seed, epoch)[at:]
        epoch, at = epoch + 1, 0


def answer_ids(tokenizer: Any, answer: Answer) -> tuple[int, ...]:
    """An answer's token ids: those it was sampled with, or, for a person's text, the tokenizer's with the end-of-sequence token behind."""
    if answer.tokens is not None:
        return answer.tokens
    return (*tokenizer.encode(answer.text, add_special_tokens=False), int(tokenizer.eos_token_id))


def prompt_ids(
    tokenizer: Any, messages: Sequence[Message], room: int, name: str, wrong: list[str]
) -> tuple[int, ...]:
    """A prompt's ids; when fewer than `room` tokens of context hold it, a line is added to `wrong`."""
    ids = encode_chat(tokenizer, messages)
    if len(ids) > room:
        wrong.append(
            f"prompt {name}: {len(ids)} tokens, but {room} fit beside its answer; shorten it or drop it in [curate.prompts]"
        )
    return ids


def cache_trunk_outputs(
    trunk: Trunk, trees: Sequence[Tree], limit_gb: float, context: StageContext | None = None
) -> list[Tree]:
    """The trees with their trunk outputs, computed once for all epochs, as long as they fit into `limit_gb`; the rest go without."""
    if trunk.depth == 0:
        return list(trees)
    out: list[Tree] = []
    used = 0.0
    for start in range(0, len(trees), 32):
        part = trees[start : start + 32]
        if used > limit_gb * 1e9:
            out += part
            continue
        packed = pack(part)
        hidden = trunk(packed)
        assert hidden is not None
        for number, tree in enumerate(part):
            row, columns = (packed.tree == number).nonzero(as_tuple=True)
            own = hidden[int(row[0]), int(columns[0]) : int(columns[-1]) + 1].clone()
            used += own.numel() * own.element_size()
            out.append(Tree(tree.prompt, tree.answers, (own,)))
        if context is not None:
            context.progress(start + len(part), len(trees))
    return out


def microbatches(
    trees: Sequence[Tree], tokens: int, row_tokens: int = 128
) -> Iterator[tuple[list[int], PackedBatch]]:
    """Microbatches of at most about `tokens` tokens, in order: which trees, and their rows. Mixed kept and missing trunk outputs go apart."""
    held: list[int] = []
    size = 0
    for index, tree in enumerate(trees):
        apart = held and (trees[held[0]].hidden is None) != (tree.hidden is None)
        if held and (apart or size + len(tree) > tokens):
            yield held, pack([trees[i] for i in held], row_tokens)
            held, size = [], 0
        held.append(index)
        size += len(tree)
    if held:
        yield held, pack([trees[i] for i in held], row_tokens)


class Ema:
    """Exponential moving average of the masters (Ouyang et al. 2022, C.4: decay 0.992). It is what is saved; the raw weights sample."""

    def __init__(self, masters: Sequence[torch.Tensor], decay: float) -> None:
        self.decay = decay
        self.values = [m.detach().clone() for m in masters]

    @torch.no_grad()
    def update(self, masters: Sequence[torch.Tensor]) -> None:
        torch._foreach_lerp_(self.values, [m.detach() for m in masters], 1 - self.decay)

    @torch.no_grad()
    def restore(self, values: Sequence[torch.Tensor]) -> None:
        for own, kept in zip(self.values, values, strict=True):
            own.copy_(kept)


ATTENTIONS = ("self_attn", "attn", "attention")
MLPS = ("mlp", "feed_forward")


@contextmanager
def residual_dropout(body: DecoderBlocks, rate: float) -> Iterator[None]:
    """Dropout on what each block's attention and MLP add to the residual stream (Ouyang et al. 2022, C.1: 0.2 in SFT), off again afterwards."""

    def drop(module: nn.Module, _: Any, output: Any) -> Any:
        if not module.training:  # a frozen copy made meanwhile
            return output
        if isinstance(output, tuple):
            return (nn.functional.dropout(output[0], rate), *output[1:])
        return nn.functional.dropout(output, rate)

    found = [m for name, m in body.named_modules() if name.rsplit(".", 1)[-1] in ATTENTIONS + MLPS]
    if rate and len(found) != 2 * body.depth:
        raise UserError(
            f"dropout = {rate}: this family's blocks have no known attention and MLP parts; set dropout = 0"
        )
    handles = [m.register_forward_hook(drop) for m in found] if rate else []
    body.train()
    try:
        yield
    finally:
        body.eval()
        for handle in handles:
            handle.remove()


class CheckpointTimer:
    """When to write the next checkpoint: by time, since losing minutes is what a checkpoint is against."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.last = seconds, time.monotonic()

    def due(self) -> bool:
        if time.monotonic() - self.last < self.seconds:
            return False
        self.last = time.monotonic()
        return True


def save_checkpoint(context: StageContext, step: int, state: dict[str, Any]) -> None:
    """Write a checkpoint: the state, and torch's random states with it."""
    random = {"random": torch.get_rng_state(), "random_accelerator": torch.cuda.get_rng_state_all()}
    context.checkpoint(step, lambda folder: torch.save(state | random, folder / "state.pt"))


def resume(context: StageContext) -> tuple[int, dict[str, Any]] | None:
    """The newest checkpoint's step and state, with torch's random state set back; None to begin."""
    found = context.restore()
    if found is None:
        torch.manual_seed(derive_seed("torch", context.seed, context.key))
        return None
    step, folder = found
    state = torch.load(Path(folder) / "state.pt", map_location="cpu", weights_only=True)
    torch.set_rng_state(state["random"])
    torch.cuda.set_rng_state_all(state["random_accelerator"])
    return step, state
