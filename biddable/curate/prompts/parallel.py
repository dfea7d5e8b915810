"""The two passes over a file of prompts that look at every prompt by itself, in several processes.

`scan` reads what the rules across prompts need: a key to compare, a signature, user, length. `finish` reads the prompts that stay once more,
masks them and writes them. Between the two a few bytes a prompt are in memory, not the prompts.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from pydantic import ValidationError

from biddable.curate.personal_data import masking
from biddable.curate.prompts import dedup, language, near_duplicates
from biddable.curate.prompts.dedup import Dropped, Reason
from biddable.run import jsonl
from biddable.run.records import Prompt, Split

PIECE_BYTES = 2_000_000
"""Bytes of the file that a process takes at a time."""
Job = TypeVar("Job")
Done = TypeVar("Done")


class Look(NamedTuple):
    """What the first pass looks for."""

    path: Path
    min_characters: int
    max_characters: int
    languages: tuple[str, ...]
    language_sure: float
    near: bool


@dataclass
class Scanned:
    """What is known of some lines after the first pass; lists and arrays have an entry a line."""

    offsets: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    use_cases: list[str | None] = field(default_factory=list)
    characters: list[int] = field(default_factory=list)
    languages: list[str | None] = field(default_factory=list)
    unfit: list[tuple[Reason, str] | None] = field(default_factory=list)
    bands: list[np.ndarray] = field(default_factory=list)
    wrong: list[tuple[int, list[str]]] = field(default_factory=list)
    lines: int = 0

    def add(self, other: Scanned) -> None:
        """Append the next part of the file, or another file's."""
        for name in (
            "offsets",
            "ids",
            "users",
            "keys",
            "use_cases",
            "characters",
            "languages",
            "unfit",
            "bands",
        ):
            getattr(self, name).extend(getattr(other, name))
        self.wrong += [(number + self.lines, said) for number, said in other.wrong]
        self.lines += other.lines


class Change(NamedTuple):
    """What the second pass does with the prompts that stay."""

    path: Path
    personal: str
    kinds: tuple[str, ...]
    splits: tuple[Split, ...]
    names: str | None
    presidio: tuple[str, ...]


@dataclass
class Finished:
    """Lines to be written, and what was found in them."""

    prompts: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    originals: list[str] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)


def pieces(path: Path) -> list[tuple[int, int]]:
    """Parts of a file, from one line's begin to another's."""
    size = path.stat().st_size
    cuts = [0]
    with path.open("rb") as file:
        while cuts[-1] + PIECE_BYTES < size:
            file.seek(cuts[-1] + PIECE_BYTES)
            file.readline()
            cuts.append(file.tell())
    return [(begin, end) for begin, end in zip(cuts, [*cuts[1:], size], strict=True) if end > begin]


def scan(job: tuple[Look, int, int]) -> Scanned:
    """First pass over one part of the file."""
    look, begin, end = job
    found = Scanned()
    asked: list[str] = []
    offset = begin
    with look.path.open("rb") as file:
        file.seek(begin)
        for raw in io.BytesIO(file.read(end - begin)):  # lines end at \n only, as for `finish`
            found.lines += 1
            try:
                prompt = Prompt.model_validate_json(raw)
            except ValidationError as error:
                found.wrong.append((found.lines, jsonl.validation_errors("", Prompt, error)))
                offset += len(raw)
                continue
            asked.append(note(found, look, prompt, offset))
            offset += len(raw)
    _languages(found, look, asked)
    if look.near:
        found.bands = [near_duplicates.bands([near_duplicates.even(key) for key in found.keys])]
    return found


def note(found: Scanned, look: Look, prompt: Prompt, offset: int) -> str:
    """Write down what the rules need of a prompt that begins at `offset` of its file, all but its language; returns what was asked."""
    characters = sum(len(message.content) for message in prompt.messages)
    asked = prompt.messages[-1].content.strip()
    unfit: tuple[Reason, str] | None = None
    if len(asked) < look.min_characters:
        unfit = ("empty", f"{len(asked)} characters")
    elif characters > look.max_characters:
        unfit = ("too_long", f"{characters} characters")
    found.offsets.append(offset)
    found.ids.append(prompt.id)
    found.users.append(prompt.user)
    found.keys.append(dedup.key(prompt))
    found.use_cases.append(prompt.use_case)
    found.characters.append(characters)
    found.languages.append(None)
    found.unfit.append(unfit)
    return asked


def _languages(found: Scanned, look: Look, asked: Sequence[str]) -> None:
    """Add the languages of those that are fit so far."""
    if not look.languages:
        return
    fit = [index for index, unfit in enumerate(found.unfit) if unfit is None]
    for index, (code, sure) in zip(fit, language.identify_all([asked[index] for index in fit]), strict=True):
        if sure >= look.language_sure:
            found.languages[index] = code
            if code not in look.languages:
                found.unfit[index] = ("language", code)


def finish(job: tuple[Change, Sequence[tuple[int, Split, str | None]]]) -> Finished:
    """Second pass over some of the prompts that stay: (offset, split, language) of each, in the order of the file."""
    change, rows = job
    done = Finished()
    more = masking.finders(change.names, change.presidio) if change.personal != "keep" else []
    with change.path.open("rb") as file:
        for offset, split, told in rows:
            file.seek(offset)
            prompt = Prompt.model_validate_json(file.readline())
            prompt = prompt.model_copy(update={"split": split, **({"language": told} if told else {})})
            values: dict[str, str] = {}
            if change.personal != "keep" and split in change.splits:
                changed, values = masking.masked(prompt, change.kinds, more)
            kinds = sorted(name[1:].rsplit("-", 1)[0] for name in values)
            for kind in kinds:
                done.kinds[kind] = done.kinds.get(kind, 0) + 1
            if values and change.personal == "drop":
                done.dropped.append(
                    Dropped(
                        id=prompt.id,
                        user=prompt.user,
                        reason="personal_data",
                        found=", ".join(dict.fromkeys(kinds)),
                    )
                )
                continue
            if values:
                prompt = changed
                original = masking.Original(id=prompt.id, user=prompt.user, values=values)
                done.originals.append(original.model_dump_json() + "\n")
                done.changed.append(
                    dedup.Changed(id=prompt.id, user=prompt.user, masked=tuple(values)).model_dump_json()
                    + "\n"
                )
            done.prompts.append(prompt.model_dump_json(exclude_none=True) + "\n")
    return done


def each(function: Callable[[Job], Done], jobs: Sequence[Job], processes: int) -> Iterator[Done]:
    """`function` of every job, in order; in this process when one is enough."""
    if processes < 2 or len(jobs) < 2:
        yield from map(function, jobs)
        return
    context = multiprocessing.get_context(
        "spawn"
    )  # a fork would copy locks that threads of this process may hold
    with context.Pool(min(processes, len(jobs)), _leave_with, (os.getpid(),)) as pool:
        yield from pool.imap(function, jobs)


def _leave_with(parent: int) -> None:
    """End this process when the one that began it is gone, however that ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
