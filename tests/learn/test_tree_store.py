"""Trees kept as arrays: what goes in comes out, in memory and in a mapped file; bytes a token."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from biddable.learn import tree_store
from biddable.learn.tree_store import TreeStore
from biddable.model.packing import Tree

TREES = [
    Tree((), ((1, 2, 49_151),)),
    Tree((5,), ((6, 7), (8,), (9, 10, 11))),
    Tree((3, 4), ((2**31 - 1,),)),
]


@pytest.mark.parametrize("mapped", [False, True])
def test_trees_come_out_as_they_went_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped: bool
) -> None:
    if mapped:
        monkeypatch.setattr(tree_store, "MAPPED_TOKENS", 4)
        monkeypatch.setattr(tree_store, "WRITTEN_TOKENS", 2)
    store = TreeStore(iter(TREES), tmp_path)
    assert isinstance(store.ids, np.memmap) is mapped
    assert len(store) == 3 and list(store) == TREES
    assert store[-1] == TREES[2] and store[:2] == TREES[:2]
    with pytest.raises(IndexError):
        store[3]
    assert list(tmp_path.iterdir()) == []  # the file has no name
    assert not TreeStore([]) and store[0].answers[0][0].__class__ is int


def test_a_token_takes_four_bytes() -> None:
    """1,000 texts of 500 ids above 256, which Python does not share: as tuples of ints 36 bytes a token."""
    tracemalloc.start()
    store = TreeStore(Tree((), (tuple(range(1000 * n, 1000 * n + 500)),)) for n in range(1000))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert store[7].answers[0][3] == 7003
    assert size / 500_000 < 5
