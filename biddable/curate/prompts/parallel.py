"""The two passes over a file of prompts that treat every prompt by itself, in several processes.

`scan` reads what the rules across prompts need: a key to compare, a signature, user, length. `finish` reads
the prompts that stay once more, masks them and writes them. Between the two only their keys and hashes are in
memory, not the prompts.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import numpy as np
from pydantic import ValidationError

from biddable.curate.personal_data import masking
from biddable.curate.prompts import dedup, language, near_duplicates
from biddable.curate.prompts.dedup import Dropped, Reason
from biddable.curate.prompts.normalisation import normalise
from biddable.run import jsonl
from biddable.run.records import Prompt, Split

CHUNK_BYTES = 2_000_000
"""Bytes of the file that a process takes at a time."""
Job = TypeVar("Job")
Result = TypeVar("Result")


class ScanSettings(NamedTuple):
    """Settings of the first pass over one file."""

    path: Path
    min_characters: int
    max_characters: int
    languages: tuple[str, ...]
    min_language_probability: float
    near_duplicates: bool  # whether band hashes are needed


@dataclass
class Scanned:
    """What the rules across prompts need of some prompts: lists have an entry a prompt, `bands` a row of
    hashes."""

    offsets: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    use_cases: list[str | None] = field(default_factory=list)
    characters: list[int] = field(default_factory=list)
    languages: list[str | None] = field(default_factory=list)
    unfit_reasons: list[tuple[Reason, str] | None] = field(default_factory=list)
    bands: list[np.ndarray] = field(default_factory=list)
    errors: list[tuple[int, list[str]]] = field(default_factory=list)
    lines: int = 0

    def add(self, part: Scanned) -> None:
        """Append the next part of the file, or another file's."""
        for name in (
            "offsets",
            "ids",
            "users",
            "keys",
            "use_cases",
            "characters",
            "languages",
            "unfit_reasons",
            "bands",
        ):
            getattr(self, name).extend(getattr(part, name))
        self.errors += [(number + self.lines, texts) for number, texts in part.errors]
        self.lines += part.lines


class FinishSettings(NamedTuple):
    """Settings of the second pass over one file."""

    path: Path
    personal_data: str  # mask, drop or keep
    kinds: tuple[str, ...]
    splits: tuple[Split, ...]
    phone_regions: tuple[str, ...]
    spacy_model: str | None
    presidio: tuple[str, ...]


@dataclass
class Finished:
    """Lines to be written, and how often each kind of personal data was met."""

    prompts: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    originals: list[str] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, prompt: Prompt, values: Mapping[str, str] = MappingProxyType({})) -> None:
        """A prompt that stays, with what its pseudonyms stand for."""
        self.kinds.update(pseudonym_kinds(values))
        self.prompts.append(prompt.model_dump_json(exclude_none=True) + "\n")
        if values:
            original = masking.Original(id=prompt.id, user=prompt.user, values=dict(values))
            self.originals.append(original.model_dump_json() + "\n")
            masked = dedup.Masked(id=prompt.id, user=prompt.user, masked=tuple(values))
            self.changed.append(masked.model_dump_json() + "\n")

    def drop(self, prompt: Prompt, values: Mapping[str, str]) -> None:
        """A prompt that goes because of its personal data; the record names the kinds, not the data."""
        kinds = pseudonym_kinds(values)
        self.kinds.update(kinds)
        shown = ", ".join(dict.fromkeys(kinds))
        self.dropped.append(Dropped(id=prompt.id, user=prompt.user, reason="personal_data", found=shown))


def pseudonym_kinds(values: Mapping[str, str]) -> list[str]:
    """'[email-1]', '[email-2]', '[card-1]' -> card, email, email."""
    return sorted(name[1:].rsplit("-", 1)[0] for name in values)


def chunks(path: Path) -> list[tuple[int, int]]:
    """(begin, end) of parts of a file of about CHUNK_BYTES, cut at the ends of lines."""
    size = path.stat().st_size
    cuts = [0]
    with path.open("rb") as file:
        while cuts[-1] + CHUNK_BYTES < size:
            file.seek(cuts[-1] + CHUNK_BYTES)
            file.readline()
            cuts.append(file.tell())
    return [(begin, end) for begin, end in zip(cuts, [*cuts[1:], size], strict=True) if end > begin]


