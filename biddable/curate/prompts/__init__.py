"""prompts.jsonl: usable prompts, deduplicated, masked, capped by user, in train, valid and test splits.

All prompts of a user fall into one split.

dropped.jsonl and changed.jsonl say what was left out or masked, and why; report.html shows it. The order is
the paper's (Ouyang et al. 2022, section 3.2): duplicates, cap, split, personal data. Prompts that are of no
use (empty, too long, in another language) go first, so that none of them stays in the place of a useful
duplicate. What was masked is stored apart, in the run's folder `personal/`, and can be put back.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, get_args

from pydantic import Field

from biddable.curate.personal_data import masking, phones
from biddable.curate.prompts import filters, language, page, parallel
from biddable.curate.prompts.dedup import Dropped, Reason
from biddable.curate.prompts.parallel import Scanned
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.jsonl import LineWriter
from biddable.run.records import Split, draw_split

Kind = Literal["key", "email", "account", "card", "ssn", "ip", "phone", "address"]
BATCH_ROWS = 20_000
"""Prompts that a process finishes at a time."""
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


class Config(Settings):
    """Settings of curate.prompts."""

    renamed: ClassVar[dict[str, str]] = {
        "more": "more_prompts",
        "language_sure": "min_language_probability",
        "near_share": "near_duplicate_similarity",
        "personal": "personal_data",
        "personal_splits": "personal_data_splits",
        "personal_kinds": "personal_data_kinds",
        "names": "spacy_model",
    }

    prompts: Input = Path("collect.files")
    """Where prompts.jsonl lies."""
    more_prompts: tuple[Input, ...] = ()
    """Further folders with prompts.jsonl, such as `collect.served`. Of duplicates the first in the order of
    the folders stays."""
    min_characters: int = Field(1, ge=1)
    """Shorter prompts are dropped: characters of the user's last message, without the blanks around it."""
    max_characters: int = Field(4000, ge=1)
    """Longer prompts (characters of all turns) are dropped: about 1k tokens (Ouyang et al. 2022, appendix
    C.1)."""
    languages: tuple[str, ...] = ()
    """Codes such as "en": prompts that are clearly in another language are dropped, the others marked with
    theirs. Empty: all languages."""
    min_language_probability: float = Field(0.7, ge=0, le=1)
    """A language counts from this probability on. Short prompts often stay below it: they are kept, without a
    mark."""
    prefix_characters: int = Field(100, ge=1)
    """Prompts are duplicates when they share a prefix of at least so many characters (blanks and capitals
    evened out), and of at least `prefix_share` of the shorter one. The paper drops prompts with a long common
    prefix and gives no number."""
    prefix_share: float = Field(0.5, gt=0, le=1)
    """See `prefix_characters`; 1 drops only prompts that begin with all of another."""
    near_duplicate_similarity: float = Field(0.8, ge=0, le=1)
    """Near-duplicates have at least this Jaccard similarity of their 5-character shingles (letters, marks,
    digits and signs), the same numbers, and in short texts the same content; 0: not looked for."""
    user_cap: int = Field(200, ge=1)
    """At most so many prompts of one user (Ouyang et al. 2022, section 3.2)."""
    valid_share: float = Field(0.12, ge=0, lt=1)
    """Share of the users whose prompts are for validation; 0 where labels are all that is wanted."""
    test_share: float = Field(0.18, ge=0, lt=1)
    """Share of the users whose prompts are for the final evaluation; the rest trains. 0: none is held back."""
    split_seed: int = 1
    """Hashed with the user id to draw the split. Not the run's seed: a user must stay in one split over all
    rounds."""
    personal_data: Literal["mask", "drop", "keep"] = "mask"
    """Prompts with personal data: `mask` it, `drop` them (the paper's filter), or `keep` them as they are."""
    personal_data_splits: tuple[Split, ...] = ("train", "valid", "test")
    """The splits that `personal_data` applies to. The paper filters its training split only; but labelers and
    readers of a report see the others too."""
    personal_data_kinds: tuple[Kind, ...] = (
        "key",
        "email",
        "account",
        "card",
        "ssn",
        "ip",
        "phone",
        "address",
    )
    """What counts as personal data: passwords and keys, e-mail addresses, IBANs, payment cards, US social
    security numbers, IP addresses, telephone numbers, street addresses (of these only the common forms are
    found)."""
    phone_regions: tuple[str, ...] | None = None
    """Countries (ISO 3166: "DE", "IN", ...) whose telephone numbers are found where they stand without a country
    code and no word announces them; none: fifty-six of all continents. With fewer, fewer numbers of other
    things are taken for telephones."""
    spacy_model: str | None = None
    """An installed spaCy model, or a folder of one, that finds people's names; none: names are not looked
    for."""
    presidio: tuple[str, ...] = ()
    """Recognisers of presidio-analyzer to run as well, by class name: "UkNinoRecognizer",
    "InAadhaarRecognizer", ... Slow."""
    processes: int | None = Field(None, ge=1)
    """Processes for the passes over the prompts; none: one a core. They change nothing but the time."""


