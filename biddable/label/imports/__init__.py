"""Imports: labels that were given elsewhere, as this project's records: other trainers', tools' and papers' files, and our own.

Everything is read and checked before anything counts. `comparisons.jsonl`, `demonstrations.jsonl` and `ratings.jsonl` hold
what the files say, `prompts.jsonl` their prompts, each once, with the split that it belongs to: models are trained
from an import alone. Names of people never get into records: each gets a pseudonym.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import Literal

from pydantic import Field

from biddable.formats import known
from biddable.label.imports.importer import Importer
from biddable.label.imports.splits import Splits
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.jsonl import LineWriter

MAX_CHECKED_RECORDS = 100_000
"""Records after which `biddable check` takes the rest for good."""


class Config(Settings):
    files: tuple[Input, ...] = ()
    """What to read: JSONL, JSON, CSV, Parquet or Arrow files, also packed (.gz, .zst), a folder that `datasets` saved, or
    another stage's folder."""
    format: str = "auto"
    """Who wrote them, by a name of the table in docs/data.md; `auto`: what each file looks like, which summary.json and
    `biddable check` tell."""
    kind: Literal["auto", "comparisons", "demonstrations", "ratings"] = "auto"
    """Which labels to take. `auto`: all that the files hold. The stage writes `KIND.jsonl`, as `[label.KIND]`
    does."""
    columns: dict[str, str] = Field(default={})
    """Where a file has other names than its format: {prompt = "question", chosen = "good"}."""
    prompt: str = ""
    """Argilla, Label Studio, Potato: the field with the prompt, a text or turns; empty: the one called prompt,
    instruction, question, ..."""
    answers: tuple[str, ...] = ()
    """Argilla, Label Studio, Potato: the fields with the answers that were ranked or rated, or the one field with the list
    of them; empty: those called response1, answer_b, left, ..."""
    question: str = ""
    """The question (Argilla), control (Label Studio), scheme (Potato) or score (files with several per answer) that
    counts; empty: the only one."""
    all_turns: bool = False
    """Whether every answer of a dialogue becomes a demonstration, not only its last one."""
    labelers: dict[str, str] = Field(default={})
    """Names in the files and the pseudonyms they get; a name that is missing here is refused. Empty: each
    name gets a pseudonym made from it."""
    panel: Literal["training", "held_out"] = "training"
    """Which panel these people count to. Our own files say it themselves."""
    simulated: bool = False
    """Whether a program gave these labels. Our own files and AlpacaEval's say it themselves."""
    guideline: str = "imported"
    """What to note as the guideline they saw. Our own files say it themselves."""
    scale: int | None = None
    """The best value of a rating in the files; none: the format's own (5 stars; HelpSteer 4). A rating r on a scale from a
    to b becomes 1 + 6 (r - a) / (b - a), rounded, halves up."""
    scale_start: int | None = None
    """The worst value of a rating in the files; none: the format's own, 1 in most."""
    split_by: Literal["user", "prompt"] = "user"
    """What is kept together in one split: all prompts of a user, where files name users, or only equal prompts. Splits
    that the files name themselves are kept."""
    valid_share: float = Field(default=0.1, ge=0, lt=1)
    """Share for the split valid. However few prompts there are, no split is left empty by chance."""
    test_share: float = Field(default=0.1, ge=0, lt=1)
    """Share for the split test; the rest trains."""
    split_seed: int = 1
    """Hashed with the user or the prompt to draw the split. Not the run's seed: a prompt must stay in one split over all
    rounds."""


def run(cfg: Config, context: StageContext) -> None:
    _check_settings(cfg, context.key)
    splits: Splits | None = Splits(cfg.split_by, cfg.valid_share, cfg.test_share, cfg.split_seed)
    while splits is not None:  # again when a split has come out empty: that happens to small files only
        importer = Importer(cfg, context.seed, splits)
        _write(importer, context)
        splits = splits.without_empty()
    context.summary = importer.summary()


def mistakes(cfg: Config) -> list[str]:
    """Errors in the files, for `biddable check`: read before anything runs."""
    try:
        _check_settings(cfg, "label.imports")
    except UserError as error:
        return error.lines
    importer = Importer(_there(cfg), 0, Splits("prompt", 0, 0, 0))
    if not importer.paths:
        return []
    for _ in itertools.islice(importer.records(), MAX_CHECKED_RECORDS):
        pass
    return importer.mistakes.lines()


def notes(cfg: Config) -> list[str]:
    """What each file is taken for, for `biddable check`."""
    formats = Importer(_there(cfg), 0, Splits("prompt", 0, 0, 0)).formats()
    return [
        f"{path} is read as {name}: {known.FORMATS[name].about}" for path, name in formats.items() if name
    ]


def _there(cfg: Config) -> Config:
    """The settings with those files that are there: another stage's folder may not have been made yet."""
    return cfg.model_copy(update={"files": tuple(path for path in cfg.files if path.exists())})


def _check_settings(cfg: Config, key: str) -> None:
    errors = [] if cfg.files else [f"[{key}] files: expected at least one file"]
    if cfg.format != "auto" and cfg.format not in known.FORMATS:
        errors.append(f'[{key}] format = "{cfg.format}": expected auto or one of {", ".join(known.FORMATS)}')
    if len(set(cfg.labelers.values())) < len(cfg.labelers):
        errors.append(f"[{key}] labelers: two names have the same pseudonym")
    if cfg.valid_share + cfg.test_share >= 1:
        errors.append(f"[{key}] valid_share, test_share: nothing is left for the split train")
    if errors:
        raise UserError(errors)


def _write(importer: Importer, context: StageContext) -> None:
    """Every record into the file of its kind. Raises UserError with all mistakes; nothing is left behind then."""
    with ExitStack() as files:
        writers: dict[str, LineWriter] = {}
        for count, (kind, record) in enumerate(importer.records(), 1):
            if kind not in writers:
                writers[kind] = files.enter_context(LineWriter(context.path(f"{kind}.jsonl")))
            writers[kind].add([record.model_dump_json(exclude_none=True) + "\n"])
            if count % 10_000 == 0:
                context.progress(importer.files_read, len(importer.paths), records=count)
        if importer.mistakes:
            raise UserError(importer.mistakes.lines())
