"""`biddable forget PERSON FILE`: take a person out of the store, the served turns and the masked values.

Run folders are not changed: a folder's manifest is a promise about its content. They must be made again
without the person, and this command says which: those that hold their words, and those that were only made
from them, such as a model that learned from a label.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from biddable.cli.arguments import File
from biddable.run.errors import UserError
from biddable.run.output import print_lines

if TYPE_CHECKING:
    from biddable.run.plan import Plan

PERSON_FIELDS = ("user", "labeler", "user_id")
"""Fields of a JSON line that hold a pseudonym."""


def forget(
    person: Annotated[str, typer.Argument(help="The person's pseudonym, as in the field user or labeler.")],
    file: File,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only show what would go.")] = False,
) -> None:
    """Forget a person: out of the store, the served turns and the masked values; lists the run folders that
    hold them."""
    from biddable.run.plan import load_plan

    print_lines(describe(forget_person(load_plan(file), person, yes), yes))


class Place(NamedTuple):
    """A file or folder that holds something of a person's."""

    path: Path
    rows: int
    what: str


class Traces(NamedTuple):
    """What was removed (or would be), and what the user must remove."""

    removed: list[Place]
    sources: list[Place]  # files that prompts come from: with the person in them, they would bring them back
    holding: list[Place]  # stage folders with the person's words
    made_from: list[Path]  # stage folders that were made from those


def forget_person(plan: Plan, person: str, really: bool) -> Traces:
    """Remove a person by pseudonym; not `really`: only look. Raises UserError when nothing of such a person
    is found anywhere."""
    runs = plan.folder.parent
    removed = [
        *_forget_in_stores(plan, person, really),
        *_forget_turns(plan, person, really),
        *_forget_masked_values(runs, person, really),
    ]
    holding = _find_holding(runs, person)
    made_from = _find_made_from(runs, {place.path for place in holding})
    sources = [
        Place(path, rows, "prompts") for path in _source_files(plan) if (rows := _count_rows(path, person))
    ]
    if not (removed or holding or sources):
        raise UserError(
            f"{person}: nothing of such a person in the runs of {runs}; pseudonyms stand in the field user "
            "or labeler"
        )
    return Traces(removed, sources, holding, made_from)


def _forget_in_stores(plan: Plan, person: str, really: bool) -> Iterator[Place]:
    """The run's own store and those that its stages name."""
    from biddable.store import erase
    from biddable.store.store import open_store

    addresses = {str(stage.settings["store"]) for stage in plan.stages if stage.settings.get("store")}
    default = plan.folder / "store.db"
    for address in sorted(addresses | ({str(default)} if default.exists() else set())):
        if "://" not in address and not Path(address).exists():
            continue
        with open_store(address) as store:
            for table, rows in sorted(erase.erase_person(store, person, really).items()):
                yield Place(Path(address), rows, f"rows of {table}")


def _forget_turns(plan: Plan, person: str, really: bool) -> Iterator[Place]:
    """Folders in which a served policy logs its turns; a stage's own result is made again, not changed."""
    from biddable.run import turn_log

    runs = plan.folder.parent
    folders = {path.parent for path in runs.glob(f"*/**/{turn_log.TURNS}")} | {runs / plan.name / "turns"}
    for folder in sorted(folders):
        if (folder / "manifest.json").exists() or not (folder / turn_log.TURNS).exists():
            continue
        rows = sum(_count_rows(folder / name, person) for name in (turn_log.TURNS, turn_log.FEEDBACK))
        if rows:
            if really:
                turn_log.forget(folder, person)
            yield Place(folder, rows, "turns and feedback")


def _forget_masked_values(runs: Path, person: str, really: bool) -> Iterator[Place]:
    for path in sorted(runs.glob("*/personal/*.jsonl")):
        if rows := _count_rows(path, person):
            if really:
                _remove_rows(path, person)
            yield Place(path, rows, "prompts with masked values")


