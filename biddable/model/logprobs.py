"""Log-probabilities of answer tokens from hidden states, without ever holding a (T, V) float tensor of the whole batch.

Legend: N counted positions, d hidden size, V vocabulary, chunk: positions per matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch


class LMHead(NamedTuple):
    """The language-model head as arithmetic: logits = softcap(scale * (h Wᵀ + b))."""

    weight: torch.Tensor  # (V, d)
    bias: torch.Tensor | None  # (V,)
    scale: float  # cohere multiplies, granite divides
    softcap: float | None  # gemma2: c * tanh(logits / c)
    packed: Callable[[torch.Tensor], torch.Tensor] | None = (
        None  # the same product, faster, of a head that does not train
    )

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., d) -> (..., V) in fp32 (the product itself runs in the weights' dtype)."""
        own = self.packed or (lambda h: torch.nn.functional.linear(h, self.weight, self.bias))
        return self.shaped(own(hidden).float())

    def shaped(self, out: torch.Tensor) -> torch.Tensor:
        """Apply scale and softcap to raw fp32 logits."""
        if self.scale != 1.0:
            out = out * self.scale
        if self.softcap is not None:
            out = torch.tanh(out / self.softcap) * self.softcap
        return out


CHUNK = 128
"""Positions per product: 256 x 49k logits in fp32 are 50 MB."""


def token_logprobs(
    hidden: torch.Tensor, target: torch.Tensor, head: LMHead
) -> tuple[torch.Tensor, torch.Tensor]:
    """log p(target | hidden) and the entropy of that distribution, both (N,) fp32 in nats; only the first carries gradients.

    The gradient of each token's log-probability with respect to its hidden state is one vector, Wᵀ(onehot - p), so it is worked out while the
    logits exist and kept (N, d); the logits themselves are not. A head that trains has its own gradient by making the logits a second time.
    """
    if not torch.is_grad_enabled() or not (hidden.requires_grad or head.weight.requires_grad):
        parts = [_forward(h, t, head) for h, t in zip(hidden.split(CHUNK), target.split(CHUNK), strict=True)]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
    logp, entropy = _TokenLogp.apply(hidden, target, head.weight, head)
    return logp, entropy


def _forward(
    hidden: torch.Tensor, target: torch.Tensor, head: LMHead
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(n, d), (n,) -> log-probability (n,), entropy (n,), probabilities (n, V); all fp32. The softmax is one pass over memory; the normaliser
    comes from its largest value, which is never small."""
    logits = head.logits(hidden)
    probabilities = logits.softmax(dim=-1)
    normaliser = logits.amax(dim=-1) - probabilities.amax(dim=-1).log()
    logp = logits.gather(1, target[:, None])[:, 0] - normaliser
    mean = torch.bmm(probabilities[:, None], logits[:, :, None])[:, 0, 0]
    return logp, normaliser - mean, probabilities


class _TokenLogp(torch.autograd.Function):
    """Forward keeps each token's gradient direction; see `token_logp`."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, head: LMHead
    ) -> Any:
        found, spread, directions = [], [], []
        for h, t in zip(hidden.split(CHUNK), target.split(CHUNK), strict=True):
            logp, entropy, probabilities = _forward(h, t, head)
            found.append(logp)
            spread.append(entropy)
            if hidden.requires_grad:
                directions.append(_downhill(h, t, probabilities, head).to(weight.dtype) @ weight)
        ctx.head = head
        ctx.save_for_backward(hidden, target, weight, torch.cat(directions) if directions else None)
        entropies = torch.cat(spread)
        ctx.mark_non_differentiable(entropies)
        return torch.cat(found), entropies

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, _: torch.Tensor) -> Any:
        hidden, target, weight, directions = ctx.saved_tensors
        head: LMHead = ctx.head
        for_hidden = (
            None if directions is None else (gradient[:, None] * -directions.float()).to(hidden.dtype)
        )
        for_weight = None
        if ctx.needs_input_grad[2]:
            for_weight = torch.zeros_like(weight, dtype=torch.float32)
            for h, t, g in zip(hidden.split(CHUNK), target.split(CHUNK), gradient.split(CHUNK), strict=True):
                rows = _downhill(h, t, _forward(h, t, head)[2], head) * -g[:, None]
                for_weight += rows.to(weight.dtype).T @ h
            for_weight = for_weight.to(weight.dtype)
        return for_hidden, None, for_weight, None


def _downhill(
    hidden: torch.Tensor, target: torch.Tensor, probabilities: torch.Tensor, head: LMHead
) -> torch.Tensor:
    """(n, V): minus the derivative of the log-probability by the raw logits h Wᵀ + b. Writes into `probabilities`."""
    rows = probabilities.scatter_add_(1, target[:, None], -torch.ones_like(probabilities[:, :1]))
    if head.softcap is not None:
        raw = torch.nn.functional.linear(hidden, head.weight, head.bias).float() * head.scale
        rows = rows * (1 - torch.tanh(raw / head.softcap) ** 2)
    return rows * head.scale if head.scale != 1.0 else rows
