"""What this machine can do: matrix products in bf16 and fp32, and reading memory. The benches' floors are
worked out from it.

python bench/machine.py
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

ROWS, WIDTH, OUT = 1408, 576, 1536
"""A product as in SmolLM2-135M's feed-forward layers, for 16 episodes of 88 tokens."""


def best_seconds(work: Callable[[], Any], seconds: float = 1.0) -> float:
    """The shortest of many runs: what the machine can do when nothing else runs on it."""
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def rates() -> dict[str, float]:
    """Operations a second in bf16 and fp32 products, bytes a second read from memory."""
    import torch

    found = {}
    for dtype in (torch.bfloat16, torch.float32):
        x, w = torch.randn(ROWS, WIDTH).to(dtype), torch.randn(OUT, WIDTH).to(dtype)
        seconds = best_seconds(lambda x=x, w=w: torch.nn.functional.linear(x, w))  # type: ignore[misc]
        found[str(dtype).removeprefix("torch.")] = 2 * ROWS * WIDTH * OUT / seconds
    large = torch.ones(128 * 2**20)  # 512 MB: no cache holds it
    found["read"] = large.numel() * 4 / best_seconds(large.sum)
    return found


if __name__ == "__main__":
    print(json.dumps(rates()))
