"""`biddable check FILE`: every mistake of a file and of the records that it names, then the order of its
stages."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from biddable.cli.arguments import File
from biddable.cli.table import format_table
from biddable.run.errors import Mistakes, UserError
from biddable.run.output import print_lines

if TYPE_CHECKING:
    from biddable.run.plan import Plan, Stage

MAX_LINES = 100_000
"""Lines of a file that are checked; the rest is taken on trust."""


def check(file: File) -> None:
    """Find all mistakes of a file and of the records it names; show the order, what each stage reads, and the
    memory it needs."""
    from biddable.run.catalog import import_stage, is_site
    from biddable.run.plan import load_plan

    plan = load_plan(file)
    if problems := find_problems(plan):
        raise UserError(problems)
    print_lines(describe_plan(plan))
    for stage in plan.stages:
        notes = None if stage.missing else getattr(import_stage(stage.name), "notes", None)
        print_lines(f"[{stage.key}] {line}" for line in (notes(stage.config) if notes else ()))
    sites = sum(is_site(stage.name) for stage in plan.stages)
    missing = sum(stage.missing is not None for stage in plan.stages)
    also = f" and {sites} site{'s' if sites > 1 else ''}" if sites else ""
    print(f"\n{file} is in order: {len(plan.stages) - sites} stages{also} into {plan.folder}")
    if missing:
        print(f"{missing} of them need packages that are not installed: their values were not checked")


def find_problems(plan: Plan) -> list[str]:
    """What stands in a run's way, a line each: too little memory, files that no stage could read."""
    lines = []
    for stage in plan.stages:
        lines += [f"{plan.file}: [{stage.key}] {line}" for line in _stage_problems(plan, stage)]
    return lines


def _stage_problems(plan: Plan, stage: Stage) -> Iterator[str]:
    from biddable.run import memory
    from biddable.run.catalog import import_stage

    needed, available = memory.estimate(plan, stage), memory.available()
    device = memory.device_available()
    if needed is not None and device is None and needed > available:
        yield f"needs about {needed:.1f} GB, this machine has {available:.1f} GB; {memory.advice(stage)}"
    if needed is not None and device is not None and needed - memory.PROGRAM_GB > device:
        yield (
            f"needs about {needed - memory.PROGRAM_GB:.1f} GB on the accelerator, which has {device:.1f} GB; "
            + memory.advice(stage)
        )
    # a stage that reads files of a format of its own checks them better than we do here
    check_files = None if stage.missing else getattr(import_stage(stage.name), "mistakes", None)
    if check_files:
        yield from check_files(stage.config)
    else:
        for word, arrows in stage.inputs.items():
            for _, path in arrows:
                yield from find_wrong_records(path, RECORDS.get(word)) or find_unreadable_lines(path)


RECORDS = {
    "demonstrations": "Demonstration",
    "chosen": "Comparison",
    "followed": "RuleCheck",
    "held_out": "Comparison",
    "prompts": "Prompt",
    "more_prompts": "Prompt",
    "ratings": "Rating",
}
"""Settings -> the records in a file that they name. (`comparisons` of measure.winrate may be another format.)"""


def find_wrong_records(path: Path, kind: str | None) -> list[str]:
    """Mistakes in a JSONL file of records; none for folders and other files."""
    from biddable.run import jsonl, records

    if kind is None or not path.is_file():
        return []
    mistakes = Mistakes()
    try:
        for _ in itertools.islice(jsonl.read_good(path, getattr(records, kind), mistakes), MAX_LINES):
            pass
    except UserError as error:
        mistakes.add(error.lines)
    return mistakes.lines()


def find_unreadable_lines(path: Path) -> Iterator[str]:
    """Lines of a JSONL file that are not JSON objects; nothing for folders and other files."""
    from biddable.run import jsonl
    from biddable.run.parse import parse_json

    if not path.is_file() or ".jsonl" not in path.suffixes:
        return
    try:
        for number, line in itertools.islice(jsonl.read_lines(path), MAX_LINES):
            try:
                problem = "" if isinstance(parse_json(line), dict) else "must be a JSON object"
            except ValueError as error:
                problem = str(error)
            if problem:
                yield f"{path}:{number}: {problem} (got {line.strip()[:60]})"
    except UserError as error:
        yield from error.lines


def describe_plan(plan: Plan) -> list[str]:
    """The stages of a run as a table: state, inputs, memory."""
    from biddable.run.states import stage_states

    rows = [[stage.key, *_describe_stage(plan, stage, *state)] for stage, state in stage_states(plan)]
    return list(format_table(rows))


def _describe_stage(plan: Plan, stage: Stage, state: str, reason: str) -> tuple[str, str]:
    from biddable.run import memory
    from biddable.run.catalog import is_site

    if is_site(stage.name) and not stage.missing:
        state, reason = "site", "until it is stopped"
    if reason.startswith("for "):  # "waiting for ...": it stands in what the stage reads
        reason = ""
    needed = memory.estimate(plan, stage)
    reads = f"reads {', '.join(stage.input_names)}" if stage.input_names else ""
    checkpoint = memory.checkpoint_gb(plan, stage)
    notes = [
        reads,
        reason,
        "" if needed is None else f"peak memory {needed:.1f} GB",
        "" if checkpoint is None else f"checkpoint {checkpoint:.1f} GB on disk, twice while it is written",
    ]
    return state, "; ".join(note for note in notes if note)
