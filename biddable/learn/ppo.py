"""PPO with a pretraining mix (PPO-ptx): Ouyang et al. 2022, 3.5 and C.4, equation 2.

With `ptx_coef = 0` it is plain PPO. policy + reward model + prompts (+ text) -> a policy folder. A prompt, an
answer, a score at its end: a bandit whose actions are tokens. Every token pays -beta log(pi / pi_ref) against
the policy it began as; a value branch that began as the reward model gives advantages (GAE); the ratio is
clipped; each update adds the gradient of running text's log-likelihood, in the same optimizer step. The
weights that are saved are their moving average. An entropy bonus and early stopping by KL are settings, off
as in the paper. Left out: value pretraining.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from pydantic import Field

from biddable.learn import losses, ptx, rollout
from biddable.learn.batches import text_trees
from biddable.learn.evaluation import evaluate, measure_reward
from biddable.learn.optimizer import Ema, Optimizer, Schedule
from biddable.learn.ppo_metrics import check_finite, log_samples, summarise
from biddable.learn.rl_prompts import (
    prompt_stream,
    read_prompts,
    rollout_requests,
)
from biddable.learn.rollout import RewardSettings
from biddable.learn.training import Resumable, derive_seed, epoch_order, updates
from biddable.model import checkpoints
from biddable.model.logprobs import token_logprobs
from biddable.model.packing import Tree
from biddable.model.token_kl import token_entropy
from biddable.run.config import Input, UserError
from biddable.run.context import StageContext


class Config(RewardSettings):
    runtime_settings = frozenset({"checkpoint_seconds", "checkpoint_share"})
    renamed: ClassVar[dict[str, str]] = {
        "discount": "gamma",
        "smoothing": "gae_lambda",
        "ema": "ema_decay",
        "look_every": "eval_every",
        "look_prompts": "eval_prompts",
        "inner_epochs": "ppo_epochs",
        "missing_end": "missing_eos_score",
        "ptx_share": "ptx_per_episode",
    }
    policy: Input = Path("learn.sft")
    """First weights, and the frozen reference of the KL term."""
    prompts: Input = Path("curate.prompts")
    """Prompts of the split `train` make episodes; those of `valid` are answered now and then to look at."""
    text: Input | None = Path("collect.text")
    """Running text for the pretraining mix; may be none when ptx_coef is 0."""
    episodes: int = Field(default=256_000, ge=1)
    """Answers to learn from in all (C.4: 256k)."""
    batch: int = Field(default=512, ge=1)
    """Episodes per rollout (C.4: 512)."""
    minibatch: int = Field(default=64, ge=1)
    """Episodes per update (C.4: 64)."""
    ppo_epochs: int = Field(default=1, ge=1)
    """Passes over each rollout (C.4: 1; Stiennon et al. 2020: 4)."""
    max_tokens: int = Field(default=256, ge=1)
    """Tokens per answer at most (C: 1,000)."""
    learning_rate: float = Field(default=8.05e-6, gt=0)
    """The policy's, constant after the warm-up (E.9: above 8.05e-6 it diverged without ptx)."""
    value_learning_rate: float = Field(default=9e-6, gt=0)
    """The value function's own (C.4: 9e-6)."""
    schedule: Schedule = "constant"
    """The learning rates after the warm-up (C.4: constant)."""
    warmup: int = Field(default=10, ge=0)
    """Rollouts over which both rates rise, from a tenth of the peak (C.4: 10)."""
    kl_coef: float = Field(default=0.02, ge=0)
    """beta: reward per nat (C.4: 0.02)."""
    kl_target: float | None = Field(default=None, gt=0)
    """Nats per answer that beta is adapted to (Ziegler et al. 2019: 6); none: beta is fixed, as in the
    paper."""
    kl_horizon: float = Field(default=10_000, gt=0)
    """Episodes over which beta adapts (Ziegler et al. 2019: 10,000)."""
    ptx_coef: float = Field(default=27.8, ge=0)
    """Weight of the text's mean log-likelihood per token: gamma in equation 2 (C.4: 27.8; the paper does not
    give its unit, so sweep it and watch both gradients)."""
    ptx_per_episode: float = Field(default=8.0, ge=0)
    """Pieces of text per episode (C.4: 8)."""
    ptx_tokens: int = Field(default=128, ge=2)
    """Tokens per piece of text; a longer text goes on in the next piece."""
    clip: float = Field(default=0.2, gt=0)
    """The ratio is held in [1 - clip, 1 + clip] (C.4: 0.2)."""
    value_clip: float = Field(default=0.2, gt=0)
    """The value moves at most so far from its value at rollout (lm-human-preferences: 0.2)."""
    early_stop_kl: float | None = Field(default=None, gt=0)
    """Nats per token of KL(old, new), metric approx_kl, at which an update is the last of its rollout
    (cleanrl's target_kl); none: all updates are done."""
    entropy_coef: float = Field(default=0.0, ge=0)
    """Weight of the mean entropy per token in the policy's objective (cleanrl: 0.01; C.4: none)."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount of the returns (C.4: none, 1)."""
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    """lambda of generalised advantage estimation (Stiennon et al. 2020, B.1: 0.95)."""
    whiten_rewards: bool = False
    """Scale rewards to variance 1 without moving their mean (Huang et al. 2024, detail 13)."""
    whiten_advantages: bool = True
    """Bring a rollout's advantages to mean 0 and variance 1 (detail 19)."""
    ema_decay: float = Field(default=0.992, ge=0, lt=1)
    """Decay of the average that is saved, per update (C.4: 0.992); 0 saves the last weights."""
    slots: int = Field(default=64, ge=1)
    """Answers under way at once."""
    microbatch_tokens: int = Field(default=8192, ge=64)
    """Tokens per forward: less memory, same result."""
    eval_every: int = Field(default=10, ge=1)
    """Rollouts between answers to the same validation prompts."""
    eval_prompts: int = Field(default=16, ge=1)
    """How many validation prompts are answered each time."""
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    """Time between checkpoints."""


