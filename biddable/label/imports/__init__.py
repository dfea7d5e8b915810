"""Imports: labels that were given elsewhere, as this project's records: our own JSONL, Argilla's and Label Studio's JSON exports.

Everything is read and checked before anything is written. Names of people never get into records: each gets a
pseudonym.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from biddable.label.imports import formats
from biddable.label.imports.formats import Columns, ExternalLabel, UnreadableRecord
from biddable.run.config import Input, Settings, UserError, suggestion
from biddable.run.context import StageContext
from biddable.run.jsonl import read, write
from biddable.run.records import Answer, Comparison, Demonstration, Prompt, Rating

KINDS: dict[str, type[Comparison] | type[Demonstration] | type[Rating]] = {
    "comparisons": Comparison,
    "demonstrations": Demonstration,
    "ratings": Rating,
}
READERS: dict[str, Callable[[str, dict[str, Any], Columns], Iterator[ExternalLabel]]] = {
    "argilla": formats.argilla,
    "label_studio": formats.label_studio,
}


class Config(Settings):
    files: tuple[Input, ...] = ()
    """What to read: JSONL files in this project's format, or JSON exports."""
    format: Literal["biddable", "argilla", "label_studio"] = "biddable"
    """Who wrote them."""
    kind: Literal["comparisons", "demonstrations", "ratings"] = "comparisons"
    """What the labels are. The stage writes `KIND.jsonl`, as `[label.KIND]` does."""
    prompt: str = "prompt"
    """The field with the prompt: a text, or a list of role and content. Not for our own format, as the next
    two."""
    answers: tuple[str, ...] = ()
    """The fields with the answers that were ranked or rated; for Label Studio's Ranker the one field with the
    list of items."""
    question: str = ""
    """The question (Argilla) or the name of the control (Label Studio) that holds what people said."""
    labelers: dict[str, str] = Field(default={})
    """Names in the files and the pseudonyms they get; a name that is missing here is refused. Empty: each
    name gets a pseudonym made from it."""
    panel: Literal["training", "held_out"] = "training"
    """Which panel these people count to. Our own files say it themselves."""
    guideline: str = "imported"
    """What to note as the guideline they saw. Our own files say it themselves."""
    scale: int = Field(default=7, ge=2)
    """The best value of a rating in the files; it is brought to 1 to 7 by steps of equal size and refused
    when that gives no whole number."""


ImportedLabel = Comparison | Demonstration | Rating


def run(cfg: Config, context: StageContext) -> None:
    _check_settings(cfg, context.key)
    errors: list[str] = []
    placed: list[tuple[str, ImportedLabel]] = []
    for path in cfg.files:
        placed += (
            _read_own(path, cfg, errors)
            if cfg.format == "biddable"
            else _read_export(path, cfg, context.seed, errors)
        )
    _check_doubles(placed, errors)
    if not placed and not errors:
        errors.append(
            f"[{context.key}] files: there is not one label in {', '.join(str(path) for path in cfg.files)}"
        )
    if errors:
        raise UserError(errors)
    rows = sorted((row for _, row in placed), key=lambda row: row.id)
    write(context.path(f"{cfg.kind}.jsonl"), rows)
    context.summary = {
        cfg.kind: len(rows),
        "prompts": len({row.prompt.id for row in rows}),
        "labelers": len({row.labeler for row in rows}),
        "simulated": any(row.simulated for row in rows),
        "guideline": ", ".join(sorted({row.guideline for row in rows})),
    }


def _check_settings(cfg: Config, key: str) -> None:
    errors = [] if cfg.files else [f"[{key}] files: expected at least one file"]
    if cfg.format != "biddable":
        if not cfg.question:
            errors.append(
                f"[{key}] question: expected the name of the question or control that people answered"
            )
        if not cfg.answers and cfg.kind != "demonstrations":
            errors.append(f"[{key}] answers: expected the fields with the answers")
    if len(set(cfg.labelers.values())) < len(cfg.labelers):
        errors.append(f"[{key}] labelers: two names have the same pseudonym")
    if errors:
        raise UserError(errors)


def _read_own(path: Path, cfg: Config, errors: list[str]) -> list[tuple[str, ImportedLabel]]:
    """Our own records; ranks and names are checked, everything else the records check themselves."""
    try:
        rows = read(path, KINDS[cfg.kind])
    except UserError as error:
        errors += error.lines
        return []
    placed: list[tuple[str, ImportedLabel]] = []
    for number, row in enumerate(rows, 1):
        place = f"{path}:{number}"
        if isinstance(row, Comparison) and (reason := rank_error(row.ranks)):
            errors.append(f"{place}: {reason}")
        if cfg.labelers and row.labeler not in cfg.labelers.values():
            errors.append(f"{place}: {_unknown_labeler(row.labeler, list(cfg.labelers.values()))}")
        placed.append((place, row))
    return placed


