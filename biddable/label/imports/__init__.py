"""Imports: labels that were given elsewhere, as this project's records: our own JSONL, Argilla's and Label Studio's JSON exports.

Everything is read and checked before anything is written. Names of people never get into records: each gets a pseudonym.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from biddable.label.imports import formats
from biddable.label.imports.formats import Columns, Said, Wrong
from biddable.run.config import Input, Settings, UserError, suggestion
from biddable.run.context import StageContext
from biddable.run.jsonl import read, write
from biddable.run.records import Answer, Comparison, Demonstration, Prompt, Rating

KINDS: dict[str, type[Comparison] | type[Demonstration] | type[Rating]] = {
    "comparisons": Comparison,
    "demonstrations": Demonstration,
    "ratings": Rating,
}
READERS: dict[str, Callable[[str, dict[str, Any], Columns], Iterator[Said]]] = {
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
    """The field with the prompt: a text, or a list of role and content. Not for our own format, as the next two."""
    answers: tuple[str, ...] = ()
    """The fields with the answers that were ranked or rated; for Label Studio's Ranker the one field with the list of items."""
    question: str = ""
    """The question (Argilla) or the name of the control (Label Studio) that holds what people said."""
    labelers: dict[str, str] = Field(default={})
    """Names in the files and the pseudonyms they get; a name that is missing here is refused. Empty: each name gets a pseudonym made from it."""
    panel: Literal["training", "held_out"] = "training"
    """Which panel these people count to. Our own files say it themselves."""
    guideline: str = "imported"
    """What to note as the guideline they saw. Our own files say it themselves."""
    scale: int = Field(default=7, ge=2)
    """The best value of a rating in the files; it is brought to 1 to 7 by steps of equal size and refused when that gives no whole number."""


Kept = Comparison | Demonstration | Rating


def run(cfg: Config, context: StageContext) -> None:
    _complete(cfg, context.key)
    wrong: list[str] = []
    found: list[tuple[str, Kept]] = []
    for path in cfg.files:
        found += (
            _own(path, cfg, wrong) if cfg.format == "biddable" else _others(path, cfg, context.seed, wrong)
        )
    _doubles(found, wrong)
    if not found and not wrong:
        wrong.append(
            f"[{context.key}] files: there is not one label in {', '.join(str(path) for path in cfg.files)}"
        )
    if wrong:
        raise UserError(wrong)
    rows = sorted((row for _, row in found), key=lambda row: row.id)
    write(context.path(f"{cfg.kind}.jsonl"), rows)
    context.summary = {
        cfg.kind: len(rows),
        "prompts": len({row.prompt.id for row in rows}),
        "labelers": len({row.labeler for row in rows}),
        "simulated": any(row.simulated for row in rows),
        "guideline": ", ".join(sorted({row.guideline for row in rows})),
    }


def _complete(cfg: Config, key: str) -> None:
    wrong = [] if cfg.files else [f"[{key}] files: at least one file was expected"]
    if cfg.format != "biddable":
        if not cfg.question:
            wrong.append(
                f"[{key}] question: the name of the question or control that people answered was expected"
            )
        if not cfg.answers and cfg.kind != "demonstrations":
            wrong.append(f"[{key}] answers: the fields with the answers were expected")
    if len(set(cfg.labelers.values())) < len(cfg.labelers):
        wrong.append(f"[{key}] labelers: two names have the same pseudonym")
    if wrong:
        raise UserError(wrong)


def _own(path: Path, cfg: Config, wrong: list[str]) -> list[tuple[str, Kept]]:
    """Our own records; ranks and names are checked, everything else the records check themselves."""
    try:
        rows = read(path, KINDS[cfg.kind])
    except UserError as refusal:
        wrong += refusal.lines
        return []
    found: list[tuple[str, Kept]] = []
    for number, row in enumerate(rows, 1):
        place = f"{path}:{number}"
        if isinstance(row, Comparison) and (mistake := wrong_ranks(row.ranks)):
            wrong.append(f"{place}: {mistake}")
        if cfg.labelers and row.labeler not in cfg.labelers.values():
            wrong.append(f"{place}: {_unknown(row.labeler, list(cfg.labelers.values()))}")
        found.append((place, row))
    return found


def wrong_ranks(ranks: tuple[int, ...]) -> str | None:
    """What is wrong with the ranks of K answers: they are 1 (best) to at most K, and somebody is first. None: nothing."""
    if min(ranks) != 1 or max(ranks) > len(ranks):
        return f"ranks {list(ranks)}: the best of {len(ranks)} answers has rank 1, and none is above {len(ranks)}"
    return None


