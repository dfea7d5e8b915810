"""text.jsonl: running text for the pretraining mix, from files and from installed documentation.

PPO-ptx mixes the gradient of ordinary text into PPO's (Ouyang et al. 2022, section 3.5). A small run needs a
megabyte of it that is at hand: the documentation that installed packages carry. What it is stands in each
record's `source`. A document is in one split only.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import platform
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from biddable.collect.text import docstrings as prose
from biddable.run import jsonl, records
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.parse import parse_json
from biddable.run.records import Split, Text

SKIPPED_FOLDERS = {
    "test",
    "tests",
    "site-packages",
    "dist-packages",
    "lib2to3",
    "idlelib",
    "turtledemo",
    "_vendor",
    "externals",
}
MIN_PARAGRAPH_CHARACTERS = 110
"""Shorter paragraphs of documentation are left out: a row of one-line summaries is no running text."""


class Config(Settings):
    """Settings of collect.text."""

    files: tuple[Input, ...] = ()
    """JSONL (also .gz) with a field `text`, a document a line; .txt, a document a file; of a folder its
    text.jsonl."""
    packages: tuple[str, ...] = ("python", "numpy", "scipy", "sqlalchemy")
    """Installed packages whose documentation is used; "python" is the standard library and its help
    topics."""
    piece_characters: int = Field(800, ge=200, le=20_000)
    """Length of a piece, about; pieces are cut at paragraphs and sentences. 800 characters are about 180
    tokens."""
    valid_share: float = Field(0.1, gt=0, lt=1)
    """Share of the documents that is held out for measuring; a hash of the document's name decides."""
    limit: int = Field(0, ge=0)
    """At most so many pieces, drawn by a hash of their ids; 0 takes all."""


class Document(NamedTuple):
    """What stays in one split: a module, a help topic, a line of JSONL or a text file."""

    name: str
    """Decides the split, so it depends on the document alone: a module's path, or a hash of the text."""
    source: str
    pieces: list[str]


def run(cfg: Config, context: StageContext) -> None:
    """Read everything, cut it to pieces, write text.jsonl. Raises UserError with the errors of all files and
    packages."""
    errors: list[str] = []
    licences: dict[str, str] = {}
    documents: list[Document] = []
    if not cfg.files and not cfg.packages:
        errors.append("files = [], packages = []: name at least one file or one package")
    steps = len(cfg.files) + len(cfg.packages)
    used_sentences: set[str] = set()
    for number, path in enumerate(cfg.files, 1):
        try:
            documents += read_file(
                path / "text.jsonl" if path.is_dir() else path, cfg.piece_characters, licences
            )
        except UserError as error:
            errors += error.lines
        context.progress(number, steps, documents=len(documents))
    missing = [name for name in cfg.packages if name != "python" and not package_folder(name)]
    errors += [f'packages: "{name}" is not installed; install it or take it out' for name in missing]
    if errors:
        raise UserError(errors)
    for number, name in enumerate(cfg.packages, len(cfg.files) + 1):
        for document in read_package(name, cfg.piece_characters, used_sentences):
            if document.pieces:
                documents.append(document)
            context.progress(number - 1, steps, documents=len(documents))
        licences[name] = licence_of(name)
        context.progress(number, steps, documents=len(documents))
    rows = sample_rows(to_records(documents, cfg.valid_share), cfg.limit)
    for split in ("train", "valid"):
        split_rows = [row for row in rows if row.split == split]
        context.summary[f"pieces_{split}"] = len(split_rows)
        context.summary[f"characters_{split}"] = sum(len(row.text) for row in split_rows)
        if not split_rows:
            raise UserError(
                f"valid_share = {cfg.valid_share}: no text for the split {split!r} from {len(documents)} "
                "documents; "
                "give more documents, another share or a higher limit"
            )
    context.summary["documents"] = len({document.name for document in documents})
    context.summary["licences"] = "; ".join(
        f"{name}: {licence}" for name, licence in sorted(licences.items())
    )
    jsonl.write(context.path("text.jsonl"), rows)


def to_records(documents: list[Document], valid_share: float) -> list[Text]:
    """A record a piece; a piece that repeats another is left out, capitals and blanks aside."""
    rows: list[Text] = []
    used_keys: set[str] = set()
    for document in documents:
        split: Split = "valid" if records.hash_fraction("text", document.name) < valid_share else "train"
        for number, piece in enumerate(document.pieces, 1):
            key = "".join(piece.lower().split())
            if key not in used_keys:
                rows.append(
                    Text(id=f"{document.name}#{number}", text=piece, source=document.source, split=split)
                )
            used_keys.add(key)
    return rows


