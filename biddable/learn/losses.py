"""Losses and advantages as arithmetic: tensors and numbers in, tensors out. No models, settings, devices or
logging.

Legend: N counted answer tokens, A answers, T tokens of the longest answer, K answers to one prompt. `mask`
(A, T) is True where a token counts. Losses are sums; the caller divides by the count of the whole minibatch,
so that microbatches of unequal sizes add up to the same gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch


def _check_shapes(**tensors: torch.Tensor) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"shapes differ: {', '.join(f'{name} {shape}' for name, shape in shapes.items())}")


def whiten(values: torch.Tensor, mask: torch.Tensor, shift_mean: bool = True) -> torch.Tensor:
    """Scale to variance 1 over counted places; `shift_mean` also takes the mean away (without it the mean
    stays as it was).

    Advantages are shifted, rewards are not (Huang et al. 2024, details 13 and 19). Population variance. A
    single value has none and stays as it is.
    """
    _check_shapes(values=values, mask=mask)
    counted = values[mask]
    if counted.numel() < 2:
        return torch.where(mask, values, torch.zeros_like(values))
    mean = counted.mean()
    scaled = (values - mean) * torch.rsqrt(counted.var(unbiased=False) + 1e-8)
    return torch.where(mask, scaled if shift_mean else scaled + mean, torch.zeros_like(values))


def token_rewards(
    logp: torch.Tensor, logp_reference: torch.Tensor, score: torch.Tensor, mask: torch.Tensor, kl_coef: float
) -> torch.Tensor:
    """(A, T) rewards: the KL penalty -beta (log pi - log pi_ref) at every token, and the score (A,) on top at
    the last one.

    Summed over tokens it is the bandit's reward r(x, y) - beta log(pi / pi_ref) (Ouyang et al. 2022, 3.5).
    The penalty is part of the reward and not of the loss: it goes through GAE, and no gradient flows through
    it.
    """
    _check_shapes(logp=logp, logp_reference=logp_reference, mask=mask)
    kl_penalty = torch.where(mask, -kl_coef * (logp - logp_reference), torch.zeros_like(logp))
    last = mask.sum(dim=1) - 1  # (A,) the answer's last real token, its EOS if it has one: never padding
    answers = torch.arange(len(score), device=score.device)
    return kl_penalty.index_put((answers, last), score, accumulate=True)


def gae(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, gae_lambda: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised advantage estimation: (A, T) advantages and returns (Schulman et al. 2016).

    δ_t = R_t + γ V_{t+1} - V_t,  A_t = Σ (γλ)^l δ_{t+l},  return = A_t + V_t.  V after an answer's last token
    is 0: an episode ends there, also when it was cut off, and nothing is bootstrapped.
    """
    _check_shapes(rewards=rewards, values=values, mask=mask)
    values = torch.where(mask, values, torch.zeros_like(values))
    rewards = torch.where(mask, rewards, torch.zeros_like(rewards))
    advantages = torch.zeros_like(values)
    # Backwards in time, all answers at once. Shorter answers begin late: until their last token all of this
    # is 0 for them.
    next_advantage = next_value = torch.zeros_like(values[:, 0])
    for t in range(values.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        discounted = delta + gamma * gae_lambda * next_advantage
        next_advantage = torch.where(mask[:, t], discounted, torch.zeros_like(discounted))
        advantages[:, t] = next_advantage
        next_value = values[:, t]
    return advantages, torch.where(mask, advantages + values, torch.zeros_like(values))


def policy_loss(
    logp: torch.Tensor, logp_old: torch.Tensor, advantages: torch.Tensor, clip: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """-Σ min(ρA, clip(ρ, 1-ε, 1+ε)A) with ρ = exp(logp - logp_old), all (N,); and the number of tokens whose
    ratio was clipped (Schulman et al. 2017, equation 7)."""
    _check_shapes(logp=logp, logp_old=logp_old, advantages=advantages)
    ratio = torch.exp(logp - logp_old)
    unclipped, clipped = ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages
    # The minimum is pessimistic: a ratio outside the interval loses its gradient only where it would have
    # gained.
    return -torch.minimum(unclipped, clipped).sum(), (clipped < unclipped).sum()


def value_loss(
    values: torch.Tensor, values_old: torch.Tensor, returns: torch.Tensor, clip: float
) -> torch.Tensor:
    """½ Σ max((V - R)², (V_clipped - R)²) with V_clipped within `clip` of the value at rollout; all (N,)
    (lm-human-preferences)."""
    _check_shapes(values=values, values_old=values_old, returns=returns)
    clipped = values_old + (values - values_old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2).sum()


def value_clipped(
    values: torch.Tensor, values_old: torch.Tensor, returns: torch.Tensor, clip: float
) -> torch.Tensor:
    """How many values the clip of `value_loss` holds: they get no gradient, however far they are off."""
    _check_shapes(values=values, values_old=values_old, returns=returns)
    clipped = values_old + (values - values_old).clamp(-clip, clip)
    return ((clipped - returns) ** 2 > (values - returns) ** 2).sum()


def kl_k1(logp: torch.Tensor, logp_reference: torch.Tensor) -> torch.Tensor:
    """Per-token estimate log(pi / pi_ref) of KL(pi, pi_ref) for tokens drawn from pi: unbiased, may be
    negative."""
    return logp - logp_reference


def kl_k3(logp: torch.Tensor, logp_reference: torch.Tensor) -> torch.Tensor:
    """Per-token estimate (r - 1) - log r with r = pi_ref / pi: unbiased and never negative."""
    log_ratio = logp_reference - logp
    return torch.expm1(log_ratio) - log_ratio


def adapted_kl_coef(kl_coef: float, kl: float, target: float, episodes: int, horizon: float) -> float:
    """beta (1 + clip(KL / target - 1, -0.2, 0.2) n / horizon) (Ziegler et al. 2019, 2.2)."""
    return kl_coef * (1 + min(max(kl / target - 1, -0.2), 0.2) * episodes / horizon)


def explained_variance(values: torch.Tensor, returns: torch.Tensor) -> float:
    """1 - Var(R - V) / Var(R): 1 when the value function knows the return, 0 when it knows no more than a
    constant."""
    variance = returns.var(unbiased=False)
    return float(1 - (returns - values).var(unbiased=False) / variance) if variance > 0 else 0.0


Ties = Literal["drop", "even"]


def drop_ties(ranks: Sequence[int]) -> list[tuple[int, int]]:
    """(better, worse) for every pair of answers of one ranking that isn't a tie; 1 is the best rank (Ouyang
    et al. 2022, C.2)."""
    return [(i, j) for i, better in enumerate(ranks) for j, worse in enumerate(ranks) if better < worse]


def _weighted_pairs(ranks: Sequence[int], ties: Ties) -> list[tuple[int, int, float]]:
    """(better, worse, weight) of one ranking; a tie counts half in each direction, which is a target of one
    half."""
    share = 2 / (len(ranks) * (len(ranks) - 1))  # 1 / C(K, 2)
    pairs = [(i, j, share) for i, j in drop_ties(ranks)]
    if ties == "even":
        tied = [
            (i, j) for i in range(len(ranks)) for j in range(len(ranks)) if i != j and ranks[i] == ranks[j]
        ]
        pairs += [(i, j, share / 2) for i, j in tied]
    return sorted(pairs)


def ranking_loss(
    scores: torch.Tensor, rankings: Sequence[Sequence[int]], ties: Ties = "drop"
) -> torch.Tensor:
    """The reward model's loss, summed over prompts: for each prompt 1/C(K, 2) Σ over its pairs of -log σ(r_w
    - r_l).

    `scores` (A,) holds the answers of all prompts one after another; `rankings[p]` their ranks, 1 best. All
    pairs of a prompt are one element (Ouyang et al. 2022, equation 1). Ties are dropped, as the paper did,
    and still divided by C(K, 2); or, with `ties="even"`, pull the two scores together with target one half
    (Menick et al. 2022, 2.8). A prompt whose answers all tie contributes 0.
    """
    if sum(map(len, rankings)) != len(scores):
        raise ValueError(f"{len(scores)} scores but {sum(map(len, rankings))} ranks")
    better: list[int] = []
    worse: list[int] = []
    weights: list[float] = []
    start = 0
    for ranks in rankings:
        for i, j, weight in _weighted_pairs(ranks, ties):
            better.append(start + i)
            worse.append(start + j)
            weights.append(weight)
        start += len(ranks)
    margins = scores[better] - scores[worse]
    # softplus(-m) = -log σ(m), which never overflows
    return (torch.nn.functional.softplus(-margins) * margins.new_tensor(weights)).sum()


Centre = Literal["mean_squared", "sum_of_squares"]


class PreferenceWeights(NamedTuple):
    """The parts of a preference model's loss beside the softmax. The paper names them and not their weights."""

    elo: float = 1.0
    centre: float = 0.01
    centre_form: Centre = "mean_squared"


def preference_softmax(scores: torch.Tensor, ranks: Sequence[int], ties: Ties = "drop") -> torch.Tensor:
    """-log p(the best answer), p the softmax over all `scores` (K + M,): the K shown answers with their
    `ranks`, then M answers to other dialogues, which the choice is to pass over (Glaese et al. 2022).

    Several best answers: with `drop` any of them will do, -log Σ p; with `even` each has its share of the
    target, -mean log p (Menick et al. 2022, 2.8: a tie's target is even). With K = 2 and M = 0 it is
    `ranking_loss`.
    """
    if not 0 < len(ranks) <= len(scores):
        raise ValueError(f"{len(scores)} scores but {len(ranks)} ranks")
    best = [k for k, rank in enumerate(ranks) if rank == min(ranks)]
    logp = torch.log_softmax(scores, dim=0)[best]
    return -logp.mean() if ties == "even" else -torch.logsumexp(logp, dim=0)


def elo(scores: torch.Tensor, ranks: Sequence[int], ties: Ties = "drop") -> torch.Tensor:
    """Mean of -log σ(r_best - r_j) over the shown answers j that are not best: a difference of two scores is
    the log odds that the one wins, as in Elo's ratings (Glaese et al. 2022). 0 where all tie.

    With `even` several best answers are pairs too, with the target one half. Scores behind the K ranked ones
    are left alone.
    """
    best = [k for k, rank in enumerate(ranks) if rank == min(ranks)]
    pairs = [(i, j) for i in best for j in range(len(ranks)) if j not in best]
    if ties == "even":
        # both directions of a tie, each with half the weight: the mean counts each tie twice
        pairs = [pair for pair in pairs for _ in range(2)] + [(i, j) for i in best for j in best if i != j]
    if not pairs:
        return scores.sum() * 0.0
    better, worse = ([pair[side] for pair in pairs] for side in (0, 1))
    return torch.nn.functional.softplus(scores[worse] - scores[better]).mean()


def centre(scores: torch.Tensor, form: Centre = "mean_squared") -> torch.Tensor:
    """What holds a preference model's scores (K + M,) around 0, since no comparison does: (mean r)², which
    only moves their level, or Σ r², which also pulls them together. The paper does not say which."""
    return scores.mean() ** 2 if form == "mean_squared" else (scores**2).sum()


def preference_loss(
    scores: torch.Tensor,
    rankings: Sequence[Sequence[int]],
    weights: PreferenceWeights,
    ties: Ties = "drop",
) -> torch.Tensor:
    """The preference model's loss of one prompt: softmax + a elo + b centre (Glaese et al. 2022), the mean
    over its rankings by several labelers. `scores` (K + M,): M answers to other dialogues behind the K."""
    choices = [
        preference_softmax(scores, ranks, ties) + weights.elo * elo(scores, ranks, ties) for ranks in rankings
    ]
    return torch.stack(choices).mean() + weights.centre * centre(scores, weights.centre_form)
