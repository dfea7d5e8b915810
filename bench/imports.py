"""How long a large file of preferences takes to import, and how much memory: python bench/imports.py --rows 1000000

A file of rows with `prompt`, `chosen`, `rejected` of about 2 KB each is written, then `label.imports` reads it in a
process of its own. The aim: a million rows (2 GB) within 300 s and 4 GB.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

IMPORT = """
import json, resource, sys, time
from pathlib import Path
from biddable.label import imports
from biddable.run.context import StageContext

context = StageContext(Path(sys.argv[2]), "label.imports", 1, lambda *_: None)
started = time.perf_counter()
imports.run(imports.Config(files=(Path(sys.argv[1]),)), context)
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"seconds": round(seconds, 1), "peak_gb": round(peak, 2), **context.summary}))
"""


def write_rows(path: Path, count: int) -> None:
    """Rows of words drawn at random, with some beyond ASCII, of 2 KB on average."""
    draw = random.Random(1)
    words = ["apple", "pear", "zwölf", "fruit", "is", "the", "of", "named", "\n", "日本", "plum", "and", "so"]
    texts = [" ".join(draw.choices(words, k=150)) for _ in range(1000)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            prompt, chosen, rejected = draw.choices(texts, k=3)
            row = {
                "prompt": f"{number}: {prompt[:400]}",
                "chosen": f"{number} {chosen}",
                "rejected": rejected,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "preferences.jsonl", Path(folder) / "label.imports"
        out.mkdir()
        write_rows(path, rows)
        print(f"{rows:,} rows, {path.stat().st_size / 1e9:.2f} GB")
        subprocess.run([sys.executable, "-c", IMPORT, str(path), str(out)], check=True)


if __name__ == "__main__":
    main()
