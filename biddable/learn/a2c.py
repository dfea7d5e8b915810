"""A2C: batched synchronous advantage actor-critic, as Sparrow and GopherCite were trained.

Glaese et al. 2022, section 3.4; Menick et al. 2022, 2.8 and F.1. policy + reward + prompts -> a policy folder.
Every step answers a batch of prompts and takes one gradient step on those answers, so there is no ratio to
clip. The policy stays near the one it began as either by a loss,

    L = (1 - alpha) (-mean A_t log pi(y_t | s_t)) + alpha mean KL(pi(. | s_t) || pi_0(. | s_t)),

with the exact KL over the vocabulary at the states that were sampled, or, as in PPO, by a reward of -beta
log(pi / pi_0) at every token. The loss has less variance, the reward also counts what a token does to the
KL of later states. A_t = R - V(s_t) with lambda = 1. Policy, reference, value, reward models and rules stand
on one trunk.

Legend: A answers, K terms of the reward, N answer tokens.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from biddable.learn import losses, rollout
from biddable.learn.batches import counted_tokens, microbatches
from biddable.learn.evaluation import evaluate, measure_reward
from biddable.learn.optimizer import Schedule
from biddable.learn.ppo_metrics import check_finite, log_samples, summarise
from biddable.learn.rl_prompts import prompt_stream, read_prompts, rollout_requests
from biddable.learn.rollout import RewardSettings
from biddable.learn.training import Resumable, updates
from biddable.model import checkpoints
from biddable.model.logprobs import token_logprobs
from biddable.model.packing import PackedBatch, Tree
from biddable.model.token_kl import token_kl
from biddable.run.config import Input
from biddable.run.context import StageContext


class Config(RewardSettings):
    runtime_settings = frozenset({"checkpoint_seconds", "checkpoint_share"})
    policy: Input = Path("learn.sft")
    """First weights, and the frozen reference of the KL term."""
    prompts: Input = Path("curate.prompts")
    """Prompts of the split `train` make episodes; those of `valid` are answered now and then to look at."""
    episodes: int = Field(default=16_640, ge=1)
    """Answers to learn from in all (Menick et al. 2022, F.1: 520 steps, 16,640 episodes)."""
    batch: int = Field(default=32, ge=1)
    """Episodes per gradient step (F.1: 32)."""
    max_tokens: int = Field(default=256, ge=1)
    """Tokens per answer at most."""
    learning_rate: float = Field(default=2e-6, gt=0)
    """The policy's (F.1: 2e-6, with Adafactor)."""
    value_learning_rate: float = Field(default=9e-6, gt=0)
    """The value function's own; its branch is apart from the policy's, so its loss needs no coefficient."""
    schedule: Schedule = "constant"
    """The learning rates after the warm-up."""
    kl: Literal["loss", "reward"] = "loss"
    """Where the distance to the first policy counts: in the loss, with weight alpha, or in the reward, with
    weight kl_coef; never in both."""
    alpha: float = Field(default=0.1, ge=0, le=1)
    """Weight of the KL in the loss; the rest is the policy gradient's (F.1: 0.1). At 1 nothing but the first
    policy is learned."""
    kl_coef: float = Field(default=0.02, ge=0)
    """beta, reward per nat, with kl = "reward"."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount of the returns (2.8: none, 1)."""
    gae_lambda: float = Field(default=1.0, ge=0, le=1)
    """lambda of generalised advantage estimation; 1: the advantage is R - V (2.8)."""
    slots: int = Field(default=64, ge=1)
    """Answers under way at once."""
    microbatch_tokens: int = Field(default=8192, ge=64)
    """Tokens per forward: less memory, same result."""
    eval_every: int = Field(default=10, ge=1)
    """Steps between answers to the same validation prompts."""
    eval_prompts: int = Field(default=16, ge=1)
    """How many validation prompts are answered each time."""
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    """Time between checkpoints."""


