"""Forget a person: out of the store, out of the served turns, out of what was masked; and which run folders hold something of theirs.

Run folders are not changed: a folder's manifest is a promise about its content. They are made again without the person, and this says which,
those that hold their words and those that were only made from them (a model that learned from a label).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from biddable.run import turn_log
from biddable.run.config import UserError
from biddable.run.jsonl import LineWriter
from biddable.run.manifest import read_manifest
from biddable.run.plan import Plan
from biddable.store import erase
from biddable.store.store import open_store


class Place(NamedTuple):
    """A file or folder with something of a person's in it."""

    path: Path
    rows: int
    what: str


class Forgotten(NamedTuple):
    """What was removed (or would be), and what is left to do by hand."""

    removed: list[Place]
    sources: list[Place]  # files that prompts come from: with the person in them, they would bring them back
    holding: list[Place]  # stage folders with the person's words
    made_from: list[Path]  # stage folders that were made from those


def forget(plan: Plan, person: str, really: bool) -> Forgotten:
    """Remove a person by pseudonym; not `really`: only look. Raises UserError when nothing of such a person is found anywhere."""
    runs = plan.folder.parent
    removed = list(_stores(plan, person, really))
    for folder in sorted(
        {path.parent for path in runs.glob(f"*/**/{turn_log.TURNS}")} | {runs / plan.name / "turns"}
    ):
        if (folder / "manifest.json").exists() or not (folder / turn_log.TURNS).exists():
            continue  # a stage's own result is made again, not changed
        given = _rows(folder / turn_log.TURNS, person) + _rows(folder / turn_log.FEEDBACK, person)
        if given and really:
            turn_log.forget(folder, person)
        removed += [Place(folder, given, "turns and feedback")] if given else []
    for path in sorted(runs.glob("*/personal/*.jsonl")):
        if rows := _rows(path, person):
            if really:
                _without(path, person)
            removed.append(Place(path, rows, "prompts with masked values"))
    holding = _holding(runs, person)
    made_from = _made_from(runs, {place.path for place in holding})
    sources = [Place(path, rows, "prompts") for path in _sources(plan) if (rows := _rows(path, person))]
    if not (removed or holding or sources):
        raise UserError(
            f"{person}: nothing of such a person in the runs of {runs}; pseudonyms stand in the field user or labeler"
        )
    return Forgotten(removed, sources, holding, made_from)


def _stores(plan: Plan, person: str, really: bool) -> Iterator[Place]:
    """The run's store and those that its stages name."""
    named = {str(stage.settings["store"]) for stage in plan.stages if stage.settings.get("store")}
    own = plan.folder / "store.db"
    for where in sorted(named | ({str(own)} if own.exists() else set())):
        if "://" not in where and not Path(where).exists():
            continue
        with open_store(where) as store:
            for table, rows in sorted(erase.erase_person(store, person, really).items()):
                yield Place(Path(where), rows, f"rows of {table}")


def _sources(plan: Plan) -> Iterator[Path]:
    for stage in plan.stages:
        if stage.name == "collect.files":
            for path in stage.config.files:
                yield path / "prompts.jsonl" if path.is_dir() else path


def _holding(runs: Path, person: str) -> list[Place]:
    """Finished and unfinished stage folders with lines that name the person."""
    found = []
    for folder in sorted(path for path in runs.glob("*/*.*") if path.is_dir()):
        rows = sum(_rows(path, person) for path in folder.glob("*.jsonl"))
        if rows:
            found.append(Place(folder, rows, "lines"))
    return found


def _made_from(runs: Path, holding: set[Path]) -> list[Path]:
    """Stage folders behind which there is one of these, in the order of their names."""
    inputs: dict[Path, set[Path]] = {}
    for path in runs.glob("*/*/manifest.json"):
        manifest: dict[str, Any] = read_manifest(path.parent) or {}
        told = [one for found in manifest.get("inputs", {}).values() for one in found]
        beside = [path.parent.parent / one["name"] for one in told]
        inputs[path.parent.resolve()] = {
            (near if near.exists() else Path(one["path"])).resolve()
            for near, one in zip(beside, told, strict=True)
        }
    reached = {path.resolve() for path in holding}
    while more := {folder for folder, behind in inputs.items() if folder not in reached and behind & reached}:
        reached |= more
    return sorted(reached - {path.resolve() for path in holding})


def _rows(path: Path, person: str) -> int:
    """Lines that name a person as user or labeler, anywhere in them. The text search narrows down what is read as JSON."""
    if not path.is_file():
        return 0
    from biddable.run.jsonl import read_lines

    marks = (json.dumps(person), json.dumps(person, ensure_ascii=False))
    found = 0
    try:
        for _, line in read_lines(path):
            if any(mark in line for mark in marks):
                found += _names(line, person)
            elif path.suffix == ".csv":
                found += person in line
    except UserError:
        return found
    return found


def _names(line: str, person: str) -> bool:
    try:
        return person in _people(json.loads(line))
    except ValueError:
        return True  # no JSON, but it holds the name: better told than not


def _people(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (
            str(value[word]) for word in ("user", "labeler", "user_id") if isinstance(value.get(word), str)
        )
        for inner in value.values():
            yield from _people(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _people(inner)


def _without(path: Path, person: str) -> None:
    """The file without a person's lines; it goes when none is left."""
    with path.open(encoding="utf-8") as file, LineWriter(path, private=True) as left:
        left.add(line for line in file if not _names(line, person))


def told(found: Forgotten, really: bool) -> Iterable[str]:
    """What happened, for the terminal."""
    verb = "removed" if really else "would be removed"
    for place in found.removed:
        yield f"{verb}: {place.rows} {place.what} from {place.path}"
    if not found.removed:
        yield "nothing to remove: stores, served turns and masked values hold nothing of this person"
    for place in found.sources:
        yield f"remains, take it out by hand: {place.rows} {place.what} in {place.path}, which collect.files reads and would bring back"
    for place in found.holding:
        yield f"remains, this person's words: {place.rows} {place.what} in {place.path}; to make it again without them: rm -r {place.path}"
    for folder in found.made_from:
        yield f"remains, made from those: {folder}"
    if found.made_from:
        yield "a model cannot forget: remove what remains, then `biddable run` makes it again without this person"
    if not really:
        yield "nothing was changed so far; the same command with --yes removes it"
