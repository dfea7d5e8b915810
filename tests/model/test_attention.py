"""Attention against one written head by head in double precision."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from biddable.model.attention import MAX_WRITTEN_KEYS, additive_mask, attention


def reference(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scaling: float,
    softcap: float | None,
) -> torch.Tensor:
    """(B, H, Q, D), (B, G, L, D) x 2, (B, 1, Q, L) -> (B, Q, H, D): one head and one query at a time."""
    rows, heads, queries, size = query.shape
    out = torch.zeros(rows, queries, heads, size, dtype=torch.float64)
    for b in range(rows):
        for h in range(heads):
            g = h // (heads // key.shape[1])
            for q in range(queries):
                scores = [
                    float(query[b, h, q].double() @ key[b, g, k].double()) * scaling
                    for k in range(key.shape[2])
                ]
                if softcap is not None:
                    scores = [softcap * math.tanh(score / softcap) for score in scores]
                weights = [math.exp(s) if mask[b, 0, q, k] else 0.0 for k, s in enumerate(scores)]
                for k, weight in enumerate(weights):
                    out[b, q, h] += weight / sum(weights) * value[b, g, k].double()
    return out


def tensors(queries: int, keys: int, heads: int, groups: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(queries + keys)
    query = torch.randn(2, heads, queries, 4, generator=generator)
    key, value = (torch.randn(2, groups, keys, 4, generator=generator) for _ in range(2))
    mask = torch.rand(2, 1, queries, keys, generator=generator) < 0.6
    mask[..., 0] = True
    return query, key, value, mask


@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2), (4, 1)])
def test_equals_the_reference(heads: int, groups: int, softcap: float | None, scaling: float | None) -> None:
    query, key, value, mask = tensors(3, 7, heads, groups)
    out, _ = attention(SimpleNamespace(), query, key, value, mask, scaling, softcap=softcap)
    expected = reference(query, key, value, mask, 0.5 if scaling is None else scaling, softcap)
    torch.testing.assert_close(out.double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("queries", [1, 2])
def test_long_rows_take_another_way_to_the_same_result(queries: int) -> None:
    query, key, value, mask = tensors(queries, MAX_WRITTEN_KEYS + 1, 2, 1)
    out, _ = attention(SimpleNamespace(), query, key, value, mask, 0.4)
    expected = reference(query, key, value, mask, 0.4, None)
    torch.testing.assert_close(out.double(), expected, atol=1e-5, rtol=0)


def test_an_additive_mask_is_added() -> None:
    query, key, value, mask = tensors(2, 5, 2, 2)
    additive = torch.zeros(mask.shape).masked_fill_(~mask, float("-inf"))
    expected, _ = attention(SimpleNamespace(), query, key, value, mask, 0.5)
    out, _ = attention(SimpleNamespace(), query, key, value, additive, 0.5)
    torch.testing.assert_close(out, expected)


def test_without_a_mask_it_is_causal() -> None:
    query, key, value, _ = tensors(5, 5, 4, 2)
    out, _ = attention(SimpleNamespace(), query, key, value, None, 0.5)
    causal = torch.ones(5, 5).tril().bool().expand(2, 1, 5, 5)
    torch.testing.assert_close(
        out.double(), reference(query, key, value, causal, 0.5, None), atol=1e-5, rtol=0
    )


def test_sinks_are_refused() -> None:
    query, key, value, mask = tensors(1, 2, 1, 1)
    with pytest.raises(NotImplementedError, match="sinks"):
        attention(SimpleNamespace(sinks=torch.zeros(1)), query, key, value, mask)


def test_additive_mask_by_hand() -> None:
    lowest = -3.4028234663852886e38  # fp32's lowest number: -(2 - 2^-23) 2^127
    mask = additive_mask({"full": torch.tensor([True, False])}, torch.float32)
    assert mask["full"].tolist() == [0.0, lowest]
    assert additive_mask(mask, torch.bfloat16)["full"] is mask["full"]  # done already
    assert additive_mask(None, torch.float32) is None


def test_soft_capped_attention_streams_long_rows() -> None:
    """Values and gradients equal plain operations in double precision, and backward keeps no (Q, L) weights:
    what autograd saves is a part's inputs."""
    query, key, value, mask = tensors(200, MAX_WRITTEN_KEYS + 8, 2, 1)
    inputs = [x.requires_grad_() for x in (query, key, value)]
    saved: list[int] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out, _ = attention(SimpleNamespace(), query, key, value, mask, 0.4, softcap=1.5)
    assert max(saved, default=0) < 2 * 2 * 200 * (MAX_WRITTEN_KEYS + 8)
    out.square().sum().backward()
    doubles = [x.detach().double().requires_grad_() for x in inputs]
    q, k, v = doubles
    weights = 1.5 * torch.tanh(0.4 * q @ k.transpose(2, 3) / 1.5)  # one key head serves both heads
    expected = weights.masked_fill(~mask, float("-inf")).softmax(-1) @ v
    torch.testing.assert_close(out.double(), expected.transpose(1, 2), atol=1e-5, rtol=0)
    expected.square().sum().backward()
    for ours, reference_input in zip(inputs, doubles, strict=True):
        assert ours.grad is not None and reference_input.grad is not None
        torch.testing.assert_close(ours.grad.double(), reference_input.grad, atol=2e-5, rtol=1e-4)
