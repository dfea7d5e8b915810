"""Sampler: wanted tokens a second and peak memory, against transformers' `generate`, bf16.

    python bench/sampler.py [--model FOLDER] [--rounds 3]

Four batches of answers, each with its own length: 8 to 128 tokens, skewed (lognormal around 32), or 64 for
all. `generate` runs each batch to its longest answer, and only wanted tokens count. All prompts have 40
tokens, so that the peer pads nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import common
from common import Case

PROMPT, BATCHES = 40, 4


def wanted(batch: int, mixed: bool) -> list[int]:
    """How many tokens each answer shall have."""
    return common.lengths(batch * BATCHES, 8, 128, 32, 0.8) if mixed else [64] * (batch * BATCHES)


def generate(model: str, batch: int, mixed: bool) -> dict[str, float]:
    """transformers' `generate` at temperature 1 with top-k and top-p off."""
    import torch
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).eval()
    network.generation_config.eos_token_id = None  # answers run to their full length
    lengths = wanted(batch, mixed)
    ids = torch.tensor(common.prompts(len(lengths), PROMPT))

    def answer(start: int, tokens: int) -> int:
        own = ids[start : start + batch]
        out = network.generate(
            own,
            attention_mask=torch.ones_like(own),
            max_new_tokens=tokens,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            pad_token_id=0,
        )
        return int(out.shape[1]) - PROMPT

    answer(0, 4)
    began = time.perf_counter()
    for start in range(0, len(lengths), batch):
        longest = max(lengths[start : start + batch])
        assert answer(start, longest) == longest
    return {"rate": sum(lengths) / (time.perf_counter() - began), "tokens": sum(lengths)}


def ours(model: str, batch: int, mixed: bool) -> dict[str, float]:
    """The sampler with as many slots as the peer's batch."""
    from biddable.model import checkpoints
    from biddable.model.sampler import Request, sample

    policy = checkpoints.load_policy(common.brought(model, 0)).freeze()
    lengths = wanted(batch, mixed)
    requests = [
        Request(tuple(ids), i, n)
        for i, (ids, n) in enumerate(zip(common.prompts(len(lengths), PROMPT), lengths, strict=True))
    ]
    sample(policy, [Request(r.prompt, r.seed, 4) for r in requests[:batch]], frozenset(), batch)
    began = time.perf_counter()
    got = sample(policy, requests, frozenset(), batch)
    seconds = time.perf_counter() - began
    assert [len(one.tokens) for one in got] == lengths
    return {"rate": sum(lengths) / seconds, "tokens": sum(lengths)}


def floor(batch: int, mixed: bool) -> Callable[[dict[str, float], dict[str, float]], float]:
    """Each prompt token once through the blocks; each step all weights read once, or its products, whichever
    takes longer."""

    def rate(machine: dict[str, float], _: dict[str, float]) -> float:
        lengths = wanted(batch, mixed)
        blocks, head = common.blocks_weights(), common.Sizes().head
        prefill = 2 * blocks * PROMPT * len(lengths) / machine["bfloat16"]
        step = max(2 * (blocks + head) * batch / machine["bfloat16"], 2 * (blocks + head) / machine["read"])
        return sum(lengths) / (prefill + sum(lengths) / batch * step)

    return rate


CASES = [
    Case(
        f"batch {batch}, {'mixed' if mixed else 'equal'} lengths",
        name,
        None,
        measure,
        {"batch": batch, "mixed": mixed},
        limit,
    )
    for mixed in (True, False)
    for batch in (16, 64)
    for name, measure, limit in (
        ("transformers generate", generate, None),
        ("sampler", ours, floor(batch, mixed)),
    )
]

if __name__ == "__main__":
    common.main(__doc__.splitlines()[0], "tokens/s", CASES)
