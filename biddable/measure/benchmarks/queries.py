"""What a benchmark asks of a policy: how likely it finds each of several continuations, or what it answers. The context of several continuations is run once, and
a trunk that several policies stand on once for all of them.

Text style goes on from the text as it is; chat style puts it into the model's chat template. Token boundaries are those of lm-evaluation-harness: context and continuation are
encoded together, and the context's own tokens are taken off the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from biddable.model import checkpoints, sampler
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
    """One item as the policy sees it. With continuations their log-probabilities are asked for, without any an answer."""

    context: str
    continuations: tuple[str, ...] = ()
    joint: str = " "
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
        self.context = checkpoints.context_length(folder)
        self._breaks: frozenset[int] | None = None

    def ids(self, question: Question) -> Tree:
        """Context and continuations as token ids. An empty context is the beginning-of-sequence token (or the end's, without one)."""
        if self.style == "chat":
            context = checkpoints.encode_chat(
                self.tokenizer, [Message(role="user", content=question.context)]
            )
            return Tree(context, tuple(self._encode(one) for one in question.continuations))
        text = question.context
        stripped = text.rstrip()
        own = self._encode(stripped)
        if not own:  # nothing but spaces says nothing either
            bos = self.tokenizer.bos_token_id
            context = (int(self.tokenizer.eos_token_id if bos is None else bos),)
            return Tree(context, tuple(self._encode(one) for one in question.continuations))
        joint = text[len(stripped) :] or question.joint
        whole = [self._encode(stripped + joint + one) for one in question.continuations]
        return Tree(own, tuple(ids[len(own) :] for ids in whole))

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def tree(self, question: Question) -> Tree:
        """The question as token ids: with continuations as `ids`, else the prompt that an answer goes on from."""
        return self.ids(question) if question.continuations else Tree(self.prompt(question.context), ())

    @torch.no_grad()
    def answers(
        self, prompts: Sequence[Ids], seeds: Sequence[int], max_tokens: int, temperature: float, line: bool
    ) -> list[str]:
        """Sampled answers. `line`: only up to the first line break (Ouyang et al. 2022, D). Fastest when prompts of one length, and equal ones, are neighbours."""
        requests = [
            Request(ids, seed, max_tokens, temperature) for ids, seed in zip(prompts, seeds, strict=True)
        ]
        ends = self.eos | self.breaks if line and self.style == "text" else self.eos
        longest = max(map(len, prompts)) + max_tokens
        found = []
        for one in sampler.sample(
            self.policy, requests, ends, slots=min(64, max(4, CACHE_TOKENS // longest))
        ):
            ids = one.tokens[:-1] if one.tokens[-1] in self.eos else one.tokens
            text = self.tokenizer.decode(ids, skip_special_tokens=True)
            if line:
                text = text.strip().split("\n")[0] if self.style == "chat" else text.split("\n")[0].strip()
            found.append(text)
        return found

    def prompt(self, text: str) -> tuple[int, ...]:
        """What an answer goes on from."""
        if self.style == "chat":
            return checkpoints.encode_chat(self.tokenizer, [Message(role="user", content=text)])
        return self._encode(text.rstrip()) or (
            int(self.tokenizer.bos_token_id or self.tokenizer.eos_token_id),
        )

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

    def refuse(self, trees: Sequence[Tree], names: Sequence[str], room: int, key: str) -> None:
        """Refuse items that do not fit into the model's context, all at once."""
        wrong = []
        for tree, name in zip(trees, names, strict=True):
            longest = len(tree.prompt) + (max(map(len, tree.answers)) if tree.answers else room)
            if longest > self.context:
                wrong.append(
                    f"[{key}] item {name}: {longest} tokens, but the context of {self.folder} holds {self.context}; take it out of the file"
                )
        if wrong:
            raise UserError(wrong)


@torch.no_grad()
def likelihoods(policies: Sequence[Policy], trees: Sequence[Tree]) -> list[list[Likelihoods]]:
    """Of each policy: log-probabilities of all continuations. Each context runs once, and the trunk that all policies stand on once for all of them. A
    continuation without a token has log-probability 0. Fastest when trees of one length are neighbours: each has a row of its own then."""
    spoken = [Tree(tree.prompt, tuple(answer for answer in tree.answers if answer)) for tree in trees]
    sums: list[list[float]] = [[] for _ in policies]
    held: list[Tree] = []
    for number, one in enumerate(spoken):
        held += [one] if one.answers else []
        if held and (sum(map(len, held)) >= FORWARD_TOKENS or number == len(spoken) - 1):
            packed = pack(held, row_tokens=max(map(len, held)))
            packed = replace(packed, hidden=policies[0].trunk(packed))
            for policy, own in zip(policies, sums, strict=True):
                logp, _ = policy.logp(packed)
                total = logp.new_zeros(len(packed.last), dtype=torch.float64)
                own += total.index_add_(0, packed.answer, logp.double()).tolist()
            held = []
    found = []
    for own in sums:
        left = iter(own)
        found.append(
            [
                Likelihoods(tuple(next(left) if a else 0.0 for a in t.answers), tuple(map(len, t.answers)))
                for t in trees
            ]
        )
    return found


def per_token(one: Likelihoods) -> np.ndarray[Any, Any]:
    """Mean log-probability per token of each continuation: what the paper's multiple choice compares (Ouyang et al. 2022, D)."""
    return np.array(one.logp) / np.maximum(np.array(one.tokens), 1)
