"""Frozen linear layers in int8, for a trunk that is read on a CPU (`learn.start` int8_trunk).

Legend: N tokens, d inputs, f outputs.

Weights have a scale for each output, inputs one for each token, taken when they come (LLM.int8(): Dettmers et al.
2022, section 3, without its outlier columns). Integer products are exact, so a token's result depends neither on
its neighbours nor on how many there are. One scale for a whole batch would cost twenty times as much accuracy:
docs/results.md has the figures.
"""

from __future__ import annotations

import torch
from torch import nn

LARGEST = 127.0


class Int8Linear(nn.Module):
    """A frozen linear layer, (..., d) -> (..., f) in the input's type."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        weight = weight.detach()
        integers, scale = quantise_rows(weight)
        self.weight = integers.t()  # (d, f), a view: the product reads it in this order fastest
        self.scale = scale.reshape(-1)  # (f,) fp32
        self.bias = None if bias is None else bias.detach().float().clone()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        integers, scale = quantise_rows(x.flatten(0, -2))
        out = (torch._int_mm(integers, self.weight) * scale).mul_(self.scale)
        out = out if self.bias is None else out.add_(self.bias)
        return out.to(x.dtype).view(*x.shape[:-1], -1)


def quantise_rows(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, d) -> integers (N, d) int8 and their scale (N, 1) fp32: x is about integers * scale, and no further from it than half a
    scale. Rows of zeros stay zeros."""
    scale = x.abs().amax(-1, keepdim=True).float().div_(LARGEST)
    factor = torch.where(scale > 0, 1.0 / scale, 0.0)
    return (x * factor).round_().to(torch.int8), scale
