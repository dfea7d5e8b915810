"""Rollouts: answers sampled from the policy, scored, and turned into what PPO learns from. The trunk runs
once per token, in the sampler.

Legend: A answers (episodes), N their tokens in all, T tokens of the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Discriminator, Field, Tag, model_validator

from biddable.learn import losses
from biddable.learn.batches import microbatches
from biddable.learn.lengths import LengthSettings
from biddable.learn.optimizer import OptimizerSettings
from biddable.learn.replies import sampled_answer
from biddable.learn.reward_sources import load_reward
from biddable.learn.reward_terms import Episode, Reward, RewardTerm
from biddable.model import checkpoints
from biddable.model.packing import PackedBatch, Tree, pad
from biddable.model.sampler import Request, SampledAnswer, sample
from biddable.model.trunk import Policy, Scorer, scorer_from
from biddable.run.config import TABLES, Input
from biddable.run.records import Message


def _kind_of_reward(value: Any) -> str:
    return TABLES if isinstance(value, list | tuple) else "path"


class RewardSettings(OptimizerSettings, LengthSettings):
    """What stages that train on a reward share: its terms, and what the value function makes of them."""

    reward: Annotated[
        Annotated[Input, Tag("path")] | Annotated[tuple[RewardTerm, ...], Tag(TABLES)],
        Discriminator(_kind_of_reward),
    ] = Path("learn.reward")
    """The reward model; or tables `[[learn.ppo.reward]]`, one for each term of a sum. The value function's
    first weights are the first reward model among them (Ouyang et al. 2022, C.4), else the policy's."""
    standardise_reward: bool = False
    """Shift and scale the reward model's scores so that the first policy's answers have mean 0 and standard
    deviation 1, and the value function with them (lm-human-preferences, Stiennon et al. 2020). Then
    missing_eos_score, value_clip and kl_coef mean the same for every reward model. Reward tables have
    `standardise` for each term."""
    missing_eos_score: float | None = -1.0
    """A reward model's score of an answer cut off before its end-of-sequence token is at most this: the
    missing-EOS penalty (Huang et al. 2024: -1); none: whatever the reward model says. Of a standardised term
    it is in standard deviations."""
    reference_answers: int = Field(default=256, ge=8)
    """Answers of the first policy on which terms are standardised and their range is measured, where a term
    asks for it; measured once, before the first step."""

    value_per_term: bool = False
    """A value head for each term of the reward, and one for the KL penalty, on one branch; the advantage is
    the sum of theirs."""

    selfplay: float = Field(default=0.0, ge=0, le=1)
    """Share of each rollout's episodes that are statements of self-play: the policy goes on with a dialogue of
    a buffer, as user or as assistant, and good statements join it (Glaese et al. 2022). Rules don't pay for a
    user's statements."""

    @model_validator(mode="after")
    def _standardise_one_model(self) -> RewardSettings:
        if self.standardise_reward and not isinstance(self.reward, Path):
            raise ValueError("standardise_reward: is for one reward model; set standardise in its tables")
        return self

    @property
    def terms(self) -> tuple[RewardTerm, ...]:
        """The terms, also of the short form."""
        if isinstance(self.reward, Path):
            return (RewardTerm(scorer=self.reward, standardise=self.standardise_reward),)
        return self.reward


@dataclass(frozen=True)
class Models:
    """The networks of reinforcement learning, on one trunk. Only policy and value train."""

    policy: Policy
    reference: Policy
    value: Scorer
    reward: Reward


class Experience(NamedTuple):
    """What the networks say about one minibatch's episodes before it trains.

    The old log-probabilities come from the training forward over the same rows, not from the sampler: so the
    first ratio is exactly 1 (Huang et al. 2024 name the other way as a source of trouble).
    """

    packed: tuple[PackedBatch, ...]  # microbatches
    logp: torch.Tensor  # (N,) log pi_old of each token drawn
    logp_reference: torch.Tensor  # (N,) log pi_ref
    values: torch.Tensor  # (N,) V_old before each token; with a head per term (N, K + 1), the last the KL's
    entropy: torch.Tensor  # (N,)
    terms: torch.Tensor  # (A, K) each term's share of the reward, without the KL penalty
    answer: torch.Tensor  # (N,) which answer of this minibatch a token belongs to
    first_forward: tuple[torch.Tensor, torch.Tensor] | None  # logp and values with their graph

    @property
    def scores(self) -> torch.Tensor:
        """(A,) the reward of each answer, without the KL penalty."""
        return self.terms.sum(1)


