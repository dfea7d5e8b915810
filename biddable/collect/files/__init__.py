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

Word = Literal["text", "messages", "id", "user", "use_case", "source", "licence", "consent", "time"]
OPTIONAL = ("use_case", "source", "licence", "consent", "time")
MOST_TOLD = 1000
"""Mistakes that are told; more of them help nobody."""
MOST_CHECKED = 100_000
"""Good rows of a file after which `biddable check` believes the rest."""


class Config(Settings):
    """Settings of collect.files."""

    files: tuple[Input, ...] = Field((Path("prompts.jsonl"),), min_length=1)
    """JSONL, CSV (.csv) or Parquet (.parquet) files, also gzipped (.gz); of a folder its prompts.jsonl is read."""
    columns: dict[Word, str] = Field({})
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


class Seen(NamedTuple):
    """What is remembered of a prompt: a digest, not the text, so that a million fit."""

    digest: bytes
    where: str


def mistakes(cfg: Config) -> list[str]:
    """What is wrong in the files, read before anything runs: `biddable check` tells it."""
    wrong: list[str] = []
    for named in cfg.files:
        path = named / "prompts.jsonl" if named.is_dir() else named
        if path.is_file():  # another stage's folder may be still to be made
            for _ in itertools.islice(_prompts(cfg, path, wrong), MOST_CHECKED):
                pass
    return _first(wrong)


def run(cfg: Config, context: StageContext) -> None:
    """Read all files, refuse with every mistake of all of them, write prompts.jsonl in the files' order."""
    wrong: list[str] = []
    seen: dict[str, Seen] = {}
    users: set[str] = set()
    sources: set[str] = set()
    repeated, shortest = 0, None
    with LineWriter(context.path("prompts.jsonl")) as out:
        for number, named in enumerate(cfg.files):
            path = named / "prompts.jsonl" if named.is_dir() else named
            for where, prompt in _prompts(cfg, path, wrong):
                line = prompt.model_dump_json(exclude_none=True) + "\n"
                digest = hashlib.blake2b(line.encode("utf-8", "surrogatepass"), digest_size=16).digest()
                if prompt.id in seen:
                    repeated += seen[prompt.id].digest == digest
                    if seen[prompt.id].digest != digest:
                        told = f"{seen[prompt.id].where} has other content; give it another id"
                        wrong.append(f"{where}: Prompt id = {prompt.id!r}: {told}")
                    continue
                seen[prompt.id] = Seen(digest, where)
                characters = sum(len(message.content) for message in prompt.messages)
                shortest = min(characters, shortest or characters)
                if characters <= cfg.max_prompt_characters:
                    out.add([line])
                    users.add(prompt.user)
                    sources.add(prompt.source)
                if len(seen) % 10_000 == 0:
                    context.progress(number, len(cfg.files), prompts=out.count)
            context.progress(number + 1, len(cfg.files), prompts=out.count)
        if not out.count and not wrong:
            wrong.append(
                f"max_prompt_characters = {cfg.max_prompt_characters}: all {len(seen)} prompts are longer; "
                f"the shortest has {shortest} characters"
            )
        if wrong:
            raise UserError(_first(wrong))
    context.summary |= {
        "prompts": out.count,
        "users": len(users),
        "sources": len(sources),
        "repeated": repeated,
        "too_long": len(seen) - out.count,
    }


def _first(wrong: list[str]) -> list[str]:
    more = len(wrong) - MOST_TOLD
    return wrong if more <= 0 else [*wrong[:MOST_TOLD], f"and {more} more mistakes"]


def _prompts(cfg: Config, path: Path, wrong: list[str]) -> Iterator[tuple[str, Prompt]]:
    """(where, prompt) of a file's good rows; what is wrong with the others, or with the file, is added to `wrong`."""
    empty = True
    plain = not cfg.columns and Path(path.name.removesuffix(".gz")).suffix.lower() not in (".csv", ".parquet")
    try:
        for where, found in _records(path) if plain else _mapped(cfg, path):
            empty = False
            if isinstance(found, list):
                wrong += found
            elif not found.messages[-1].content.strip():
                what = "the last message is blank; the user's question was expected"
                wrong.append(f"{where}: Prompt {found.id}: {what}")
            else:
                yield where, found
        if empty:
            kind = "Prompt record" if plain else "row"
            wrong.append(f"{path}: the file is empty; expected at least one {kind}")
    except UserError as refusal:
        wrong += refusal.lines


def _records(path: Path) -> Iterator[tuple[str, Prompt | list[str]]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected one Prompt record a line")
    hinted = False
    for number, line in jsonl.read_lines(path):
        where = f"{path}:{number}"
        if not line.strip():
            yield where, [f"{where}: empty line; expected one JSON record a line"]
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


def _mapped(cfg: Config, path: Path) -> Iterator[tuple[str, Prompt | list[str]]]:
    """Rows of any names as prompts."""
    columns = {str(word): field for word, field in cfg.columns.items()}
    there = formats.columns(path)
    if there is not None:
        needed = [
            columns.get("user", "user"),
            *([] if "messages" in columns else [columns.get("text", "text")]),
        ]
        absent = [name for name in {*needed, *columns.values()} if name not in there]
        if absent:
            shown = ", ".join(there)
            raise UserError(
                [
                    f"{path}: there is no column {name!r}{suggestion(name, there)}; it has {shown}"
                    for name in sorted(absent)
                ]
            )
    for where, row in formats.rows(path):
        if isinstance(row, str):
            yield where, [f"{where}: {row}"]
            continue
        try:
            yield where, _prompt(row, columns, cfg)
        except (ValidationError, ValueError) as error:
            yield where, _mistakes(where, row, columns, error)


def _prompt(row: dict[str, Any], columns: dict[str, str], cfg: Config) -> Prompt:
    """One prompt of one row. Checked as JSON, so that what is accepted can be written again."""
    defaults = {"source": cfg.source, "licence": cfg.licence, "consent": cfg.consent}
    value: dict[str, Any] = {"user": _name(row.get(columns.get("user", "user")))}
    for word in OPTIONAL:
        told = row.get(columns.get(word, word))
        told = defaults.get(word) if told is None else told
        value |= {} if told is None else {word: told}
    if "messages" in columns:
        value["messages"] = row.get(columns["messages"])
    else:
        value["messages"] = [{"role": "user", "content": row.get(columns.get("text", "text"))}]
    name = _name(row.get(columns.get("id", "id")))
    if name is None and "id" not in columns:
        said = json.dumps([value["user"], value["messages"]], ensure_ascii=False, sort_keys=True)
        name = hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:20]
    return Prompt.model_validate_json(json.dumps({**value, "id": name}))


def _name(value: Any) -> Any:
    """Tables often number users and prompts: a whole number is read as its digits."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _mistakes(where: str, row: dict[str, Any], columns: dict[str, str], error: ValueError) -> list[str]:
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
