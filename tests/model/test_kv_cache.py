"""The KV cache against values laid out by hand, and that a row's former owner is never seen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from biddable.model import checkpoints
from biddable.model.kv_cache import KVCache, PrefillCache
from biddable.model.sampler import Request, Sampler, sample


def pair(*numbers: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys (1 group, P, 1) with these numbers, values ten times as large."""
    keys = torch.tensor(numbers)[None, :, None]
    return keys, keys * 10


def written(*numbers: float) -> torch.Tensor:
    """What n rows write at a step: (n, 1, 1, 1)."""
    return torch.tensor(numbers)[:, None, None, None]


def test_rows_of_different_lengths_by_hand() -> None:
    """Row 0 holds 1 2 3 and writes 4 at position 3, row 1 holds 5 and writes 6 at position 1."""
    cache = KVCache(rows=4, length=8)
    cache.put(0, [pair(1, 2, 3)])
    cache.put(1, [pair(5)])
    cache.begin_step([3, 1])
    keys, values = cache.update(written(4, 6), written(40, 60), 0)
    assert keys.shape == (2, 1, 4, 1) and cache.get_seq_length() == 3
    assert keys[0, 0, :, 0].tolist() == [1, 2, 3, 4] and values[0, 0, :, 0].tolist() == [10, 20, 30, 40]
    assert keys[1, 0, :2, 0].tolist() == [5, 6] and values[1, 0, :2, 0].tolist() == [50, 60]
    assert cache.mask()[:, 0, 0].int().tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert cache.mask(window=2)[:, 0, 0].int().tolist() == [[0, 0, 1, 1], [1, 1, 0, 0]]


def test_layers_are_apart() -> None:
    cache = KVCache(rows=2, length=4)
    cache.put(0, [pair(1), pair(2)])
    cache.begin_step([1])
    first, _ = cache.update(written(3), written(30), 0)
    second, _ = cache.update(written(4), written(40), 1)
    assert first.flatten().tolist() == [1, 3] and second.flatten().tolist() == [2, 4]


def test_growing_keeps_what_is_there_and_doubles() -> None:
    cache = KVCache(rows=2, length=4)
    cache.put(1, [pair(7, 8)])
    cache.reserve(2, 4)
    assert (cache.rows, cache.length) == (2, 4)
    cache.reserve(5, 9)
    assert (cache.rows, cache.length) == (8, 16)
    assert cache.keys[0].shape == (8, 1, 1, 16) and cache.values[0].shape == (8, 1, 16, 1)
    assert cache.keys[0][1, 0, 0, :3].tolist() == [7, 8, 0]
    assert cache.values[0][1, 0, :3, 0].tolist() == [70, 80, 0]


def test_moving_copies_keys_and_values_of_every_layer_up_to_the_length() -> None:
    cache = KVCache(rows=3, length=4)
    cache.put(0, [pair(1, 1, 1), pair(2, 2, 2)])
    cache.put(2, [pair(5, 6, 7), pair(8, 9, 3)])
    cache.move(2, 0, 2)
    assert [cache.keys[layer][0, 0, 0, :3].tolist() for layer in (0, 1)] == [[5, 6, 1], [8, 9, 2]]
    assert [cache.values[layer][0, 0, :3, 0].tolist() for layer in (0, 1)] == [[50, 60, 10], [80, 90, 20]]


def test_prefill_cache_records_layers_in_order() -> None:
    cache = PrefillCache(2)
    cache.update(torch.ones(1), torch.ones(1) * 2, 1)
    cache.update(torch.ones(1) * 3, torch.ones(1) * 4, 0)
    assert [(float(keys), float(values)) for keys, values in cache.pairs()] == [(3, 4), (1, 2)]
    assert cache.get_seq_length() == 0


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("trunk", [0, 2])
def test_what_a_freed_row_held_is_never_attended_to(tiny_folder: Path, trunk: int) -> None:
    """Everything a long answer left behind is made huge: a short one in its row must not notice."""
    policy = checkpoints.load_policy(tiny_folder, trunk=trunk).freeze()
    request = Request((9, 8, 7), 4, 12)
    expected = sample(policy, [request], frozenset())[0]
    sampler = Sampler(policy, frozenset(), 1)
    sampler.add(Request(tuple(range(5, 40)), 1, 30))
    while sampler.busy:
        sampler.admit()
        sampler.step()
    for cache in (sampler.trunk_cache, sampler.branch_cache):
        for tensors in (cache.keys, cache.values):
            for tensor in tensors.values():
                tensor.fill_(1000.0)
    generation = sampler.add(request)
    while sampler.busy:
        sampler.admit()
        sampler.step()
    assert generation.answer().tokens == expected.tokens
    assert generation.answer().logp == pytest.approx(expected.logp, abs=1e-5)
