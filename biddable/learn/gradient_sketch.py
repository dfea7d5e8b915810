"""The norm of a difference of gradients without a copy of any: a linear sketch (Alon, Matias and Szegedy
1996)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch

BUCKETS = 1 << 16
"""Numbers of a sketch, 256 kB: the norm's standard error is about 1 / sqrt(2 BUCKETS) = 0.28 %."""
PIECE = 16 * BUCKETS
"""Entries that meet their signs at once."""


@cache
def _signs(device: torch.device) -> torch.Tensor:
    """(2 PIECE,) of +1 and -1, always the same; each piece of a gradient begins at another place."""
    generator = torch.Generator().manual_seed(1)
    return (torch.randint(0, 2, (2 * PIECE,), generator=generator) * 2.0 - 1).to(device)


class GradientSketch:
    """Sums of a gradient's entries, each with a sign of its own, in BUCKETS buckets.

    The sketch of a sum is the sum of the sketches, and the expected square of a bucket is the sum of its
    entries' squares, because products of two entries have random signs. So the norm of what has been added to
    a gradient since can be told from two sketches, and no copy of 4 bytes a parameter is needed.
    """

    @torch.no_grad()
    def __init__(self, gradients: Sequence[torch.Tensor | None]) -> None:
        first = next((g for g in gradients if g is not None), torch.zeros(0))
        signs = _signs(first.device)
        self.buckets = torch.zeros(BUCKETS, device=first.device)
        shift = 0
        for gradient in gradients:
            shift += 1  # also where there is none: the same parameter always meets the same signs
            if gradient is None:
                continue
            for number, piece in enumerate(gradient.flatten().split(PIECE)):
                offset = (shift * 7919 + number * 104_729) % PIECE
                signed = piece.float() * signs[offset : offset + len(piece)]
                rows = torch.nn.functional.pad(signed, (0, -len(signed) % BUCKETS)).view(-1, BUCKETS)
                self.buckets += rows.sum(dim=0)

    def norm_since(self, before: GradientSketch) -> float:
        """About the norm of what was added to the gradient since `before`."""
        return float((self.buckets - before.buckets).norm())
