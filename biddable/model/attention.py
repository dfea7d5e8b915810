"""One attention function for every family, through the interface that transformers offers for it.

Stock attention is slow for decoding on a CPU: heads that share keys copy them out before the product. Here
grouped heads are read as further queries of the shared head. (The other half, a cache written in place, is
`kv_cache.py`.)

Legend: B rows, H heads, G key heads (H is a multiple of G), Q queries, L keys, D head size.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface

NAME = "biddable"


def attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    **_: Any,  # transformers hands every family's extras to every attention function
) -> tuple[torch.Tensor, None]:
    """query (B, H, Q, D), key and value (B, G, L, D), mask (B, 1, Q, L) True where seen -> (B, Q, H, D).

    Raises NotImplementedError for attention sinks, which no family supported here has.
    """
    if getattr(module, "sinks", None) is not None:
        raise NotImplementedError("attention sinks")
    queries, heads_per_group = query.shape[2], query.shape[1] // key.shape[1]
    on_cpu = query.device.type == "cpu" and dropout == 0 and attention_mask is not None
    few = queries == 1 or key.shape[2] <= MAX_WRITTEN_KEYS
    if softcap is not None or (on_cpu and few):
        written = _written_out if few else _streamed
        out = written(query, key, value, attention_mask, scaling, softcap)
        return out.transpose(1, 2).contiguous(), None
    if heads_per_group > 1:
        key = key.repeat_interleave(heads_per_group, dim=1)
        value = value.repeat_interleave(heads_per_group, dim=1)
    out = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=attention_mask,
        dropout_p=dropout,
        scale=scaling,
        is_causal=attention_mask is None,
    )
    return out.transpose(1, 2).contiguous(), None


MAX_WRITTEN_KEYS = 512
"""Up to so many keys attention is written out on a CPU (for one query: always): it takes half of the fused
kernel's time, and (Q, L) weights are small."""
STREAMED_WEIGHTS = 64 * 1024
"""Weights of one head that exist at once while soft-capped attention streams: 64 queries of 1,024 keys."""


def additive_mask(masks: Any, dtype: torch.dtype) -> Any:
    """True where seen -> 0 there and the dtype's lowest number elsewhere; several masks in a dict alike, and
    what is no bool mask as it is.

    Adding it is one operation a block and keeps nothing for the backward pass, where masking by a bool takes
    two and keeps its own copy a block. Not minus infinity: a row that sees nothing becomes uniform instead of
    NaN.
    """
    if isinstance(masks, dict):
        return {kind: additive_mask(mask, dtype) for kind, mask in masks.items()}
    if masks is None or masks.dtype != torch.bool:
        return masks
    lowest = torch.finfo(dtype).min
    return torch.zeros(masks.shape, dtype=dtype, device=masks.device).masked_fill_(~masks, lowest)


def _streamed(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    softcap: float | None,
) -> torch.Tensor:
    """Written-out attention a few queries at a time, so that never all (Q, L) weights are there; backward
    computes each part's again. For soft-capped weights, which the fused kernel does not know."""
    part = max(1, STREAMED_WEIGHTS // key.shape[2])
    outs = []
    for start in range(0, query.shape[2], part):
        rows = slice(start, start + part)
        rows_mask = mask if mask is None or mask.shape[2] == 1 else mask[:, :, rows]
        outs.append(
            checkpoint(
                _written_out,
                query[:, :, rows],
                key,
                value,
                rows_mask,
                scaling,
                softcap,
                use_reentrant=False,
                preserve_rng_state=False,
            )
        )
    return torch.cat(outs, dim=2)


def _written_out(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    softcap: float | None,
) -> torch.Tensor:
    """Attention in plain operations: (B, H, Q, D) x (B, G, L, D) -> (B, H, Q, D). `mask`: True where seen, or
    what is added to the weights. The softmax works in fp32 inside."""
    batch, heads, queries, size = query.shape
    groups, keys = key.shape[1], key.shape[2]
    scale = size**-0.5 if scaling is None else scaling
    # heads of one group are neighbours, so (H, Q) is (G, H/G * Q): as if the group had that many queries
    grouped = (query * scale).reshape(batch, groups, -1, size)
    weights = torch.matmul(grouped, key.transpose(-1, -2)).view(batch, heads, queries, keys)
    if softcap is not None:
        weights = torch.tanh(weights / softcap) * softcap
    if mask is not None:
        mask = mask[..., :keys]
        # the dtype's lowest number, not -inf: a row that sees nothing becomes uniform instead of NaN
        weights = (
            weights + mask
            if mask.is_floating_point()
            else weights.masked_fill(~mask, torch.finfo(weights.dtype).min)
        )
    out = torch.matmul(weights.softmax(dim=-1).view(batch, groups, -1, keys), value)
    return out.view(batch, heads, queries, value.shape[-1])


AttentionInterface.register(NAME, attention)
