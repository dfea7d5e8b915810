"""Loss curves of SFT with AdamW's states in fp32 and compressed, side by side.

    BIDDABLE_DATA=FOLDER python bench/optimizers.py [--trunk 24] [--steps 200] [--only split]

SmolLM2-135M on the seed demonstrations of Self-Instruct, the same batches for all; every fifth demonstration
measures. Prints a row a way: bytes a trained bf16 parameter, held-out loss along the way, seconds an update.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path
from typing import get_args

import common
import sft as bench_sft
import torch

from biddable.learn import sft
from biddable.learn.batches import cache_trunk_outputs
from biddable.learn.compressed_adam import AdamMoments, MasterWeights
from biddable.learn.optimizer import Optimizer, cosine_decay
from biddable.learn.training import shuffled_indices
from biddable.model import checkpoints
from biddable.model.packing import Tree

BATCH, RATE = 4, 1e-4


def bytes_per_parameter(optimizer: Optimizer) -> float:
    """Weights that compute, masters and moments; gradients come on top."""
    count = sum(p.numel() for p in optimizer.parameters)
    if optimizer.compressed is None:
        return 2 + 4 + 8
    tensors = optimizer.compressed.state()["tensors"]
    return sum(float(t.numel() * t.element_size()) for t in tensors) / count


def curve(
    folder: Path, rows: list[Tree], weights: MasterWeights, moments: AdamMoments, steps: int
) -> tuple[float, list[float], float]:
    """(bytes a parameter, held-out loss at each quarter, seconds an update)."""
    torch.manual_seed(1)
    policy = checkpoints.load_policy(folder)
    trees = cache_trunk_outputs(policy.trunk, rows, 4.0)
    valid, train = trees[::5], [tree for i, tree in enumerate(trees) if i % 5]
    optimizer = Optimizer(policy.parameters(), master_weights=weights, moments=moments)
    order = shuffled_indices(len(train), 1, 0)
    losses, seconds = [sft.valid_loss(policy, valid, 1024)], 0.0
    for step in range(steps):
        batch = [train[next(order)] for _ in range(BATCH)]
        sft.accumulate_gradient(policy, batch, 1024)
        started = time.perf_counter()
        optimizer.step(cosine_decay(step, steps, RATE), 1.0)
        seconds += time.perf_counter() - started
        if (step + 1) % max(1, steps // 4) == 0:
            losses.append(sft.valid_loss(policy, valid, 1024))
    return bytes_per_parameter(optimizer), losses, seconds / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trunk", type=int, default=24)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    model = common._packaged()
    folder = common.brought(model, args.trunk)
    rows = [Tree(tuple(p), (tuple(a),)) for p, a in bench_sft.demonstrations(model)]
    print(
        "| master_weights | adam_moments | bytes | held-out loss, each quarter | seconds a step |", flush=True
    )
    print("| --- | --- | --- | --- | --- |", flush=True)
    for weights, moments in itertools.product(get_args(MasterWeights), get_args(AdamMoments)):
        if args.only in f"{weights} {moments}":
            size, losses, seconds = curve(folder, rows, weights, moments, args.steps)
            shown = ", ".join(f"{loss:.4f}" for loss in losses)
            print(f"| {weights} | {moments} | {size:.2f} | {shown} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
