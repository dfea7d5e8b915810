"""The most common shape of decoder, run without gradients in few operations: norm, attention, norm, gated
MLP, with rotary positions.

Legend: R rows, T tokens a row, N = R*T, d hidden size, H heads, G key heads, D head size, L keys.

A family's own module calls some 60 small operations a block; while sampling a handful of tokens they take
longer than the matrix products. Here a block is about 20: q, k and v come from one product, and so do gate
and up. Which models have this shape is not a list of names: the children of each block decide
(`has_fusable_shape`), and then a comparison with the family's own code (`matches_reference`). Whatever
differs runs through its own code.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from biddable.model import hardware
from biddable.model.attention import additive_mask, attention
from biddable.model.int8 import Int8Linear

BLOCK = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
MLP = {"gate_proj", "up_proj", "down_proj", "act_fn"}


class PrepackedLinear(nn.Module):
    """A frozen bf16 linear layer whose weight lies in oneDNN's own order: 1.2 to 1.7 times as fast at
    sampling's batch sizes, because it is not rearranged at every product."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), 16)
        self.bias = None if bias is None else bias.detach().clone()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return out


class PlainLinear(nn.Module):
    """A frozen linear layer with weights of its own."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = weight.detach().clone(), None if bias is None else bias.detach().clone()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight, self.bias)


def packable(weight: torch.Tensor) -> bool:
    """Whether PrepackedLinear can hold this weight: bf16 on a CPU with oneDNN."""
    return (
        weight.dtype == torch.bfloat16
        and weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
    )


def frozen_linear(*layers: Any, int8: bool = False) -> nn.Module:
    """One frozen layer that gives the outputs of several with the same input, side by side: (..., sum of
    their sizes)."""
    weight = torch.cat([layer.weight.detach() for layer in layers]) if len(layers) > 1 else layers[0].weight
    bias = None if layers[0].bias is None else torch.cat([layer.bias.detach() for layer in layers])
    kind = Int8Linear if int8 else PrepackedLinear if packable(weight) else PlainLinear
    return kind(weight, bias)


def frozen_copy(module: nn.Module, int8: bool = False) -> nn.Module:
    """A copy of the module for use without gradients. It shares the parameters, except that linear layers are
    prepacked where they are bf16 on a CPU, or in int8 if so wished."""
    frozen = copy.copy(module)
    frozen._parameters = dict(module._parameters)
    frozen._modules = {}
    for name, child in module._modules.items():
        if type(child) is nn.Linear and (int8 or packable(child.weight)):
            frozen._modules[name] = frozen_linear(child, int8=int8)
        else:
            frozen._modules[name] = None if child is None else frozen_copy(child, int8)
    return frozen


class FusedBlock(NamedTuple):
    """One block's frozen parts."""

    attention_norm: tuple[torch.Tensor, float]  # weight (d,) and epsilon
    qkv: nn.Module  # d -> (H + 2 G) D
    out: nn.Module  # H D -> d
    mlp_norm: tuple[torch.Tensor, float]
    gate_up: nn.Module  # d -> 2 f
    down: nn.Module  # f -> d
    activation: Any
    heads: int  # H
    groups: int  # G
    size: int  # D
    scaling: float
    mask_kind: str | None  # which of the masks, when there are several


def has_fusable_shape(blocks: list[Any]) -> bool:
    """Whether all blocks have the parts this file knows, and no others."""
    return all(
        {name for name, _ in block.named_children()} == BLOCK
        and {name for name, _ in block.self_attn.named_children()} == ATTENTION
        and {name for name, _ in block.mlp.named_children()} == MLP
        and all(
            hasattr(norm, "variance_epsilon")
            for norm in (block.input_layernorm, block.post_attention_layernorm)
        )
        and isinstance(getattr(block.self_attn, "scaling", None), float)
        for block in blocks
    )


