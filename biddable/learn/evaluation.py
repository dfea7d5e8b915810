"""Answers to the same validation prompts now and then while a policy trains, for people and benchmarks to
judge later (gold score against KL)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from biddable.learn import rollout
from biddable.learn.ppo_metrics import answer_kl
from biddable.learn.replies import sampled_answer
from biddable.learn.rl_prompts import EncodedPrompt, reference_requests
from biddable.learn.training import derive_seed
from biddable.model.sampler import Request
from biddable.run.context import StageContext
from biddable.run.records import Answer, Replies


def evaluate(
    models: rollout.Models,
    prompts: Sequence[EncodedPrompt],
    eos: frozenset[int],
    max_tokens: int,
    slots: int,
    microbatch_tokens: int,
    tokenizer: Any,
    context: StageContext,
    step: int,
) -> None:
    """Answer the prompts with the same draws as at every other step, and write the answers with their score
    and KL to replies.jsonl."""
    requests = [Request(ids, derive_seed("look", context.seed, p.id), max_tokens) for p, ids in prompts]
    samples, trees = rollout.sample_episodes(models.policy, requests, eos, slots)
    episodes = rollout.make_episodes([prompt.messages for prompt, _ in prompts], samples, trees, tokenizer)
    scored = models.reward.score(episodes)
    with torch.no_grad():
        experience = rollout.make_experience(models, trees, scored.terms, microbatch_tokens, keep_graph=False)
    kls = answer_kl(experience).tolist()
    for (prompt, _), sampled, score, kl in zip(prompts, samples, scored.rewards.tolist(), kls, strict=True):
        answer = sampled_answer(tokenizer, sampled, f"{context.key}@{step}", step)
        with_numbers = Answer(**{**answer.model_dump(), "score": score, "kl": kl})
        row = Replies(prompt=prompt, answers=(with_numbers,))
        context.append("replies.jsonl", row.model_dump(exclude_none=True))


def measure_reward(
    models: rollout.Models,
    train: Sequence[EncodedPrompt],
    answers: int,
    max_tokens: int,
    slots: int,
    eos: frozenset[int],
    tokenizer: Any,
    context: StageContext,
) -> None:
    """Measure the reward's terms on so many answers of the first policy, where one of them asks for it."""
    if models.reward.needs_reference:
        prompts, requests = reference_requests(train, answers, max_tokens, context)
        samples, trees = rollout.sample_episodes(models.policy, requests, eos, slots)
        models.reward.measure(
            rollout.make_episodes([p.messages for p, _ in prompts], samples, trees, tokenizer)
        )
        rollout.scale_value(models)
