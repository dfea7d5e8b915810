"""`biddable forget PERSON FILE`: take a person out of the stores, the served turns and the masked values of all
runs beside this one.

Run folders are not changed: a folder's manifest is a promise about its content. They must be made again
without the person, and this command says which: those that hold their words, and those that were only made
from them, such as a model that learned from a label. What could not be searched is named too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from biddable.cli.arguments import File
from biddable.run.errors import UserError
from biddable.run.output import print_lines

if TYPE_CHECKING:
    from biddable.run.plan import Plan
    from biddable.run.traces import Place
    from biddable.store.store import Store

NAMED = 5
"""Files that are named for one reason; the others are counted."""


def forget(
    person: Annotated[str, typer.Argument(help="The person's pseudonym, as in the field user or labeler.")],
    file: File,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only show what would go.")] = False,
) -> None:
    """Forget a person: out of the store, the served turns and the masked values; lists the run folders that
    hold them."""
    from biddable.run.plan import load_plan

    print_lines(describe(forget_person(load_plan(file), person, yes), yes))


class Traces(NamedTuple):
    """What was removed (or would be), what the user must remove, and what could not be searched."""

    removed: list[Place]
    sources: list[Place]  # files that prompts come from: with the person in them, they would bring them back
    holding: list[Place]  # stage folders and other files with the person's words
    made_from: list[Path]  # stage folders that were made from those
    unsearched: dict[str, list[str]]  # reason -> stores and files


def forget_person(plan: Plan, person: str, really: bool) -> Traces:
    """Remove a person by pseudonym; not `really`: only look.

    Raises UserError when a store of this run cannot be opened, before anything is removed, and when nothing of
    such a person is found anywhere.
    """
    from biddable.run import traces

    runs = plan.folder.parent
    unsearched: dict[str, list[str]] = defaultdict(list)
    with ExitStack() as stack:
        stores = _open_stores(plan, stack, unsearched)
        removed = [place for name, store in stores for place in _forget_in_store(name, store, person, really)]
    logs = _turn_folders(plan)
    values = sorted(runs.glob("*/personal/*.jsonl"))
    removed += _forget_turns(logs, person, really, unsearched)
    removed += _forget_masked_values(values, person, really)
    searched = {path for folder in logs for path in folder.glob("*.jsonl")} | set(values)
    searched |= {Path(name + end) for name, _ in stores for end in ("", "-wal", "-shm")}
    holding, unreadable = traces.search_runs(runs, person, searched)
    made_from, unknown = traces.find_made_from(runs, [Path(place.name) for place in holding])
    sources = []
    for path in _source_files(plan, runs, unsearched):
        try:
            if rows := traces.count_rows(path, person):
                sources.append(traces.Place(str(path), rows, "prompts"))
        except UserError as error:
            unsearched[error.lines[0].removeprefix(f"{path}: ")].append(str(path))
    for reason, names in [*unreadable.items(), *unknown.items()]:
        unsearched[reason] += names
    if not (removed or holding or sources):
        raise UserError(
            [
                f"{person}: nothing of such a person in the runs of {runs}; pseudonyms stand in the field user "
                "or labeler",
                *_describe_unsearched(unsearched),
            ]
        )
    return Traces(removed, sources, holding, made_from, dict(unsearched))


def _open_stores(plan: Plan, stack: ExitStack, unsearched: dict[str, list[str]]) -> list[tuple[str, Store]]:
    """The stores of this run and of those beside it, with what to call them; those of other runs that cannot be
    opened are unsearched. Raises UserError for one of this run."""
    from biddable.run.redaction import HIDDEN, redact_url
    from biddable.store.store import open_store

    addresses = {str(stage.settings["store"]) for stage in plan.stages if stage.settings.get("store")}
    addresses.add(str(plan.folder / "store.db"))
    stores = []
    for address in sorted(addresses):
        if "://" in address or Path(address).exists():
            stores.append((redact_url(address), stack.enter_context(open_store(address))))
    others = _other_stores(plan)
    for folder in _turn_folders(plan):
        run = folder.relative_to(plan.folder.parent).parts[0]
        if run not in (plan.name, *others.values()):
            unsearched[
                "its keys and consents are in a store that only its file names; forget the person with that file "
                "too"
            ].append(str(plan.folder.parent / run))
    for address, run in sorted(others.items()):
        if address in (name for name, _ in stores) or Path(address).resolve() in map(
            Path.resolve, map(Path, addresses)
        ):
            continue
        reason = f"a store of the run {run}; forget the person with that run's file too"
        try:
            if HIDDEN in address or ("://" not in address and not Path(address).exists()):
                raise UserError("not reached")
            stores.append((address, stack.enter_context(open_store(address))))
        except UserError:
            unsearched[reason].append(address)
    return stores


def _other_stores(plan: Plan) -> dict[str, str]:
    """Address of a store of another run in the same folder, as far as its folders tell -> the run's name.
    Passwords are not written down."""
    from biddable.run.traces import read_description, stage_folders

    runs = plan.folder.parent
    stores = {str(path): path.parent.name for path in runs.glob("*/store.db")}
    for folder in stage_folders(runs):
        try:
            settings: dict[str, Any] = read_description(folder)["settings"]
        except (UserError, KeyError):
            continue
        if settings.get("store"):
            stores.setdefault(str(settings["store"]), folder.parent.name)
    return stores


def _forget_in_store(name: str, store: Store, person: str, really: bool) -> Iterator[Place]:
    from biddable.run.traces import Place
    from biddable.store import erase

    for table, rows in sorted(erase.erase_person(store, person, really).items()):
        yield Place(name, rows, f"rows of {table}")


def _turn_folders(plan: Plan) -> list[Path]:
    """Folders in which a served policy logs its turns; a stage's own result is made again, not changed."""
    from biddable.run import turn_log

    runs = plan.folder.parent
    folders = {path.parent for path in runs.glob(f"*/**/{turn_log.TURNS}")}
    return sorted(folder for folder in folders if not (folder / "manifest.json").exists())


