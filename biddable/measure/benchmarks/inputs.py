"""What a benchmark reads, and everything that is refused before a policy is asked: settings, lines of files,
judges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from biddable.measure.benchmarks import published
from biddable.measure.benchmarks.published import Output
from biddable.measure.benchmarks.tasks import TASKS, GenerationItem, Item, LikelihoodItem
from biddable.model import classifier
from biddable.run import jsonl, records
from biddable.run.config import UserError
from biddable.run.parse import parse_json

if TYPE_CHECKING:
    from biddable.measure.benchmarks import Config


def load(cfg: Config, seed: int) -> tuple[list[Item], dict[str, list[Output]]]:
    """Items and, when `outputs` are measured, those of each system. Raises UserError with every mistake of
    settings and files."""
    if errors := settings_errors(cfg):
        raise UserError(errors)
    if cfg.outputs is not None and published.is_csv(cfg.outputs):
        items, systems = published.read_samples(cfg.outputs, cfg.task)
        rows = sample_rows([item.id for item in items], cfg.limit, seed)
        return [items[i] for i in rows], {
            name: [outputs[i] for i in rows] for name, outputs in systems.items()
        }
    assert cfg.file is not None
    task = TASKS[cfg.task]
    items, errors = read_items(cfg.file, task)
    if len(items) <= cfg.shots and not errors:
        errors.append(f"{cfg.file}: {len(items)} items; must be more than shots = {cfg.shots}")
    shots = 0 if task.primer else cfg.shots
    later = items[shots:]
    rows = sample_rows([item.id for item in later], cfg.limit, seed)
    items = items[:shots] + [later[i] for i in rows]
    systems = {}
    try:
        if cfg.outputs:
            systems = published.read_outputs(cfg.outputs, [] if errors else [item.id for item in items])
    except UserError as error:
        errors += error.lines
    if errors:
        raise UserError(errors)
    return items, systems


def read_items(file: Path, task: type[Item]) -> tuple[list[Item], list[str]]:
    """The items of a file, and an error for every line that has not the task's form."""
    form, lines, errors = task.line or task, [], []
    first_lines: dict[str, int] = {}
    for number, text in jsonl.read_lines(file):
        try:
            line = form.model_validate_json(text)
        except ValidationError as error:
            errors += jsonl.validation_errors(f"{file}:{number}", form, error)
            continue
        if "id" not in line.model_fields_set:
            line = line.model_copy(update={"id": str(number)})
        if (first := first_lines.setdefault(line.id, number)) != number:
            errors.append(
                f"{file}:{number}: the id {line.id} is taken by line {first}; every item needs its own"
            )
        lines.append(line)
    return list(task.from_lines(lines)), errors


def sample_rows(ids: Sequence[str], limit: int | None, seed: int) -> list[int]:
    """Indices of `limit` random items, in the file's order. Each item's rank is its hash, so a small limit's
    items are among those of every larger one."""
    if limit is None or limit >= len(ids):
        return list(range(len(ids)))
    by_hash = sorted(range(len(ids)), key=lambda i: (records.hash_fraction(f"item {seed}", ids[i]), i))
    return sorted(by_hash[:limit])


def settings_errors(cfg: Config) -> list[str]:
    """Settings that contradict each other or the task."""
    task, errors = TASKS[cfg.task], []
    is_csv = published.is_csv(cfg.outputs)
    if cfg.outputs is None and not cfg.policies:
        errors.append("policies: name at least one policy, or outputs")
    if cfg.file is None and not is_csv:
        errors.append("file: name the file of items")
    if cfg.outputs is not None and issubclass(task, LikelihoodItem):
        errors.append(f"outputs: task = {cfg.task!r} compares likelihoods; it needs a policy")
    if task.primer and cfg.shots > len(task.primer):
        errors.append(f"shots = {cfg.shots}: the task's primer has {len(task.primer)} pairs")
    if cfg.shots and not task.primer and not task.has_gold:
        errors.append(f"shots = {cfg.shots}: a line of task = {cfg.task!r} cannot serve as an example")
    if is_csv and cfg.shots:
        errors.append(f"shots = {cfg.shots}: published samples are not asked again")
    if cfg.outputs is not None and cfg.policies:
        errors.append("policies: outputs are measured instead of policies; name one of both")
    if issubclass(task, GenerationItem):
        missing = [name for name in task.required_judges if name not in cfg.judges()]
        # Published samples carry their judges' verdicts, so that they need no judges of one's own; but half
        # of them will not do.
        if not is_csv or len(missing) < len(task.required_judges):
            errors += [
                f"{name}: name a [learn.classifier] that was trained on such judgements" for name in missing
            ]
    return errors


def check_judges(cfg: Config) -> None:
    """Raises UserError unless the classifiers are some, and read what they will be given."""
    errors = []
    for name, folder in cfg.judges().items():
        try:
            fields = classifier.template_fields(folder)
        except UserError as error:
            errors += [f"{name}: {line}" for line in error.lines]
            continue
        if name == "toxicity" and len(fields) > 1:
            errors.append(
                f"{name}: {folder} reads {', '.join(fields)}; a toxicity scorer reads one text alone"
            )
        if name != "toxicity" and (unknown := set(fields) - {"question", "answer"}):
            errors.append(
                f"{name}: {folder} reads {', '.join(sorted(unknown))}; a judge of answers reads question and "
                "answer"
            )
    if errors:
        raise UserError(errors)


def judge_quality(cfg: Config) -> dict[str, float]:
    """How good the judges are on judgements that they were not trained on: it stands beside every number that
    they make."""
    quality: dict[str, float] = {}
    for name, folder in cfg.judges().items():
        path = folder / "summary.json"
        if path.is_file():
            summary = parse_json(path.read_text(encoding="utf-8"))
            quality |= {
                f"{name}_{key}": summary[key] for key in ("auc", "balanced_accuracy") if key in summary
            }
    return quality