def sample_rows(rows: list[Text], limit: int) -> list[Text]:
    if not limit or len(rows) <= limit:
        return rows
    ids = {row.id for row in sorted(rows, key=lambda row: records.hash_fraction("limit", row.id))[:limit]}
    return [row for row in rows if row.id in ids]


def read_file(path: Path, characters: int, licences: dict[str, str]) -> Iterator[Document]:
    """The documents of a file. Raises UserError with all of its errors."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected JSONL with a field `text`, or a .txt file")
    if path.suffix == ".txt":
        text = "".join(line for _, line in jsonl.read_lines(path))
        if not text.strip():
            raise UserError(f"{path}: the file is empty; expected text")
        yield to_document(path, path.name, text, characters)
        return
    errors: list[str] = []
    number = 0
    for number, line in jsonl.read_lines(path):
        try:
            row = parse_json(line)
        except ValueError as error:
            errors.append(f"{path}:{number}: {error}")
            continue
        text = row.get("text", "") if isinstance(row, dict) else ""
        if not isinstance(text, str) or not text.strip() or has_lone_surrogate(text):
            errors.append(f"{path}:{number}: text: expected readable text (got {line.strip()[:60]})")
            continue
        source = str(row.get("source") or path.name)
        licences[source] = str(row.get("license") or row.get("licence") or "not stated")
        yield to_document(path, source, text, characters)
    if not number:
        errors.append(f"{path}: the file is empty; expected at least one JSON object with a field `text`")
    if errors:
        raise UserError(errors)


def has_lone_surrogate(text: str) -> bool:
    """Whether a text holds half a UTF-16 pair: JSON can escape one, UTF-8 cannot write it."""
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def to_document(path: Path, source: str, text: str, characters: int) -> Document:
    """A text as it is, in pieces; a short one is one piece."""
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    pieces = list(prose.pieces(paragraphs, characters)) or ["\n\n".join(paragraphs)]
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return Document(f"{path.name}:{digest}", source, pieces)


def read_package(name: str, characters: int, used_sentences: set[str]) -> Iterator[Document]:
    """A package's modules (read, not imported) and Python's help topics. `used_sentences` grows."""
    folder = Path(sysconfig.get_paths()["stdlib"]) if name == "python" else package_folder(name)
    if folder is None:
        raise ValueError(f"package {name!r} is not installed")
    version = f"Python {platform.python_version()}" if name == "python" else f"{name} {version_of(name)}"
    if name == "python":
        from pydoc_data import topics

        for topic in sorted(topics.topics):
            texts = unrepeated_paragraphs([topics.topics[topic]], used_sentences)
            yield Document(
                f"python/help/{topic}",
                f"{version}, help topic {topic}",
                list(prose.pieces(texts, characters)),
            )
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py")}
    for module in sorted(paths):
        if not SKIPPED_FOLDERS.isdisjoint(module.split("/")[:-1]):
            continue
        try:
            texts = unrepeated_paragraphs(prose.docstrings(paths[module].read_bytes()), used_sentences)
        except (SyntaxError, ValueError):  # a template, or a file for another Python
            continue
        yield Document(
            f"{name}/{module}", f"{version}, documentation in {module}", list(prose.pieces(texts, characters))
        )


def unrepeated_paragraphs(texts: Iterator[str] | list[str], used_sentences: set[str]) -> list[str]:
    """Prose paragraphs without a longer sentence that was used before: what is repeated must not be in two
    splits."""
    paragraphs = []
    for text in texts:
        for paragraph in prose.paragraphs(text):
            sentences = prose.sentences(paragraph)
            if len(paragraph) >= MIN_PARAGRAPH_CHARACTERS and used_sentences.isdisjoint(sentences):
                paragraphs.append(paragraph)
                used_sentences.update(sentences)
    return paragraphs


def package_folder(name: str) -> Path | None:
    """Where a top-level package lies, without importing it."""
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) if places else None


def distribution_of(name: str) -> importlib.metadata.Distribution | None:
    names = importlib.metadata.packages_distributions().get(name)
    return importlib.metadata.distribution(names[0]) if names else None


def version_of(name: str) -> str:
    distribution = distribution_of(name)
    return distribution.version if distribution else "of unknown version"


def licence_of(name: str) -> str:
    """A package's licence by its own metadata."""
    if name == "python":
        return "PSF-2.0"
    distribution = distribution_of(name)
    if distribution is None:
        return "not stated"
    expressions = distribution.metadata.get_all("License-Expression") or []
    classifiers = distribution.metadata.get_all("Classifier") or []
    classified = [name.split(" :: ")[-1] for name in classifiers if name.startswith("License ::")]
    return ", ".join(expressions or classified) or "not stated"
