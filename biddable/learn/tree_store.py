"""Many trees in little memory: token ids in one array, 4 bytes each, and a tree made when it is asked for."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from biddable.model.packing import Tree

MAPPED_TOKENS = 64 << 20
"""From so many tokens on (256 MB) the ids stand in a file that the system maps into memory and may put
aside."""
WRITTEN_TOKENS = 1 << 20


class TreeStore(Sequence[Tree]):
    """Trees without trunk outputs, in the order in which they came. A Python int takes 28 bytes and its place
    in a tuple 8; here a token takes 4, and a tree 8 and 8 for each of its parts."""

    def __init__(self, trees: Iterable[Tree], folder: Path | None = None) -> None:
        """`folder`: where a file without a name may lie, gone with this object or the program; none: the
        system's place for such files."""
        ids, ends, self._first_part = array("i"), array("q", [0]), array("q", [0])
        tokens, file = 0, None
        for tree in trees:
            for part in (tree.prompt, *tree.answers):
                ids.extend(part)
                tokens += len(part)
                ends.append(tokens)
            self._first_part.append(len(ends) - 1)
            if tokens > MAPPED_TOKENS and len(ids) >= WRITTEN_TOKENS:
                file = file or tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
                ids.tofile(file)
                ids = array("i")
        self._ends = ends
        if file is not None:
            ids.tofile(file)
            file.flush()
            self.ids: Any = np.memmap(file, dtype=np.int32, mode="r")
            file.close()  # the map stays
        else:
            self.ids = np.frombuffer(ids, dtype=np.int32) if tokens else np.zeros(0, np.int32)

    def __len__(self) -> int:
        return len(self._first_part) - 1

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        number = number + len(self) if number < 0 else number
        if not 0 <= number < len(self):
            raise IndexError(number)
        prompt, *answers = (
            tuple(self.ids[self._ends[part] : self._ends[part + 1]].tolist())
            for part in range(self._first_part[number], self._first_part[number + 1])
        )
        return Tree(prompt, tuple(answers))
