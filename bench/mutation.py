"""Mutation testing by room: which share of small faults in the code survives the tests. The tool is mutmut,
which is not part of the environment; `docs/how-to/mutation-testing.md` sets it up, and says what to do with the
result:

    .venv/bin/python bench/mutation.py build/mutmut/bin/mutmut learn --sample 300

Every mutant is a copy of the package with one small change (+ for -, < for <=, a dropped argument, None for a
value). A room's mutants are drawn with a seed, so that a sample can be repeated; `--sample 0` takes all.
Printed are the surviving share with Clopper and Pearson's 95 % interval, and every survivor as a diff, to be
judged: a test is missing, or the change makes no difference that anybody could see. Changes of texts alone
(error lines, log lines) are counted apart.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
from pathlib import Path

from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
ROOMS: dict[str, tuple[list[str], list[str]]] = {
    "learn": (["biddable/learn/*.py", "biddable/learn/*/*.py"], ["tests/learn"]),
    "model": (
        ["biddable/model/*.py"],
        ["tests/model", "tests/serve/test_engine.py", "tests/learn/test_classifier.py"],
    ),
    "leases": (["biddable/store/leases.py"], ["tests/store/test_leases.py", "tests/store/test_gold.py"]),
    "label": (
        [
            "biddable/label/*.py",
            "biddable/label/screening/*.py",
            "biddable/label/imports/*.py",
            "biddable/simulated/*.py",
        ],
        ["tests/label", "tests/simulated", "--ignore=tests/label/views"],
    ),
    "statistics": (
        ["biddable/measure/statistics.py"],
        ["tests/measure/test_statistics.py", "tests/measure/test_statistics_reference.py"],
    ),
}
"""Room -> (files whose code is changed, tests that have to see it)."""
SURVIVED, UNTESTED = 0, 33
"""mutmut's exit codes: all tests passed; no test runs the changed function."""
CONFIG = """
[tool.mutmut]
source_paths = ["biddable"]
only_mutate = {files}
also_copy = ["configs", "examples", "docs", "README.md", "constraints.txt", "bench"]
pytest_add_cli_args = ["-q", "-x", "-p", "no:cacheprovider", "-k", "not postgresql and not processes and not threads and not killed"]
pytest_add_cli_args_test_selection = {tests}
"""


def prepare(room: str) -> Path:
    """A copy of the tracked files with mutmut's settings."""
    files, tests = ROOMS[room]
    folder = ROOT / "build" / "mutation" / room
    shutil.rmtree(folder, ignore_errors=True)
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    settings = CONFIG.format(files=json.dumps(files), tests=json.dumps(tests))
    with (folder / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write(settings)
    return folder


def mutmut(program: Path, folder: Path, *words: str) -> str:
    """Run mutmut in the copy, with one thread for the matrix library: its workers are forks."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment["PYTHONPATH"] = str(folder / "mutants")  # the tests' own processes run the mutants, too
    command = [str(program), *words]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    return result.stdout + result.stderr


def results(folder: Path) -> dict[str, int | None]:
    """Every mutant's exit code; None: not run."""
    codes: dict[str, int | None] = {}
    for path in sorted(folder.glob("mutants/**/*.meta")):
        codes |= json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return codes


def only_text(diff: str) -> bool:
    """Whether a change is one of texts alone: with all string literals taken out nothing differs."""
    removed = [line[1:] for line in diff.splitlines() if line.startswith("-") and not line.startswith("---")]
    added = [line[1:] for line in diff.splitlines() if line.startswith("+") and not line.startswith("+++")]

    def bare(lines: list[str]) -> str:
        return re.sub(r"""f?("([^"\\]|\\.)*"|'([^'\\]|\\.)*')""", "TEXT", "\n".join(lines))

    return bare(removed) == bare(added)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mutmut", type=Path, help="the program mutmut")
    parser.add_argument("rooms", nargs="+", choices=list(ROOMS))
    parser.add_argument("--sample", type=int, default=300, help="mutants a room; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--children", type=int, default=1, help="mutants tried at once")
    parser.add_argument("--match", default="", help="only mutants whose name fits this pattern")
    arguments = parser.parse_args()
    rows = []
    for room in arguments.rooms:
        folder = prepare(room)
        mutmut(
            arguments.mutmut.resolve(), folder, "run", "--max-children", "1", "generate only: matches nothing"
        )
        names = sorted(name for name in results(folder) if re.search(arguments.match, name))
        if not names:
            raise SystemExit(f"{room}: mutmut made no mutants; run it by hand in {folder}")
        random.Random(arguments.seed).shuffle(names)
        chosen = names[: arguments.sample or len(names)]
        log = mutmut(
            arguments.mutmut.resolve(), folder, "run", "--max-children", str(arguments.children), *chosen
        )
        codes = {name: code for name, code in results(folder).items() if name in set(chosen)}
        if missing := [name for name, code in codes.items() if code is None]:
            raise SystemExit(f"{room}: {len(missing)} of {len(chosen)} mutants were not run:\n{log[-3000:]}")
        survivors = [name for name, code in codes.items() if code in (SURVIVED, UNTESTED)]
        texts = 0
        for name in survivors:
            diff = mutmut(arguments.mutmut.resolve(), folder, "show", name)
            texts += only_text(diff)
            print(diff if not only_text(diff) else f"# {name}: survived, a text alone\n")
        alive, total = len(survivors) - texts, len(chosen) - texts
        low = stats.beta.ppf(0.025, alive, total - alive + 1) if alive else 0.0
        high = stats.beta.ppf(0.975, alive + 1, total - alive)
        rows.append(
            f"| {room} | {len(names)} | {len(chosen)} | {texts} | {alive} | {alive / total:.1%} ({low:.1%} "
            f"to {high:.1%}) |"
        )
    print(
        "| room | mutants | tried | texts alone survived | survived | share (95 %) |\n| --- | --- | --- | "
        "--- | --- | --- |"
    )
    print("\n".join(rows))


if __name__ == "__main__":
    main()
