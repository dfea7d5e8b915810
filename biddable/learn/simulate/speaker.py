"""A policy that goes on with dialogues: one answer each, several to choose from, or the best of n by
preference and rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from biddable.learn.replies import sampled_answer
from biddable.learn.selfplay import Dialogue
from biddable.learn.training import derive_seed
from biddable.model import checkpoints
from biddable.model.rerank import Reranker
from biddable.model.sampler import Request, sample
from biddable.model.trunk import Policy, Trunk
from biddable.run.records import Answer, Message


class Sampling(NamedTuple):
    """How statements are sampled."""

    temperature: float
    top_p: float
    max_tokens: int
    slots: int


@dataclass
class Speaker:
    """A policy under a name; with a reranker it answers with the best of several."""

    name: str
    policy: Policy
    tokenizer: Any
    eos: frozenset[int]
    context_length: int
    sampling: Sampling
    reranker: Reranker | None = None
    count: int = 1  # how many answers the best is taken of

    def fits(self, dialogue: Dialogue) -> bool:
        """Whether another statement fits into the context."""
        return len(dialogue.ids(self.tokenizer)) + self.sampling.max_tokens <= self.context_length

    def candidates(self, dialogues: Sequence[Dialogue], count: int, *seed: object) -> list[list[Answer]]:
        """`count` statements of whoever speaks next in each dialogue. The seeds hang on the dialogue's number
        and the key alone."""
        cfg = self.sampling
        requests = [
            Request(
                dialogue.ids(self.tokenizer),
                derive_seed(*seed, self.name, number, k),
                cfg.max_tokens,
                cfg.temperature,
                cfg.top_p,
            )
            for number, dialogue in enumerate(dialogues)
            for k in range(count)
        ]
        samples = sample(self.policy, requests, self.eos, cfg.slots)
        answers = [sampled_answer(self.tokenizer, sampled, self.name) for sampled in samples]
        return [answers[i : i + count] for i in range(0, len(answers), count)]

    def answers(self, dialogues: Sequence[Dialogue], *seed: object) -> list[Answer]:
        """The answer that this speaker gives in each dialogue."""
        if self.reranker is None:
            return [answers[0] for answers in self.candidates(dialogues, 1, *seed)]
        groups = self.candidates(dialogues, self.count, *seed)
        return [
            answers[self.reranker.choose(dialogue.ids(self.tokenizer), [a.tokens or () for a in answers])]
            for dialogue, answers in zip(dialogues, groups, strict=True)
        ]

    def best_of(self, count: int, reranker: Reranker) -> Speaker:
        """The same policy, which answers with the best of `count`, under a name that says so."""
        return replace(self, name=best_name(self.name, count), reranker=reranker, count=count)


def load_speaker(folder: Path, sampling: Sampling, shared: Trunk | None = None) -> Speaker:
    """A policy that speaks under its folder's name, on a shared trunk if one is given."""
    policy = checkpoints.load_policy(folder, shared=shared)
    tokenizer = checkpoints.tokenizer(folder)
    return Speaker(
        folder.name,
        policy.freeze(),
        tokenizer,
        checkpoints.eos_ids(folder, tokenizer),
        checkpoints.context_length(folder),
        sampling,
    )


def best_name(policy: str, count: int) -> str:
    """What the best of n answers of a policy are called as a model's."""
    return f"{policy}+best{count}"


def with_answer(messages: Sequence[Message], answer: Answer) -> tuple[Message, ...]:
    """The dialogue with an assistant's answer at its end."""
    return (*messages, Message(role="assistant", content=answer.text))
