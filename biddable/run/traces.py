"""Where a person's name stands in the files of runs, and which folders were made from those.

Every file is searched, in checkpoints and folders of any depth too. What cannot be is named with the reason.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from biddable.run.errors import UserError
from biddable.run.jsonl import read_lines
from biddable.run.manifest import read_manifest
from biddable.run.parse import open_file, parse_json, read_object
from biddable.run.redaction import redact_settings
from biddable.run.stage_folder import BEGUN

PERSON_FIELDS = ("user", "labeler", "user_id")
"""Fields of a JSON line that hold a pseudonym."""
PACKED = (".parquet", ".zip", ".npz", ".bz2", ".xz", ".7z", ".tar")
"""Formats in which a name cannot be seen without unpacking them."""
WEIGHTS = ".safetensors"
SHORTEST = 4
"""Characters of a name that can be told from the words of a text."""
SHORTEST_IN_BINARY = 8
"""Characters of a name that a gigabyte of numbers does not hold by chance."""
CHUNK = 1 << 20


class Place(NamedTuple):
    """A store, file or folder with something of a person's."""

    name: str
    rows: int
    what: str


class Search(NamedTuple):
    """Folders and files with a person's name; and those that could not be searched, by reason."""

    places: list[Place]
    unsearched: dict[str, list[str]]


def search_runs(runs: Path, person: str, skip: Iterable[Path]) -> Search:
    """Search every file of all runs, but for those in `skip`. Files of a stage's folder, however deep, count for
    the folder."""
    skipped = {path.resolve() for path in skip}
    rows: dict[Path, int] = defaultdict(int)
    unsearched: dict[str, list[str]] = defaultdict(list)
    for path in _files(runs):
        if path.resolve() in skipped:
            continue
        try:
            count = count_rows(path, person)
        except (UserError, OSError) as error:
            reason = str(error.strerror) if isinstance(error, OSError) else error.lines[0]
            unsearched[reason.removeprefix(f"{path}: ")].append(str(path))
            continue
        if count:
            parts = path.relative_to(runs).parts
            rows[runs.joinpath(*parts[:2]) if len(parts) > 2 else path] += count
    return Search([Place(str(path), rows[path], "lines") for path in sorted(rows)], dict(unsearched))


def _files(runs: Path) -> Iterator[Path]:
    for run in sorted(runs.iterdir()) if runs.is_dir() else ():
        if run.is_file():
            yield run
        for folder, folders, names in os.walk(run):
            folders.sort()
            yield from (Path(folder, name) for name in sorted(names) if Path(folder, name).is_file())


def count_rows(path: Path, person: str) -> int:
    """Lines that name a person: in JSON as user or labeler, anywhere in a line; in a table as a cell; in other
    texts as a word. A binary file counts as one. Raises UserError with the reason when it cannot be searched."""
    if not path.is_file() or not path.stat().st_size:
        return 0
    if path.suffix in PACKED:
        raise UserError(f"{path}: a packed format")
    if path.suffix == WEIGHTS:
        raise UserError(f"{path}: weights, which are numbers only")
    needles = {
        person,
        json.dumps(person)[1:-1],
        json.dumps(person, ensure_ascii=False)[1:-1],
        html.escape(person),
    }
    with open_file(path) as file:
        binary = _search(file, needles)
    if binary is None:
        return 0
    suffixes = [suffix for suffix in path.suffixes if suffix not in (".gz", ".zst", ".part")]
    kind = suffixes[-1] if suffixes else ""
    if binary:
        return 1 if len(person) >= SHORTEST_IN_BINARY else _too_short(path)
    words = "|".join(map(re.escape, sorted(needles)))
    if kind in (".json", ".jsonl"):
        pattern = re.compile(f'"(?:{words})"')
    elif kind in (".csv", ".tsv"):
        pattern = re.compile(rf"(?:^|[,;\t\"])\s*(?:{words})\s*(?:[,;\t\"\r\n]|$)")
    elif len(person) >= SHORTEST and not person.isdigit():
        pattern = re.compile(rf"(?<!\w)(?:{words})(?!\w)")
    else:
        return _too_short(path)
    try:
        lines = [line for _, line in read_lines(path) if pattern.search(line)]
    except UserError:  # no text to its end, but it holds the name: better one too many
        return 1
    return sum(names_person(line, person) for line in lines) if kind == ".jsonl" else len(lines)


def _too_short(path: Path) -> int:
    raise UserError(f"{path}: the name is too short to be told from what else stands there")


def _search(file: IO[bytes], needles: Iterable[str]) -> bool | None:
    """Whether a file that holds one of the texts is a binary one; None when it holds none."""
    encoded = {
        text.encode(code, "surrogatepass") for text in needles for code in ("utf-8", "utf-16-le", "utf-16-be")
    }
    overlap = max(map(len, encoded))
    before, binary, holds = b"", False, False
    while part := file.read(CHUNK):
        binary = binary or b"\0" in part
        holds = holds or any(text in before + part for text in encoded)
        before = part[-overlap:]
    return binary if holds else None


def names_person(line: str, person: str) -> bool:
    """Whether a line of JSON names a person as user or labeler."""
    if json.dumps(person) not in line and json.dumps(person, ensure_ascii=False) not in line:
        return False  # few lines are read as JSON
    try:
        return person in _people(parse_json(line))
    except ValueError:
        return True  # not JSON, but it holds the name: better one too many


def _people(value: Any) -> Iterator[str]:
    """All pseudonyms in a JSON value, however deep."""
    if isinstance(value, dict):
        yield from (value[name] for name in PERSON_FIELDS if isinstance(value.get(name), str))
        for inner in value.values():
            yield from _people(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _people(inner)


def find_made_from(runs: Path, holding: Iterable[Path]) -> tuple[list[Path], dict[str, list[str]]]:
    """Stage folders, also unfinished ones, with one of these among what they were made from, directly or not,
    sorted; and those whose inputs cannot be read, by reason."""
    inputs: dict[Path, set[Path]] = {}
    unknown: dict[str, list[str]] = defaultdict(list)
    for folder in stage_folders(runs):
        try:
            inputs[folder.resolve()] = set(_input_folders(folder))
        except (UserError, ValueError, KeyError, TypeError, AttributeError):
            unknown["what it was made from cannot be read"].append(str(folder))
    start = {path.resolve() for path in holding}
    reached = set(start)
    while more := {folder for folder, read in inputs.items() if folder not in reached and read & reached}:
        reached |= more
    return sorted(reached - start), dict(unknown)


def stage_folders(runs: Path) -> list[Path]:
    """Folders of stages that are done or under way, sorted."""
    return sorted({path.parent for name in ("manifest.json", BEGUN) for path in runs.glob(f"*/*/{name}")})


def read_description(folder: Path) -> dict[str, Any]:
    """The manifest of a stage that is done; of one under way what it began with. Raises UserError for a broken
    one."""
    manifest = read_manifest(folder)
    begun: dict[str, Any] = redact_settings(read_object(folder / BEGUN)) if manifest is None else manifest
    return begun


def _input_folders(folder: Path) -> Iterator[Path]:
    """What a stage read; stages of one run lie side by side, also when the run was moved or copied."""
    for arrows in read_description(folder)["inputs"].values():
        for arrow in arrows:
            sibling = folder.parent / arrow["name"]
            yield (sibling if sibling.exists() else Path(arrow["path"])).resolve()
