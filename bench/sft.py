"""SFT: real tokens a second and peak memory, against TRL's SFTTrainer with packing (1.16).

    BIDDABLE_DATA=FOLDER python bench/sft.py [--model FOLDER] [--rounds 3]

The same demonstrations for both, loss on the answers only, no dropout, about as many tokens per update. A
later epoch is timed, and for the frozen trunk also the first. Without BIDDABLE_DATA (which holds
demos_selfinstruct_seed.jsonl.gz) the demonstrations are random tokens.
"""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
from common import Case

COUNT, BATCH, LONGEST = 96, 32, 256


def demonstrations(model: str) -> list[tuple[list[int], list[int]]]:
    """(prompt, answer) as token ids, no longer than LONGEST together."""
    from transformers import AutoTokenizer

    folder = os.environ.get("BIDDABLE_DATA")
    if not folder:
        sizes = list(
            zip(
                common.lengths(COUNT, 8, 120, 40, 0.6, 3),
                common.lengths(COUNT, 8, 120, 50, 0.8, 4),
                strict=True,
            )
        )
        return [
            (common.prompts(1, p, i)[0], common.prompts(1, a, 1000 + i)[0]) for i, (p, a) in enumerate(sizes)
        ]
    tokenizer = AutoTokenizer.from_pretrained(model)
    found = []
    with gzip.open(Path(folder) / "demos_selfinstruct_seed.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            prompt = tokenizer.apply_chat_template(
                row["messages"], add_generation_prompt=True, tokenize=True, return_dict=True
            )["input_ids"]
            answer = [*tokenizer.encode(row["response"], add_special_tokens=False), tokenizer.eos_token_id]
            if len(prompt) + len(answer) <= LONGEST:
                found.append((list(prompt), answer))
    return found[:COUNT]


def trl(model: str, pure: bool, length: int, strategy: str = "bfd") -> dict[str, float]:
    """TRL's SFTTrainer with packing into rows of `length` tokens, one row per forward. `pure`: all weights
    bf16; else fp32 under bf16 autocast."""
    import tempfile

    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    rows = demonstrations(model)
    total = sum(len(p) + len(a) for p, a in rows)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16 if pure else torch.float32)
    data = Dataset.from_dict(
        {
            "input_ids": [p + a for p, a in rows],
            "completion_mask": [[0] * len(p) + [1] * len(a) for p, a in rows],
        }
    )
    stamps: list[float] = []

    class Stamp(TrainerCallback):  # type: ignore[misc]
        def on_epoch_end(self, *args: Any, **_: Any) -> None:
            stamps.append(time.perf_counter())

    config = SFTConfig(
        output_dir=tempfile.mkdtemp(),
        packing=True,
        packing_strategy=strategy,
        max_length=length,
        completion_only_loss=True,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=max(1, round(total / COUNT * BATCH / length)),
        num_train_epochs=2,
        learning_rate=1e-6,
        bf16=not pure,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )
    SFTTrainer(
        network,
        config,
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(model),
        callbacks=[Stamp()],
    ).train()
    return {"rate": total / common.seconds_between(stamps), "tokens": total}


def ours(model: str, trunk: int, first: bool = False) -> dict[str, float]:
    """The functions of `learn.sft` with its settings. `first`: the first epoch with the trunk's pass, instead
    of a later one."""
    from biddable.learn import sft
    from biddable.learn.batches import cache_trunk_outputs
    from biddable.learn.optimizer import Optimizer
    from biddable.model import checkpoints
    from biddable.model.packing import Tree

    cfg = sft.Config()
    policy = checkpoints.load_policy(common.brought(model, trunk))
    optimizer = Optimizer(policy.parameters())
    plain = [Tree(tuple(p), (tuple(a),)) for p, a in demonstrations(model)]
    total = sum(map(len, plain))
    sft.accumulate_gradient(
        policy, plain[:BATCH], cfg.microbatch_tokens
    )  # warm-up, and the optimizer's state
    optimizer.step(1e-6, cfg.clip_norm)
    stamps = [time.perf_counter()]
    trees = cache_trunk_outputs(policy.trunk, plain, cfg.trunk_cache_gb)
    for _ in range(1 if first else 3):
        for start in range(0, len(trees), BATCH):
            sft.accumulate_gradient(policy, trees[start : start + BATCH], cfg.microbatch_tokens)
            optimizer.step(1e-6, cfg.clip_norm)
        stamps.append(time.perf_counter())
    return {"rate": total / common.seconds_between(stamps if first else stamps[1:]), "tokens": total}


def floor(trunk: int, first: bool = False) -> Callable[[dict[str, float], dict[str, float]], float]:
    """Each token three times (forward, and twice that backward) through the branch; half of them through the
    head, three times, or twice where it does not train; the trunk once in the first epoch; Adam: 34 bytes a
    weight and update."""

    def rate(machine: dict[str, float], measured: dict[str, float]) -> float:
        branch, head = common.blocks_weights(trunk), common.Sizes().head
        weights = (
            3 * branch + (2 if trunk else 3) * head / 2 + (common.blocks_weights() - branch if first else 0)
        )
        adam = 34 * (branch + (0 if trunk else head)) / machine["read"] * COUNT / BATCH
        return measured["tokens"] / (2 * weights * measured["tokens"] / machine["bfloat16"] + adam)

    return rate


GROUP = f"{COUNT} demonstrations"
CASES = [
    Case(GROUP, "TRL 1.16 SFTTrainer, packing, bf16", "trl116", trl, {"pure": True, "length": 1024}),
    Case(GROUP, "trunk = 0", None, ours, {"trunk": 0}, floor(0)),
    Case(GROUP, "trunk = 24, first epoch", None, ours, {"trunk": 24, "first": True}, floor(24, True)),
    Case(GROUP, "trunk = 24, later epochs", None, ours, {"trunk": 24}, floor(24)),
    Case(GROUP, "TRL, rows of 512", "trl116", trl, {"pure": True, "length": 512}),
    Case(GROUP, "TRL, rows of 256", "trl116", trl, {"pure": True, "length": 256}),
    Case(
        GROUP,
        "TRL, wrapped (examples cut and mixed)",
        "trl116",
        trl,
        {"pure": True, "length": 1024, "strategy": "wrapped"},
    ),
    Case(GROUP, "TRL, bf16=True (autocast)", "trl116", trl, {"pure": False, "length": 512}),
]

if __name__ == "__main__":
    common.main(__doc__.splitlines()[0], "tokens/s", CASES)