def rank_error(ranks: tuple[int, ...]) -> str | None:
    """What is wrong with the ranks of K answers: they are 1 (best) to at most K, and somebody is first. None:
    nothing."""
    if min(ranks) != 1 or max(ranks) > len(ranks):
        return f"ranks {list(ranks)}: the best of {len(ranks)} answers has rank 1, and none is above {len(ranks)}"
    return None


def _read_export(path: Path, cfg: Config, seed: int, errors: list[str]) -> list[tuple[str, ImportedLabel]]:
    """Another tool's labels as records; every mistake with file and line."""
    columns = Columns(cfg.prompt, cfg.answers, cfg.question)
    placed: list[tuple[str, ImportedLabel]] = []
    try:
        for place, row in formats.read_objects(path):
            try:
                for label in READERS[cfg.format](place, row, columns):
                    placed.append((place, _record(label, cfg, seed)))
            except (UnreadableRecord, AttributeError, TypeError) as error:
                errors.append(f"{place}: {error}")
            except ValidationError as error:
                errors += [f"{place}: {mistake['msg']}" for mistake in error.errors(include_url=False)]
    except UserError as refusal:
        errors += refusal.lines
    return placed


def _record(label: ExternalLabel, cfg: Config, seed: int) -> ImportedLabel:
    """One label as a record. Raises UnreadableRecord, or ValidationError."""
    if cfg.labelers and label.labeler not in cfg.labelers:
        raise UnreadableRecord(_unknown_labeler(label.labeler, list(cfg.labelers)))
    labeler = cfg.labelers.get(label.labeler) or f"imported-{_hash(str(seed), label.labeler)[:8]}"
    text = "\x1f".join(f"{turn.role}\x1e{turn.content}" for turn in label.messages)
    prompt = Prompt(
        id=f"imported-{_hash(text)[:12]}", messages=label.messages, user="imported", source=cfg.format
    )
    item = _hash(label.item, text, *(f"{name}\x1e{body}" for name, body in label.answers))[:10]
    common: dict[str, Any] = {
        "id": f"{item}-{labeler}",
        "prompt": prompt,
        "labeler": labeler,
        "simulated": False,
        "guideline": cfg.guideline,
    }
    answers = tuple(Answer(text=body, model=name) for name, body in label.answers)
    if cfg.kind == "comparisons":
        return Comparison(**common, answers=answers, ranks=_ranks(label), panel=cfg.panel)
    if cfg.kind == "demonstrations":
        if not isinstance(label.value, str) or not label.value.strip():
            raise UnreadableRecord(f"{cfg.question}: expected a text, not {label.value!r}")
        return Demonstration(**common, answer=Answer(text=label.value, model="people"))
    if len(answers) != 1:
        raise UnreadableRecord(
            f"answers: one answer is rated at a time, not {len(answers)}; import each question by itself"
        )
    return Rating(**common, answer=answers[0], overall=_overall(label.value, cfg.scale), panel=cfg.panel)


def _ranks(label: ExternalLabel) -> tuple[int, ...]:
    """One rank for each answer: all are ranked, each once."""
    if not isinstance(label.value, list):
        raise UnreadableRecord(f"expected a ranking, not {label.value!r}")
    names = [name for name, _ in label.answers]
    ranked = [name for group in label.value for name in group]
    if sorted(ranked) != sorted(names):
        unknown, missing = sorted(set(ranked) - set(names)), sorted(set(names) - set(ranked))
        reason = (
            f"unknown: {unknown}" if unknown else f"missing: {missing}" if missing else "one is there twice"
        )
        raise UnreadableRecord(f"a ranking of {len(names)} answers names {len(ranked)}; {reason}")
    place = {name: number for number, group in enumerate(label.value, 1) for name in group}
    return tuple(place[name] for name in names)


def _overall(value: Any, scale: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= scale:
        raise UnreadableRecord(f"a rating is a whole number from 1 to {scale}, not {value!r}")
    if (6 * (value - 1)) % (scale - 1):
        raise UnreadableRecord(f"a rating of {value} on a scale to {scale} is no whole number from 1 to 7")
    return 1 + 6 * (value - 1) // (scale - 1)


def _check_doubles(placed: list[tuple[str, ImportedLabel]], errors: list[str]) -> None:
    """The same person's label of the same record twice: which one counts is not ours to say."""
    places: dict[str, str] = {}
    for place, row in placed:
        if row.id in places:
            errors.append(
                f"{place}: {row.labeler} has labelled this in {places[row.id]} already (id {row.id})"
            )
        places.setdefault(row.id, place)


def _unknown_labeler(name: str, names: list[str]) -> str:
    return f"unknown labeler {name!r}; labelers names {len(names)}{suggestion(name, names)}"


def _hash(*words: str) -> str:
    return hashlib.sha256("\x1f".join(words).encode("utf-8", "surrogatepass")).hexdigest()
