"""Curation of a million prompts: seconds, memory, what it finds; near-duplicates beside a plain datasketch
script.

    python bench/curate.py --prompts 1000000 --processes 2

The prompts are made here (same seed, same file): common English words with Zipf's frequencies, 20 to 100
words, skewed users, and planted among them exact copies, copies with small changes, long common beginnings,
and personal data. The datasketch script and ours get the same texts, one process each.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psutil

from biddable.curate import prompts as stage
from biddable.curate.prompts import near_duplicates
from biddable.curate.prompts.normalisation import normalise
from biddable.run.context import StageContext
from biddable.run.jsonl import LineWriter
from biddable.run.records import Message, Prompt

WORDS = (
    (Path(stage.__file__).parents[2] / "simulated" / "plain_words.txt").read_text(encoding="utf-8").split()
)
PERSONAL = (
    "Write to {name}{n}@mail.example.org about it.",
    "My phone number is (212) 555-0{n3}.",
    "Bill it to my card 4111 1111 1111 1111.",
    "Transfer it to GB82 WEST 1234 5698 7654 32.",
    "The server is 203.0.113.{n2} as before.",
    "My SSN is 536-22-8{n3}.",
)


def text_of(rng: random.Random, weights: list[float]) -> str:
    words = rng.choices(WORDS, cum_weights=weights, k=rng.randint(20, 100))
    for place in range(7, len(words), rng.randint(8, 15)):
        words[place] += "."
    return " ".join(words).capitalize() + rng.choice([".", "?", ""])


def changed(text: str, rng: random.Random) -> str:
    """A copy that a person would call the same prompt."""
    words = text.split()
    for _ in range(max(1, len(words) // 50)):
        words[rng.randrange(len(words))] = rng.choice(WORDS)
    return rng.choice(
        [
            " ".join(words),
            text.upper() + "!",
            text.replace(" ", ", ", 2),
            "Please: " + " ".join(words),
            " ".join(words[:-1]),
        ]
    )


def planted(count: int, seed: int = 1) -> tuple[list[str], list[str], dict[int, str], dict[int, int]]:
    """Texts, their users, which were planted (place -> what), and of what they are copies (place ->
    place)."""
    rng = random.Random(seed)
    total, weights = 0.0, []
    for rank in range(len(WORDS)):
        total += 1 / (rank + 3)
        weights.append(total)
    texts, what, copied = [], {}, {}
    for place in range(count):
        drawn = rng.random()
        if place > 100 and drawn < 0.06:
            copied[place] = rng.randrange(place)
            other = texts[copied[place]]
            kind = "same" if drawn < 0.02 else "near" if drawn < 0.05 else "prefix"
            what[place] = kind
            other = (
                other
                if kind != "prefix"
                else (other[:240] if len(other) > 240 else other) + " " + text_of(rng, weights)[:80]
            )
            texts.append(changed(other, rng) if kind == "near" else other)
        else:
            text = text_of(rng, weights)
            if drawn > 0.95:
                n = rng.randint(100, 999)
                text += " " + rng.choice(PERSONAL).format(name=rng.choice(WORDS), n=n, n2=n % 250 + 1, n3=n)
                what[place] = "personal"
            texts.append(text)
    users = [
        f"user-{int(rng.random() ** 2 * (count // 20 + 7))}" for _ in range(count)
    ]  # the busiest have some 100 times the median
    return texts, users, what, copied


class Memory(threading.Thread):
    """The most resident memory of this process and its children, looked at five times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = 0
        self.stop = False

    def run(self) -> None:
        own = psutil.Process()
        while not self.stop:
            total = 0
            for one in [own, *own.children(recursive=True)]:
                try:
                    total += one.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.most = max(self.most, total)
            time.sleep(0.2)


def make(path: Path, count: int) -> None:
    """Write the file; prints what was planted. In a process of its own, so that its memory is not counted as
    curation's."""
    texts, users, what, _ = planted(count)
    with LineWriter(path) as out:
        out.add(
            Prompt(id=f"p{n}", messages=(Message(role="user", content=text),), user=user).model_dump_json(
                exclude_none=True
            )
            + "\n"
            for n, (text, user) in enumerate(zip(texts, users, strict=True))
        )
    print(json.dumps(Counter(what.values())))


