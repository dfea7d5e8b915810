"""The norm of what was added to a gradient, from sketches, against the exact one."""

from __future__ import annotations

import pytest
import torch

from biddable.learn.gradient_sketch import BUCKETS, GradientSketch


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_the_norm_of_a_difference(scale: float) -> None:
    """Two gradients of three parameters, one longer than a piece, one in bf16, and one that only the second
    has. Also where rows look alike, as embeddings' do, and where one part drowns the other."""
    generator = torch.Generator().manual_seed(2)
    sizes = ((1200, 1024), (300, 40), (50,))
    before = [torch.randn(size, generator=generator) for size in sizes]
    before[0] += torch.randn(1024, generator=generator)  # every row has this in common
    added = [scale * torch.randn(size, generator=generator) for size in sizes]
    added[0] += scale * 3 * torch.randn(1024, generator=generator)
    exact = torch.cat([part.flatten() for part in added]).norm().item()
    first = GradientSketch([before[0], before[1], None])
    after = [before[0] + added[0], before[1] + added[1], added[2]]
    assert GradientSketch(after).norm_since(first) == pytest.approx(exact, rel=0.02)
    assert GradientSketch(after).buckets.numel() == BUCKETS < sum(part.numel() for part in after) / 10


def test_nothing_added_is_nothing() -> None:
    gradients = [torch.ones(3, dtype=torch.bfloat16), None]
    assert GradientSketch(gradients).norm_since(GradientSketch(gradients)) == 0
    # one number alone in its bucket: exact
    added = GradientSketch([torch.tensor([1.0, 3.0, 1.0]), None])
    assert added.norm_since(GradientSketch(gradients)) == pytest.approx(2.0)