class Advantages(NamedTuple):
    """What PPO's losses need beside the old log-probabilities and values, flat over a minibatch's tokens."""

    advantages: torch.Tensor  # (N,)
    returns: torch.Tensor  # (N,), or (N, K + 1) for a value function with a head per term


def sample_episodes(
    policy: Policy, requests: Sequence[Request], eos: frozenset[int], slots: int
) -> tuple[list[SampledAnswer], list[Tree]]:
    """Sample an answer to each request, and keep the trunk's outputs: the answers, and the trees that all
    later forwards start from."""
    has_trunk = policy.trunk.depth > 0
    samples = sample(policy.freeze(), requests, eos, slots, keep_trunk=has_trunk)
    trees = []
    for request, sampled in zip(requests, samples, strict=True):
        hidden = (sampled.hidden,) if sampled.hidden is not None and has_trunk else None
        trees.append(Tree(request.prompt, (sampled.tokens,), hidden))
    return samples, trees


def load_models(cfg: RewardSettings, folder: Path) -> Models:
    """Policy (from `folder`), reference, value and reward on one trunk."""
    policy = checkpoints.load_policy(folder)
    reward = load_reward(cfg.terms, cfg.missing_eos_score, policy.trunk)
    # A copy and not a frozen copy: it runs the policy's own operations, so the first KL is exactly 0.
    reference = policy.copy().requires_grad_(False)
    value = first_value(cfg, policy)
    for branch in (policy.branch, value.branch):
        branch.checkpointing = cfg.gradient_checkpointing
    return Models(policy, reference, value, reward)


def first_value(cfg: RewardSettings, policy: Policy) -> Scorer:
    """The value function before it trains: the first reward model among the terms (Ouyang et al. 2022, C.4),
    else the policy's branch with a head of zeros. With a head per term the others begin as zeros."""
    for number, term in enumerate(cfg.terms):
        for folder in (*([term.scorer] if term.scorer else []), *term.ensemble):
            scorer = checkpoints.load_scorer(folder, policy.trunk)
            return (
                head_per_term(scorer, number, term.weight, len(cfg.terms)) if cfg.value_per_term else scorer
            )
    scorer = scorer_from(policy, torch.Generator(), deviation=0.0)
    return head_per_term(scorer, 0, 1.0, len(cfg.terms)) if cfg.value_per_term else scorer


def head_per_term(scorer: Scorer, number: int, weight: float, terms: int) -> Scorer:
    """The scorer's branch with a head for each term and, as the last, one for the KL penalty. The scorer's
    own, times its term's weight, is head `number`; the others are zeros."""
    heads = scorer.weight.new_zeros(terms + 1, len(scorer.weight))
    bias = scorer.bias.new_zeros(terms + 1)
    with torch.no_grad():
        heads[number], bias[number] = weight * scorer.weight, weight * scorer.bias
    return Scorer(scorer.trunk, scorer.branch, heads, bias)


def scale_value(models: Models) -> None:
    """Bring a value function that began as a standardised reward model to the scale of that term: what it
    says of an answer's end is then what the term pays. To be called once, before training."""
    for number, term in enumerate(models.reward.terms):
        if term.settings.source in ("scorer", "ensemble"):
            if term.moments is not None and term.settings.standardise:
                head = slice(None) if models.value.weight.dim() == 1 else slice(number, number + 1)
                paid = term.settings.weight if models.value.weight.dim() > 1 else 1.0  # see head_per_term
                with torch.no_grad():
                    models.value.weight[head] /= term.moments.deviation
                    bias = models.value.bias.view(-1)[head]
                    bias.copy_((bias - paid * term.moments.mean) / term.moments.deviation)
            return


def make_episodes(
    dialogues: Sequence[Sequence[Message]],
    samples: Sequence[SampledAnswer],
    trees: Sequence[Tree],
    tokenizer: Any,
) -> list[Episode]:
    """Sampled answers as the reward's terms read them."""
    special = frozenset(tokenizer.all_special_ids)
    return [
        Episode(tuple(messages), tree, sampled_answer(tokenizer, sampled, "").text, sampled.finish, special)
        for messages, sampled, tree in zip(dialogues, samples, trees, strict=True)
    ]