def whole(folder: Path, count: int, processes: int) -> None:
    """The stage on a file of so many prompts."""
    command = [sys.executable, __file__, "--make", str(folder / "prompts.jsonl"), "--prompts", str(count)]
    kinds = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    size = (folder / "prompts.jsonl").stat().st_size / 1e6
    context = StageContext(folder / "runs" / "curate.prompts", "curate.prompts", 1, lambda *_: None)
    context.folder.mkdir(parents=True)
    memory = Memory()
    memory.start()
    began, cpu = time.monotonic(), time.process_time()
    stage.run(stage.Config(prompts=folder, languages=("en",), processes=processes), context)
    seconds = time.monotonic() - began
    children = os.times()
    used = time.process_time() - cpu + children.children_user + children.children_system
    memory.stop = True
    found = Counter(
        json.loads(line)["reason"] for line in context.path("dropped.jsonl").open(encoding="utf-8")
    )
    print(f"{count:,} prompts, {size:.0f} MB, {processes} processes, language looked at, planted {kinds}")
    print(f"  {seconds:.0f} s, {used:.0f} s of CPU, {memory.most / 1e9:.2f} GB at most (with all processes)")
    print(
        f"  dropped {dict(found)}, masked "
        f"{ {k: v for k, v in context.summary.items() if k.startswith('masked')} }"
    )


def with_datasketch(texts: list[str], share: float) -> list[bool]:
    """The script that one would write: MinHash, LSH, a text goes when an earlier one that stayed is found."""
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(threshold=share, num_perm=128)
    gone = []
    for number, text in enumerate(texts):
        even = re.sub(r"[\W_]+", " ", text.casefold()).strip()
        signature = MinHash(num_perm=128)
        signature.update_batch(
            [piece.encode() for piece in {even[i : i + 5] for i in range(max(1, len(even) - 4))}]
        )
        gone.append(bool(lsh.query(signature)))
        if not gone[-1]:
            lsh.insert(str(number), signature)
    return gone


def ours(texts: list[str], share: float) -> list[bool]:
    keys = [" ".join(text.casefold().split()) for text in texts]
    return [
        one is not None
        for one in near_duplicates.find_near_duplicates(
            keys, near_duplicates.band_hashes([normalise(key) for key in keys]), share
        )
    ]


def duplicates(count: int, share: float = 0.8) -> None:
    """Near-duplicates only, both in one process on the same texts; true are the planted copies of texts that
    are among them."""
    texts, _, what, copied = planted(count, seed=2)
    left = [place for place in range(count) if what.get(place) != "prefix"]
    truth = [what.get(place) in ("same", "near") and what.get(copied[place]) != "prefix" for place in left]
    texts = [texts[place] for place in left]
    rows = []
    for name, function in (("datasketch script", with_datasketch), ("biddable", ours)):
        began = time.process_time()
        gone = function(texts, share)
        seconds = time.process_time() - began
        hit = sum(a and b for a, b in zip(gone, truth, strict=True))
        rows.append((name, seconds, hit / sum(truth), hit / max(1, sum(gone))))
    print(f"near-duplicates among {len(texts):,} texts, {sum(truth):,} planted, similarity {share}")
    for name, seconds, recall, precision in rows:
        print(
            f"  {name:18} {seconds:7.1f} s of CPU  recall {recall:.4f}  precision {precision:.4f}  "
            f"{rows[0][1] / seconds:5.1f}x"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--beside", type=int, default=20_000, help="texts for the comparison with datasketch")
    parser.add_argument("--make", type=Path, help="only write the file of prompts")
    given = parser.parse_args()
    if given.make:
        make(given.make, given.prompts)
        return
    duplicates(given.beside)
    with tempfile.TemporaryDirectory() as folder:
        whole(Path(folder), given.prompts, given.processes)


if __name__ == "__main__":
    main()
