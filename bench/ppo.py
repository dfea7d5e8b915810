"""PPO episodes a second and peak memory, against TRL's last PPOTrainer (1.11.0, trl.experimental.ppo).

    python bench/ppo.py [--model FOLDER] [--rounds 3]

40 random prompt tokens, exactly 48 answer tokens, one PPO epoch, one minibatch; value and reward models of
the policy's size. No pretraining mix: the peer has none. Timed after one warm-up update.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import common
from common import Case

PROMPT, ANSWER = 40, 48


def trl(model: str, batch: int, pure: bool, micro: int, updates: int = 2) -> dict[str, float]:
    """TRL's PPOTrainer. `pure`: all weights bf16; else fp32 weights under bf16 autocast. `micro`: episodes
    per forward with gradients."""
    import tempfile

    import torch
    from datasets import Dataset
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
        TrainerCallback,
    )
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    dtype = torch.bfloat16 if pure else torch.float32
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.unk_token  # pad == eos would mask a sampled end
    policy, reference = (AutoModelForCausalLM.from_pretrained(model, dtype=dtype) for _ in range(2))
    reward, value = (
        AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype=dtype) for _ in range(2)
    )
    stamps: list[float] = []

    class Stamp(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **_: Any) -> None:
            stamps.append(time.perf_counter())

    config = PPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=batch // micro,
        num_mini_batches=1,
        num_ppo_epochs=1,
        local_rollout_forward_batch_size=batch,
        total_episodes=batch * (updates + 1),
        response_length=ANSWER,
        stop_token=None,  # answers run to their full length
        temperature=1.0,
        kl_coef=0.02,
        learning_rate=1e-6,
        bf16=not pure,
        gradient_checkpointing=False,
        num_sample_generations=0,
        eval_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )
    data = Dataset.from_dict({"input_ids": common.prompts(batch * (updates + 1), PROMPT)})
    trainer = PPOTrainer(
        args=config,
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=reward,
        value_model=value,
        train_dataset=data,
        eval_dataset=data.select(range(1)),
        callbacks=[Stamp()],
    )
    trainer.train()
    return {"rate": batch / common.seconds_between(stamps), "updates": len(stamps)}


def ours(model: str, batch: int, trunk: int, updates: int = 4) -> dict[str, float]:
    """One rollout and one update after another, made of the same functions as `learn.ppo`, with its
    settings."""
    import torch

    from biddable.learn import ppo, rollout
    from biddable.learn.optimizer import Ema, Optimizer
    from biddable.learn.reward_sources import reward_of
    from biddable.learn.reward_terms import Episode
    from biddable.model import checkpoints
    from biddable.model.sampler import Request
    from biddable.model.trunk import scorer_from

    cfg = ppo.Config(batch=batch, minibatch=batch, ptx_coef=0.0)
    policy = checkpoints.load_policy(common.brought(model, trunk))
    generator = torch.Generator().manual_seed(1)
    reward, value = scorer_from(policy, generator).freeze(), scorer_from(policy, generator)
    m = rollout.Models(policy, policy.copy().requires_grad_(False), value, reward_of(reward))
    policy_adam, value_adam = Optimizer(policy.parameters()), Optimizer(value.parameters())
    average = Ema(policy_adam.masters, cfg.ema_decay)
    asked = common.prompts(batch * (updates + 1), PROMPT)
    stamps: list[float] = []
    for step in range(updates + 1):
        own = asked[step * batch : (step + 1) * batch]
        requests = [Request(tuple(ids), step * batch + i, ANSWER) for i, ids in enumerate(own)]
        got, trees = rollout.sample_episodes(
            policy, requests, frozenset(), cfg.slots
        )  # no end token: full length
        episodes = [Episode((), tree, "", g.finish) for g, tree in zip(got, trees, strict=True)]
        terms = m.reward.score(episodes).terms
        part = rollout.make_experience(m, trees, terms, cfg.microbatch_tokens, keep_graph=True)
        (target,) = rollout.compute_advantages([part], cfg.kl_coef, cfg.gamma, cfg.gae_lambda, False)
        ppo.accumulate_gradients(cfg, m, part, target, first_pass=True)
        policy_adam.step(1e-6, cfg.clip_norm)
        value_adam.step(1e-6, cfg.clip_norm)
        average.update(policy_adam.masters)
        assert all(len(g.tokens) == ANSWER for g in got)
        stamps.append(time.perf_counter())
    return {"rate": batch / common.seconds_between(stamps), "updates": len(stamps)}


def floor(batch: int, trunk: int) -> Callable[[dict[str, float], dict[str, float]], float]:
    """Sampling: each token once through everything, or the weights read once per step, whichever takes
    longer. Then the branch forward for policy, reference, value and reward, backward (twice a forward) for
    policy and value, the head for two and back for one; Adam reads and writes 34 bytes a weight, for two
    networks."""

    def rate(machine: dict[str, float], _: dict[str, float]) -> float:
        ops, read = machine["bfloat16"], machine["read"]
        whole, head, branch = common.blocks_weights(), common.Sizes().head, common.blocks_weights(trunk)
        prefill = 2 * whole * PROMPT * batch / ops
        step = max(2 * (whole + head) * batch / ops, 2 * (whole + head) / read)
        networks = 2 * branch * (PROMPT + ANSWER) * batch * (4 + 2 * 2) / ops
        heads = 2 * head * ANSWER * batch * (2 + (1 if trunk else 2)) / ops
        adam = 34 * (2 * branch + (0 if trunk else 2 * head)) / read
        return batch / (prefill + ANSWER * step + networks + heads + adam)

    return rate


CASES = [
    case
    for batch in (16, 64)
    for case in (
        # All-bf16 weights were 1.9 times as fast as fp32 weights under autocast; one forward per batch
        Case(
            f"batch {batch}",
            "TRL 1.11.0 PPOTrainer, bf16",
            "trl111",
            trl,
            {"batch": batch, "pure": True, "micro": batch},
        ),
        Case(f"batch {batch}", "trunk = 24", None, ours, {"batch": batch, "trunk": 24}, floor(batch, 24)),
        Case(f"batch {batch}", "trunk = 0", None, ours, {"batch": batch, "trunk": 0}, floor(batch, 0)),
        Case(
            f"batch {batch}",
            "TRL, bf16=True (autocast)",
            "trl111",
            trl,
            {"batch": batch, "pure": False, "micro": batch},
        ),
        Case(
            f"batch {batch}",
            "TRL, 16 per forward",
            "trl111",
            trl,
            {"batch": batch, "pure": True, "micro": 16},
        ),
    )
    if not (batch == 16 and "16 per" in case.name) and not (batch == 64 and "autocast" in case.name)
]

if __name__ == "__main__":
    common.main(__doc__.splitlines()[0], "episodes/s", CASES)
