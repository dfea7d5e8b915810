"""Packed rows: several prompts with their answers in one row, without padding or cross-talk, and a prompt
only once for its K answers.

Legend: R rows, T tokens a row, N answer tokens in all, A answers, d hidden size.

A tree is a prompt and K >= 1 answers. Its tokens stand in one row, the prompt first, then answer after
answer. A token sees its own tree's prompt and its own answer up to itself; positions count along that path.
So one forward gives what K separate forwards would, for any decoder that takes position ids and a 4-D mask.
SFT examples and running text are trees with one answer (running text: with an empty prompt).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from biddable.model import hardware

Ids = Sequence[int]


@dataclass(frozen=True)
class Tree:
    """A prompt and its answers, as token ids. `hidden`: their trunk outputs where the sampler kept them, the
    prompt's (P, d) and then each answer's (T_k, d), or all in one tensor."""

    prompt: Ids
    answers: tuple[Ids, ...]
    hidden: tuple[torch.Tensor, ...] | None = None

    def __len__(self) -> int:
        return len(self.prompt) + sum(len(answer) for answer in self.answers)


@dataclass(frozen=True)
class PackedBatch:
    """Rows for one forward. Answers are numbered in the order of the trees; every answer token is in the flat
    fields (N,) once, in the answers' order."""

    tokens: torch.Tensor  # (R, T) ids; 0 where no tree stands
    positions: torch.Tensor  # (R, T) along the token's own path
    tree: torch.Tensor  # (R, T) number of the tree, -1 where none stands
    branch: torch.Tensor  # (R, T) 0 in the prompt, k in the k-th answer
    source: torch.Tensor  # (N,) flat position whose output predicts the answer token (and gives its value)
    target: torch.Tensor  # (N,) the answer token's id
    answer: torch.Tensor  # (N,) which answer it belongs to
    last: torch.Tensor  # (A,) flat position of each answer's last token: where the score is read
    hidden: torch.Tensor | None = None  # (R, T, d) kept trunk outputs

    @property
    def count(self) -> int:
        """Number of tokens that belong to a tree."""
        return int((self.tree >= 0).sum())

    def mask(self, window: int | None = None) -> torch.Tensor:
        """(R, 1, T, T) bool: True where the row's token sees the column's. `window`: how far sliding
        attention looks back."""
        order = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        # the row's order is no path's order, but on every path earlier tokens stand further left: that makes
        # it causal. Places without a tree (-1) see each other, so that no row of a softmax is empty.
        sees = (order[:, None] >= order) & (self.tree[:, :, None] == self.tree[:, None, :])
        # of the own tree: the prompt (branch 0), and the own answer but not its siblings
        sees &= (self.branch[:, None, :] == 0) | (self.branch[:, :, None] == self.branch[:, None, :])
        if window is not None:  # counted along the path: siblings between a token and its prompt take no room
            sees &= self.positions[:, :, None] - self.positions[:, None, :] < window
        return sees[:, None]


def bin_pack(lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Which trees stand together in a row: best fit, the longest first. All rows become as wide as the
    longest tree needs, so each may be filled up to there even if `row_tokens` is less."""
    rows: list[list[int]] = []
    room: list[int] = []
    width = max([row_tokens, *lengths])
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fits = [r for r in range(len(rows)) if room[r] >= lengths[index]]
        if fits:
            best = min(fits, key=lambda r: (room[r], r))
        else:
            best = len(rows)
            rows.append([])
            room.append(width)
        rows[best].append(index)
        room[best] -= lengths[index]
    return rows


def pack(trees: Sequence[Tree], row_tokens: int = 256) -> PackedBatch:
    """Lay the trees into rows of about `row_tokens` tokens. Raises ValueError for a tree without answers and
    an answer without tokens: nothing could be read from them."""
    for tree in trees:
        if not tree.answers or any(len(answer) == 0 for answer in tree.answers):
            raise ValueError("every tree needs at least one answer, and every answer at least one token")
    rows = bin_pack([len(tree) for tree in trees], row_tokens)
    width = max(sum(len(trees[i]) for i in row) for row in rows)
    shape = (len(rows), width)
    tokens, positions = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    number, branch = torch.full(shape, -1), torch.zeros(shape, dtype=torch.long)
    hidden = _empty_hidden(trees, shape)
    places: dict[int, tuple[int, int]] = {}
    for r, row in enumerate(rows):
        at = 0
        for index in row:
            tree = trees[index]
            places[index] = (r, at)
            start, prompt = at, len(tree.prompt)
            ids = [*tree.prompt, *(token for answer in tree.answers for token in answer)]
            at += len(ids)
            tokens[r, start:at] = torch.tensor(ids)
            number[r, start:at] = index
            positions[r, start : start + prompt] = torch.arange(prompt)
            context = start + prompt
            for k, answer in enumerate(tree.answers, 1):
                positions[r, context : context + len(answer)] = torch.arange(prompt, prompt + len(answer))
                branch[r, context : context + len(answer)] = k
                context += len(answer)
            if hidden is not None and tree.hidden is not None:
                hidden[r, start:at] = torch.cat(list(tree.hidden))
    laid = (
        part.to(hardware.device())
        for part in (tokens, positions, number, branch, *_flat(trees, places, width))
    )
    return PackedBatch(*laid, hidden=hidden)  # type: ignore[misc]


def _empty_hidden(trees: Sequence[Tree], shape: tuple[int, int]) -> torch.Tensor | None:
    if any(tree.hidden is None for tree in trees):
        return None
    first = trees[0].hidden
    assert first is not None
    return first[0].new_zeros(*shape, first[0].shape[-1])


def _flat(trees: Sequence[Tree], places: dict[int, tuple[int, int]], width: int) -> tuple[torch.Tensor, ...]:
    """The flat fields: source, target, answer (N,) and last (A,)."""
    # An answer's first token is predicted at the prompt's last position, which its siblings share; its t-th
    # token at its (t-1)-th. Without a prompt nothing predicts the first token, and it does not count.
    source: list[int] = []
    target: list[int] = []
    numbers: list[int] = []
    last: list[int] = []
    for index, tree in enumerate(trees):
        row, start = places[index]
        context = row * width + start + len(tree.prompt)
        before = context - 1
        for answer in tree.answers:
            predicted = range(0 if tree.prompt else 1, len(answer))
            source += [before if t == 0 else context + t - 1 for t in predicted]
            target += [answer[t] for t in predicted]
            numbers += [len(last)] * len(predicted)
            context += len(answer)
            last.append(context - 1)
    return torch.tensor(source), torch.tensor(target), torch.tensor(numbers), torch.tensor(last)


def pad(
    flat: torch.Tensor, answer: torch.Tensor, answers: int, fill: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """(N,) values of answer tokens, in the answers' order -> (A, T) with `fill` behind each end, and the mask
    (A, T) that is True where a token counts."""
    lengths = torch.bincount(answer, minlength=answers)
    steps = torch.arange(int(lengths.max()), device=flat.device)
    mask = steps[None, :] < lengths[:, None]
    out = torch.full(mask.shape, fill, dtype=flat.dtype, device=flat.device)
    return out.masked_scatter(mask, flat), mask
