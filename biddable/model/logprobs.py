"""Log-probabilities of answer tokens from hidden states, without ever holding a (T, V) float tensor of the
whole batch.

Legend: N counted positions, d hidden size, V vocabulary, chunk: positions per matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F


class LMHead(NamedTuple):
    """The language-model head as arithmetic: logits = softcap(scale * (h Wᵀ + b))."""

    weight: torch.Tensor  # (V, d)
    bias: torch.Tensor | None  # (V,)
    scale: float  # cohere multiplies, granite divides
    softcap: float | None  # gemma2: c * tanh(logits / c)
    packed: Callable[[torch.Tensor], torch.Tensor] | None = (
        None  # the product h Wᵀ + b of a head that does not train, faster
    )

    def logits(self, hidden: torch.Tensor, target: torch.Tensor | None = None) -> torch.Tensor:
        """(..., d) -> (..., V) in fp32. `target` (...) ids whose logits are needed exactly.

        The product runs in the weights' dtype, and in bf16 its result is rounded to 8 bits: a logit of 20 is
        off by up to 1/16, and so is a log-probability. So the few that decide are worked out again in fp32:
        the target's, and the largest, on which the normaliser hangs. What many small ones are off averages
        out.
        """
        out = self.packed(hidden) if self.packed else F.linear(hidden, self.weight, self.bias)
        logits = out.float()
        if out.dtype != torch.float32:
            flat, states = logits.flatten(0, -2), hidden.flatten(0, -2)
            ids = _largest(flat) if target is None else torch.cat([_largest(flat), target.view(-1, 1)], 1)
            flat.scatter_(1, ids, self._exact(states, ids))
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        return logits

    def _exact(self, hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """hidden (n, d), ids (n, k) -> h W^T + b (n, k) of these ids only, as an fp32 product."""
        rows = self.weight[ids].float()  # (n, k, d)
        exact = torch.bmm(rows, hidden.float()[:, :, None])[:, :, 0]
        return exact if self.bias is None else exact + self.bias[ids].float()


EXACT = 16
"""How many of the largest logits of a position are worked out in fp32 when the product is not."""
BLOCK = 256
"""Words whose maximum is looked at first: the largest EXACT logits lie in the EXACT blocks with the largest
maxima, and looking there takes half of the time of a sort over all words."""


def _largest(logits: torch.Tensor) -> torch.Tensor:
    """(n, V) -> ids (n, k) of the largest logits (of what the last incomplete block holds, the largest)."""
    vocabulary = logits.shape[1]
    if vocabulary < EXACT * BLOCK:
        return logits.topk(min(EXACT, vocabulary)).indices
    whole_blocks = vocabulary // BLOCK * BLOCK
    tiles = logits[:, :whole_blocks].unflatten(1, (-1, BLOCK))
    block = tiles.amax(dim=-1).topk(EXACT).indices  # (n, k)
    candidates = tiles.gather(1, block[:, :, None].expand(-1, -1, BLOCK)).flatten(1)  # (n, k * BLOCK)
    place = candidates.topk(EXACT).indices
    ids = block.gather(1, place // BLOCK) * BLOCK + place % BLOCK
    if whole_blocks == vocabulary:
        return ids
    return torch.cat([ids, logits[:, whole_blocks:].argmax(dim=-1, keepdim=True) + whole_blocks], dim=1)


CHUNK = 128
"""Positions per product: 128 x 49k logits in fp32 are 25 MB."""


def token_logprobs(
    hidden: torch.Tensor, target: torch.Tensor, head: LMHead
) -> tuple[torch.Tensor, torch.Tensor]:
    """hidden (N, d), target (N,) -> log p(target | hidden) and the entropy of that distribution, both (N,)
    fp32 in nats. Only the first carries gradients.

    Plain autograd would keep (N, V) probabilities until the backward pass. But the gradient of one token's
    log-probability by its hidden state is one vector, (onehot - p) W, whatever gradient comes from above:
    that only scales it. So it is worked out while the logits exist, and (N, d) is kept. For a head that
    trains the logits are computed a second time in the backward pass.
    """
    trains = head.weight.requires_grad or (head.bias is not None and head.bias.requires_grad)
    if not torch.is_grad_enabled() or not (hidden.requires_grad or trains):
        parts = [_forward(h, t, head) for h, t in zip(hidden.split(CHUNK), target.split(CHUNK), strict=True)]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
    logp, entropy = _TokenLogp.apply(hidden, target, head.weight, head.bias, head)
    return logp, entropy


def _forward(
    hidden: torch.Tensor, target: torch.Tensor, head: LMHead
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(n, d), (n,) -> log-probability (n,), entropy (n,), probabilities (n, V); all fp32."""
    logits = head.logits(hidden, target)
    probabilities = logits.softmax(dim=-1)
    # logsumexp without another pass of exp over V: log p_max = logit_max - normaliser, and p_max >= 1/V is
    # far from 0, so its logarithm is exact where that of a small probability would not be
    normaliser = logits.amax(dim=-1) - probabilities.amax(dim=-1).log()
    logp = logits.gather(1, target[:, None])[:, 0] - normaliser
    mean = torch.bmm(probabilities[:, None], logits[:, :, None])[
        :, 0, 0
    ]  # of the logits under p; entropy = normaliser - mean
    return logp, normaliser - mean, probabilities


