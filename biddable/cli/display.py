"""What `check` and `show` print: tables as lines of text that fit 80 columns, with no name cut."""

from __future__ import annotations

import itertools
import json
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from biddable.run import catalog, jsonl, memory
from biddable.run import stages as runs
from biddable.run.config import UserError
from biddable.run.manifest import read_manifest
from biddable.run.plan import Plan

WIDTH = 80
MOST_CHECKED = 100_000
"""Lines of a file after which `check` believes the rest."""
LONGEST = 400
"""Characters of a text in a sample."""


def plan(checked: Plan) -> tuple[list[str], list[str]]:
    """The stages of a run as a table, and what stands in their way."""
    rows, problems = [], []
    for stage in checked.stages:
        need = memory.estimate(checked, stage)
        if need is not None and need > memory.available():
            there = f"this machine has {memory.available():.1f} GB"
            problems.append(
                f"{checked.file}: [{stage.key}] needs about {need:.1f} GB, {there}; {memory.advice(stage)}"
            )
        look = getattr(
            catalog.import_stage(stage.name), "mistakes", None
        )  # a stage that knows its files better than we do here
        files = (path for names in stage.inputs.values() for _, path in names)
        told = look(stage.config) if look else [line for path in files for line in unreadable(path)]
        problems += [f"{checked.file}: [{stage.key}] {line}" for line in told]
        known, why = runs.stage_state(checked, stage)
        known, why = ("site", "until it is stopped") if catalog.is_site(stage.name) else (known, why)
        reads = ", ".join(dict.fromkeys(name for names in stage.inputs.values() for name, _ in names))
        why = "" if why.startswith("for ") else why  # those stand under what it reads
        notes = [reads and f"reads {reads}", why, "" if need is None else f"peak memory {need:.1f} GB"]
        rows.append([stage.key, known, "; ".join(note for note in notes if note)])
    return list(table(rows)), problems


def unreadable(path: Path) -> Iterator[str]:
    """What is no JSON object in a file of records; nothing for folders and other files."""
    if not path.is_file() or ".jsonl" not in path.suffixes:
        return
    try:
        for number, line in itertools.islice(jsonl.read_lines(path), MOST_CHECKED):
            try:
                what = "" if isinstance(json.loads(line), dict) else "a JSON object was expected"
            except json.JSONDecodeError as error:
                what = f"not JSON: {error.msg} at character {error.pos + 1}"
            if what:
                yield f"{path}:{number}: {what} (got {line.strip()[:60]})"
    except UserError as refusal:
        yield from refusal.lines


def table(rows: Sequence[Sequence[str]], width: int = WIDTH - 2) -> Iterator[str]:
    """Columns as wide as their longest cell; the last one is wrapped."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lead = sum(width + 2 for width in widths)
    for row in rows:
        first = "".join(f"{cell:<{width + 2}}" for cell, width in zip(row, widths, strict=False))
        lines = textwrap.wrap(
            row[-1], max(20, width - lead), break_long_words=False, break_on_hyphens=False
        ) or [""]
        yield (first + lines[0]).rstrip()
        yield from (" " * lead + line for line in lines[1:])


def folder(path: Path) -> Iterator[str]:
    """A stage folder: how it was made, its settings, final numbers, last metrics and three samples. Raises UserError for another folder."""
    manifest = read_manifest(path)
    if manifest is None and not (path / "begun.json").is_file():
        raise UserError(f"{path}: not a stage's folder; name one such as runs/demo/learn.ppo")
    if manifest is None:
        yield f"{path}: not done yet"
    else:
        code = " ".join(str(one) for one in manifest["code"].values())
        yield f"{manifest['stage']} of run {manifest['run']}"
        made = {
            "finished": manifest["finished"],
            "seconds": manifest["seconds"],
            "code": code,
            "seed": manifest["seed"],
        }
        yield from (f"  {line}" for line in table([[word, value_of(value)] for word, value in made.items()]))
        read = [
            [word, f"{one['name']} ({one['content'][:10]})"]
            for word, found in manifest["inputs"].items()
            for one in found
        ]
        yield from _part("inputs", read)
        yield from _part(
            "settings", [[word, value_of(value)] for word, value in manifest["settings"].items()]
        )
    if (path / "summary.json").is_file():
        numbers = json.loads((path / "summary.json").read_text(encoding="utf-8"))
        yield from _part("final numbers", [[word, value_of(value)] for word, value in numbers.items()])
    for row in _last(path / "metrics.jsonl", 1):
        yield from _part(
            "last line of metrics.jsonl", [[word, value_of(value)] for word, value in row.items()]
        )
    for number, row in enumerate(_last(path / "samples.jsonl", 3), 1):
        yield from _part(f"sample {number}", [[word, value_of(value)] for word, value in row.items()])


def _part(title: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if rows:
        yield ""
        yield title
        yield from (f"  {line}" for line in table(rows))


def _last(path: Path, count: int) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[-count:]]


def value_of(value: Any) -> str:
    """A value for reading: numbers with four digits, texts on one line, lists and tables without brackets."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{word} {value_of(inner)}" for word, inner in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(value_of(inner) for inner in value) or "none"
    text = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
