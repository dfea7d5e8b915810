"""Reward model: pairs a second and peak memory, against TRL's RewardTrainer (1.16).

    python bench/reward.py [--model FOLDER] [--rounds 3]

Rankings of K answers without ties, so C(K, 2) pairs a prompt; prompts of 40 to 60 tokens, answers of 48 to
80. Both sides update their weights after the same pairs. Timed after one warm-up update.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from typing import Any

import common
from common import Case

SHAPES = {9: (2, 4), 2: (20, 6)}
"""K -> prompts per update, updates (the first is the warm-up)."""


def rankings(k: int) -> list[tuple[list[int], list[list[int]]]]:
    """(prompt, its answers from best to worst), as random token ids."""
    per_update, updates = SHAPES[k]
    draw = random.Random(3)
    return [
        (
            common.prompts(1, draw.randint(40, 60), seed)[0],
            [common.prompts(1, draw.randint(48, 80), 1000 * seed + j)[0] for j in range(1, k + 1)],
        )
        for seed in range(1, per_update * updates + 1)
    ]


def trl(model: str, k: int, pure: bool, micro: int) -> dict[str, float]:
    """TRL's RewardTrainer. `pure`: all weights bf16; else fp32 weights under bf16 autocast. `micro`: pairs
    per forward."""
    import tempfile

    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
    from trl import RewardConfig, RewardTrainer

    network = AutoModelForSequenceClassification.from_pretrained(
        model, num_labels=1, dtype=torch.bfloat16 if pure else torch.float32
    )
    pairs = [(p + a, p + b) for p, answers in rankings(k) for a, b in itertools.combinations(answers, 2)]
    data = Dataset.from_dict({"chosen_ids": [a for a, _ in pairs], "rejected_ids": [b for _, b in pairs]})
    per_update = SHAPES[k][0] * k * (k - 1) // 2
    stamps: list[float] = []

    class Stamp(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **_: Any) -> None:
            stamps.append(time.perf_counter())

    config = RewardConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=per_update // micro,
        num_train_epochs=1,
        learning_rate=1e-6,
        bf16=not pure,
        gradient_checkpointing=False,
        max_length=None,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )
    RewardTrainer(
        network,
        config,
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(model),
        callbacks=[Stamp()],
    ).train()
    return {"rate": per_update / common.seconds_between(stamps), "updates": len(stamps)}


def ours(model: str, k: int, trunk: int) -> dict[str, float]:
    """The functions of `learn.reward` with its settings; the time of the frozen trunk, which runs once per
    token, is included."""
    import torch

    from biddable.learn import reward
    from biddable.learn.batches import cache_trunk_outputs
    from biddable.learn.optimizer import Optimizer
    from biddable.model import checkpoints
    from biddable.model.packing import Tree
    from biddable.model.trunk import scorer_from

    cfg = reward.Config()
    scorer = scorer_from(
        checkpoints.load_policy(common.brought(model, trunk)), torch.Generator().manual_seed(1)
    )
    branch, head = Optimizer(scorer.branch.parameters()), Optimizer([scorer.weight])
    rows = [Tree(tuple(p), tuple(map(tuple, answers))) for p, answers in rankings(k)]
    per_update, updates = SHAPES[k]
    stamps: list[float] = []
    for step in range(updates):
        trees = cache_trunk_outputs(
            scorer.trunk, rows[step * per_update : (step + 1) * per_update], cfg.trunk_cache_gb
        )
        reward.accumulate_gradient(
            scorer, trees, [[list(range(k))]] * per_update, cfg.ties, cfg.microbatch_tokens
        )
        branch.step(1e-6, cfg.clip_norm)
        head.step(1e-6, cfg.clip_norm)
        stamps.append(time.perf_counter())
    return {"rate": per_update * k * (k - 1) / 2 / common.seconds_between(stamps), "updates": len(stamps)}


def floor(k: int, trunk: int) -> Callable[[dict[str, float], dict[str, float]], float]:
    """Each token once through the trunk, three times (forward, and twice that backward) through the branch;
    Adam: 34 bytes a weight."""

    def rate(machine: dict[str, float], _: dict[str, float]) -> float:
        rows = rankings(k)
        tokens = sum(len(p) + sum(map(len, answers)) for p, answers in rows) / len(rows)
        branch = common.blocks_weights(trunk)
        weights = common.blocks_weights() - branch + 3 * branch
        adam = 34 * (branch + (0 if trunk else common.Sizes().head)) / machine["read"] / SHAPES[k][0]
        return k * (k - 1) / 2 / (2 * weights * tokens / machine["bfloat16"] + adam)

    return rate


CASES = [
    case
    for k in (9, 2)
    for case in (
        Case(
            f"K = {k}",
            "TRL 1.16 RewardTrainer, bf16",
            "trl116",
            trl,
            {"k": k, "pure": True, "micro": 12 if k == 9 else 10},
        ),
        Case(f"K = {k}", "trunk = 24", None, ours, {"k": k, "trunk": 24}, floor(k, 24)),
        Case(f"K = {k}", "trunk = 0", None, ours, {"k": k, "trunk": 0}, floor(k, 0)),
        Case(f"K = {k}", "TRL, 4 pairs per forward", "trl116", trl, {"k": k, "pure": True, "micro": 4}),
        Case(f"K = {k}", "TRL, bf16=True (autocast)", "trl116", trl, {"k": k, "pure": False, "micro": 4}),
    )
]

if __name__ == "__main__":
    common.main(__doc__.splitlines()[0], "pairs/s", CASES)
