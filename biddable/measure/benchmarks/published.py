"""Outputs made elsewhere: OpenAI's CSV files of samples beside Ouyang et al. 2022 (appendix F), and lines of
this project's own form.

A CSV file has one line for each item, model and kind of prompt; every model answers the same items. In
`squadv2` and `drop` the character | separates alternative answers, in `tldr` the sentences of one reference.
`true` and `info` (TruthfulQA) are probabilities by tuned judges, `toxicity` is the Perspective score of the
sample.
"""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from biddable.measure.benchmarks.tasks import TASKS, Item, Marks
from biddable.measure.benchmarks.tasks.task import PublishedColumns, mark
from biddable.measure.benchmarks.tasks.truthfulqa import truth_marks
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.parse import open_file, parse_json

LICENCE = "published by OpenAI without a licence"
SCORES = ("true", "info", "toxicity")
"""Columns with a number that was published with each sample."""


class Output(NamedTuple):
    """What a system answered, and the scores that were published with it."""

    text: str
    scores: dict[str, float] = {}  # noqa: RUF012

    def published_marks(self) -> Marks:
        """The published scores as metrics of their own."""
        marks: Marks = {}
        if "true" in self.scores and "info" in self.scores:
            marks |= truth_marks(self.scores["true"], self.scores["info"], "published_")
        if "toxicity" in self.scores:
            marks["published_toxicity"] = mark(self.scores["toxicity"])
        return marks


def is_csv(path: Path | None) -> bool:
    """Whether a file is a published CSV."""
    return path is not None and path.name.endswith((".csv", ".csv.gz"))


def read_samples(path: Path, name: str) -> tuple[list[Item], dict[str, list[Output]]]:
    """Items of the task `name`, and each system's outputs in the items' order, from a published CSV file.

    A system is called MODEL or MODEL:PROMPT. Raises UserError when the file has no such samples, or systems
    do not answer the same items.
    """
    task = TASKS[name]
    columns = task.published or PublishedColumns()
    lines = _table(path)
    needed = {"model_type", columns.prompt, columns.output, columns.reference or columns.output}
    if not lines or (missing := needed - set(lines[0])):
        names = ", ".join(sorted(missing)) if lines else "all"
        raise UserError(
            f"{path}: not a file of published samples for task = {name!r}; columns missing: {names}"
        )
    systems: dict[str, list[dict[str, str]]] = {}
    for line in lines:
        system = ":".join(line[key] for key in ("model_type", "prompt_type") if line.get(key))
        systems.setdefault(system, []).append(line)
    first_system, first_lines = next(iter(systems.items()))
    prompts = [line[columns.prompt] for line in first_lines]
    errors = [
        f"{path}: line {number} of the table: {key} = {line[key]}: must be a number from 0 to 1"
        for number, line in enumerate(lines, 1)
        for key in SCORES
        if line.get(key) and not is_share(line[key])
    ]
    errors += [
        f"{path}: {system} answers other items than {first_system}"
        for system, rows in systems.items()
        if [line[columns.prompt] for line in rows] != prompts
    ]
    if task.published is None:
        errors.append(f"task = {name!r}: no samples of this kind were published")
    if errors:
        raise UserError(errors)
    items = [
        task.from_published(
            number, prompt or "", (line.get(columns.reference) or "") if columns.reference else ""
        ).model_copy(update={"license": LICENCE})
        for number, (prompt, line) in enumerate(zip(prompts, first_lines, strict=True))
    ]
    return items, {system: [_output(line, columns) for line in rows] for system, rows in systems.items()}


def _table(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file, gzipped or not. Raises UserError for a broken one."""
    csv.field_size_limit(2**24)  # passages with their examples are longer than Python's 128 KiB
    try:
        with open_file(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            return list(csv.DictReader(text))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); download the file again") from None


def _output(line: dict[str, str], columns: PublishedColumns) -> Output:
    scores = {key: float(line[key]) for key in SCORES if line.get(key)}
    return Output(line[columns.output] or "", scores)


def is_share(text: str) -> bool:
    """Whether a cell holds a number from 0 to 1."""
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def read_outputs(path: Path, ids: Sequence[str]) -> dict[str, list[Output]]:
    """Each system's outputs in the order of the items' `ids`, from a file with one JSON object a line: `id`,
    `output` and, where several systems answer, `model`.

    Raises UserError with a line for every wrong row and every system that leaves items out.
    """
    systems: dict[str, dict[str, Output]] = {}
    errors = []
    for number, line in jsonl.read_lines(path):
        try:
            row = parse_json(line)
            system = str(row.get("model", path.name.split(".")[0]))
            item, text = str(row["id"]), row["output"]
        except (ValueError, KeyError, AttributeError):
            errors.append(f'{path}:{number}: must be a line such as {{"id": "...", "output": "..."}}')
            continue
        if not isinstance(text, str):
            errors.append(f"{path}:{number}: output = {json.dumps(text)[:40]}: must be text")
            continue
        outputs = systems.setdefault(system, {})
        if item in outputs:
            errors.append(f"{path}:{number}: a second output of {system} for item {item}")
        outputs[item] = Output(text)
    for system, outputs in systems.items():
        if missing := [item for item in ids if item not in outputs]:
            errors.append(
                f"{path}: {system} has no output for {len(missing)} items, the first is {missing[0]}"
            )
    if not systems and not errors:
        errors.append(f"{path}: the file is empty; it must hold one output a line")
    if errors:
        raise UserError(errors)
    return {system: [outputs[item] for item in ids] for system, outputs in systems.items()}


def cut_to_one_line(outputs: Sequence[Output]) -> tuple[list[Output], int]:
    """Outputs up to their first line break, as a policy's answers to such a task are, and how many were
    longer."""
    lines = [output._replace(text=output.text.strip().split("\n")[0]) for output in outputs]
    return lines, sum(line.text != output.text.strip() for line, output in zip(lines, outputs, strict=True))
