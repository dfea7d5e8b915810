"""What PPO writes about a rollout into metrics.jsonl and samples.jsonl. docs/flow.md explains each name.

Legend: A answers (episodes), N their tokens in all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from biddable.learn import losses
from biddable.learn.replies import sampled_answer
from biddable.learn.rollout import Advantages, Experience, sum_by_answer
from biddable.model.sampler import Request, SampledAnswer
from biddable.run.config import UserError
from biddable.run.context import StageContext


def summarise(
    experiences: Sequence[Experience],
    targets: Sequence[Advantages],
    statistics: Sequence[dict[str, float]],
    samples: Sequence[SampledAnswer],
    kl_coef: float,
    terms: Sequence[str] = (),
) -> dict[str, float]:
    """One rollout's metrics; each name is explained in docs/flow.md. `samples` stand in the experiences'
    order; `statistics` has one entry per update; `terms` names the value function's heads where it has one
    for each term."""
    k1 = torch.cat([answer_kl(e) for e in experiences])  # (A,) of the whole rollout, as all of these
    k3 = torch.cat(
        [sum_by_answer(losses.kl_k3(e.logp, e.logp_reference), e.answer, len(e.scores)) for e in experiences]
    )
    length = torch.cat([torch.bincount(e.answer, minlength=len(e.scores)) for e in experiences])
    score = torch.cat([e.scores for e in experiences])
    means = {name: sum(numbers[name] for numbers in statistics) / len(statistics) for name in statistics[0]}
    if "ratio_first" in means:
        means["ratio_first"] = statistics[0]["ratio_first"]
    return means | {
        "reward": float(score.mean()),
        "reward_with_kl": float((score - kl_coef * k1).mean()),
        "kl": float(k1.mean()),
        "kl_k3": float(k3.mean()),
        "entropy": float(torch.cat([e.entropy for e in experiences]).mean()),
        "length": float(length.float().mean()),
        "finished": sum(sampled.finish == "stop" for sampled in samples) / len(samples),
        "score_std": float(score.std(unbiased=False)),
        "value_start": float(torch.cat([first_values(e) for e in experiences]).mean()),
        "kl_sampler": sampler_kl(experiences, samples),
        **explained_variances(experiences, targets, terms),
        "length_reward_correlation": correlation(length, score),
        "distinct_2": distinct_ngrams([sampled.tokens for sampled in samples]),
    }


def first_values(experience: Experience) -> torch.Tensor:
    """(A,) V(s_0): what the value function expects before each answer's first token. It is 0 at the start of
    a standardised reward, and far from the mean score when the value function lags behind."""
    values = experience.values if experience.values.dim() == 1 else experience.values.sum(1)
    first = experience.answer.diff(prepend=experience.answer.new_tensor([-1])) > 0
    return values[first]


def sampler_kl(experiences: Sequence[Experience], samples: Sequence[SampledAnswer]) -> float:
    """KL of what the sampler drew from to what trains, k3 in nats per answer: in fp32 next to 0, in bf16 what
    cached decoding rounds otherwise. The ratio assumes that it is 0."""
    logp = torch.cat([e.logp for e in experiences])
    drawn = logp.new_tensor([number for sampled in samples for number in sampled.logp])
    return float(losses.kl_k3(drawn, logp).sum()) / len(samples)


def explained_variances(
    experiences: Sequence[Experience], targets: Sequence[Advantages], terms: Sequence[str]
) -> dict[str, float]:
    """How much of the returns the value function knew: in all, and by head where it has one for each term
    and for the KL."""
    values = torch.cat([e.values for e in experiences])
    returns = torch.cat([t.returns for t in targets])
    if values.dim() == 1:
        return {"explained_variance": losses.explained_variance(values, returns)}
    numbers = {"explained_variance": losses.explained_variance(values.sum(1), returns.sum(1))}
    for i, name in enumerate((*terms, "kl")):
        numbers[f"explained_variance_{name}"] = losses.explained_variance(values[:, i], returns[:, i])
    return numbers


def answer_kl(experience: Experience) -> torch.Tensor:
    """(A,) nats: each answer's log(pi / pi_ref), the k1 estimate of its KL."""
    k1 = losses.kl_k1(experience.logp, experience.logp_reference)
    return sum_by_answer(k1, experience.answer, len(experience.scores))


def check_finite(metrics: dict[str, float], step: int) -> None:
    """Raise UserError when a number is not finite: such weights teach nothing."""
    infinite = [f"{name} = {value}" for name, value in metrics.items() if not math.isfinite(value)]
    if infinite:
        raise UserError(
            f"step {step}: {', '.join(infinite)}; lower learning_rate or raise kl_coef and run again"
        )


def distinct_ngrams(answers: Sequence[Sequence[int]], size: int = 2) -> float:
    """Share of different n-grams among all n-grams of these answers: falls when the policy repeats itself (Li
    et al. 2016)."""
    grams = [tuple(a[i : i + size]) for a in answers for i in range(len(a) - size + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    """Pearson's; 0 when one of them does not vary."""
    a, b = first.float() - first.float().mean(), second.float() - second.float().mean()
    spread = float(a.norm() * b.norm())
    return float(a @ b) / spread if spread > 0 else 0.0


def log_samples(
    context: StageContext,
    step: int,
    tokenizer: Any,
    episodes: Sequence[tuple[Request, SampledAnswer]],
    experience: Experience,
) -> None:
    """Three episodes of this minibatch with score and KL, for people to read: numbers alone don't show what
    the policy does."""
    kls = answer_kl(experience).tolist()
    for (request, sampled), score, kl in list(zip(episodes, experience.scores.tolist(), kls, strict=True))[
        :3
    ]:
        row = {
            "step": step,
            "prompt": tokenizer.decode(request.prompt, skip_special_tokens=True),
            "answer": sampled_answer(tokenizer, sampled, context.key).text,
            "score": score,
            "kl": kl,
            "finish": sampled.finish,
        }
        context.append("samples.jsonl", row)