def scan(job: tuple[ScanSettings, int, int]) -> Scanned:
    """First pass over one part of the file."""
    settings, begin, end = job
    scanned = Scanned()
    last_messages: list[str] = []
    offset = begin
    with settings.path.open("rb") as file:
        file.seek(begin)
        for raw in io.BytesIO(file.read(end - begin)):  # lines end at \n only, as for `finish`
            scanned.lines += 1
            try:
                prompt = Prompt.model_validate_json(raw)
            except ValidationError as error:
                scanned.errors.append((scanned.lines, jsonl.validation_errors("", Prompt, error)))
                offset += len(raw)
                continue
            last_messages.append(add_prompt(scanned, settings, prompt, offset))
            offset += len(raw)
    add_languages(scanned, settings, last_messages)
    if settings.near_duplicates:
        scanned.bands = [near_duplicates.band_hashes([normalise(key) for key in scanned.keys])]
    return scanned


def add_prompt(scanned: Scanned, settings: ScanSettings, prompt: Prompt, offset: int) -> str:
    """Add what the rules need of a prompt that begins at byte `offset` of its file, all but its language;
    return its last message."""
    characters = sum(len(message.content) for message in prompt.messages)
    message = prompt.messages[-1].content.strip()
    unfit: tuple[Reason, str] | None = None
    if len(message) < settings.min_characters:
        unfit = ("empty", f"{len(message)} characters")
    elif characters > settings.max_characters:
        unfit = ("too_long", f"{characters} characters")
    scanned.offsets.append(offset)
    scanned.ids.append(prompt.id)
    scanned.users.append(prompt.user)
    scanned.keys.append(dedup.comparison_key(prompt))
    scanned.use_cases.append(prompt.use_case)
    scanned.characters.append(characters)
    scanned.languages.append(None)
    scanned.unfit_reasons.append(unfit)
    return message


def add_languages(scanned: Scanned, settings: ScanSettings, last_messages: Sequence[str]) -> None:
    """Add the languages of prompts that no rule has dropped yet, and mark those in others than the wanted
    ones as unfit."""
    if not settings.languages:
        return
    fit = [index for index, unfit in enumerate(scanned.unfit_reasons) if unfit is None]
    for index, (code, probability) in zip(
        fit, language.identify_all([last_messages[index] for index in fit]), strict=True
    ):
        if probability >= settings.min_language_probability:
            scanned.languages[index] = code
            if code not in settings.languages:
                scanned.unfit_reasons[index] = ("language", code)


def finish(job: tuple[FinishSettings, Sequence[tuple[int, Split, str | None]]]) -> Finished:
    """Second pass over some of the prompts that stay: (offset, split, language) of each, in the order of the
    file."""
    settings, rows = job
    finished = Finished()
    keep = settings.personal_data == "keep"
    finders = [] if keep else masking.finders(settings.spacy_model, settings.presidio)
    with settings.path.open("rb") as file:
        for offset, split, code in rows:
            file.seek(offset)
            prompt = Prompt.model_validate_json(file.readline())
            update = {"split": split, **({"language": code} if code else {})}
            prompt = prompt.model_copy(update=update)
            if keep or split not in settings.splits:
                finished.add(prompt)
                continue
            masked, values = masking.mask_prompt(prompt, settings.kinds, finders, settings.phone_regions)
            if values and settings.personal_data == "drop":
                finished.drop(prompt, values)
            else:
                finished.add(masked, values)
    return finished


def map_in_order(function: Callable[[Job], Result], jobs: Sequence[Job], processes: int) -> Iterator[Result]:
    """`function` of every job, in order; in this process when one is enough."""
    if processes < 2 or len(jobs) < 2:
        yield from map(function, jobs)
        return
    # Not "fork": it would copy locks that threads of this process may hold at that moment.
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(processes, len(jobs)), exit_with_parent, (os.getpid(),)) as pool:
        yield from pool.imap(function, jobs)


def exit_with_parent(parent: int) -> None:
    """End this process when the one that started it is gone, killed or not."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
