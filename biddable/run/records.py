"""Records: the JSONL lines in which rooms talk to each other. One class a kind; `docs/flow.md` shows an example of each.

Token ids travel with model-made answers: an answer decoded to text and tokenised again is another answer.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from biddable.run.config import UserError

Split = Literal["train", "valid", "test"]
Finish = Literal["stop", "length"]
TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"
"""A moment in UTC: 2026-11-21T10:15:00Z."""


class Record(BaseModel):
    """What all records share: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Record):
    """One turn of a dialogue."""

    role: Literal["system", "user", "assistant"]
    content: str


class Wish(Record):
    """An explicit wish of a prompt that a program can check, e.g. {"kind": "sentences", "count": 1}. Read by simulated labelers only."""

    kind: Literal["sentences", "max_words", "bullets", "mention", "end_with", "avoid", "start_with"]
    count: int | None = Field(default=None, ge=1)
    words: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _can_be_checked(self) -> Wish:
        if self.kind in ("sentences", "max_words", "bullets"):
            if self.count is None:
                raise ValueError(f"a wish of kind {self.kind} needs a count")
        elif not self.words or not all(word.strip() for word in self.words):
            raise ValueError(f"a wish of kind {self.kind} needs words")
        return self


class Prompt(Record):
    """What a user asked: a dialogue that ends with a user turn."""

    id: str = Field(min_length=1)
    messages: tuple[Message, ...] = Field(min_length=1)
    user: str = Field(min_length=1)
    source: str = ""
    licence: str | None = None
    consent: str | None = None
    time: str | None = None
    use_case: str | None = None
    language: str | None = None
    wishes: tuple[Wish, ...] = ()
    split: Split | None = None

    @model_validator(mode="after")
    def _ends_with_user(self) -> Prompt:
        if self.messages[-1].role != "user":
            raise ValueError("the last message must be the user's")
        return self


class Text(Record):
    """A piece of running text, for the pretraining mix and for measuring the alignment tax."""

    id: str
    text: str = Field(min_length=1)
    source: str = ""
    split: Split = "train"


class Answer(Record):
    """One answer of one model to one prompt."""

    text: str
    model: str
    tokens: tuple[int, ...] | None = None
    finish: Finish = "stop"
    step: int | None = None
    kl: float | None = None
    score: float | None = None


class Replies(Record):
    """K answers to one prompt, by one or several models."""

    prompt: Prompt
    answers: tuple[Answer, ...] = Field(min_length=1)


class Demonstration(Record):
    """The answer a labeler would want to see."""

    id: str
    prompt: Prompt
    answer: Answer
    labeler: str
    simulated: bool
    guideline: str


class Comparison(Record):
    """One labeler's ranking of K answers. `ranks[i]` belongs to `answers[i]`; 1 is best, equal ranks are a tie.

    `overall[i]` is the 1 to 7 given to that answer before ranking, `metadata[i]` the form's yes/no questions (null: not asked).
    """

    id: str
    prompt: Prompt
    answers: tuple[Answer, ...] = Field(min_length=2)
    ranks: tuple[int, ...]
    overall: tuple[int | None, ...] | None = None
    metadata: tuple[dict[str, bool | None] | None, ...] | None = None
    all_bad: bool | None = None
    comment: str | None = None
    labeler: str
    panel: Literal["training", "held_out"]
    simulated: bool
    guideline: str

    @model_validator(mode="after")
    def _one_rank_each(self) -> Comparison:
        if len(self.ranks) != len(self.answers):
            raise ValueError(
                f"{len(self.answers)} answers but {len(self.ranks)} ranks; give one rank an answer"
            )
        if min(self.ranks) < 1:
            raise ValueError(f"ranks {list(self.ranks)}: ranks start at 1 (best)")
        return self


class Rating(Record):
    """One labeler's 1-7 of one answer, with the yes/no questions of the form (null: not asked or not applicable)."""

    id: str
    prompt: Prompt
    answer: Answer
    overall: int = Field(ge=1, le=7)
    metadata: dict[str, bool | None] = {}
    labeler: str
    panel: Literal["training", "held_out"]
    simulated: bool
    guideline: str


class Policy(Record):
    """Who answered a turn: the policy's stage folder and the hash of what it held (`content` of its manifest)."""

    folder: str
    content: str


class Sampling(Record):
    """How the answer to a turn was sampled."""

    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(ge=1)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    best_of: int = Field(default=1, ge=1)


class Turn(Record):
    """One answer that a served policy gave, kept because its user had agreed to that. Two answers to the same messages are two turns.

    `user` is a pseudonym; who stands behind it is known to the serving side only. `consent` is the version of the text that the user agreed to.
    """

    id: str = Field(min_length=1)
    conversation: str = Field(min_length=1)
    user: str = Field(min_length=1)
    time: str = Field(pattern=TIME)
    messages: tuple[Message, ...] = Field(min_length=1)
    answer: Answer
    policy: Policy
    sampling: Sampling
    consent: str = Field(min_length=1)
    via: Literal["chat", "api"] = "chat"
    simulated: bool = False

    @model_validator(mode="after")
    def _ends_with_user(self) -> Turn:
        if self.messages[-1].role != "user":
            raise ValueError("the last message must be the user's")
        return self


