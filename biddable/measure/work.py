"""What a benchmark asks of a policy: how likely it finds each of several continuations, or what it answers. The context of several continuations is run once.

Text style goes on from the text as it is; chat style puts it into the model's chat template. Token boundaries are those of lm-evaluation-harness: context and continuation are
encoded together, and the context's own tokens are taken off the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from biddable.base import models, sampler
from biddable.base.config import Refusal
from biddable.base.lm import Policy
from biddable.base.packing import Tree, pack
from biddable.base.records import Message
from biddable.base.sampler import Request

Style = Literal["text", "chat"]
FORWARD_TOKENS = 4096
"""Tokens per forward, about."""


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
        self.tokenizer = models.tokenizer(folder)
        self.eos = models.eos_ids(folder, self.tokenizer)
        self.context = models.context(folder)
        self._breaks: frozenset[int] | None = None

    def ids(self, question: Question) -> Tree:
        """Context and continuations as token ids. An empty context is the beginning-of-sequence token (or the end's, without one)."""
        if self.style == "chat":
            context = models.render(self.tokenizer, [Message(role="user", content=question.context)])
            return Tree(context, tuple(self._encode(one) for one in question.continuations))
        text = question.context
        own = self._encode(text)
        if not own:
            bos = self.tokenizer.bos_token_id
            context = (int(self.tokenizer.eos_token_id if bos is None else bos),)
            return Tree(context, tuple(self._encode(one) for one in question.continuations))
        stripped = text.rstrip()
        own = self._encode(stripped)
        joint = text[len(stripped) :] or question.joint
        whole = [self._encode(stripped + joint + one) for one in question.continuations]
        return Tree(own, tuple(ids[len(own) :] for ids in whole))

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    @torch.no_grad()
    def likelihoods(self, questions: Sequence[Question]) -> list[Likelihoods]:
        """Log-probabilities of all continuations, each context run once. A continuation without a token has log-probability 0."""
        trees = [self.ids(question) for question in questions]
        found: list[Likelihoods] = []
        held: list[Tree] = []
        for number, one in enumerate(trees):
            held.append(one)
            if sum(map(len, held)) >= FORWARD_TOKENS or number == len(trees) - 1:
                found += self._forward(held)
                held = []
        return found

    def _forward(self, trees: Sequence[Tree]) -> list[Likelihoods]:
        spoken = [Tree(t.prompt, tuple(a for a in t.answers if a)) for t in trees]
        spoken = [t for t in spoken if t.answers]
        sums: list[float] = []
        if spoken:
            packed = pack(spoken, row_tokens=512)
            logp, _ = self.policy.logp(packed)
            total = logp.new_zeros(len(packed.last), dtype=torch.float64)
            sums = total.index_add_(0, packed.answer, logp.double()).tolist()
        left = iter(sums)
        return [
            Likelihoods(tuple(next(left) if a else 0.0 for a in t.answers), tuple(map(len, t.answers))) for t in trees
        ]

    def answers(
        self, questions: Sequence[Question], seeds: Sequence[int], max_tokens: int, temperature: float, line: bool
    ) -> list[str]:
        """Sampled answers. `line`: only up to the first line break (Ouyang et al. 2022, D)."""
        requests = []
        for question, seed in zip(questions, seeds, strict=True):
            prompt = self.prompt(question.context)
            requests.append(Request(prompt, seed, max_tokens, temperature))
        order = sorted(range(len(requests)), key=lambda i: (requests[i].prompt, i))  # equal prompts share their prefill
        ends = self.eos | self.breaks if line and self.style == "text" else self.eos
        got = sampler.sample(self.policy, [requests[i] for i in order], ends)
        found = [""] * len(requests)
        for place, one in zip(order, got, strict=True):
            ids = one.tokens[:-1] if one.tokens[-1] in self.eos else one.tokens
            text = self.tokenizer.decode(ids, skip_special_tokens=True)
            found[place] = text.strip().split("\n")[0] if line and self.style == "chat" else text
            if line and self.style == "text":
                found[place] = text.split("\n")[0].strip()
        return found

    def prompt(self, text: str) -> tuple[int, ...]:
        """What an answer goes on from."""
        if self.style == "chat":
            return models.render(self.tokenizer, [Message(role="user", content=text)])
        return self._encode(text.rstrip()) or (int(self.tokenizer.bos_token_id or self.tokenizer.eos_token_id),)

    @property
    def breaks(self) -> frozenset[int]:
        """Every token whose text holds a line break."""
        if self._breaks is None:
            size = len(self.tokenizer)
            texts = self.tokenizer.batch_decode([[number] for number in range(size)], skip_special_tokens=False)
            self._breaks = frozenset(number for number, text in enumerate(texts) if "\n" in text)
        return self._breaks

    def refuse(self, questions: Sequence[Question], names: Sequence[str], room: int, key: str) -> None:
        """Refuse items that do not fit into the model's context, all at once."""
        wrong = []
        for question, name in zip(questions, names, strict=True):
            tree = self.ids(question) if question.continuations else Tree(self.prompt(question.context), ())
            longest = len(tree.prompt) + (max(map(len, tree.answers)) if tree.answers else room)
            if longest > self.context:
                wrong.append(
                    f"[{key}] item {name}: {longest} tokens, but the context of {self.folder} holds {self.context}; take it out of the file"
                )
        if wrong:
            raise Refusal(wrong)


def per_token(one: Likelihoods) -> np.ndarray[Any, Any]:
    """Mean log-probability per token of each continuation: what the paper's multiple choice compares (Ouyang et al. 2022, D)."""
    return np.array(one.logp) / np.maximum(np.array(one.tokens), 1)
