"""What a benchmark asks of a policy: how likely it finds each of several continuations, or what it answers.
The context of several continuations is run once, and a trunk that several policies stand on once for all of
them.

Text style goes on from the text as it is, behind the tokenizer's own beginning-of-sequence token; chat style
puts it into the model's chat template. Token boundaries are those of lm-evaluation-harness: context and
continuation are encoded together, and the context's own tokens are taken off the front. Where a continuation
merges with the context's last characters that program loses letters; here the boundary moves back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from biddable.model import checkpoints, sampler
from biddable.model.encoding import encode_chat, encode_text
from biddable.model.packing import Ids, Tree, pack
from biddable.model.sampler import Request
from biddable.model.trunk import Policy
from biddable.run.config import UserError
from biddable.run.records import Message

Style = Literal["text", "chat"]
FORWARD_TOKENS = 4096
"""Tokens per forward, about."""
CACHE_TOKENS = 24_576
"""Tokens that the sampler's cache holds, about: long prompts have fewer slots (SmolLM2-135M: 0.6 GB)."""


class Question(NamedTuple):
    """One item as the policy sees it. With continuations their log-probabilities are asked for, without any
    an answer."""

    context: str
    continuations: tuple[str, ...] = ()
    separator: str = " "
    """What stands between context and continuation in text style."""


class Likelihoods(NamedTuple):
    """Of each continuation: log-probability (nats) and number of tokens."""

    logp: tuple[float, ...]
    tokens: tuple[int, ...]