def run(cfg: Config, context: StageContext) -> None:
    models, tokenizer = rollout.load_models(cfg, cfg.policy), checkpoints.tokenizer(cfg.policy)
    eos = checkpoints.eos_ids(cfg.policy, tokenizer)
    train, valid = read_prompts(
        cfg, cfg.prompts, cfg.policy, cfg.max_tokens, cfg.eval_prompts, tokenizer, context
    )
    policy_adam, value_adam = cfg.adamw(models.policy.parameters()), cfg.adamw(models.value.parameters())
    stream = prompt_stream(cfg.selfplay, train, cfg.policy, cfg.max_tokens, tokenizer, context)
    parts: dict[str, Resumable] = {
        "policy": policy_adam,
        "value": value_adam,
        "reward": models.reward,
        "prompts": stream,
    }
    steps = -(-cfg.episodes // cfg.batch)
    look = partial(
        evaluate, models, valid, eos, cfg.max_tokens, cfg.slots, cfg.microbatch_tokens, tokenizer, context
    )
    for step in updates(context, steps, parts, cfg.checkpoint_seconds, cfg.checkpoint_share):
        if step == 0:
            measure_reward(
                models, train, cfg.reference_answers, cfg.max_tokens, cfg.slots, eos, tokenizer, context
            )
            look(0)
        started = time.perf_counter()
        # 1. Rollout: one answer to each of `batch` prompts, from the current policy.
        prompts = stream.draw(cfg.batch, step)
        requests = rollout_requests(prompts, cfg.max_tokens, step, context)
        samples, trees = rollout.sample_episodes(models.policy, requests, eos, cfg.slots)
        # 2. What each answer is paid.
        episodes = rollout.make_episodes([messages for messages, _ in prompts], samples, trees, tokenizer)
        scored = models.reward.score(episodes)
        stream.grow(episodes, scored.rewards)
        # 3. Gradients of all answers, then one step for each network.
        experiences, targets, numbers = accumulate_gradients(cfg, models, trees, scored.terms)
        rate = cfg.rate_at(step, steps, cfg.learning_rate)
        numbers["grad_norm_policy"] = policy_adam.step(rate, cfg.clip_norm)
        value_rate = cfg.rate_at(step, steps, cfg.value_learning_rate)
        numbers["grad_norm_value"] = value_adam.step(value_rate, cfg.clip_norm)
        # 4. Metrics, samples to read, and answers to the same validation prompts now and then.
        metrics = summarise(experiences, targets, [numbers], samples, kl_penalty(cfg), models.reward.names)
        metrics |= models.reward.metrics(scored) | stream.metrics()
        models.reward.update_budgets(scored)
        metrics |= {"episodes": (step + 1) * cfg.batch, "learning_rate": rate}
        check_finite(metrics, step + 1)
        metrics["tokens_per_second"] = metrics["length"] * len(samples) / (time.perf_counter() - started)
        context.log(step + 1, **metrics)
        pairs = list(zip(requests, samples, strict=True))[: len(experiences[0].terms)]
        log_samples(context, step + 1, tokenizer, pairs, experiences[0])
        context.progress(
            step + 1, steps, reward=metrics["reward"], kl=metrics["kl"], length=metrics["length"]
        )
        if (step + 1) % cfg.eval_every == 0 or step + 1 == steps:
            look(step + 1)
    checkpoints.save_policy(models.policy, context.path("model"), cfg.policy)
    context.summary |= {
        "steps": steps,
        "episodes": steps * cfg.batch,
        "prompts": len(train),
        **models.reward.summary(),
    }


def kl_penalty(cfg: Config) -> float:
    """beta of the reward's KL penalty; 0 where the loss holds the policy."""
    return cfg.kl_coef if cfg.kl == "reward" else 0.0


def accumulate_gradients(
    cfg: Config, models: rollout.Models, trees: Sequence[Tree], terms: torch.Tensor
) -> tuple[list[rollout.Experience], list[rollout.Advantages], dict[str, float]]:
    """Add the gradients of the policy's and the value's loss, means over all answers' tokens, microbatch after
    microbatch. An answer's advantages need no other answer, so each microbatch runs once, forward and
    backward. Returns what metrics are made of."""
    count = counted_tokens(trees)
    numbers = {"policy_loss": 0.0, "value_loss": 0.0, "kl_exact": 0.0}
    experiences, targets = [], []
    for indices, rows in microbatches(trees, cfg.microbatch_tokens):
        logp, kl, values, experience = forward(cfg, models, rows, terms[indices])
        (target,) = rollout.compute_advantages(
            [experience], kl_penalty(cfg), cfg.gamma, cfg.gae_lambda, False, whiten_advantages=False
        )
        policy_loss = -(target.advantages * logp).sum()
        # no clip: values train once, at the very weights that gave the baseline
        value_loss = losses.value_loss(values, experience.values, target.returns, clip=float("inf"))
        loss = policy_loss if kl is None else (1 - cfg.alpha) * policy_loss + cfg.alpha * kl.sum()
        (loss / count).backward()
        (value_loss / count).backward()
        numbers["policy_loss"] += policy_loss.item() / count
        numbers["value_loss"] += value_loss.item() / count
        numbers["kl_exact"] += 0.0 if kl is None else float(kl.detach().sum()) / count
        experiences.append(experience)
        targets.append(target)
    if cfg.kl == "reward":
        del numbers["kl_exact"]
    return experiences, targets, numbers


def forward(
    cfg: Config, models: rollout.Models, rows: PackedBatch, terms: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, rollout.Experience]:
    """Log-probabilities of the drawn tokens, for the loss the exact KL at every state, and values, each (N,)
    with its graph; and what they are as numbers."""
    states, values = models.policy.states(rows), models.value.values(rows)
    logp, entropy = token_logprobs(states, rows.target, models.policy.head)
    with torch.no_grad():
        reference_states = models.reference.states(rows)
    kl = None
    if cfg.kl == "loss":
        heads = models.policy.head, models.reference.head
        kl, logp_reference = token_kl(states, reference_states, rows.target, *heads)
    else:
        with torch.no_grad():
            logp_reference, _ = token_logprobs(reference_states, rows.target, models.reference.head)
    experience = rollout.Experience(
        packed=(rows,),
        logp=logp.detach(),
        logp_reference=logp_reference,
        values=values.detach(),
        entropy=entropy,
        terms=terms,
        answer=rows.answer,
        first_forward=None,
    )
    return logp, kl, values, experience