def _forget_turns(
    folders: list[Path], person: str, really: bool, unsearched: dict[str, list[str]]
) -> Iterator[Place]:
    from biddable.run import turn_log
    from biddable.run.traces import Place, count_rows

    for folder in folders:
        rows = sum(count_rows(folder / name, person) for name in (turn_log.TURNS, turn_log.FEEDBACK))
        if rows:
            try:
                if really:
                    turn_log.forget(folder, person)
            except UserError as error:  # no turns: said, and what else there is goes
                unsearched["; ".join(error.lines)].append(str(folder))
                continue
            yield Place(str(folder), rows, "turns and feedback")


def _forget_masked_values(files: list[Path], person: str, really: bool) -> Iterator[Place]:
    from biddable.run.traces import Place, count_rows

    for path in files:
        if rows := count_rows(path, person):
            if really:
                _remove_rows(path, person)
            yield Place(str(path), rows, "prompts with masked values")


def _remove_rows(path: Path, person: str) -> None:
    """Rewrite a file without a person's lines; it goes when none is left."""
    from biddable.run.jsonl import LineWriter, read_lines
    from biddable.run.traces import names_person

    with LineWriter(path, private=True) as writer:
        writer.add(line for _, line in read_lines(path) if not names_person(line, person))


def _source_files(plan: Plan, runs: Path, unsearched: dict[str, list[str]]) -> list[Path]:
    """Files outside the runs that stages of this run and of those beside it read."""
    from biddable.run.traces import read_description, stage_folders

    paths = {path for stage in plan.stages for arrows in stage.inputs.values() for _, path in arrows}
    for folder in stage_folders(runs):
        try:
            inputs = read_description(folder)["inputs"]
            paths |= {Path(arrow["path"]) for arrows in inputs.values() for arrow in arrows}
        except (UserError, KeyError):
            continue  # told as a folder whose inputs are unknown
    files: set[Path] = set()
    for path in paths:
        if path.resolve().is_relative_to(runs.resolve()):
            continue
        if not path.exists():
            unsearched["a file that a stage read, and that is not there"].append(str(path))
        files |= {inner for inner in path.rglob("*") if inner.is_file()} if path.is_dir() else {path}
    return sorted(files)


def describe(traces: Traces, really: bool) -> Iterator[str]:
    """What happened, for the terminal: what was removed where, what was not, and why."""
    verb = "removed" if really else "would be removed"
    for place in traces.removed:
        yield f"{verb}: {place.rows} {place.what} from {place.name}"
    if not traces.removed:
        yield "nothing to remove: stores, served turns and masked values hold nothing of this person"
    for name, rows, what in traces.sources:
        yield f"remains, take it out by hand: {rows} {what} in {name}, which a stage reads and would bring back"
    for name, rows, what in traces.holding:
        if Path(name).is_dir():
            yield (
                f"remains, this person's words: {rows} {what} in {name}; to make it again without them: rm -r "
                f"{name}"
            )
        else:
            yield f"remains, take it out by hand: {rows} {what} in {name}, which no stage makes again"
    for folder in traces.made_from:
        yield f"remains, made from those: {folder}"
    if traces.made_from:
        yield (
            "a model cannot forget: remove what remains, then `biddable run` makes it again without this "
            "person"
        )
    yield from _describe_unsearched(traces.unsearched)
    yield "not searched, because only you know them: backups, exports and copies outside the folder of runs"
    if not really:
        yield "nothing was changed so far; the same command with --yes removes it"


def _describe_unsearched(unsearched: dict[str, list[str]]) -> Iterator[str]:
    for reason, names in sorted(unsearched.items()):
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        yield f"not searched: {', '.join(sorted(names)[:NAMED])}{more}: {reason}"
