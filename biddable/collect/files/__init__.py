"""prompts.jsonl: prompts from JSONL, CSV and Parquet files, each id once.

A line is a `Prompt` record or, with `columns`, any row whose fields are named there. Source, licence, consent, user and time travel with
every prompt. Reading the same file twice changes nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from biddable.collect.files import formats
from biddable.run import jsonl
from biddable.run.config import Input, Settings, UserError, suggestion
from biddable.run.context import StageContext
from biddable.run.jsonl import LineWriter
from biddable.run.records import Prompt

FieldName = Literal["text", "messages", "id", "user", "use_case", "source", "licence", "consent", "time"]
OPTIONAL_FIELDS = ("use_case", "source", "licence", "consent", "time")
MAX_ERRORS = 1000
"""Mistakes that are told; more of them help nobody."""
MAX_CHECKED_ROWS = 100_000
"""Good rows of a file after which `biddable check` believes the rest."""


class Config(Settings):
    """Settings of collect.files."""

    files: tuple[Input, ...] = Field((Path("prompts.jsonl"),), min_length=1)
    """JSONL, CSV (.csv) or Parquet (.parquet) files, also gzipped (.gz); of a folder its prompts.jsonl is read."""
    columns: dict[FieldName, str] = Field({})
    """Which field of a row holds what, for rows that are not Prompt records: {text = "prompt", user = "user_id"}.
    `text` becomes one user turn; `messages` is a dialogue in the form of Prompt records. A name that is not listed is looked for under
    itself; use case, source, licence, consent and time may be missing, and so may the id: then it is made from user and text.
    Empty: lines are Prompt records."""
    source: str = ""
    """Where the prompts are from, for rows that do not say."""
    licence: str | None = None
    """Under which terms they may be used, for rows that do not say."""
    consent: str | None = None
    """What their users agreed to, for rows that do not say."""
    max_prompt_characters: int = Field(4000, ge=1)
    """Longer prompts (characters of all turns) are left out and counted. The paper leaves out prompts over 1k tokens
    (Ouyang et al. 2022, appendix C.1); a token of English has about four characters."""


class FirstOccurrence(NamedTuple):
    """What is remembered of a prompt: a digest, not the text, so that a million fit."""

    digest: bytes
    where: str


def mistakes(cfg: Config) -> list[str]:
    """What is wrong in the files, read before anything runs: `biddable check` tells it."""
    errors: list[str] = []
    for source_path in cfg.files:
        path = source_path / "prompts.jsonl" if source_path.is_dir() else source_path
        if path.is_file():  # another stage's folder may be still to be made
            for _ in itertools.islice(read_prompts(cfg, path, errors), MAX_CHECKED_ROWS):
                pass
    return limit_errors(errors)


def run(cfg: Config, context: StageContext) -> None:
    """Read all files, refuse with every mistake of all of them, write prompts.jsonl in the files' order."""
    errors: list[str] = []
    first_seen: dict[str, FirstOccurrence] = {}
    users: set[str] = set()
    sources: set[str] = set()
    repeated, shortest = 0, None
    with LineWriter(context.path("prompts.jsonl")) as out:
        for number, source_path in enumerate(cfg.files):
            path = source_path / "prompts.jsonl" if source_path.is_dir() else source_path
            for where, prompt in read_prompts(cfg, path, errors):
                line = prompt.model_dump_json(exclude_none=True) + "\n"
                digest = hashlib.blake2b(line.encode("utf-8", "surrogatepass"), digest_size=16).digest()
                if prompt.id in first_seen:
                    repeated += first_seen[prompt.id].digest == digest
                    if first_seen[prompt.id].digest != digest:
                        told = f"{first_seen[prompt.id].where} has other content; give it another id"
                        errors.append(f"{where}: Prompt id = {prompt.id!r}: {told}")
                    continue
                first_seen[prompt.id] = FirstOccurrence(digest, where)
                characters = sum(len(message.content) for message in prompt.messages)
                shortest = min(characters, shortest or characters)
                if characters <= cfg.max_prompt_characters:
                    out.add([line])
                    users.add(prompt.user)
                    sources.add(prompt.source)
                if len(first_seen) % 10_000 == 0:
                    context.progress(number, len(cfg.files), prompts=out.count)
            context.progress(number + 1, len(cfg.files), prompts=out.count)
        if not out.count and not errors:
            errors.append(
                f"max_prompt_characters = {cfg.max_prompt_characters}: all {len(first_seen)} prompts are longer; "
                f"the shortest has {shortest} characters"
            )
        if errors:
            raise UserError(limit_errors(errors))
    context.summary |= {
        "prompts": out.count,
        "users": len(users),
        "sources": len(sources),
        "repeated": repeated,
        "too_long": len(first_seen) - out.count,
    }