def _others(path: Path, cfg: Config, seed: int, wrong: list[str]) -> list[tuple[str, Kept]]:
    """Another tool's labels as records; every mistake with file and line."""
    columns = Columns(cfg.prompt, cfg.answers, cfg.question)
    found: list[tuple[str, Kept]] = []
    try:
        for place, row in formats.items(path):
            try:
                for said in READERS[cfg.format](place, row, columns):
                    found.append((place, _record(said, cfg, seed)))
            except (Wrong, AttributeError, TypeError) as error:
                wrong.append(f"{place}: {error}")
            except ValidationError as error:
                wrong += [f"{place}: {one['msg']}" for one in error.errors(include_url=False)]
    except UserError as refusal:
        wrong += refusal.lines
    return found


def _record(said: Said, cfg: Config, seed: int) -> Kept:
    """One label as a record. Raises Wrong, or ValidationError."""
    if cfg.labelers and said.labeler not in cfg.labelers:
        raise Wrong(_unknown(said.labeler, list(cfg.labelers)))
    labeler = cfg.labelers.get(said.labeler) or f"imported-{_hash(str(seed), said.labeler)[:8]}"
    text = "\x1f".join(f"{turn.role}\x1e{turn.content}" for turn in said.messages)
    prompt = Prompt(
        id=f"imported-{_hash(text)[:12]}", messages=said.messages, user="imported", source=cfg.format
    )
    shown = _hash(said.item, text, *(f"{name}\x1e{body}" for name, body in said.answers))[:10]
    mark: dict[str, Any] = {
        "id": f"{shown}-{labeler}",
        "prompt": prompt,
        "labeler": labeler,
        "simulated": False,
        "guideline": cfg.guideline,
    }
    given = tuple(Answer(text=body, model=name) for name, body in said.answers)
    if cfg.kind == "comparisons":
        return Comparison(**mark, answers=given, ranks=_ranks(said), panel=cfg.panel)
    if cfg.kind == "demonstrations":
        if not isinstance(said.value, str) or not said.value.strip():
            raise Wrong(f"{cfg.question}: a text was expected, not {said.value!r}")
        return Demonstration(**mark, answer=Answer(text=said.value, model="people"))
    if len(given) != 1:
        raise Wrong(
            f"answers: one answer is rated at a time, not {len(given)}; import each question by itself"
        )
    return Rating(**mark, answer=given[0], overall=_overall(said.value, cfg.scale), panel=cfg.panel)


def _ranks(said: Said) -> tuple[int, ...]:
    """One rank for each answer: all are ranked, each once."""
    if not isinstance(said.value, list):
        raise Wrong(f"a ranking was expected, not {said.value!r}")
    names = [name for name, _ in said.answers]
    ranked = [name for group in said.value for name in group]
    if sorted(ranked) != sorted(names):
        strange, missing = sorted(set(ranked) - set(names)), sorted(set(names) - set(ranked))
        what = (
            f"unknown: {strange}" if strange else f"missing: {missing}" if missing else "one is there twice"
        )
        raise Wrong(f"a ranking of {len(names)} answers names {len(ranked)}; {what}")
    place = {name: number for number, group in enumerate(said.value, 1) for name in group}
    return tuple(place[name] for name in names)


def _overall(value: Any, scale: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= scale:
        raise Wrong(f"a rating is a whole number from 1 to {scale}, not {value!r}")
    if (6 * (value - 1)) % (scale - 1):
        raise Wrong(f"a rating of {value} on a scale to {scale} is no whole number from 1 to 7")
    return 1 + 6 * (value - 1) // (scale - 1)


def _doubles(found: list[tuple[str, Kept]], wrong: list[str]) -> None:
    """The same person's label of the same record twice: which one counts is not ours to say."""
    seen: dict[str, str] = {}
    for place, row in found:
        if row.id in seen:
            wrong.append(f"{place}: {row.labeler} has labelled this in {seen[row.id]} already (id {row.id})")
        seen.setdefault(row.id, place)


def _unknown(name: str, known: list[str]) -> str:
    return f"unknown labeler {name!r}; labelers names {len(known)}{suggestion(name, known)}"


def _hash(*words: str) -> str:
    return hashlib.sha256("\x1f".join(words).encode("utf-8", "surrogatepass")).hexdigest()
