"""Rollouts: answers sampled from the policy, scored, and turned into what PPO learns from. The trunk runs once per token, in the sampler.

Legend: A answers (episodes), N their tokens in all, T tokens of the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from biddable.learn import losses
from biddable.learn.training import microbatches
from biddable.model.packing import PackedBatch, Tree, pad
from biddable.model.sampler import Request, SampledAnswer, sample
from biddable.model.trunk import Policy, Scorer
from biddable.run.records import Finish

STILL_TOKENS = 2048
"""Tokens per forward of the models that do not learn: more are not faster, fewer take less memory."""


class Minibatch(NamedTuple):
    """One update's episodes, laid out once: the old log-probabilities come from the same rows that train."""

    packed: tuple[PackedBatch, ...]  # microbatches
    logp: torch.Tensor  # (N,) log pi_old of each token drawn
    reference: torch.Tensor  # (N,) log pi_ref
    values: torch.Tensor  # (N,) V_old before each token
    entropy: torch.Tensor  # (N,)
    score: torch.Tensor  # (A,) what the reward model says, missing ends dealt with
    answer: torch.Tensor  # (N,) which answer of this minibatch a token belongs to
    first: (
        tuple[torch.Tensor, torch.Tensor] | None
    )  # (N,), (N,) logp and values with their graph, for the first update


class Advantages(NamedTuple):
    """What PPO's loss needs beside the old log-probabilities, flat over a minibatch's tokens."""

    advantages: torch.Tensor  # (N,)
    returns: torch.Tensor  # (N,)


@dataclass(frozen=True)
class Models:
    """The four that meet in PPO, standing on one trunk."""

    policy: Policy
    reference: Policy
    value: Scorer
    reward: Scorer


def answer(
    policy: Policy,
    requests: Sequence[Request],
    eos: frozenset[int],
    slots: int,
    done: Any = lambda finished, tokens: None,
) -> tuple[list[SampledAnswer], list[Tree]]:
    """Sample, and keep the trunk's outputs: the answers, and the trees that everything later starts from."""
    got = sample(policy.freeze(), requests, eos, slots, keep_trunk=policy.trunk.depth > 0, progress=done)
    trees = []
    for request, one in zip(requests, got, strict=True):
        kept = (one.hidden,) if one.hidden is not None and policy.trunk.depth else None
        trees.append(Tree(request.prompt, (one.tokens,), kept))
    return got, trees


def ended(score: torch.Tensor, finishes: Sequence[Finish], missing: float | None) -> torch.Tensor:
    """Scores (A,) with answers that have no end held to at most `missing`: the score of an unfinished answer is otherwise not defined
    (the EOS trick, Huang et al. 2024). At most, not exactly: else an unfinished answer could pay more than a bad finished one."""
    if missing is None:
        return score
    open_ended = torch.tensor([finish == "length" for finish in finishes], device=score.device)
    return torch.where(open_ended, score.clamp(max=missing), score)


def experience(
    models: Models,
    trees: Sequence[Tree],
    finishes: Sequence[Finish],
    missing: float | None,
    tokens: int,
    graph: bool,
) -> Minibatch:
    """Run all four over a minibatch. With `graph` policy and value keep theirs, so that the first update needs no second forward."""
    packed = tuple(one for _, one in microbatches(trees, tokens))
    graph = graph and len(packed) == 1
    logp, entropy, values, reference, score, owner = [], [], [], [], [], []
    first = None
    answers = 0
    for one in packed:
        with torch.set_grad_enabled(graph):
            new, spread = models.policy.logp(one)
            before = models.value.values(one)
        if graph:
            first = (new, before)
        logp.append(new.detach())
        values.append(before.detach())
        entropy.append(spread)
        with torch.no_grad():
            for _, part in microbatches(trees[answers : answers + len(one.last)], min(tokens, STILL_TOKENS)):
                reference.append(models.reference.logp(part)[0])
                score.append(models.reward.scores(part))
        owner.append(one.answer + answers)
        answers += len(one.last)
    held = ended(torch.cat(score), finishes, missing)
    flat = [torch.cat(part) for part in (logp, reference, values, entropy)]
    return Minibatch(packed, flat[0], flat[1], flat[2], flat[3], held, torch.cat(owner), first)


def advantages(
    parts: Sequence[Minibatch],
    kl_coef: float,
    gamma: float,
    gae_lambda: float,
    whiten_rewards: bool,
    whiten: bool,
) -> list[Advantages]:
    """Per-token KL, score at the end, GAE, whitening over the whole batch's counted tokens."""
    grids = []
    for part in parts:
        size = len(part.score)
        logp, mask = pad(part.logp, part.answer, size)
        reference, _ = pad(part.reference, part.answer, size)
        values, _ = pad(part.values, part.answer, size)
        grids.append((losses.token_rewards(logp, reference, part.score, mask, kl_coef), values, mask))
    if whiten_rewards:
        joined = torch.cat([r[m] for r, _, m in grids])
        flat = losses.whiten(joined, torch.ones_like(joined, dtype=torch.bool), False)
        grids = _put_back(grids, flat)
    estimated = [losses.gae(rewards, values, mask, gamma, gae_lambda) for rewards, values, mask in grids]
    out = [(a[mask], r[mask]) for (a, r), (_, _, mask) in zip(estimated, grids, strict=True)]
    if whiten:
        joined = torch.cat([a for a, _ in out])
        flat = losses.whiten(joined, torch.ones_like(joined, dtype=torch.bool))
        out = [(a, r) for a, (_, r) in zip(flat.split([len(a) for a, _ in out]), out, strict=True)]
    return [Advantages(a, r) for a, r in out]


def _put_back(
    grids: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], flat: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    parts = flat.split([int(mask.sum()) for *_, mask in grids])
    return [(r.masked_scatter(m, own), v, m) for (r, v, m), own in zip(grids, parts, strict=True)]


def per_answer(values: torch.Tensor, owner: torch.Tensor, answers: int) -> torch.Tensor:
    """Sum of token values (N,) by answer (A,)."""
    return values.new_zeros(answers).index_add_(0, owner, values)


def distinct(answers: Sequence[Sequence[int]], size: int = 2) -> float:
    """Share of different n-grams among all n-grams of these answers: falls when the policy repeats itself (Li et al. 2016)."""
    grams = [tuple(a[i : i + size]) for a in answers for i in range(len(a) - size + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    """Pearson's; 0 when one of them does not vary."""
    a, b = first.float() - first.float().mean(), second.float() - second.float().mean()
    spread = float(a.norm() * b.norm())
    return float(a @ b) / spread if spread > 0 else 0.0