def limit_errors(errors: list[str]) -> list[str]:
    more = len(errors) - MAX_ERRORS
    return errors if more <= 0 else [*errors[:MAX_ERRORS], f"and {more} more mistakes"]


def read_prompts(cfg: Config, path: Path, errors: list[str]) -> Iterator[tuple[str, Prompt]]:
    """(where, prompt) of a file's good rows; what is wrong with the others, or with the file, is added to `wrong`."""
    empty = True
    plain = not cfg.columns and Path(path.name.removesuffix(".gz")).suffix.lower() not in (".csv", ".parquet")
    try:
        for where, found in read_prompt_records(path) if plain else read_mapped_rows(cfg, path):
            empty = False
            if isinstance(found, list):
                errors += found
            elif not found.messages[-1].content.strip():
                what = "the last message is blank; the user's question was expected"
                errors.append(f"{where}: Prompt {found.id}: {what}")
            else:
                yield where, found
        if empty:
            kind = "Prompt record" if plain else "row"
            errors.append(f"{path}: the file is empty; at least one {kind} was expected")
    except UserError as refusal:
        errors += refusal.lines


def read_prompt_records(path: Path) -> Iterator[tuple[str, Prompt | list[str]]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; a Prompt record a line was expected there")
    hinted = False
    for number, line in jsonl.read_lines(path):
        where = f"{path}:{number}"
        if not line.strip():
            yield where, [f"{where}: empty line; one JSON record a line was expected"]
            continue
        try:
            yield where, Prompt.model_validate_json(line)
        except ValidationError as error:
            told = jsonl.validation_errors(where, Prompt, error)
            if not hinted and any(
                mistake["type"] == "missing" and len(mistake["loc"]) == 1 for mistake in error.errors()
            ):
                told[-1] += '; if rows have other names, say so: columns = {text = "NAME", user = "NAME"}'
                hinted = True
            yield where, told


def read_mapped_rows(cfg: Config, path: Path) -> Iterator[tuple[str, Prompt | list[str]]]:
    """Rows of any names as prompts."""
    columns = {str(word): field for word, field in cfg.columns.items()}
    column_names = formats.columns(path)
    if column_names is not None:
        needed = [
            columns.get("user", "user"),
            *([] if "messages" in columns else [columns.get("text", "text")]),
        ]
        absent = [name for name in {*needed, *columns.values()} if name not in column_names]
        if absent:
            shown = ", ".join(column_names)
            raise UserError(
                [
                    f"{path}: there is no column {name!r}{suggestion(name, column_names)}; it has {shown}"
                    for name in sorted(absent)
                ]
            )
    for where, row in formats.rows(path):
        if isinstance(row, str):
            yield where, [f"{where}: {row}"]
            continue
        try:
            yield where, to_prompt(row, columns, cfg)
        except (ValidationError, ValueError) as error:
            yield where, format_errors(where, row, columns, error)


def to_prompt(row: dict[str, Any], columns: dict[str, str], cfg: Config) -> Prompt:
    """One prompt of one row. Checked as JSON, so that what is accepted can be written again."""
    defaults = {"source": cfg.source, "licence": cfg.licence, "consent": cfg.consent}
    value: dict[str, Any] = {"user": as_name(row.get(columns.get("user", "user")))}
    for word in OPTIONAL_FIELDS:
        told = row.get(columns.get(word, word))
        told = defaults.get(word) if told is None else told
        value |= {} if told is None else {word: told}
    if "messages" in columns:
        value["messages"] = row.get(columns["messages"])
    else:
        value["messages"] = [{"role": "user", "content": row.get(columns.get("text", "text"))}]
    name = as_name(row.get(columns.get("id", "id")))
    if name is None and "id" not in columns:
        said = json.dumps([value["user"], value["messages"]], ensure_ascii=False, sort_keys=True)
        name = hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:20]
    return Prompt.model_validate_json(json.dumps({**value, "id": name}))


def as_name(value: Any) -> Any:
    """Tables often number users and prompts: a whole number is read as its digits."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def format_errors(where: str, row: dict[str, Any], columns: dict[str, str], error: ValueError) -> list[str]:
    """One line a field, under the name that the file has for it."""
    if not isinstance(error, ValidationError):
        return [f"{where}: {error}"]
    said: dict[str, str] = {}  # a wrong text is also too few messages
    for mistake in error.errors(include_url=False):
        word = str(mistake["loc"][0]) if mistake["loc"] else "line"
        said.setdefault("text" if word == "messages" and "messages" not in columns else word, mistake["msg"])
    return [
        f"{where}: {columns.get(word, word)}: {message} "
        f"(got {json.dumps(row if word == 'line' else row.get(columns.get(word, word), 'nothing'))[:80]})"
        for word, message in said.items()
    ]
