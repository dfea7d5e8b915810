"""Where tensors live and in which precision they are multiplied: the only place that asks what this machine
has."""

from __future__ import annotations

from functools import cache

import torch


@cache
def device() -> torch.device:
    """The accelerator when there is one, else the CPU. Every network, and every tensor that meets one, lives
    here."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def compute_dtype() -> torch.dtype:
    """bf16 where the hardware multiplies it fast, else fp32."""
    if device().type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32
