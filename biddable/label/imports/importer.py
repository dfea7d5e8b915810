"""Files of labels as records: each label once, with a pseudonym for its labeler and a split for its prompt."""

from __future__ import annotations

import functools
import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from biddable.formats import known
from biddable.formats.labels import Fields, Kind, Label, Skipped, Unreadable
from biddable.formats.own import OwnRecord
from biddable.label.imports.splits import Splits
from biddable.run.errors import Mistakes, UserError, suggestion
from biddable.run.records import Comparison, Demonstration, Prompt, Rating, Record, Split
from biddable.run.rows import Row, rows

if TYPE_CHECKING:
    from biddable.label.imports import Config

KINDS: dict[type[Record], Kind] = {
    Comparison: "comparisons",
    Demonstration: "demonstrations",
    Rating: "ratings",
}
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


class Importer:
    """One pass over an import's files; what it counts and what is wrong gathers here."""

    def __init__(self, cfg: Config, seed: int, splits: Splits) -> None:
        self.cfg = cfg
        self.seed = seed
        self.splits = splits
        self.mistakes = Mistakes()
        self.files_read = 0
        self._skipped: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._prompts: dict[str, Split] = {}
        self._labels: dict[bytes, tuple[str, Any]] = {}  # id of a record -> where it stood, and what it said
        self._labelers: set[str] = set()
        self._guidelines: set[str] = set()
        self._simulated = False
        self.pseudonym = functools.cache(self._pseudonym)

    @functools.cached_property
    def paths(self) -> list[Path]:
        """The files; of a stage's folder those with labels."""
        cfg = self.cfg
        paths: list[Path] = []
        for path in cfg.files:
            inside = [path / f"{kind}.jsonl" for kind in KINDS.values()] if path.is_dir() else []
            paths += [file for file in inside if file.is_file()] or [path]
        return paths

    def formats(self) -> dict[Path, str | None]:
        """What each file is taken for. None: nothing in it could be read, or it holds what another file names."""
        cfg = self.cfg
        formats: dict[Path, str | None] = {}
        unknown: dict[Path, list[str]] = {}
        for path in self.paths:
            try:
                formats[path] = known.detect(path, cfg.columns)
            except UserError as error:
                formats[path], unknown[path] = None, error.lines
        format_name = cfg.format
        if format_name == "potato" or "potato" in formats.values():
            return {path: name if name == "potato" else None for path, name in formats.items()}
        for path, lines in unknown.items():
            if format_name == "auto" or not path.exists():
                self.mistakes.add(lines)
        return formats if format_name == "auto" else dict.fromkeys(formats, format_name)

    def records(self) -> Iterator[tuple[Kind, Record]]:
        """Every record, and every prompt when it comes for the first time. Mistakes gather in `mistakes`."""
        formats = self.formats()
        fields = self._fields(formats)
        for path, name in formats.items():
            if name is not None:
                try:
                    for where, result in known.read(path, name, fields, self.cfg.columns):
                        yield from self._take(where, result, name)
                except UserError as error:
                    self.mistakes.add(error.lines)
            self.files_read += 1
        if not self._counts and not self.mistakes:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self._skipped.most_common(3))
            files = ", ".join(map(str, self.cfg.files))
            self.mistakes.add([f"there is not one label in {files}" + (f" ({reasons})" if reasons else "")])

    def _fields(self, formats: dict[Path, str | None]) -> Fields:
        cfg = self.cfg
        items: dict[str, Row] = {}
        if "potato" in formats.values():
            for path in (path for path, name in formats.items() if name is None):
                try:
                    items |= {
                        str(row["id"]): row for _, row in rows(path) if isinstance(row, dict) and "id" in row
                    }
                except UserError as error:
                    self.mistakes.add(error.lines)
        return Fields(
            prompt=cfg.prompt,
            answers=cfg.answers,
            question=cfg.question,
            scale=(cfg.scale_start, cfg.scale),
            kind=None if cfg.kind == "auto" else cfg.kind,
            all_turns=cfg.all_turns,
            items=items,
        )

    def _take(
        self, where: str, result: Label | Skipped | OwnRecord | str | list[str], name: str
    ) -> Iterator[tuple[Kind, Record]]:
        """The records of one result."""
        if isinstance(result, str | list):
            lines = [result] if isinstance(result, str) else result
            self.mistakes.add(f"{where}: {line}" for line in lines)
            return
        if isinstance(result, Skipped):
            self._skipped[result.reason] += 1
            return
        try:
            record = self._from_label(result, name) if isinstance(result, Label) else self._own(result)
        except Unreadable as error:
            self.mistakes.add([f"{where}: {error}"])
            return
        except ValidationError as error:
            self.mistakes.add(f"{where}: {mistake['msg']}" for mistake in error.errors(include_url=False))
            return
        kind: Kind = "prompts" if isinstance(record, Prompt) else KINDS[type(record)]
        if self.cfg.kind not in ("auto", kind) and kind != "prompts":
            self._skipped[f"other kind: {kind}"] += 1
            return
        prompt = record if isinstance(record, Prompt) else record.prompt
        if not isinstance(record, Prompt) and not self._is_new(record, where, isinstance(result, Label)):
            return
        if prompt.id not in self._prompts:
            self._prompts[prompt.id] = prompt.split or "train"
            self.splits.counts[prompt.split or "train"] += 1
            self._counts["prompts"] += 1
            yield "prompts", prompt
        if not isinstance(record, Prompt):
            self._counts[kind] += 1
            self._labelers.add(record.labeler)
            self._guidelines.add(record.guideline)
            self._simulated |= record.simulated
            yield kind, record

    def _is_new(self, record: OwnRecord, where: str, imported: bool) -> bool:
        """Whether this was not said before. The same once more is counted; another word of the same person about the
        same record is a mistake: which one counts is not ours to say."""
        content = _said(record)
        key = hashlib.blake2b(record.id.encode("utf-8", "surrogatepass"), digest_size=12).digest()
        before = self._labels.setdefault(key, (where, content))
        if before[0] is where:
            return True
        if before[1] == content and imported:
            self._skipped["repeated"] += 1
        else:
            self.mistakes.add(
                [f"{where}: {record.labeler} has labelled this in {before[0]} already (id {record.id})"]
            )
        return False

    def _own(self, record: OwnRecord) -> OwnRecord:
        """One of our records, with a split for its prompt."""
        if self.cfg.labelers and record.labeler not in self.cfg.labelers.values():
            raise Unreadable(_unknown_labeler(record.labeler, list(self.cfg.labelers.values())))
        if record.prompt.split is not None:
            return record
        prompt = record.prompt
        split = self._split(prompt.id, prompt.user)
        return record.model_copy(update={"prompt": prompt.model_copy(update={"split": split})})

    def _split(self, prompt: str, user: str) -> Split:
        return self._prompts.get(prompt) or self.splits.draw(user, prompt)

    def _from_label(self, label: Label, name: str) -> OwnRecord | Prompt:
        """One label as a record. Raises Unreadable, or ValidationError."""
        cfg = self.cfg
        text = "\x1f".join(f"{turn.role}\x1e{turn.content}" for turn in label.turns)
        key = f"imported-{_hash(text)[:16]}"
        split = self._prompts.get(key) or label.split or self.splits.draw(label.user, key)
        prompt = {
            "id": key,
            "messages": [{"role": turn.role, "content": turn.content} for turn in label.turns],
            "user": f"user-{self.pseudonym(label.user)}" if label.user else "imported",
            "source": name,
            "use_case": label.use_case or None,
            "split": split,
        }
        if not label.answers:
            return Prompt.model_validate(prompt)
        labeler = self._labeler(label.labeler)
        answers = [
            {"text": answer.text, "model": answer.model, "score": answer.score} for answer in label.answers
        ]
        # what one person wrote for an item is one word of theirs, whatever the text is
        shown = () if label.kind == "demonstrations" and label.item else label.answers
        item = _hash(label.item, text, *(word for answer in shown for word in (answer.model, answer.text)))
        common: dict[str, Any] = {
            "id": f"{item[:16]}-{labeler}",
            "prompt": prompt,
            "labeler": labeler,
            "simulated": cfg.simulated or label.simulated,
            "guideline": cfg.guideline,
        }
        if label.ranks is not None:
            return Comparison.model_validate(
                common | {"answers": answers, "ranks": label.ranks, "panel": cfg.panel}
            )
        if label.rating is None:
            return Demonstration.model_validate(common | {"answer": answers[0]})
        overall = seven_points(label.rating, *label.scale)
        return Rating.model_validate(common | {"answer": answers[0], "overall": overall, "panel": cfg.panel})

    def _labeler(self, name: str) -> str:
        cfg = self.cfg
        if not name:
            return "imported"
        if cfg.labelers and name not in cfg.labelers:
            raise Unreadable(_unknown_labeler(name, list(cfg.labelers)))
        return cfg.labelers.get(name) or f"imported-{self.pseudonym(name)}"

    def _pseudonym(self, name: str) -> str:
        return _hash(str(self.seed), name)[:8]

    def summary(self) -> dict[str, Any]:
        """The numbers of this pass."""
        return {
            **{kind: self._counts[kind] for kind in KINDS.values() if self._counts[kind]},
            "prompts": self._counts["prompts"],
            **{split: self.splits.counts[split] for split in SPLITS},
            "split_by": self.splits.by,
            "formats": {path.name: name for path, name in self.formats().items() if name},
            "skipped": dict(sorted(self._skipped.items())),
            "labelers": len(self._labelers),
            "simulated": self._simulated,
            "guideline": ", ".join(sorted(self._guidelines)),
        }


def seven_points(value: float, worst: float, best: float) -> int:
    """A rating on any scale as one from 1 to 7, by steps of equal size, rounded, halves up."""
    if worst >= best or not worst <= value <= best:
        raise Unreadable(
            f"a rating is a number from {worst:g} to {best:g}, not {value:g}; say with scale what is best"
        )
    return math.floor(1 + 6 * (value - worst) / (best - worst) + 0.5)


def _said(record: OwnRecord) -> Any:
    """What a record says: small, as it is kept of every one."""
    if isinstance(record, Comparison):
        return record.ranks
    return record.overall if isinstance(record, Rating) else _hash(record.answer.text)[:12]


def _unknown_labeler(name: str, names: list[str]) -> str:
    return f"unknown labeler {name!r}; labelers names {len(names)}{suggestion(name, names)}"


def _hash(*words: str) -> str:
    return hashlib.sha256("\x1f".join(words).encode("utf-8", "surrogatepass")).hexdigest()
