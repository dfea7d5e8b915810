"""Key-value caches, in the form in which transformers hands one to every attention layer.

Legend: R rows, n rows in use, G key heads, D head size, L columns (positions) of a row.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache

from biddable.model import hardware

Pair = tuple[torch.Tensor, torch.Tensor]
"""One layer's keys and values."""


class PrefillCache(Cache):
    """Records each layer's keys and values, (R, G, T, D) both, in one forward over packed rows."""

    def __init__(self, depth: int) -> None:
        # transformers asks its own caches' `layers` about sliding windows; the masks given here say it all
        self.layers = []
        self._pairs: list[Pair | None] = [None] * depth

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> Pair:
        self._pairs[layer_idx] = (key_states, value_states)
        return key_states, value_states

    def pairs(self) -> list[Pair]:
        """Keys and values of every layer, in their order."""
        return [pair for pair in self._pairs if pair is not None]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0


class KVCache(Cache):
    """Rows of keys and values, one for each answer being sampled, each at its own position and written in
    place.

    A step runs over the first n rows, so those in use must stand at the front: whoever empties a row moves
    another one into it (`move`). The cache starts small and grows by doubling (`reserve`). Keys lie
    transposed, (R, G, D, L), as the product with a query reads them; values (R, G, L, D).

    What a row held before is never erased. It cannot be seen either: `mask` ends at the row's present
    position, and every position up to there has been written since the row was last given away.
    """

    def __init__(self, rows: int = 4, length: int = 128) -> None:
        self.layers = []
        self.rows, self.length = rows, length
        self.keys: dict[int, torch.Tensor] = {}
        self.values: dict[int, torch.Tensor] = {}
        self._index = torch.arange(0, device=hardware.device())  # (n,) the rows of this step
        self.positions = torch.zeros(
            0, dtype=torch.long, device=hardware.device()
        )  # (n,) what each writes next
        self.columns = 0  # columns that this step reads: up to the furthest row's position, included

    def reserve(self, rows: int, length: int) -> None:
        """Make room for so many rows of so many positions."""
        if rows <= self.rows and length <= self.length:
            return
        old_rows, old_length = self.rows, self.length
        while self.rows < rows:
            self.rows *= 2
        while self.length < length:
            self.length *= 2
        for tensors, axis in ((self.keys, 3), (self.values, 2)):
            for layer, old in tensors.items():
                shape = [self.rows, *old.shape[1:]]
                shape[axis] = self.length
                tensors[layer] = old.new_zeros(shape)
                tensors[layer][:old_rows].narrow(axis, 0, old_length).copy_(old)

    def put(self, row: int, pairs: list[Pair]) -> None:
        """Copy a prefilled prompt's keys and values, (G, P, D) a layer, to the beginning of a row."""
        for layer, (key, value) in enumerate(pairs):
            groups, length, size = key.shape
            if layer not in self.keys:
                self.keys[layer] = key.new_zeros(self.rows, groups, size, self.length)
                self.values[layer] = key.new_zeros(self.rows, groups, self.length, size)
            self.keys[layer][row, :, :, :length] = key.transpose(1, 2)
            self.values[layer][row, :, :length] = value

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of one row to another."""
        for keys in self.keys.values():
            keys[target, :, :, :length] = keys[source, :, :, :length]
        for values in self.values.values():
            values[target, :, :length] = values[source, :, :length]

    def begin_step(self, positions: list[int]) -> None:
        """Say where each of the first n rows writes at the step that follows."""
        self.positions = torch.tensor(positions, device=hardware.device())
        self._index = torch.arange(len(positions), device=hardware.device())
        self.columns = max(positions) + 1

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> Pair:
        """Write this step's keys and values (n, G, 1, D) and return all up to here: (n, G, columns, D)
        both."""
        keys, values = self.keys[layer_idx], self.values[layer_idx]
        keys[self._index, :, :, self.positions] = key_states[:, :, 0]
        values[self._index, :, self.positions] = value_states[:, :, 0]
        n = len(self._index)
        return keys[:n, ..., : self.columns].transpose(2, 3), values[:n, :, : self.columns]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.columns - 1

    def mask(self, window: int | None = None) -> torch.Tensor:
        """(n, 1, 1, columns) bool: the columns each row's token sees, its own included. `window`: how many at
        most."""
        columns = torch.arange(self.columns, device=self.positions.device)
        seen = columns <= self.positions[:, None]
        if window is not None:
            seen &= columns > self.positions[:, None] - window
        return seen[:, None, None, :]