def make_experience(
    models: Models, trees: Sequence[Tree], terms: torch.Tensor, tokens: int, keep_graph: bool
) -> Experience:
    """Run policy, value and reference over a minibatch whose answers were paid `terms` (A, K). With
    `keep_graph`, and if it is one microbatch, policy and value keep theirs: the first update is at the very
    weights that sampled and needs no second forward."""
    packed = tuple(rows for _, rows in microbatches(trees, tokens))
    keep_graph = keep_graph and len(packed) == 1
    logp, entropy, values, logp_reference, answer = [], [], [], [], []
    first_forward = None
    answers = 0
    for rows in packed:
        with torch.set_grad_enabled(keep_graph):
            new_logp, new_entropy = models.policy.logp(rows)
            new_values = models.value.values(rows)
        if keep_graph:
            first_forward = (new_logp, new_values)
        logp.append(new_logp.detach())
        values.append(new_values.detach())
        entropy.append(new_entropy)
        with torch.no_grad():
            # the policy's very rows: others are rounded otherwise, in bf16 by up to 0.15 nats at a token
            logp_reference.append(models.reference.logp(rows)[0])
        answer.append(rows.answer + answers)
        answers += len(rows.last)
    return Experience(
        packed=packed,
        logp=torch.cat(logp),
        logp_reference=torch.cat(logp_reference),
        values=torch.cat(values),
        entropy=torch.cat(entropy),
        terms=terms,
        answer=torch.cat(answer),
        first_forward=first_forward,
    )


def compute_advantages(
    experiences: Sequence[Experience],
    kl_coef: float,
    gamma: float,
    gae_lambda: float,
    whiten_rewards: bool,
    whiten_advantages: bool = True,
) -> list[Advantages]:
    """KL penalty at every token and the score at the last one, GAE, whitened advantages; for a rollout's
    minibatches together.

    With a value head per term each term has returns of its own, and the advantage is the sum of theirs: GAE
    is linear, so equal values would give equal advantages. Advantages are whitened over the whole rollout's
    tokens (detail 19 whitens each minibatch's: the same in expectation, and here minibatches are compared
    with each other). Returns are not: the value function predicts real rewards.
    """
    masks = [pad(e.logp, e.answer, len(e.terms))[1] for e in experiences]
    rewards = [_reward_grids(e, kl_coef) for e in experiences]
    if whiten_rewards:
        grids = _whiten_together([grid for (grid,) in rewards], masks, shift_mean=False)
        rewards = [[grid] for grid in grids]
    advantages, returns = [], []
    for e, channels, mask in zip(experiences, rewards, masks, strict=True):
        columns = [e.values] if e.values.dim() == 1 else list(e.values.unbind(1))
        values = [pad(column, e.answer, len(e.terms))[0] for column in columns]
        estimates = [losses.gae(r, v, mask, gamma, gae_lambda) for r, v in zip(channels, values, strict=True)]
        advantages.append(torch.stack([advantage for advantage, _ in estimates]).sum(0))
        flat = [estimate[mask] for _, estimate in estimates]
        returns.append(flat[0] if e.values.dim() == 1 else torch.stack(flat, 1))
    if whiten_advantages:
        advantages = _whiten_together(advantages, masks, shift_mean=True)
    return [Advantages(a[m], r) for a, r, m in zip(advantages, returns, masks, strict=True)]


def _reward_grids(e: Experience, kl_coef: float) -> list[torch.Tensor]:
    """(A, T) rewards: one grid of all together, or, with a value head per term, one for each and then the KL
    penalty's."""
    logp, mask = pad(e.logp, e.answer, len(e.terms))
    logp_reference, _ = pad(e.logp_reference, e.answer, len(e.terms))
    if e.values.dim() == 1:
        return [losses.token_rewards(logp, logp_reference, e.scores, mask, kl_coef)]
    paid = [losses.token_rewards(logp, logp_reference, term, mask, 0.0) for term in e.terms.unbind(1)]
    return [*paid, losses.token_rewards(logp, logp_reference, torch.zeros_like(e.scores), mask, kl_coef)]


def _whiten_together(
    grids: Sequence[torch.Tensor], masks: Sequence[torch.Tensor], shift_mean: bool
) -> list[torch.Tensor]:
    """Whiten (A, T) grids by the mean and variance of all their counted values together."""
    joined = torch.cat([grid[mask] for grid, mask in zip(grids, masks, strict=True)])
    white = losses.whiten(joined, torch.ones_like(joined, dtype=torch.bool), shift_mean)
    parts = white.split([int(mask.sum()) for mask in masks])
    return [grid.masked_scatter(mask, part) for grid, mask, part in zip(grids, masks, parts, strict=True)]


def sum_by_answer(values: torch.Tensor, answer: torch.Tensor, answers: int) -> torch.Tensor:
    """Sums (A,) of token values (N,); `answer` (N,) says which answer a token belongs to."""
    return values.new_zeros(answers).index_add_(0, answer, values)
