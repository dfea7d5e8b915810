"""One attention function and one cache for every family, through the interface that transformers offers for both.

Two things make decoding on a CPU slow with the stock ones: heads that share keys are copied out before the product, and the cache is
concatenated at every step. Here grouped heads are read as further queries of the shared head, and each slot of the cache is written in place.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
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
    """query (B, H, Q, D), key and value (B, G, L, D) with H a multiple of G, mask (B, 1, Q, L) True where seen -> (B, Q, H, D).

    Raises NotImplementedError for attention sinks, which no family supported here has.
    """
    if getattr(module, "sinks", None) is not None:
        raise NotImplementedError("attention sinks")
    queries, share = query.shape[2], query.shape[1] // key.shape[1]
    written = query.device.type == "cpu" and dropout == 0 and attention_mask is not None
    if softcap is not None or (written and (queries == 1 or key.shape[2] <= WRITTEN)):
        out = _written(query, key, value, attention_mask, scaling, softcap)
        return out.transpose(1, 2).contiguous(), None
    if share > 1:
        key, value = key.repeat_interleave(share, dim=1), value.repeat_interleave(share, dim=1)
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


WRITTEN = 512
"""Up to so many keys attention is written out on a CPU (for one query: always): it takes half of the fused kernel's time, and (T, T) weights are small."""


def _written(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    softcap: float | None,
) -> torch.Tensor:
    """Attention written out: (B, H, Q, D) x (B, G, L, D) -> (B, H, Q, D). Heads that share a key stand under each other in one product; the
    softmax works in fp32 inside. `mask`: True where seen, or what is added to the weights."""
    batch, heads, queries, size = query.shape
    groups, keys = key.shape[1], key.shape[2]
    scale = size**-0.5 if scaling is None else scaling
    together = (query * scale).reshape(batch, groups, -1, size)
    weights = torch.matmul(together, key.transpose(-1, -2)).view(batch, heads, queries, keys)
    if softcap is not None:
        weights = torch.tanh(weights / softcap) * softcap
    if mask is not None:
        mask = mask[..., :keys]
        weights = (
            weights + mask
            if mask.is_floating_point()
            else weights.masked_fill(~mask, torch.finfo(weights.dtype).min)
        )
    out = torch.matmul(weights.softmax(dim=-1).view(batch, groups, -1, keys), value)
    return out.view(batch, heads, queries, value.shape[-1])


AttentionInterface.register(NAME, attention)
