"""prompts.jsonl: prompts from JSONL, CSV and Parquet files, each id once.

A line is a `Prompt` record or, with `columns`, any row whose fields are named there. Source, licence,
consent, user and time travel with every prompt. Reading the same file twice changes nothing.
"""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from biddable.collect.files import rows
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.jsonl import LineWriter
from biddable.run.parse import MAX_ERRORS
from biddable.run.records import Prompt

FieldName = Literal["text", "messages", "id", "user", "use_case", "source", "licence", "consent", "time"]
MAX_CHECKED_ROWS = 100_000
"""Good rows of a file after which `biddable check` takes the rest for good."""


class Config(Settings):
    """Settings of collect.files."""

    files: tuple[Input, ...] = Field((Path("prompts.jsonl"),), min_length=1)
    """JSONL, CSV (.csv) or Parquet (.parquet) files, also gzipped (.gz); of a folder its prompts.jsonl is
    read."""
    columns: dict[FieldName, str] = Field({})
    """Which field of a row holds what, for rows that are not Prompt records: {text = "prompt", user =
    "user_id"}. `text` becomes one user turn; `messages` is a dialogue in the form of Prompt records. A field
    that is not listed is looked up under its own name; use case, source, licence, consent and time may be
    missing, and so may the id: it is then a hash of user and text. Empty: lines are Prompt records."""
    source: str = ""
    """Where the prompts are from, for rows that do not say."""
    licence: str | None = None
    """Under which terms they may be used, for rows that do not say."""
    consent: str | None = None
    """What their users agreed to, for rows that do not say."""
    max_prompt_characters: int = Field(4000, ge=1)
    """Longer prompts (characters of all turns) are left out and counted. The paper leaves out prompts over 1k
    tokens (Ouyang et al. 2022, appendix C.1); a token of English has about four characters."""


class FirstOccurrence(NamedTuple):
    """What is remembered of a prompt: a digest, not the text, so that a million fit in memory."""

    digest: bytes
    where: str  # file:line


class Repetitions:
    """Prompts by id over all files: one that is repeated word for word is counted, an id with two contents is
    an error."""

    def __init__(self) -> None:
        self.first: dict[str, FirstOccurrence] = {}
        self.count = 0

    def is_new(self, prompt: Prompt, line: str, where: str) -> bool:
        """Whether a prompt's id comes for the first time. Raises UserError when it came before with other
        content."""
        digest = hashlib.blake2b(line.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        first = self.first.get(prompt.id)
        if first is None:
            self.first[prompt.id] = FirstOccurrence(digest, where)
            return True
        if first.digest != digest:
            raise UserError(
                f"{where}: Prompt id = {prompt.id!r}: {first.where} has other content; give it another id"
            )
        self.count += 1
        return False


def mistakes(cfg: Config) -> list[str]:
    """Errors in the files, for `biddable check`: read before anything runs."""
    errors: list[str] = []
    for path in map(prompts_file, cfg.files):
        if path.is_file():  # another stage's folder may not have been made yet
            for _ in itertools.islice(rows.read_prompts(cfg, path, errors), MAX_CHECKED_ROWS):
                pass
    return limit_errors(errors)


def run(cfg: Config, context: StageContext) -> None:
    """Read all files and write prompts.jsonl in their order. Raises UserError with the errors of all
    files."""
    errors: list[str] = []
    repetitions = Repetitions()
    users: set[str] = set()
    sources: set[str] = set()
    shortest: int | None = None
    with LineWriter(context.path("prompts.jsonl")) as out:
        for number, path in enumerate(map(prompts_file, cfg.files)):
            for where, prompt in rows.read_prompts(cfg, path, errors):
                line = prompt.model_dump_json(exclude_none=True) + "\n"
                try:
                    if not repetitions.is_new(prompt, line, where):
                        continue
                except UserError as error:
                    errors += error.lines
                    continue
                characters = sum(len(message.content) for message in prompt.messages)
                shortest = min(characters, shortest or characters)
                if characters <= cfg.max_prompt_characters:
                    out.add([line])
                    users.add(prompt.user)
                    sources.add(prompt.source)
                if len(repetitions.first) % 10_000 == 0:
                    context.progress(number, len(cfg.files), prompts=out.count)
            context.progress(number + 1, len(cfg.files), prompts=out.count)
        prompts = len(repetitions.first)
        if not out.count and not errors:
            errors.append(
                f"max_prompt_characters = {cfg.max_prompt_characters}: all {prompts} prompts are longer; "
                f"the shortest has {shortest} characters"
            )
        if errors:  # within `with`: what was written goes too
            raise UserError(limit_errors(errors))
    context.summary |= {
        "prompts": out.count,
        "users": len(users),
        "sources": len(sources),
        "repeated": repetitions.count,
        "too_long": prompts - out.count,
    }


def prompts_file(path: Path) -> Path:
    """The file that a setting names: a folder stands for its prompts.jsonl."""
    return path / "prompts.jsonl" if path.is_dir() else path


def limit_errors(errors: list[str]) -> list[str]:
    """At most MAX_ERRORS lines, and how many more there are."""
    more = len(errors) - MAX_ERRORS
    return errors if more <= 0 else [*errors[:MAX_ERRORS], f"and {more} more mistakes"]