def _source_files(plan: Plan) -> Iterator[Path]:
    for stage in plan.stages:
        if stage.name == "collect.files":
            for path in stage.config.files:
                yield path / "prompts.jsonl" if path.is_dir() else path


def _find_holding(runs: Path, person: str) -> list[Place]:
    """Finished and unfinished stage folders with lines that name the person."""
    places = []
    for folder in sorted(path for path in runs.glob("*/*.*") if path.is_dir()):
        rows = sum(_count_rows(path, person) for path in folder.glob("*.jsonl"))
        if rows:
            places.append(Place(folder, rows, "lines"))
    return places


def _find_made_from(runs: Path, holding: set[Path]) -> list[Path]:
    """Stage folders with one of these among what they were made from, directly or not, sorted."""
    inputs = {
        path.parent.resolve(): set(_input_folders(path.parent)) for path in runs.glob("*/*/manifest.json")
    }
    start = {path.resolve() for path in holding}
    reached = set(start)
    while more := {folder for folder, read in inputs.items() if folder not in reached and read & reached}:
        reached |= more
    return sorted(reached - start)


def _input_folders(folder: Path) -> Iterator[Path]:
    """What a stage read; stages of one run lie side by side, also when the run was moved or copied."""
    from biddable.run.manifest import read_manifest

    manifest = read_manifest(folder) or {}
    for arrows in manifest.get("inputs", {}).values():
        for arrow in arrows:
            sibling = folder.parent / arrow["name"]
            yield (sibling if sibling.exists() else Path(arrow["path"])).resolve()


def _count_rows(path: Path, person: str) -> int:
    """Lines that name a person as user or labeler, anywhere in them; of a CSV file those that hold the name
    at all."""
    from biddable.run.jsonl import read_lines

    if not path.is_file():
        return 0
    quoted = (json.dumps(person), json.dumps(person, ensure_ascii=False))
    rows = 0
    try:
        for _, line in read_lines(path):
            if any(text in line for text in quoted):  # a cheap search first: few lines are read as JSON
                rows += _names_person(line, person)
            elif path.suffix == ".csv":
                rows += person in line
    except UserError:  # a file that breaks off counts as far as it can be read
        return rows
    return rows


def _names_person(line: str, person: str) -> bool:
    try:
        return person in _people(json.loads(line))
    except ValueError:
        return True  # not JSON, but it holds the name: better one too many


def _people(value: object) -> Iterator[str]:
    """All pseudonyms in a JSON value, however deep."""
    if isinstance(value, dict):
        yield from (value[name] for name in PERSON_FIELDS if isinstance(value.get(name), str))
        for inner in value.values():
            yield from _people(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _people(inner)


def _remove_rows(path: Path, person: str) -> None:
    """Rewrite a file without a person's lines; it goes when none is left."""
    from biddable.run.jsonl import LineWriter

    with path.open(encoding="utf-8") as file, LineWriter(path, private=True) as writer:
        writer.add(line for line in file if not _names_person(line, person))


def describe(traces: Traces, really: bool) -> Iterator[str]:
    """What happened, for the terminal."""
    verb = "removed" if really else "would be removed"
    for place in traces.removed:
        yield f"{verb}: {place.rows} {place.what} from {place.path}"
    if not traces.removed:
        yield "nothing to remove: stores, served turns and masked values hold nothing of this person"
    for path, rows, what in traces.sources:
        yield (
            f"remains, take it out by hand: {rows} {what} in {path}, which collect.files reads and would "
            "bring back"
        )
    for path, rows, what in traces.holding:
        yield (
            f"remains, this person's words: {rows} {what} in {path}; to make it again without them: rm -r "
            f"{path}"
        )
    for folder in traces.made_from:
        yield f"remains, made from those: {folder}"
    if traces.made_from:
        yield (
            "a model cannot forget: remove what remains, then `biddable run` makes it again without this "
            "person"
        )
    if not really:
        yield "nothing was changed so far; the same command with --yes removes it"