class Feedback(Record):
    """What a user said about a turn, at once or later. Several lines about one turn: of each field the newest that is given counts.

    `preferred_over` and `same_as` name other turns of the same user with the same messages: together they rank the answers.
    """

    id: str = Field(min_length=1)
    turn: str = Field(min_length=1)
    user: str = Field(min_length=1)
    time: str = Field(pattern=TIME)
    thumbs: Literal["up", "down"] | None = None
    reasons: tuple[str, ...] = ()
    preferred_over: tuple[str, ...] = ()
    same_as: tuple[str, ...] = ()
    report: str | None = None


Level = Literal["definitely_breaks", "probably_breaks", "unsure", "probably_follows", "definitely_follows"]
"""How sure somebody is that a rule was broken. The first two count as broken, the last two as kept, unsure as neither (Glaese et al. 2022)."""


class RuleCheck(Record):
    """One labeler's word on whether an answer, or a turn of a dialogue, breaks a rule. `turn` counts the messages from 0; none: the answer."""

    id: str
    prompt: Prompt
    answer: Answer
    rule: str
    rule_text: str
    level: Level
    turn: int | None = Field(default=None, ge=0)
    labeler: str
    panel: Literal["training", "held_out"]
    simulated: bool
    guideline: str


class Probe(Record):
    """A dialogue in which a labeler tried to make a model break a rule, and their word on whether it did, and in which turn."""

    id: str
    messages: tuple[Message, ...] = Field(min_length=2)
    model: str
    rule: str
    rule_text: str
    level: Level
    turn: int | None = Field(default=None, ge=0)
    labeler: str
    simulated: bool
    guideline: str


R = TypeVar("R", bound=Record)


def read(path: Path, kind: type[R]) -> list[R]:
    """All records of one JSONL file. Every wrong line is named at once; an empty file is refused.

    Raises UserError with a line `file:line: field: what is wrong` for each mistake.
    """
    if not path.is_file():
        raise UserError([f"{path}: no such file; a {kind.__name__} record a line was expected there"])
    found: list[R] = []
    wrong: list[str] = []
    for number, line in read_lines(path):
        if not line.strip():
            wrong.append(f"{path}:{number}: empty line; one JSON record a line was expected")
            continue
        try:
            found.append(kind.model_validate_json(line))
        except ValidationError as error:
            wrong += validation_errors(f"{path}:{number}", kind, error)
    if not found and not wrong:
        wrong.append(f"{path}: the file is empty; at least one {kind.__name__} record was expected")
    if wrong:
        raise UserError(wrong)
    return found


def validation_errors(where: str, kind: type[BaseModel], error: ValidationError) -> list[str]:
    """What is wrong with a line, a sentence for each field."""
    found = []
    for mistake in error.errors(include_url=False):
        field = ".".join(str(part) for part in mistake["loc"]) or "line"
        if mistake["type"] == "json_invalid":
            said = re.sub(r" at line 1 column (\d+)$", r" at character \1", mistake["msg"])
            found.append(f"{where}: {said} (got {str(mistake.get('input')).strip()[:80]})")
            continue
        value = json.dumps(mistake.get("input"), default=str)[:80]
        found.append(f"{where}: {kind.__name__} {field}: {mistake['msg']} (got {value})")
    return found


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line of a UTF-8 file, also of a gzipped one (`.gz`).

    Raises UserError for a folder, for bytes that are not UTF-8 and for a broken gzip file.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; a file was expected")
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                yield number, raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}:{number}: not UTF-8 at byte {error.start}; save the file as UTF-8"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"{path}: line {number + 1} cannot be read, the gzip file is broken ({error})"
        ) from error


def hash_fraction(*words: object) -> float:
    """A number in [0, 1) that depends on nothing but the words. Splits are made with it: what is in one never moves when data is added."""
    digest = hashlib.sha256(
        "\x1f".join(str(word) for word in words).encode("utf-8", "surrogatepass")
    ).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


class LineWriter:
    """A file of lines under way: written to a side name, renamed when the `with` block ends well, removed when it does not.

    `private`: the file and its folder are for their owner's eyes only, and without a line there is no file.
    """

    def __init__(self, path: Path, private: bool = False) -> None:
        self.path = path
        self.private = private
        self.count = 0
        self._side = path.with_name(path.name + ".part")

    def __enter__(self) -> LineWriter:
        if self.private:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = 0o600 if self.private else 0o666
        handle = os.open(self._side, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        self._file = os.fdopen(handle, "w", encoding="utf-8")
        return self

    def add(self, read_lines: Iterable[str]) -> None:
        """Write lines; each ends with a newline."""
        for line in read_lines:
            self._file.write(line)
            self.count += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._file:
                self._file.flush()
                os.fsync(self._file.fileno())
            if kind is None and (self.count or not self.private):
                self._side.replace(self.path)
            elif kind is None:
                self.path.unlink(missing_ok=True)
        finally:
            self._side.unlink(missing_ok=True)


def write(path: Path, rows: Iterable[Record]) -> int:
    """Write one record a line to a side name, then rename: the file is whole or absent. Returns the number of rows."""
    with LineWriter(path) as file:
        file.add(row.model_dump_json(exclude_none=True) + "\n" for row in rows)
    return file.count