class KLCoefficient:
    """beta, the price of a nat of KL: fixed, or adapted to a target after each rollout (Ziegler et al. 2019,
    2.2)."""

    def __init__(self, value: float, target: float | None, horizon: float) -> None:
        self.value, self.target, self.horizon = value, target, horizon

    def update(self, kl: float, episodes: int) -> None:
        """Move towards the target, given the mean KL per answer of a rollout of so many episodes."""
        if self.target is not None:
            self.value = losses.adapted_kl_coef(self.value, kl, self.target, episodes, self.horizon)

    def state(self) -> float:
        return self.value

    def restore(self, state: float) -> None:
        self.value = state


def run(cfg: Config, context: StageContext) -> None:
    check_settings(cfg, context)
    models, tokenizer = rollout.load_models(cfg, cfg.policy), checkpoints.tokenizer(cfg.policy)
    eos = checkpoints.eos_ids(cfg.policy, tokenizer)
    train, valid = read_prompts(
        cfg, cfg.prompts, cfg.policy, cfg.max_tokens, cfg.eval_prompts, tokenizer, context
    )
    text = text_trees(tokenizer, cfg.text, cfg.ptx_tokens) if cfg.text and cfg.ptx_coef else []
    policy_adam, value_adam = cfg.adamw(models.policy.parameters()), cfg.adamw(models.value.parameters())
    optimizers = Optimizers(policy_adam, value_adam, Ema(policy_adam.masters, cfg.ema_decay))
    stream = prompt_stream(cfg.selfplay, train, cfg.policy, cfg.max_tokens, tokenizer, context)
    kl_coef = KLCoefficient(cfg.kl_coef, cfg.kl_target, cfg.kl_horizon)
    parts: dict[str, Resumable] = {
        "policy": policy_adam,
        "value": value_adam,
        "average": optimizers.ema,
        "kl_coef": kl_coef,
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
        # 2. Experience: scores, log-probabilities and values, before anything is updated.
        episodes = rollout.make_episodes([messages for messages, _ in prompts], samples, trees, tokenizer)
        scored = models.reward.score(episodes)
        stream.grow(episodes, scored.rewards)
        minibatches = minibatch_indices(cfg, step, context.seed)
        experiences = minibatch_experiences(cfg, models, trees, scored.terms, minibatches)
        # 3. Rewards and advantages.
        targets = rollout.compute_advantages(
            experiences, kl_coef.value, cfg.gamma, cfg.gae_lambda, cfg.whiten_rewards, cfg.whiten_advantages
        )
        # 4. Updates: policy and value, each minibatch once per PPO epoch, with its share of running text.
        rate = cfg.rate_at(step, steps, cfg.learning_rate)
        value_rate = cfg.rate_at(step, steps, cfg.value_learning_rate)
        statistics = update_networks(
            cfg, models, experiences, targets, text, step, context.seed, (rate, value_rate), optimizers
        )
        # 5. Metrics, samples to read, and answers to the same validation prompts now and then.
        ordered = [samples[i] for indices in minibatches for i in indices]
        metrics = summarise(experiences, targets, statistics, ordered, kl_coef.value, models.reward.names)
        metrics |= models.reward.metrics(scored) | stream.metrics()
        metrics["updates"] = float(len(statistics))
        models.reward.update_budgets(scored)
        metrics |= {"episodes": (step + 1) * cfg.batch, "kl_coef": kl_coef.value, "learning_rate": rate}
        check_finite(metrics, step + 1)
        kl_coef.update(metrics["kl"], len(trees))
        metrics["tokens_per_second"] = metrics["length"] * len(samples) / (time.perf_counter() - started)
        context.log(step + 1, **metrics)
        first = [(requests[i], samples[i]) for i in minibatches[0]]
        log_samples(context, step + 1, tokenizer, first, experiences[0])
        context.progress(
            step + 1, steps, reward=metrics["reward"], kl=metrics["kl"], length=metrics["length"]
        )
        if (step + 1) % cfg.eval_every == 0 or step + 1 == steps:
            look(step + 1)
    save_average(cfg, models, optimizers, context)
    context.summary |= {
        "steps": steps,
        "episodes": steps * cfg.batch,
        "text_pieces": steps * updates_per_rollout(cfg) * text_pieces_per_update(cfg) if text else 0,
        "prompts": len(train),
        **models.reward.summary(),
    }


class Optimizers(NamedTuple):
    """What a checkpoint holds of the two networks that train, and the policy's moving average."""

    policy: Optimizer
    value: Optimizer
    ema: Ema


def update_networks(
    cfg: Config,
    models: rollout.Models,
    experiences: Sequence[rollout.Experience],
    targets: Sequence[rollout.Advantages],
    text: Sequence[Tree],
    step: int,
    seed: int,
    rates: tuple[float, float],
    optimizers: Optimizers,
) -> list[dict[str, float]]:
    """One update of policy and value for each minibatch and PPO epoch; what each says of itself."""
    statistics: list[dict[str, float]] = []
    for ppo_epoch in range(cfg.ppo_epochs):
        for experience, target in zip(experiences, targets, strict=True):
            numbers = accumulate_gradients(cfg, models, experience, target, first_pass=ppo_epoch == 0)
            if text:
                update = step * updates_per_rollout(cfg) + len(statistics)
                pieces = ptx.text_pieces(text, text_pieces_per_update(cfg), update, seed)
                numbers |= ptx.accumulate_gradient(
                    models.policy, pieces, cfg.ptx_coef, cfg.microbatch_tokens, optimizers.policy
                )
            numbers["grad_norm_policy"] = optimizers.policy.step(rates[0], cfg.clip_norm)
            numbers["grad_norm_value"] = optimizers.value.step(rates[1], cfg.clip_norm)
            optimizers.ema.update(optimizers.policy.masters)
            statistics.append(numbers)
            if cfg.early_stop_kl is not None and numbers["approx_kl"] > cfg.early_stop_kl:
                return statistics
    return statistics


def check_settings(cfg: Config, context: StageContext) -> None:
    """Raise UserError for settings that contradict each other."""
    errors = []
    if cfg.batch % cfg.minibatch:
        errors.append(f"minibatch = {cfg.minibatch}: must divide batch = {cfg.batch}")
    if cfg.ptx_coef and (cfg.text is None or text_pieces_per_update(cfg) < 1):
        errors.append(
            f"ptx_coef = {cfg.ptx_coef}: needs text and at least one piece of it per update; "
            "set text and ptx_per_episode, or ptx_coef = 0"
        )
    if cfg.whiten_rewards and cfg.value_per_term:
        errors.append(
            "whiten_rewards and value_per_term: one scale for all terms is no term's; set one of them"
        )
    if errors:
        raise UserError([f"[{context.key}] {line}" for line in errors])


def minibatch_indices(cfg: Config, step: int, seed: int) -> list[list[int]]:
    """The rollout's episodes in random minibatches, each episode in exactly one (C.4)."""
    order = epoch_order(cfg.batch, derive_seed("minibatch", seed), step)
    return [order[i : i + cfg.minibatch] for i in range(0, cfg.batch, cfg.minibatch)]


def minibatch_experiences(
    cfg: Config,
    models: rollout.Models,
    trees: Sequence[Tree],
    terms: torch.Tensor,
    minibatches: Sequence[Sequence[int]],
) -> list[rollout.Experience]:
    """Each minibatch's experience. The first keeps its graph: it alone trains at the weights that sampled."""
    return [
        rollout.make_experience(
            models,
            [trees[i] for i in indices],
            terms[list(indices)],
            cfg.microbatch_tokens,
            keep_graph=number == 0 and not cfg.entropy_coef,
        )
        for number, indices in enumerate(minibatches)
    ]


def accumulate_gradients(
    cfg: Config,
    models: rollout.Models,
    experience: rollout.Experience,
    target: rollout.Advantages,
    first_pass: bool,
) -> dict[str, float]:
    """Add one minibatch's gradients of the policy's and the value's loss, means over its tokens; two
    networks, two backward passes.

    On the first pass the experience's own forward is used where its graph was kept. The ratio of the first
    microbatch is then measured by a forward of its own: against itself it would always be 1.
    """
    count, start = len(experience.logp), 0
    names = ("policy_loss", "value_loss", "clip_fraction", "value_clip_fraction", "approx_kl", "ratio_first")
    numbers = dict.fromkeys(names, 0.0)
    for packed in experience.packed:
        tokens = slice(
            start, start := start + len(packed.target)
        )  # this microbatch's, in the flat (N,) tensors
        if first_pass and experience.first_forward is not None:
            logp, values = experience.first_forward
        else:
            states, values = models.policy.states(packed), models.value.values(packed)
            logp, _ = token_logprobs(states, packed.target, models.policy.head)
        old_logp, new_logp = experience.logp[tokens], logp.detach()
        if tokens.start == 0:
            if first_pass and experience.first_forward is not None:
                with torch.no_grad():
                    new_logp = models.policy.logp(packed)[0]
            numbers["ratio_first"] = float(torch.exp(new_logp - old_logp).mean())
        policy_loss, clipped = losses.policy_loss(logp, old_logp, target.advantages[tokens], cfg.clip)
        old_values, returns = experience.values[tokens], target.returns[tokens]
        value_loss = losses.value_loss(values, old_values, returns, cfg.value_clip)
        values_clipped = losses.value_clipped(values.detach(), old_values, returns, cfg.value_clip)
        objective = policy_loss
        if cfg.entropy_coef:
            entropy = token_entropy(states, packed.target, models.policy.head)
            objective = policy_loss - cfg.entropy_coef * entropy.sum()
        (objective / count).backward()
        (value_loss / count).backward()
        numbers["policy_loss"] += policy_loss.item() / count
        numbers["value_loss"] += value_loss.item() / count
        numbers["clip_fraction"] += clipped.item() / count
        numbers["value_clip_fraction"] += values_clipped.item() / experience.values.numel()
        # KL(old, new) of tokens drawn from old: k3 with the new policy in the reference's place
        numbers["approx_kl"] += float(losses.kl_k3(old_logp, new_logp).sum()) / count
    return numbers


def updates_per_rollout(cfg: Config) -> int:
    """Optimizer steps between two rollouts."""
    return cfg.ppo_epochs * (cfg.batch // cfg.minibatch)


def text_pieces_per_update(cfg: Config) -> int:
    """Pieces of running text that go with a minibatch."""
    return round(cfg.ptx_per_episode * cfg.minibatch)


def save_average(cfg: Config, models: rollout.Models, optimizers: Optimizers, context: StageContext) -> None:
    """Save the moving average of the weights, not the last ones, as a plain policy folder (C.4)."""
    optimizers.policy.set_masters(optimizers.ema.values)
    checkpoints.save_policy(models.policy, context.path("model"), cfg.policy)
