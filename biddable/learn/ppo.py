"""PPO with a pretraining mix (PPO-ptx): Ouyang et al. 2022, 3.5 and C.4, equation 2. With `ptx_coef = 0` it is plain PPO.

policy + reward model + prompts (+ text) -> a policy folder. A prompt, an answer, a score at its end: a bandit whose actions are tokens. Every token pays
-beta log(pi / pi_ref) against the policy it began as; a value branch that began as the reward model gives advantages (GAE); the ratio is clipped; each
update adds the gradient of running text's log-likelihood, in the same optimizer step. The weights that are saved are their moving average.
Left out: discounting other than by a setting, value pretraining.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field

from biddable.learn import losses, rollout
from biddable.learn.replies import answer as as_record
from biddable.learn.sft import accumulate as accumulate_text
from biddable.learn.sft import text_trees
from biddable.learn.training import (
    CheckpointTimer,
    Ema,
    Optimizer,
    derive_seed,
    epoch_order,
    linear_warmup,
    prompt_ids,
    resume,
    save_checkpoint,
    shuffled_indices,
)
from biddable.model import checkpoints
from biddable.model.packing import Tree
from biddable.model.sampler import Request, SampledAnswer
from biddable.run import jsonl
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer, Prompt, Replies


class Config(Settings):
    runtime_settings = frozenset({"checkpoint_seconds"})
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
    reward: Input = Path("learn.reward")
    """The reward model; also the value function's first weights (C.4)."""
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
    warmup: int = Field(default=10, ge=0)
    """Rollouts over which both rates rise from a tenth (C.4: 10)."""
    kl_coef: float = Field(default=0.02, ge=0)
    """beta: reward per nat (C.4: 0.02)."""
    kl_target: float | None = Field(default=None, gt=0)
    """Nats per answer that beta is adapted to (Ziegler et al. 2019: 6); none: beta is fixed, as in the paper."""
    kl_horizon: float = Field(default=10_000, gt=0)
    """Episodes over which beta adapts (Ziegler et al. 2019: 10,000)."""
    ptx_coef: float = Field(default=27.8, ge=0)
    """Weight of the text's mean log-likelihood per token: gamma in equation 2 (C.4: 27.8; the paper does not give its
    unit, so sweep it and watch both gradients)."""
    ptx_per_episode: float = Field(default=8.0, ge=0)
    """Pieces of text per episode (C.4: 8)."""
    ptx_tokens: int = Field(default=128, ge=2)
    """Tokens per piece of text at most."""
    clip: float = Field(default=0.2, gt=0)
    """The ratio is held in [1 - clip, 1 + clip] (C.4: 0.2)."""
    value_clip: float = Field(default=0.2, gt=0)
    """The value moves at most so far from its value at rollout (lm-human-preferences: 0.2)."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount of the returns (C.4: none, 1)."""
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    """lambda of generalised advantage estimation (Stiennon et al. 2020, B.1: 0.95)."""
    whiten_rewards: bool = False
    """Scale rewards to variance 1 without moving their mean (Huang et al. 2024, detail 13)."""
    missing_eos_score: float | None = -1.0
    """An answer cut off before its end-of-sequence token scores at most this: the missing-EOS penalty (Huang et al. 2024:
    -1); none: whatever the reward model says."""
    ema_decay: float = Field(default=0.992, ge=0, lt=1)
    """Decay of the average that is saved, per update (C.4: 0.992); 0 saves the last weights."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Each gradient is scaled down to this length."""
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


