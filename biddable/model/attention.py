"""One attention function and one cache for every family, through the interface that transformers offers for both.

Two things make decoding on a CPU slow with the stock ones: heads that share keys are copied out before the product, and the cache is
concatenated at every step. Here grouped heads are read as further queries of the shared head, and each slot of the cache is written in place.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface
from transformers.cache_utils import Cache

from biddable.model import hardware

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


class PrefillCache(Cache):
    """Keeps what each layer's keys and values were in one forward over packed rows: two tensors (R, G, T, D) a layer."""

    def __init__(self, layers: int) -> None:
        self.layers = []  # transformers asks its own caches' layers about sliding windows; the masks given here say it all
        self.kept: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * layers

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.kept[layer_idx] = (key_states, value_states)
        return key_states, value_states

    def pairs(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of every layer that ran, in their order."""
        return [pair for pair in self.kept if pair is not None]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0


class KVCache(Cache):
    """The sampler's cache: B slots of fixed length, each at its own position, written in place. Keys lie with their positions side by side,
    (B, G, D, L), as the product with a query reads them."""

    def __init__(self, slots: int, length: int) -> None:
        self.layers = []
        self.slots, self.length = slots, length
        self.keys: dict[int, torch.Tensor] = {}
        self.values: dict[int, torch.Tensor] = {}
        self.rows = torch.arange(slots, device=hardware.device())
        self.at = torch.zeros(
            slots, dtype=torch.long, device=hardware.device()
        )  # (B,) the position written next
        self.used = 0  # columns that any slot uses, this step's included

    def put(self, layer: int, slot: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Copy a prefilled prompt's keys and values (G, P, D) into a slot."""
        if layer not in self.keys:
            groups, _, size = key.shape
            self.keys[layer] = key.new_zeros(self.slots, groups, size, self.length)
            self.values[layer] = key.new_zeros(self.slots, groups, self.length, size)
        self.keys[layer][slot, :, :, : key.shape[1]] = key.transpose(1, 2)
        self.values[layer][slot, :, : key.shape[1]] = value

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = self.keys[layer_idx], self.values[layer_idx]
        keys[self.rows, :, :, self.at] = key_states[:, :, 0]
        values[self.rows, :, self.at] = value_states[:, :, 0]
        return keys[..., : self.used].transpose(2, 3), values[:, :, : self.used]

    def keep(self, rows: list[int]) -> None:
        """Drop all slots but these."""
        for held in (self.keys, self.values):
            for layer in held:
                held[layer] = held[layer][rows]
        self.at, self.rows, self.slots = self.at[rows], self.rows[: len(rows)], len(rows)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.used - 1

    def mask(self, window: int | None = None) -> torch.Tensor:
        """(B, 1, 1, used) bool: the columns each slot sees at this step."""
        columns = torch.arange(self.used, device=self.at.device)
        seen = columns <= self.at[:, None]
        if window is not None:
            seen &= columns > self.at[:, None] - window
        return seen[:, None, None, :]
