"""Prefill: several prompts in one forward without padding, and what they all begin with only once.

Legend: P prompt tokens, G key heads, D head size, d hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from biddable.model.kv_cache import Pair, PrefillCache
from biddable.model.packing import Ids, Tree, pack
from biddable.model.trunk import Policy

MIN_SHARED_TOKENS = 8
"""Common beginnings shorter than this are not worth a tree: each prompt runs them itself."""
FAMILY_TOKENS = 256
"""Tokens of prompts that share their beginning in one row: attention grows with the row's square."""


@dataclass(frozen=True)
class Prefilled:
    """A prompt that has run: keys and values (G, P, D) of each layer of trunk and branch, the logits behind
    its last token, and its trunk outputs where they are kept."""

    trunk: list[Pair]
    branch: list[Pair]
    logits: torch.Tensor  # (V,)
    hidden: torch.Tensor | None  # (P, d)


@torch.no_grad()
def prefill(policy: Policy, prompts: Sequence[Ids], keep_trunk: bool) -> list[Prefilled]:
    """Run all prompts in one forward. What all of them begin with, such as a chat template's system message,
    runs once a row and not once a prompt. Keys, values and trunk outputs are copies, so that no prompt keeps
    the whole batch in memory."""
    shared = shared_prefix(prompts)
    trees = _families(prompts, shared)
    packed = pack(trees, row_tokens=128)
    trunk: Any = policy.trunk.blocks
    branch: Any = policy.branch
    trunk_cache, branch_cache = PrefillCache(policy.trunk.depth), PrefillCache(branch.depth)
    states = (trunk or branch).embed(packed.tokens)
    if trunk is not None:
        states = trunk(states, packed.positions, trunk.masks(packed.mask), trunk_cache)
    out = branch(states, packed.positions, branch.masks(packed.mask), branch_cache).flatten(0, 1)
    logits = policy.logits(out[packed.last])
    prefilled: list[Prefilled] = []
    for number, tree in enumerate(trees):
        tree_rows, columns = (packed.tree == number).nonzero(as_tuple=True)
        row, start = int(tree_rows[0]), shared
        for ids in tree.answers:
            # a prompt's tokens: the shared beginning, then its own part, which stands somewhere behind it in
            # the row
            columns_of_prompt = torch.cat([columns[:shared], columns[start : start + len(ids)]])
            start += len(ids)
            trunk_pairs, branch_pairs = (
                [
                    (
                        keys[row].index_select(1, columns_of_prompt),
                        values[row].index_select(1, columns_of_prompt),
                    )
                    for keys, values in cache.pairs()
                ]
                for cache in (trunk_cache, branch_cache)
            )
            hidden = states[row, columns_of_prompt] if keep_trunk and trunk is not None else None
            prefilled.append(Prefilled(trunk_pairs, branch_pairs, logits[len(prefilled)], hidden))
    return prefilled


def shared_prefix(prompts: Sequence[Ids]) -> int:
    """How many tokens all prompts begin with; 0 when they are too few to save anything. Every prompt keeps at
    least its last token for itself, because its logits are read there."""
    shortest = min(prompts, key=len)
    count = 0
    while count < len(shortest) - 1 and all(prompt[count] == shortest[count] for prompt in prompts):
        count += 1
    return count if len(prompts) > 1 and count >= MIN_SHARED_TOKENS else 0


def _families(prompts: Sequence[Ids], shared: int) -> list[Tree]:
    """The prompts, in their order, as trees: the shared beginning stands as prompt, the rests as its answers.
    A tree takes neighbours until it holds FAMILY_TOKENS. Prompts that share nothing are trees of their
    own."""
    if not shared:
        return [Tree((), (tuple(prompt),)) for prompt in prompts]
    families: list[list[Ids]] = [[]]
    room = FAMILY_TOKENS - shared
    for prompt in prompts:
        if families[-1] and room < len(prompt) - shared:
            families.append([])
            room = FAMILY_TOKENS - shared
        families[-1].append(tuple(prompt[shared:]))
        room -= len(prompt) - shared
    return [Tree(tuple(prompts[0][:shared]), tuple(rests)) for rests in families]
