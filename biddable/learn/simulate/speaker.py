"""A policy that goes on with dialogues: one answer each, several to choose from, or the best of n by
preference and rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from biddable.learn.replies import sampled_answer
from biddable.learn.selfplay import Dialogue
from biddable.learn.training import derive_seed
from biddable.model import checkpoints
from biddable.model.packing import Tree, pack
from biddable.model.rerank import RuleReduction, RunningAverage, best, rerank_scores
from biddable.model.rule_model import RuleLike, RuleModel
from biddable.model.sampler import Request, sample
from biddable.model.trunk import Policy, Scorer, Trunk
from biddable.run.records import Answer, Message


class Sampling(NamedTuple):
    """How statements are sampled."""

    temperature: float
    top_p: float
    max_tokens: int
    slots: int


class Speakers(Protocol):
    """What the stage's settings say of who speaks."""

    @property
    def policies(self) -> tuple[Path, ...]: ...
    @property
    def reranked(self) -> tuple[Path, ...]: ...
    @property
    def rerank(self) -> int: ...
    @property
    def reward(self) -> Path | None: ...
    @property
    def rule_model(self) -> Path | None: ...
    @property
    def rule_reduction(self) -> RuleReduction: ...


@dataclass
class Reranker:
    """Preference model, rule model and rules, by which the best of `count` answers is chosen."""

    preference: Scorer
    rule_model: RuleModel
    rules: Sequence[RuleLike]
    count: int
    reduction: RuleReduction
    average: RunningAverage

    @torch.no_grad()
    def choose(self, prompt: tuple[int, ...], answers: Sequence[Answer]) -> int:
        """The place of the best answer to a prompt (token ids)."""
        tokens = [answer.tokens or () for answer in answers]
        preference = self.preference.scores(pack([Tree(prompt, tuple(tokens))]))
        p_break = self.rule_model.p_break([(*prompt, *ids) for ids in tokens], self.rules)
        scores = rerank_scores(preference, p_break, self.average.update(preference), self.reduction)
        return best(scores)


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
        groups = self.candidates(dialogues, self.reranker.count, *seed)
        return [
            answers[self.reranker.choose(dialogue.ids(self.tokenizer), answers)]
            for dialogue, answers in zip(dialogues, groups, strict=True)
        ]


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


def load_speakers(cfg: Speakers, sampling: Sampling, rules: Sequence[RuleLike]) -> list[Speaker]:
    """The policies, and after each that is reranked its best-of-n double; on one trunk where they share it."""
    speakers: list[Speaker] = []
    shared: Trunk | None = None
    reranked = {folder.name for folder in cfg.reranked}
    for folder in cfg.policies:
        speaker = load_speaker(folder, sampling, shared)
        shared = shared or speaker.policy.trunk
        speakers.append(speaker)
        if folder.name in reranked:
            assert cfg.reward is not None and cfg.rule_model is not None
            reranker = Reranker(
                checkpoints.load_scorer(cfg.reward, shared).freeze(),
                checkpoints.load_rule_model(cfg.rule_model, shared).freeze(),
                rules,
                cfg.rerank,
                cfg.rule_reduction,
                RunningAverage(),
            )
            name = f"{folder.name}+best{cfg.rerank}"
            speakers.append(replace(speaker, name=name, reranker=reranker))
    return speakers


def with_answer(messages: Sequence[Message], answer: Answer) -> tuple[Message, ...]:
    """The dialogue with an assistant's answer at its end."""
    return (*messages, Message(role="assistant", content=answer.text))
