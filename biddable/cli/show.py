"""`biddable show FOLDER`: how a stage folder was made, its settings, final numbers, last metrics and three
samples."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from biddable.cli.arguments import Folder
from biddable.cli.table import format_table
from biddable.run import jsonl
from biddable.run.errors import UserError
from biddable.run.output import print_lines

MAX_CHARACTERS = 400
"""Characters of a text in a sample."""
SAMPLES = 3


def show(folder: Folder) -> None:
    """A stage folder's manifest, last numbers and three samples."""
    print_lines(describe_folder(folder))


def describe_folder(folder: Path) -> Iterator[str]:
    """Lines to print. Raises UserError for a folder that no stage made."""
    from biddable.run.manifest import read_manifest
    from biddable.run.stage_folder import BEGUN

    manifest = read_manifest(folder)
    if manifest is None and not (folder / BEGUN).is_file():
        raise UserError(f"{folder}: not a stage's folder; name one such as runs/demo/learn.ppo")
    if manifest is None:
        yield f"{folder}: not done yet"
    else:
        yield from _describe_manifest(manifest)
    if (folder / "summary.json").is_file():
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        yield from _section("final numbers", summary.items())
    for row in jsonl.read_objects(folder / "metrics.jsonl")[-1:]:
        yield from _section("last line of metrics.jsonl", row.items())
    for number, row in enumerate(jsonl.read_objects(folder / "samples.jsonl")[-SAMPLES:], 1):
        yield from _section(f"sample {number}", row.items())


def _describe_manifest(manifest: dict[str, Any]) -> Iterator[str]:
    yield f"{manifest['stage']} of run {manifest['run']}"
    origin = {word: manifest[word] for word in ("finished", "seconds")}
    origin |= {"code": " ".join(manifest["code"].values()), "seed": manifest["seed"]}
    yield from _indented(origin.items())
    inputs = [
        (word, f"{arrow['name']} ({arrow['content'][:10]})")
        for word, arrows in manifest["inputs"].items()
        for arrow in arrows
    ]
    yield from _section("inputs", inputs)
    yield from _section("settings", manifest["settings"].items())


def _section(title: str, rows: Iterable[tuple[str, Any]]) -> Iterator[str]:
    lines = list(_indented(rows))
    if lines:
        yield from ("", title, *lines)


def _indented(rows: Iterable[tuple[str, Any]]) -> Iterator[str]:
    cells = [[word, format_value(value)] for word, value in rows]
    return (f"  {line}" for line in (format_table(cells) if cells else ()))


def format_value(value: Any) -> str:
    """A value for reading: numbers with four digits, texts on one line, lists and tables without brackets."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{word} {format_value(inner)}" for word, inner in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(format_value(inner) for inner in value) or "none"
    # a sample's text may hold control characters, which would move the cursor or colour the terminal
    text = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…"
