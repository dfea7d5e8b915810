"""Gradient checkpointing: less memory for more arithmetic (Chen et al. 2016, arXiv:1604.06174)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch.utils.checkpoint import checkpoint


@contextmanager
def recomputed(blocks: Sequence[Any]) -> Iterator[None]:
    """Inside, a block keeps its input alone for the backward pass and runs its forward again there, dropout
    with the same draws. Written for no family: whatever the block's class does is run again."""
    for block in blocks:
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # the class's own is there again
