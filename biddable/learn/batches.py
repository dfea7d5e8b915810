"""From records to what a forward takes: token ids, trees with cached trunk outputs, microbatches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from biddable.learn.tree_store import TreeStore
from biddable.model.encoding import encode_chat, encode_text
from biddable.model.packing import PackedBatch, Tree, pack
from biddable.model.trunk import Trunk
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Message, Text


def prompt_ids(
    tokenizer: Any, messages: Sequence[Message], limit: int, name: str, errors: list[str]
) -> tuple[int, ...]:
    """A prompt's token ids up to where the assistant begins to speak; a line goes to `errors` when they are
    more than `limit`, or when the model's chat template refuses them."""
    try:
        ids = encode_chat(tokenizer, messages)
    except UserError as error:
        errors += [f"prompt {name}: {line}; drop it in [curate.prompts]" for line in error.lines]
        return ()
    if len(ids) > limit:
        errors.append(
            f"prompt {name}: {len(ids)} tokens, but {limit} fit beside its answer; shorten it or drop it in "
            "[curate.prompts]"
        )
    return ids


def text_trees(tokenizer: Any, folder: Path, tokens: int, split: str = "train") -> Sequence[Tree]:
    """Running text as trees without a prompt and without a chat template, in pieces of at most `tokens`. A
    text that is longer goes on in the next piece, which begins with the last token of the one before: so every
    token of a text but its first (the tokenizer's own beginning-of-sequence token, where it has one) is
    predicted and counts once."""
    rows = jsonl.read(folder / "text.jsonl", Text)
    texts = (encode_text(tokenizer, row.text) for row in rows if row.split == split)
    trees = TreeStore(
        Tree((), (ids[start : start + tokens],))
        for ids in texts
        for start in range(0, max(len(ids) - 1, 0), tokens - 1)
    )
    if not trees:
        raise UserError(f"{folder / 'text.jsonl'}: holds no text of the split {split}")
    return trees


def counted_tokens(trees: Sequence[Tree]) -> int:
    """Tokens with a log-probability: every answer token, but of text without a prompt not the first, which
    nothing predicts."""
    return sum(len(answer) - (0 if tree.prompt else 1) for tree in trees for answer in tree.answers)


def cache_trunk_outputs(
    trunk: Trunk,
    trees: Sequence[Tree],
    limit_gb: float,
    tokens: int = 4096,
    context: StageContext | None = None,
) -> Sequence[Tree]:
    """The trees with their trunk outputs, as long as these fit into `limit_gb`; the rest go without. The
    trunk reads about `tokens` tokens at once.

    The trunk is frozen, so its outputs are the same in every epoch and computed once.
    """
    if trunk.depth == 0:
        return trees
    cached: list[Tree] = list(trees)
    used_bytes = 0.0
    for indices, packed in microbatches(trees, tokens):
        if used_bytes > limit_gb * 1e9:
            break
        hidden = trunk(packed)
        assert hidden is not None
        for number, index in enumerate(indices):
            row, columns = (packed.tree == number).nonzero(as_tuple=True)
            # a copy: a slice would hold on to the whole packed tensor
            states = hidden[int(row[0]), int(columns[0]) : int(columns[-1]) + 1].clone()
            used_bytes += states.numel() * states.element_size()
            cached[index] = Tree(trees[index].prompt, trees[index].answers, (states,))
        if context is not None:
            context.progress(indices[-1] + 1, len(trees))
    return cached


def microbatches(
    trees: Sequence[Tree], tokens: int, row_tokens: int = 128
) -> Iterator[tuple[list[int], PackedBatch]]:
    """(indices of trees, their rows), at most about `tokens` tokens each; a tree is never split.

    Trees with and without cached trunk outputs don't share a microbatch, since the trunk runs for all of one
    or for none: first come those with, then those without, each in the given order.
    """
    for with_outputs in (True, False):
        indices: list[int] = []
        size = 0
        for index, tree in enumerate(trees):
            if (tree.hidden is not None) is not with_outputs:
                continue
            if indices and size + len(tree) > tokens:
                yield indices, pack([trees[i] for i in indices], row_tokens)
                indices, size = [], 0
            indices.append(index)
            size += len(tree)
        if indices:
            yield indices, pack([trees[i] for i in indices], row_tokens)


def split_answers(tree: Tree, tokens: int) -> list[Tree]:
    """The tree as several with the same prompt, each with as many of its answers, in their order, as fit into
    `tokens` tokens, and one at least."""
    parts: list[Tree] = []
    prompt, start = len(tree.prompt), 0
    hidden = None if tree.hidden is None else torch.cat(list(tree.hidden))  # (P + all T_k, d)
    while start < len(tree.answers):
        stop, size = start + 1, prompt + len(tree.answers[start])
        while stop < len(tree.answers) and size + len(tree.answers[stop]) <= tokens:
            size += len(tree.answers[stop])
            stop += 1
        states = None
        if hidden is not None:
            before = prompt + sum(len(answer) for answer in tree.answers[:start])
            states = (hidden[:prompt], hidden[before : before + size - prompt])
        parts.append(Tree(tree.prompt, tree.answers[start:stop], states))
        start = stop
    return parts


def in_order(parts: Iterable[tuple[Sequence[int], Sequence[torch.Tensor]]], count: int) -> list[torch.Tensor]:
    """Results that came as (indices, one result each), in the order of their indices from 0 to `count` -
    1."""
    by_index = {
        index: value for indices, values in parts for index, value in zip(indices, values, strict=True)
    }
    return [by_index[index] for index in range(count)]