def run(cfg: Config, context: StageContext) -> None:
    refuse(cfg, context)
    m, tokenizer = load(cfg)
    eos = checkpoints.eos_ids(cfg.policy, tokenizer)
    train, looked = prompts_of(cfg, tokenizer, context)
    text = text_trees(tokenizer, cfg.text, cfg.ptx_tokens) if cfg.text and cfg.ptx_coef else []
    policy_adam, value_adam = Optimizer(m.policy.parameters()), Optimizer(m.value.parameters())
    average = Ema(policy_adam.masters, cfg.ema_decay)
    steps, step, kl_coef, texts = -(-cfg.episodes // cfg.batch), 0, cfg.kl_coef, 0
    if found := resume(context):
        step, state = found
        policy_adam.restore(state["policy"])
        value_adam.restore(state["value"])
        average.restore(state["average"])
        kl_coef, texts = state["kl_coef"], state["texts"]
    else:
        look(cfg, m, looked, eos, tokenizer, context, 0)
    clock = CheckpointTimer(cfg.checkpoint_seconds)
    while step < steps:
        began = time.perf_counter()
        asked = requests(cfg, train, step, context)
        got, trees = rollout.answer(m.policy, asked, eos, cfg.slots)
        order = epoch_order(len(trees), derive_seed("minibatch", context.seed), step)
        groups = [order[i : i + cfg.minibatch] for i in range(0, len(order), cfg.minibatch)]
        parts = [
            rollout.experience(
                m,
                [trees[i] for i in group],
                [got[i].finish for i in group],
                cfg.missing_eos_score,
                cfg.microbatch_tokens,
                graph=number == 0,
            )
            for number, group in enumerate(groups)
        ]
        targets = rollout.advantages(
            parts, kl_coef, cfg.gamma, cfg.gae_lambda, cfg.whiten_rewards, whiten=True
        )
        rate, value_rate = (
            linear_warmup(step, peak, cfg.warmup) for peak in (cfg.learning_rate, cfg.value_learning_rate)
        )
        seen: list[dict[str, float]] = []
        for inner in range(cfg.ppo_epochs):
            for part, target in zip(parts, targets, strict=True):
                seen.append(update(cfg, m, part, target, inner == 0))
                if text:
                    count = round(cfg.ptx_per_episode * len(part.score))
                    seen[-1] |= mix(cfg, m, text, texts, count, policy_adam, context)
                    texts += count
                seen[-1]["grad_norm_policy"] = policy_adam.step(rate, cfg.clip_norm)
                seen[-1]["grad_norm_value"] = value_adam.step(value_rate, cfg.clip_norm)
                average.update(policy_adam.masters)
        step += 1
        numbers = summarise(parts, targets, seen, got, kl_coef)
        numbers |= {"episodes": step * cfg.batch, "kl_coef": kl_coef, "learning_rate": rate}
        check(numbers, step)
        if cfg.kl_target is not None:
            kl_coef = losses.adapted_kl_coef(
                kl_coef, numbers["kl"], cfg.kl_target, len(trees), cfg.kl_horizon
            )
        numbers["tokens_per_second"] = numbers["length"] * len(got) / (time.perf_counter() - began)
        context.log(step, **numbers)
        keep_samples(context, step, tokenizer, asked, got, parts, groups)
        context.progress(step, steps, reward=numbers["reward"], kl=numbers["kl"], length=numbers["length"])
        if step % cfg.eval_every == 0 or step == steps:
            look(cfg, m, looked, eos, tokenizer, context, step)
        if clock.due():
            kept = {"policy": policy_adam.state(), "value": value_adam.state(), "average": average.values}
            save_checkpoint(context, step, {**kept, "kl_coef": kl_coef, "texts": texts})
    finish(cfg, m, policy_adam, average, context)
    context.summary |= {
        "steps": steps,
        "episodes": steps * cfg.batch,
        "text_pieces": texts,
        "prompts": len(train),
    }


def refuse(cfg: Config, context: StageContext) -> None:
    """Refuse settings that contradict each other."""
    wrong = []
    if cfg.batch % cfg.minibatch:
        wrong.append(f"minibatch = {cfg.minibatch}: must divide batch = {cfg.batch}")
    if cfg.ptx_coef and (cfg.text is None or round(cfg.ptx_per_episode * cfg.minibatch) < 1):
        wrong.append(
            f"ptx_coef = {cfg.ptx_coef}: needs text and at least one piece of it per update; set text and ptx_per_episode, or ptx_coef = 0"
        )
    if wrong:
        raise UserError([f"[{context.key}] {line}" for line in wrong])


def load(cfg: Config) -> tuple[rollout.Models, Any]:
    """Policy, reference, value and reward on one trunk."""
    policy = checkpoints.load_policy(cfg.policy)
    reward = checkpoints.load_scorer(cfg.reward, policy.trunk)
    value = checkpoints.load_scorer(cfg.reward, policy.trunk)
    return rollout.Models(
        policy, policy.copy().requires_grad_(False), value, reward.freeze()
    ), checkpoints.tokenizer(cfg.policy)


def prompts_of(
    cfg: Config, tokenizer: Any, context: StageContext
) -> tuple[list[tuple[Prompt, tuple[int, ...]]], list[tuple[Prompt, tuple[int, ...]]]]:
    """Training prompts and the validation prompts to look at, with their ids."""
    rows = jsonl.read(cfg.prompts / "prompts.jsonl", Prompt)
    wrong: list[str] = []
    room = checkpoints.context_length(cfg.policy) - cfg.max_tokens
    found = {
        split: [(p, prompt_ids(tokenizer, p.messages, room, p.id, wrong)) for p in rows if p.split == split]
        for split in ("train", "valid")
    }
    wrong += [f"prompts: none belongs to the split {split}" for split, part in found.items() if not part]
    if wrong:
        raise UserError([f"[{context.key}] {line}" for line in wrong])
    return found["train"], found["valid"][: cfg.eval_prompts]


def requests(
    cfg: Config, train: list[tuple[Prompt, tuple[int, ...]]], step: int, context: StageContext
) -> list[Request]:
    """One rollout's requests: the prompts go round, each round in its own order, so a resumed run goes on where it was. Temperature 1 and no
    top-p: the ratio needs true samples."""
    order: Iterator[int] = shuffled_indices(len(train), context.seed, step * cfg.batch)
    return [
        Request(
            train[next(order)][1], derive_seed("rollout", context.seed, context.key, step, i), cfg.max_tokens
        )
        for i in range(cfg.batch)
    ]


def update(
    cfg: Config, m: rollout.Models, part: rollout.Minibatch, target: rollout.Advantages, fresh: bool
) -> dict[str, float]:
    """Add one minibatch's gradients of policy and value. `fresh`: the graph of the first forward may be used."""
    count, at = len(part.logp), 0
    seen = {"policy_loss": 0.0, "value_loss": 0.0, "clip_fraction": 0.0, "ratio_first": 1.0}
    for packed in part.packed:
        own = slice(at, at := at + len(packed.target))
        if fresh and part.first is not None:
            logp, values = part.first
        else:
            logp, values = m.policy.logp(packed)[0], m.value.values(packed)
        if own.start == 0:
            seen["ratio_first"] = float(torch.exp(logp.detach() - part.logp[own]).mean())
        loss, clipped = losses.ppo(logp, part.logp[own], target.advantages[own], cfg.clip)
        value_loss = losses.value(values, part.values[own], target.returns[own], cfg.value_clip)
        (loss / count).backward()
        (value_loss / count).backward()
        seen["policy_loss"] += loss.item() / count
        seen["value_loss"] += value_loss.item() / count
        seen["clip_fraction"] += clipped.item() / count
    return seen


def mix(
    cfg: Config,
    m: rollout.Models,
    text: list[Tree],
    start: int,
    count: int,
    adam: Optimizer,
    context: StageContext,
) -> dict[str, float]:
    """Add the gradient of gamma times the text's mean log-likelihood per token to the same step; log both gradients' lengths."""
    before = adam.gradient()
    order = shuffled_indices(len(text), derive_seed("text", context.seed), start)
    loss = accumulate_text(
        m.policy, [text[next(order)] for _ in range(count)], cfg.microbatch_tokens, cfg.ptx_coef
    )
    return {
        "ptx_loss": loss,
        "grad_norm_ppo": float(before.norm()),
        "grad_norm_ptx": float((adam.gradient() - before).norm()),
    }


def summarise(
    parts: list[rollout.Minibatch],
    targets: list[rollout.Advantages],
    seen: list[dict[str, float]],
    got: list[SampledAnswer],
    kl_coef: float,
) -> dict[str, float]:
    """One step's metrics; each name is explained in docs/flow.md."""
    k1 = torch.cat(
        [rollout.per_answer(losses.kl_k1(p.logp, p.reference), p.answer, len(p.score)) for p in parts]
    )
    k3 = torch.cat(
        [rollout.per_answer(losses.kl_k3(p.logp, p.reference), p.answer, len(p.score)) for p in parts]
    )
    length = torch.cat([torch.bincount(p.answer, minlength=len(p.score)) for p in parts])
    score = torch.cat([p.score for p in parts])
    numbers = {name: sum(one[name] for one in seen) / len(seen) for name in seen[0]}
    return numbers | {
        "ratio_first": seen[0]["ratio_first"],
        "reward": float(score.mean()),
        "reward_with_kl": float((score - kl_coef * k1).mean()),
        "kl": float(k1.mean()),
        "kl_k3": float(k3.mean()),
        "entropy": float(torch.cat([p.entropy for p in parts]).mean()),
        "length": float(length.float().mean()),
        "finished": sum(one.finish == "stop" for one in got) / len(got),
        "explained_variance": losses.explained_variance(
            torch.cat([p.values for p in parts]), torch.cat([t.returns for t in targets])
        ),
        "length_reward_correlation": rollout.correlation(length, score),
        "distinct_2": rollout.distinct([one.tokens for one in got]),
    }


def check(numbers: dict[str, float], step: int) -> None:
    """Stop with a clear line when something is not finite: such weights teach nothing."""
    bad = [f"{name} = {value}" for name, value in numbers.items() if not math.isfinite(value)]
    if bad:
        raise UserError(f"step {step}: {', '.join(bad)}; lower learning_rate or raise kl_coef and run again")


def keep_samples(
    context: StageContext,
    step: int,
    tokenizer: Any,
    asked: list[Request],
    got: list[SampledAnswer],
    parts: list[rollout.Minibatch],
    groups: list[list[int]],
) -> None:
    """Three episodes of the first minibatch, to read: people must read outputs."""
    k1 = rollout.per_answer(
        losses.kl_k1(parts[0].logp, parts[0].reference), parts[0].answer, len(parts[0].score)
    )
    for place, index in enumerate(groups[0][:3]):
        score, kl = float(parts[0].score[place]), float(k1[place])
        prompt = tokenizer.decode(asked[index].prompt, skip_special_tokens=True)
        text = as_record(tokenizer, got[index], context.key).text
        context.append(
            "samples.jsonl",
            {
                "step": step,
                "prompt": prompt,
                "answer": text,
                "score": score,
                "kl": kl,
                "finish": got[index].finish,
            },
        )


def look(
    cfg: Config,
    m: rollout.Models,
    looked: list[tuple[Prompt, tuple[int, ...]]],
    eos: frozenset[int],
    tokenizer: Any,
    context: StageContext,
    step: int,
) -> None:
    """Answer the same validation prompts and keep the answers with their score and KL: others may judge them later (gold against KL)."""
    wanted = [Request(ids, derive_seed("look", context.seed, p.id), cfg.max_tokens) for p, ids in looked]
    got, trees = rollout.answer(m.policy, wanted, eos, cfg.slots)
    with torch.no_grad():
        part = rollout.experience(
            m, trees, [g.finish for g in got], cfg.missing_eos_score, cfg.microbatch_tokens, graph=False
        )
    kl = rollout.per_answer(losses.kl_k1(part.logp, part.reference), part.answer, len(got))
    for (prompt, _), one, score, own in zip(looked, got, part.score.tolist(), kl.tolist(), strict=True):
        record = as_record(tokenizer, one, f"{context.key}@{step}", step)
        kept = Replies(prompt=prompt, answers=(Answer(**{**record.model_dump(), "score": score, "kl": own}),))
        context.append("replies.jsonl", kept.model_dump(exclude_none=True))


def finish(cfg: Config, m: rollout.Models, adam: Optimizer, average: Ema, context: StageContext) -> None:
    """Save the moving average as a plain policy folder."""
    adam.set_masters(average.values)
    checkpoints.save_policy(m.policy, context.path("model"), cfg.policy)
