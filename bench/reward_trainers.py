"""Two ways to train a reward model on the same rankings: ours, as `learn.reward` does, and TRL's RewardTrainer."""

from __future__ import annotations

import time
from typing import Any

import common
from reward_sets import Item, pairs

BATCH = 8
"""Rankings per update of ours; TRL: as many pairs as these have on average."""
RATES = {0: 2e-5, 15: 5e-5, 24: 1e-4, 27: 2e-4}
"""Peak learning rate of the branch by cut: fewer trained blocks want more. TRL's is given with its cases."""
HEAD_RATE, HEAD_DEVIATION, WARMUP = 1e-3, 0.004, 5
"""Ours begins as the demo's does: this model's final states are large, so a head of the usual deviation would
begin with scores far apart."""


def ours(model: str, trunk: int, train: list[Item]) -> tuple[Any, float]:
    """Trains as `learn.reward` does; (a function that scores items, seconds)."""
    import torch

    from biddable.learn import reward
    from biddable.learn.batches import cache_trunk_outputs
    from biddable.learn.optimizer import Optimizer, cosine_decay
    from biddable.learn.training import epoch_order
    from biddable.model import checkpoints
    from biddable.model.packing import Tree
    from biddable.model.trunk import scorer_from

    scorer = scorer_from(
        checkpoints.load_policy(common.brought(model, trunk)),
        torch.Generator().manual_seed(1),
        HEAD_DEVIATION,
    )
    branch, head = Optimizer(scorer.branch.parameters()), Optimizer([scorer.weight])
    started = time.perf_counter()
    trees = cache_trunk_outputs(scorer.trunk, [Tree(i.prompt, i.answers) for i in train], 4.0)
    order, steps = epoch_order(len(trees), 1, 0), -(-len(trees) // BATCH)
    for step in range(steps):
        held = order[step * BATCH : (step + 1) * BATCH]
        reward.accumulate_gradient(
            scorer, [trees[i] for i in held], [list(train[i].ranks) for i in held], "drop", 4096
        )
        gently = min(1.0, (step + 1) / WARMUP)
        branch.step(gently * cosine_decay(step, steps, RATES[trunk]), 1.0)
        head.step(gently * cosine_decay(step, steps, HEAD_RATE), 1.0)
    seconds = time.perf_counter() - started
    still = scorer.freeze()
    return lambda found: [
        s.tolist() for s in reward.score_trees(still, [Tree(i.prompt, i.answers) for i in found], 4096)
    ], seconds


def trl(model: str, rate: float, train: list[Item]) -> tuple[Any, float]:
    """Trains with TRL's RewardTrainer, all weights bf16 (its fastest setting), one epoch of pairs."""
    import tempfile

    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype=torch.bfloat16)
    network.config.pad_token_id = (
        tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    )
    rows = [(i.prompt + i.answers[a], i.prompt + i.answers[b]) for i in train for a, b in pairs(i)]
    found = Dataset.from_dict(
        {"chosen_ids": [list(a) for a, _ in rows], "rejected_ids": [list(b) for _, b in rows]}
    )
    update = max(4, round(BATCH * len(rows) / len(train) / 4) * 4)
    config = RewardConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=update // 4,
        num_train_epochs=1,
        learning_rate=rate,
        lr_scheduler_type="cosine",
        bf16=False,
        gradient_checkpointing=False,
        max_length=None,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        seed=1,
    )
    trainer = RewardTrainer(network, config, train_dataset=found, processing_class=tokenizer)
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    network.eval()

    @torch.no_grad()
    def score(items: list[Item]) -> list[list[float]]:
        rows = [i.prompt + a for i in items for a in i.answers]
        order = sorted(range(len(rows)), key=lambda r: len(rows[r]))
        told = [0.0] * len(rows)
        for at in range(
            0, len(order), 16
        ):  # neighbours in length, padded on the right: the score is read before the padding
            held = order[at : at + 16]
            width = max(len(rows[r]) for r in held)
            ids = torch.full((len(held), width), network.config.pad_token_id)
            seen = torch.zeros(len(held), width, dtype=torch.long)
            for place, r in enumerate(held):
                ids[place, : len(rows[r])], seen[place, : len(rows[r])] = torch.tensor(rows[r]), 1
            for r, value in zip(
                held, network(ids, attention_mask=seen).logits[:, 0].float().tolist(), strict=True
            ):
                told[r] = value
        left = iter(told)
        return [[next(left) for _ in i.answers] for i in items]

    return score, seconds
