"""Which split an imported prompt belongs to: drawn by its user or by the prompt, and never empty by chance."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from biddable.run.records import Split, draw_split, hash_fraction

FEW = 1000
"""Users or prompts up to which a split may come out empty by chance."""


class Splits:
    """Draws splits and counts the prompts in each."""

    def __init__(
        self,
        by: Literal["user", "prompt"],
        valid_share: float,
        test_share: float,
        seed: int,
        moved: dict[str, Split] | None = None,
    ) -> None:
        self.by = by
        self.counts: Counter[Split] = Counter()
        self._shares = valid_share, test_share
        self._seed = seed
        self._moved = moved or {}
        self._groups: dict[str, Split] = {}  # the first FEW users or prompts

    def draw(self, user: str, prompt: str) -> Split:
        """The split of a prompt; `user` is empty where nobody is named."""
        group = user if user and self.by == "user" else prompt
        split = self._moved.get(group) or draw_split(group, *self._shares, self._seed)
        if len(self._groups) < FEW:
            self._groups[group] = split
        return split

    def without_empty(self) -> Splits | None:
        """Splits to try instead, when one that should have a share has come out empty: by prompt instead of by user,
        then with the fewest prompts moved. None: none is empty, or there are too few prompts to help."""
        valid_share, test_share = self._shares
        expected: list[Split] = ["train"]
        expected += ["valid"] if valid_share else []
        expected += ["test"] if test_share else []
        empty = [split for split in expected if not self.counts[split]]
        if not empty or self._moved or not self._groups:
            return None
        if self.by == "user":
            return Splits("prompt", valid_share, test_share, self._seed)
        moved: dict[str, Split] = {}
        sizes = Counter(self._groups.values())
        for group in sorted(self._groups, key=lambda name: hash_fraction("split", self._seed, name)):
            if empty and sizes[self._groups[group]] > 1:
                sizes[self._groups[group]] -= 1
                moved[group] = empty.pop(0)
        return Splits("prompt", valid_share, test_share, self._seed, moved) if moved else None