class Reader:
    """A policy with its tokenizer, as benchmarks use it."""

    def __init__(self, folder: Any, policy: Policy, style: Style) -> None:
        self.policy, self.style, self.folder = policy, style, folder
        self.tokenizer = checkpoints.tokenizer(folder)
        self.eos = checkpoints.eos_ids(folder, self.tokenizer)
        self.context_length = checkpoints.context_length(folder)
        self._breaks: frozenset[int] | None = None

    def tree(self, question: Question) -> Tree:
        """The question as token ids: the context, and each continuation as an answer to it (none: the policy
        writes one)."""
        if self.style == "chat" or not question.continuations:
            continuations = tuple(self._encode(text) for text in question.continuations)
            return Tree(self.prompt(question.context), continuations)
        stripped = question.context.rstrip()
        prompt = self._encode_text(stripped)
        if not stripped or not prompt:
            return Tree(self._no_context(), tuple(self._encode(text) for text in question.continuations))
        # A tokenizer may merge across the border (" the" is one token). So context and continuation are
        # encoded together, with the space between them, and the context's tokens are taken off the front;
        # spaces at the context's end belong to the continuation.
        separator = question.context[len(stripped) :] or question.separator
        texts = [self._encode_text(stripped + separator + text) for text in question.continuations]
        # A continuation may also swallow the context's last characters ("(" and "A" are "(A"). Then the
        # context ends for all of them where their tokens still agree with its own: every continuation begins
        # with the same few characters more, which changes no comparison between them.
        prompt = prompt[: min(_common_prefix(prompt, ids) for ids in texts)]
        if not prompt:
            return Tree(self._no_context(), tuple(texts))
        return Tree(prompt, tuple(ids[len(prompt) :] for ids in texts))

    def prompt(self, text: str) -> tuple[int, ...]:
        """What an answer follows, as token ids."""
        if self.style == "chat":
            return encode_chat(self.tokenizer, [Message(role="user", content=text)])
        return self._encode_text(text.rstrip()) or self._no_context()

    def _no_context(self) -> tuple[int]:
        """An empty context, or one of spaces alone, is the beginning-of-sequence token (the end's, without
        one): the first token's probability needs one."""
        bos = self.tokenizer.bos_token_id
        return (int(self.tokenizer.eos_token_id if bos is None else bos),)

    def _encode_text(self, text: str) -> tuple[int, ...]:
        return encode_text(self.tokenizer, text)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    @torch.no_grad()
    def answers(
        self,
        prompts: Sequence[Ids],
        seeds: Sequence[int],
        max_tokens: int,
        temperature: float,
        single_line: bool,
    ) -> list[str]:
        """Sampled answers. `single_line`: only up to the first line break (Ouyang et al. 2022, D). Fastest
        when prompts of one length, and equal ones, are neighbours."""
        requests = [
            Request(ids, seed, max_tokens, temperature) for ids, seed in zip(prompts, seeds, strict=True)
        ]
        ends = self.eos | self.breaks if single_line and self.style == "text" else self.eos
        longest = max(map(len, prompts)) + max_tokens
        texts = []
        for sample in sampler.sample(
            self.policy, requests, ends, slots=min(64, max(4, CACHE_TOKENS // longest))
        ):
            ids = sample.tokens[:-1] if sample.tokens[-1] in self.eos else sample.tokens
            text = self.tokenizer.decode(ids, skip_special_tokens=True)
            if single_line:
                # In text style an answer that begins with a line break is empty; a chat model may begin with
                # one and go on.
                text = text.strip().split("\n")[0] if self.style == "chat" else text.split("\n")[0].strip()
            texts.append(text)
        return texts

    @property
    def breaks(self) -> frozenset[int]:
        """Every token whose text holds a line break."""
        if self._breaks is None:
            size = len(self.tokenizer)
            texts = self.tokenizer.batch_decode(
                [[number] for number in range(size)], skip_special_tokens=False
            )
            self._breaks = frozenset(number for number, text in enumerate(texts) if "\n" in text)
        return self._breaks

    def trees(self, questions: Sequence[Question], ids: Sequence[str], key: str) -> list[Tree]:
        """All questions as token ids. Raises UserError with a line for every item that the chat template
        refuses, and for every choice without a token: its log-probability would be 0, more than any
        other's."""
        trees, errors = [], []
        for question, item in zip(questions, ids, strict=True):
            try:
                tree = self.tree(question)
            except UserError as error:
                errors += [f"[{key}] item {item}: {line}; take it out of the file" for line in error.lines]
                continue
            errors += [
                f"[{key}] item {item}: choice {number} = {question.continuations[number - 1]!r} has no token "
                "to be measured; take it out of the file"
                for number, answer in enumerate(tree.answers, 1)
                if not answer
            ]
            trees.append(tree)
        if errors:
            raise UserError(errors)
        return trees

    def refuse_too_long(self, trees: Sequence[Tree], ids: Sequence[str], max_tokens: int, key: str) -> None:
        """Raise UserError with a line for every item that does not fit into the model's context, its answer
        included."""
        errors = []
        for tree, item in zip(trees, ids, strict=True):
            length = len(tree.prompt) + (max(map(len, tree.answers)) if tree.answers else max_tokens)
            if length > self.context_length:
                errors.append(
                    f"[{key}] item {item}: {length} tokens, but the context of {self.folder} holds "
                    f"{self.context_length}; take it out of the file"
                )
        if errors:
            raise UserError(errors)


def _common_prefix(first: Ids, second: Ids) -> int:
    """How many tokens two texts begin with alike."""
    length = min(len(first), len(second))
    return next((place for place in range(length) if first[place] != second[place]), length)


@torch.no_grad()
def likelihoods(policies: Sequence[Policy], trees: Sequence[Tree]) -> list[list[Likelihoods]]:
    """Of each policy: log-probabilities of all continuations. Each context runs once, and the trunk that all
    policies stand on once for all of them. A continuation without a token has log-probability 0. Fastest when
    trees of one length are neighbours: each has a row of its own then."""
    # What packs may hold: trees with at least one continuation that has a token.
    packable = [Tree(tree.prompt, tuple(answer for answer in tree.answers if answer)) for tree in trees]
    sums: list[list[float]] = [[] for _ in policies]
    batch: list[Tree] = []
    for number, tree in enumerate(packable):
        batch += [tree] if tree.answers else []
        if batch and (sum(map(len, batch)) >= FORWARD_TOKENS or number == len(packable) - 1):
            packed = pack(batch, row_tokens=max(map(len, batch)))
            packed = replace(packed, hidden=policies[0].trunk(packed))
            for policy, policy_sums in zip(policies, sums, strict=True):
                logp, _ = policy.logp(packed)
                total = logp.new_zeros(len(packed.last), dtype=torch.float64)
                policy_sums += total.index_add_(0, packed.answer, logp.double()).tolist()
            batch = []
    return [_by_tree(policy_sums, trees) for policy_sums in sums]


def _by_tree(sums: Sequence[float], trees: Sequence[Tree]) -> list[Likelihoods]:
    """Sums of the continuations that have tokens, in the trees' order, as likelihoods of all
    continuations."""
    rest = iter(sums)
    return [
        Likelihoods(
            tuple(next(rest) if answer else 0.0 for answer in tree.answers), tuple(map(len, tree.answers))
        )
        for tree in trees
    ]


def per_token(likelihoods: Likelihoods) -> np.ndarray[Any, Any]:
    """Mean log-probability per token of each continuation: what the paper's multiple choice compares (Ouyang
    et al. 2022, D)."""
    return np.array(likelihoods.logp) / np.maximum(np.array(likelihoods.tokens), 1)