def run(cfg: Config, context: StageContext) -> None:
    """Two passes over the prompts, with the rules across prompts in between. Raises UserError when a split is
    empty."""
    check_settings(cfg)
    files = [
        folder / "prompts.jsonl" if folder.is_dir() else folder for folder in (cfg.prompts, *cfg.more_prompts)
    ]
    processes = (cfg.processes or os.cpu_count() or 1) if is_large(files) else 1
    scanned, starts = scan_files(cfg, files, context, processes)
    remaining = filters.apply_filters(
        scanned,
        cfg.prefix_characters,
        cfg.prefix_share,
        cfg.near_duplicate_similarity,
        cfg.user_cap,
        lambda: context.progress(1, 3),
    )
    users = {scanned.users[index] for index in remaining.indices}
    splits = {user: draw_split(user, cfg.valid_share, cfg.test_share, cfg.split_seed) for user in users}
    check_splits(cfg, files[0], splits)
    splits_by_index = {index: splits[scanned.users[index]] for index in remaining.indices}
    kinds = write_prompts(cfg, files, starts, scanned, remaining, splits_by_index, context, processes)
    personal_ids = {row.id for row in remaining.dropped if row.reason == "personal_data"}
    splits_by_index = {
        index: split for index, split in splits_by_index.items() if scanned.ids[index] not in personal_ids
    }
    context.summary |= summarise(scanned, remaining.dropped, splits_by_index, kinds)
    page.write_page(
        context.path("report.html"),
        context.folder.parent.name,
        scanned,
        remaining.dropped,
        splits_by_index,
        context.summary,
    )
    context.progress(3, 3, prompts=context.summary["prompts"])


def is_large(files: Sequence[Path]) -> bool:
    """Whether there is so much to do that starting processes pays."""
    return sum(path.stat().st_size for path in files if path.is_file()) > parallel.CHUNK_BYTES


def check_settings(cfg: Config) -> None:
    """Raise UserError for settings that contradict each other, languages and recognisers that do not
    exist."""
    errors = []
    if cfg.valid_share + cfg.test_share >= 1:
        errors.append(
            f"valid_share + test_share = {cfg.valid_share + cfg.test_share:g}: must be less than 1; the rest "
            "trains"
        )
    if cfg.languages:
        codes = language.language_codes()
        listed = ", ".join(sorted(codes))
        errors += [f"languages: {code!r}: not among {listed}" for code in cfg.languages if code not in codes]
    unknown = [region for region in cfg.phone_regions or () if region not in phones.known_regions()]
    errors += [
        f"phone_regions: {region!r}: no country's code of two letters, such as 'DE'" for region in unknown
    ]
    if errors:
        raise UserError(errors)
    if cfg.personal_data != "keep":
        masking.finders(cfg.spacy_model, cfg.presidio)


def scan_files(
    cfg: Config, files: Sequence[Path], context: StageContext, processes: int
) -> tuple[Scanned, list[int]]:
    """First pass over all files, and the index at which each file's prompts begin (one more at the end).
    Raises UserError with all mistakes."""
    errors = [
        f"{path}: no such file; expected one Prompt record a line" for path in files if not path.is_file()
    ]
    errors += [
        f"{path}: the file is empty; expected at least one Prompt record"
        for path in files[:1]
        if path.is_file() and not path.stat().st_size
    ]
    if errors:
        raise UserError(errors)
    scans = [
        parallel.ScanSettings(
            path,
            cfg.min_characters,
            cfg.max_characters,
            cfg.languages,
            cfg.min_language_probability,
            cfg.near_duplicate_similarity > 0,
        )
        for path in files
    ]
    jobs = [(settings, begin, end) for settings in scans for begin, end in parallel.chunks(settings.path)]
    parts = [Scanned() for _ in files]
    for (settings, _, _), part in zip(
        jobs, parallel.map_in_order(parallel.scan, jobs, processes), strict=True
    ):
        parts[files.index(settings.path)].add(part)
        context.progress(0, 3, prompts=sum(len(part.ids) for part in parts))
    scanned, starts = Scanned(), [0]
    for path, part in zip(files, parts, strict=True):
        errors += [f"{path}:{line}{text}" for line, texts in part.errors for text in texts]
        scanned.add(part)
        starts.append(len(scanned.ids))
    repeated = [name for name, times in Counter(scanned.ids).items() if times > 1]
    errors += [f"{files[-1]}: Prompt id = {name!r}: appears twice; must be unique" for name in repeated]
    if errors:
        raise UserError(errors)
    return scanned, starts


