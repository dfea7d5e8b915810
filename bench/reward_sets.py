"""Real rankings as token ids, split by prompt: what bench/reward_real.py trains and measures on. Read in the
peer's environment too."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import random
import sys
from pathlib import Path
from typing import NamedTuple

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
PROMPT, ANSWER = 192, 128
"""Tokens kept of a prompt (its last) and of an answer (its first)."""
MOST = 5
"""Answers of a ranking at most, drawn by chance: TRL trains on every pair as two rows of its own, 36 pairs at
K = 9."""
TRAINED = {"harmless": 560, "alpaca": 24, "oasst": 40, "newsum": 61, "pandalm": 300}
"""Rankings that are trained on, at most."""
MEASURED = {"held out": 240, "llmbar": 100, "pandalm": 150}
"""Items that are measured on, at most."""


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
            if len(held) > MOST:
                chosen = sorted(random.Random(row["id"]).sample(range(len(held)), MOST))
                held, ranks = [held[i] for i in chosen], [tuple(r[i] for i in chosen) for r in ranks]
            if len(held) < 2 or all(len(set(r)) == 1 for r in ranks):
                continue
            asked = tokenizer.apply_chat_template(
                row["messages"], add_generation_prompt=True, tokenize=True, return_dict=True
            )
            answers = [
                (*tokenizer.encode(r["text"], add_special_tokens=False)[: ANSWER - 1], end) for r in held
            ]
            group = row["meta"].get("tree_id") or json.dumps(row["messages"][0]["content"])
            people = tuple(a["annotator"] for a in said or []) or ("all",)
            found.append(
                Item(
                    row["id"],
                    group,
                    tuple(asked["input_ids"][-PROMPT:]),
                    tuple(answers),
                    tuple(ranks),
                    people,
                )
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


def split(name: str, model: str, limit: int | None, whole: bool) -> tuple[list[Item], dict[str, list[Item]]]:
    """Rankings to train on, and sets to measure on. Fewer than all are drawn by chance, the same for every
    cell."""

    def some(found: list[Item], most: int) -> list[Item]:
        order = sorted(found, key=lambda item: hashlib.sha256(item.name.encode()).digest())
        return order[: limit or None] if whole or limit else order[:most]

    own = items(name, model, train_only=True)
    train = some([i for i in own if part(i.group, 5)], TRAINED[name])
    tests = {
        "held out": [i for i in own if not part(i.group, 5)],
        **{other: items(other, model) for other in STRANGERS},
    }
    return train, {key: some(found, MEASURED[key]) for key, found in tests.items()}


def pairs(item: Item) -> list[tuple[int, int]]:
    """(better, worse) answers over all labelers."""
    return [(i, j) for r in item.ranks for i, j in itertools.permutations(range(len(r)), 2) if r[i] < r[j]]