class FusedBlocks:
    """Frozen copies of a decoder's blocks and final norm; `rotary` is the family's own."""

    def __init__(
        self, blocks: list[Any], final: Any, rotary: Any, kinds: list[str] | None, int8: bool = False
    ) -> None:
        self.blocks = [
            self._block(block, kinds[i] if kinds else None, int8) for i, block in enumerate(blocks)
        ]
        self.final = None if isinstance(final, nn.Identity) else _norm(final)
        self.rotary = rotary

    @staticmethod
    def _block(block: Any, kind: str | None, int8: bool) -> FusedBlock:
        attention, mlp = block.self_attn, block.mlp
        size = int(attention.head_dim)
        return FusedBlock(
            _norm(block.input_layernorm),
            frozen_linear(attention.q_proj, attention.k_proj, attention.v_proj, int8=int8),
            frozen_linear(attention.o_proj, int8=int8),
            _norm(block.post_attention_layernorm),
            frozen_linear(mlp.gate_proj, mlp.up_proj, int8=int8),
            frozen_linear(mlp.down_proj, int8=int8),
            mlp.act_fn,
            attention.q_proj.weight.shape[0] // size,
            attention.k_proj.weight.shape[0] // size,
            size,
            float(attention.scaling),
            kind,
        )

    def __call__(
        self, states: torch.Tensor, positions: torch.Tensor, masks: Any, cache: Any = None
    ) -> torch.Tensor:
        """(R, T, d) -> (R, T, d)."""
        rows, length, width = states.shape
        # Rotary positions turn each pair (x1, x2) of a head's halves: (x1 cos - x2 sin, x2 cos + x1 sin).
        # With the minus sign put into sin's first half that is x * cos + (x2, x1) * sin, one multiplication
        # and one addcmul.
        cos, sin = self.rotary(states, positions)  # (R, T, D)
        half = cos.shape[-1] // 2
        cos, sin = cos[:, :, None], torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)[:, :, None]
        masks = additive_mask(masks, states.dtype)
        x = states.reshape(rows * length, width)  # (N, d): the residual stream
        for number, block in enumerate(self.blocks):
            qkv = block.qkv(F.rms_norm(x, (width,), *block.attention_norm)).view(rows, length, -1, block.size)
            qk = qkv[:, :, : block.heads + block.groups]  # (R, T, H + G, D): queries and keys turn alike
            swapped = qk.unflatten(-1, (2, half)).flip(-2).flatten(-2)  # (x2, x1)
            qk = torch.addcmul(qk * cos, swapped, sin)
            query, key = qk[:, :, : block.heads].transpose(1, 2), qk[:, :, block.heads :].transpose(1, 2)
            value = qkv[:, :, block.heads + block.groups :].transpose(1, 2)
            if cache is not None:
                key, value = cache.update(key, value, number)
            mask = masks[block.mask_kind] if isinstance(masks, dict) else masks
            out, _ = attention(self, query, key, value, mask, block.scaling)
            x = x + block.out(out.reshape(rows * length, -1))
            gate, up = block.gate_up(F.rms_norm(x, (width,), *block.mlp_norm)).chunk(2, dim=-1)
            x = x + block.down(block.activation(gate) * up)
        x = x if self.final is None else F.rms_norm(x, (width,), *self.final)
        return x.view(rows, length, width)


def _norm(norm: Any) -> tuple[torch.Tensor, float]:
    return norm.weight.detach().clone(), float(norm.variance_epsilon)


@torch.no_grad()
def matches_reference(fused: FusedBlocks, reference: Any, width: int, dtype: torch.dtype, masks: Any) -> bool:
    """Whether this file's blocks give what the family's own give, within rounding: random states in two rows
    at different positions. `reference(states, positions, masks)` runs the family's code; `masks` makes its
    masks from a function of the window."""
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(2, 6, width, generator=generator).to(hardware.device(), dtype)
    order = torch.arange(6, device=hardware.device())
    positions = torch.stack([order, order + 40])

    def mask(window: int | None) -> torch.Tensor:
        seen = order[:, None] >= order
        return (seen if window is None else seen & (order[:, None] - order < window)).expand(2, 1, 6, 6)

    expected = reference(states, positions, masks(mask)).float()
    actual = fused(states, positions, masks(mask)).float()
    return bool((expected - actual).norm() <= 1e-4 * expected.norm())
