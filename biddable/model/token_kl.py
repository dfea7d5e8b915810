"""The exact KL between two policies' next-token distributions, without ever holding a (N, V) float tensor of
the whole batch.

Legend: N counted positions, d hidden size, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from biddable.model.logprobs import CHUNK, LMHead


def token_kl(
    hidden: torch.Tensor,
    hidden_reference: torch.Tensor,
    target: torch.Tensor,
    head: LMHead,
    head_reference: LMHead,
) -> tuple[torch.Tensor, torch.Tensor]:
    """hidden (N, d) of policy and reference at the same states, target (N,) -> KL(pi || pi_ref) summed over
    the vocabulary, and log pi_ref(target), both (N,) fp32 in nats. Only the first carries gradients, and only
    the policy's.

    As in `token_logprobs` the gradient's direction at each state is worked out while the logits exist:
    d KL / d logit_v = p_v (log p_v - log q_v - KL). At p = q it is exactly 0.
    """
    if not torch.is_grad_enabled() or not (hidden.requires_grad or head.weight.requires_grad):
        parts = [
            _forward(h, r, t, head, head_reference)
            for h, r, t in zip(
                hidden.split(CHUNK), hidden_reference.split(CHUNK), target.split(CHUNK), strict=True
            )
        ]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
    kl, logp = _TokenKL.apply(hidden, hidden_reference, target, head.weight, head, head_reference)
    return kl, logp


def token_entropy(hidden: torch.Tensor, target: torch.Tensor, head: LMHead) -> torch.Tensor:
    """hidden (N, d) -> entropy (N,) of the next-token distribution in nats, with gradients: log V less its KL
    to the uniform distribution."""
    uniform = head._replace(scale=0.0, softcap=None)  # logits of 0 for all V words
    kl, _ = token_kl(hidden, hidden.detach(), target, head, uniform)
    return math.log(len(head.weight)) - kl


def _forward(
    hidden: torch.Tensor, reference: torch.Tensor, target: torch.Tensor, head: LMHead, head_reference: LMHead
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """KL (n,), log pi_ref of the target (n,), and the derivative of the KL by the policy's logits (n, V)."""
    log_q = _log_probabilities(head_reference.logits(reference, target))[0]
    logp_reference = log_q.gather(1, target[:, None])[:, 0]
    log_p, p = _log_probabilities(head.logits(hidden, target))
    difference = log_p - log_q
    kl = torch.linalg.vecdot(p, difference)
    return kl, logp_reference, difference.sub_(kl[:, None]).mul_(p)


def _log_probabilities(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, V) log-probabilities, bit for bit as `token_logprobs` works out those of drawn tokens, and the
    probabilities."""
    probabilities = logits.softmax(dim=-1)
    normaliser = logits.amax(dim=-1) - probabilities.amax(dim=-1).log()
    return logits - normaliser[:, None], probabilities


class _TokenKL(torch.autograd.Function):
    """Forward keeps each state's gradient direction; see `token_kl`."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        reference: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor,
        head: LMHead,
        head_reference: LMHead,
    ) -> Any:
        kls, logps, directions = [], [], []
        chunks = zip(hidden.split(CHUNK), reference.split(CHUNK), target.split(CHUNK), strict=True)
        for h, r, t in chunks:
            kl, logp, rows = _forward(h, r, t, head, head_reference)
            kls.append(kl)
            logps.append(logp)
            if hidden.requires_grad:
                directions.append(_by_raw_logits(rows, h, head).to(weight.dtype) @ weight)
        ctx.heads = head, head_reference
        ctx.save_for_backward(
            hidden, reference, target, weight, torch.cat(directions) if directions else None
        )
        logp_reference = torch.cat(logps)
        ctx.mark_non_differentiable(logp_reference)
        return torch.cat(kls), logp_reference

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, _: torch.Tensor) -> Any:
        hidden, reference, target, weight, directions = ctx.saved_tensors
        head, head_reference = ctx.heads
        for_hidden = None if directions is None else (gradient[:, None] * directions.float()).to(hidden.dtype)
        for_weight = None
        if ctx.needs_input_grad[3]:
            for_weight = torch.zeros_like(weight, dtype=torch.float32)
            parts = (tensor.split(CHUNK) for tensor in (hidden, reference, target, gradient))
            for h, r, t, g in zip(*parts, strict=True):
                rows = _by_raw_logits(_forward(h, r, t, head, head_reference)[2], h, head) * g[:, None]
                for_weight += rows.to(weight.dtype).T @ h
            for_weight = for_weight.to(weight.dtype)
        return for_hidden, None, None, for_weight, None, None


def _by_raw_logits(rows: torch.Tensor, hidden: torch.Tensor, head: LMHead) -> torch.Tensor:
    """(n, V) derivatives by the logits -> by the raw logits h W^T + b."""
    if head.softcap is not None:
        # chain rule through c tanh(x / c), whose derivative is 1 - tanh^2(x / c)
        raw = F.linear(hidden, head.weight, head.bias).float() * head.scale
        rows = rows * (1 - torch.tanh(raw / head.softcap) ** 2)
    return rows * head.scale if head.scale != 1.0 else rows