def check_splits(cfg: Config, path: Path, splits: dict[str, Split]) -> None:
    """Raise UserError when no user, by the hash of the id, is in one of the wanted splits."""
    shares: dict[Split, float] = {"valid": cfg.valid_share, "test": cfg.test_share}
    empty = [split for split in SPLITS if split not in splits.values() and shares.get(split) != 0]
    if empty:
        shown = (
            f"valid_share = {cfg.valid_share:g}, test_share = {cfg.test_share:g}, split_seed = "
            f"{cfg.split_seed}"
        )
        raise UserError(
            [
                f"{path}: no prompts for the split {split!r}: {len(splits)} users, {shown}; "
                "add prompts of more users, or change the shares or the seed"
                + (f"; {split}_share = 0 if nothing will be measured on them" if split in shares else "")
                for split in empty
            ]
        )


def write_prompts(
    cfg: Config,
    files: Sequence[Path],
    starts: Sequence[int],
    scanned: Scanned,
    remaining: filters.Remaining,
    splits_by_index: dict[int, Split],
    context: StageContext,
    processes: int,
) -> Counter[str]:
    """Second pass: masks and writes what stays; returns how often each kind of personal data was found."""
    jobs = []
    for number, path in enumerate(files):
        settings = parallel.FinishSettings(
            path,
            cfg.personal_data,
            cfg.personal_data_kinds,
            cfg.personal_data_splits,
            phones.REGIONS if cfg.phone_regions is None else cfg.phone_regions,
            cfg.spacy_model,
            cfg.presidio,
        )
        indices = [index for index in remaining.indices if starts[number] <= index < starts[number + 1]]
        for begin in range(0, len(indices), BATCH_ROWS):
            rows = [
                (scanned.offsets[i], splits_by_index[i], scanned.languages[i])
                for i in indices[begin : begin + BATCH_ROWS]
            ]
            jobs.append((settings, rows))
    kinds: Counter[str] = Counter()
    private = context.folder.parent / "personal"
    with (
        LineWriter(context.path("prompts.jsonl")) as prompts,
        LineWriter(context.path("changed.jsonl")) as changed,
        LineWriter(context.path("dropped.jsonl")) as dropped,
        LineWriter(private / f"{context.key}.jsonl", private=True) as originals,
    ):
        for finished in parallel.map_in_order(parallel.finish, jobs, processes):
            prompts.add(finished.prompts)
            changed.add(finished.changed)
            originals.add(finished.originals)
            remaining.dropped += finished.dropped
            kinds.update(finished.kinds)
            context.progress(2, 3, prompts=prompts.count)
        dropped.add(row.model_dump_json(exclude_none=True) + "\n" for row in remaining.dropped)
    return kinds


def summarise(
    scanned: Scanned, dropped: Sequence[Dropped], splits_by_index: dict[int, Split], kinds: Counter[str]
) -> dict[str, int]:
    """The final numbers: read, dropped by reason, masked by kind, and prompts and users of each split."""
    numbers = {"prompts_read": len(scanned.ids), "prompts": len(splits_by_index)}
    reasons = Counter(row.reason for row in dropped)
    numbers |= {f"dropped_{reason}": reasons[reason] for reason in get_args(Reason)}
    numbers |= {f"masked_{kind}": kinds[kind] for kind in sorted(kinds)}
    for split in SPLITS:
        indices = [index for index, drawn in splits_by_index.items() if drawn == split]
        numbers[f"prompts_{split}"] = len(indices)
        numbers[f"users_{split}"] = len({scanned.users[index] for index in indices})
    return numbers