class _TokenLogp(torch.autograd.Function):
    """Forward keeps each token's gradient direction; see `token_logprobs`."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        head: LMHead,
    ) -> Any:
        logps, entropies, directions = [], [], []
        for h, t in zip(hidden.split(CHUNK), target.split(CHUNK), strict=True):
            logp, entropy, probabilities = _forward(h, t, head)
            logps.append(logp)
            entropies.append(entropy)
            if hidden.requires_grad:
                directions.append(_by_raw_logits(h, t, probabilities, head).to(weight.dtype) @ weight)
        ctx.head = head
        ctx.save_for_backward(hidden, target, weight, torch.cat(directions) if directions else None)
        entropy = torch.cat(entropies)
        ctx.mark_non_differentiable(entropy)
        return torch.cat(logps), entropy

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, _: torch.Tensor) -> Any:
        hidden, target, weight, directions = ctx.saved_tensors
        head: LMHead = ctx.head
        for_hidden = None if directions is None else (gradient[:, None] * directions.float()).to(hidden.dtype)
        for_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[2] else None
        for_bias = weight.new_zeros(len(weight), dtype=torch.float32) if ctx.needs_input_grad[3] else None
        if for_weight is not None or for_bias is not None:
            for h, t, g in zip(hidden.split(CHUNK), target.split(CHUNK), gradient.split(CHUNK), strict=True):
                rows = _by_raw_logits(h, t, _forward(h, t, head)[2], head) * g[:, None]
                if for_weight is not None:
                    for_weight += rows.to(weight.dtype).T @ h
                if for_bias is not None:
                    for_bias += rows.sum(dim=0)
        return (
            for_hidden,
            None,
            None if for_weight is None else for_weight.to(weight.dtype),
            None if for_bias is None else for_bias.to(weight.dtype),
            None,
        )


def _by_raw_logits(
    hidden: torch.Tensor, target: torch.Tensor, probabilities: torch.Tensor, head: LMHead
) -> torch.Tensor:
    """(n, V): the derivative of the log-probability by the raw logits h Wᵀ + b. Overwrites
    `probabilities`."""
    rows = probabilities.neg_().scatter_add_(
        1, target[:, None], torch.ones_like(probabilities[:, :1])
    )  # onehot - p
    if head.softcap is not None:
        # chain rule through c tanh(x / c), whose derivative is 1 - tanh^2(x / c)
        raw = F.linear(hidden, head.weight, head.bias).float() * head.scale
        rows = rows * (1 - torch.tanh(raw / head.softcap) ** 2)
    return rows * head.scale if head.scale != 1.0 else rows
