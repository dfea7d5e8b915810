"""prompts.jsonl: usable prompts, without duplicates and personal data, at most so many a user, split by user into train, valid and test.

What is left out or changed, and why, stands in dropped.jsonl and changed.jsonl; report.html shows it. The order is the paper's (Ouyang et al.
2022, section 3.2): duplicates, cap, split, personal data; what no rule could keep (empty, too long, another language) goes before, so that
it never stands in for a prompt of use. What was masked can be had back: it is kept apart, in the run's folder `personal/`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from biddable.curate.personal_data import masking
from biddable.curate.prompts import dedup, filters, language, page, parallel
from biddable.curate.prompts.dedup import Dropped, Reason
from biddable.curate.prompts.parallel import Scanned
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.jsonl import LineWriter
from biddable.run.records import Split

Kind = Literal["key", "email", "account", "card", "ssn", "ip", "phone", "address"]
ROWS = 20_000
"""Prompts that a process finishes at a time."""
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


class Config(Settings):
    """Settings of curate.prompts."""

    prompts: Input = Path("collect.files")
    """Where prompts.jsonl lies."""
    more: tuple[Input, ...] = ()
    """Further folders with prompts.jsonl, such as `collect.served`. Of duplicates the first stays, in the order of the folders."""
    min_characters: int = Field(1, ge=1)
    """The user's last message has at least so many characters, blanks around it not counted."""
    max_characters: int = Field(4000, ge=1)
    """Longer prompts (characters of all turns) are dropped: about 1k tokens (Ouyang et al. 2022, appendix C.1)."""
    languages: tuple[str, ...] = ()
    """Codes such as "en": prompts that are surely in another language are dropped, prompts are marked with theirs. Empty: not looked at."""
    language_sure: float = Field(0.7, ge=0, le=1)
    """How probable a language has to be to count. Of short prompts it often is not: they stay, without a mark."""
    prefix_characters: int = Field(100, ge=1)
    """Prompts are duplicates when they share a prefix of at least so many characters (blanks and capitals evened out),
    and of at least `prefix_share` of the shorter one. The paper drops prompts with a long common prefix and gives no
    number."""
    prefix_share: float = Field(0.5, gt=0, le=1)
    """See `prefix_characters`; 1 drops only prompts that begin with the whole of another."""
    near_share: float = Field(0.8, ge=0, le=1)
    """Near-duplicates share at least so much of their five-letter pieces (Jaccard; letters and digits only); 0: not looked for."""
    user_cap: int = Field(200, ge=1)
    """At most so many prompts of one user (Ouyang et al. 2022, section 3.2)."""
    valid_share: float = Field(0.12, gt=0, lt=1)
    """Share of the users whose prompts are for validation."""
    test_share: float = Field(0.18, gt=0, lt=1)
    """Share of the users whose prompts are for the final evaluation; the rest trains."""
    split_seed: int = 1
    """Decides with the user id who goes where. Not the run's seed: a user has to stay in one split over all rounds."""
    personal: Literal["mask", "drop", "keep"] = "mask"
    """Prompts with personal data: `mask` it, `drop` them (the paper's filter), or `keep` them as they are."""
    personal_splits: tuple[Split, ...] = ("train", "valid", "test")
    """Where. The paper filters its training split only; but labelers and the readers of a report see the others too."""
    personal_kinds: tuple[Kind, ...] = ("key", "email", "account", "card", "ssn", "ip", "phone", "address")
    """What counts: passwords and keys, e-mail addresses, IBANs, payment cards, US social security numbers, IP addresses, telephone numbers,
    street addresses (of these only the common forms are found)."""
    names: str | None = None
    """An installed spaCy model, or a folder of one, that finds people's names; none: names are not looked for."""
    presidio: tuple[str, ...] = ()
    """Recognisers of presidio-analyzer to run as well, by class: "UkNinoRecognizer", "InAadhaarRecognizer", ... Slow."""
    processes: int | None = Field(None, ge=1)
    """Processes for what can be done prompt by prompt; none: one a core. They change nothing but the time."""


def run(cfg: Config, context: StageContext) -> None:
    """Two passes over the prompts, the rules across prompts between them; refuse when a split is empty."""
    _refuse(cfg)
    files = [folder / "prompts.jsonl" if folder.is_dir() else folder for folder in (cfg.prompts, *cfg.more)]
    cores = (cfg.processes or os.cpu_count() or 1) if _large(files) else 1
    seen, starts = _scan(cfg, files, context, cores)
    rest = filters.apply(
        seen,
        cfg.prefix_characters,
        cfg.prefix_share,
        cfg.near_share,
        cfg.user_cap,
        lambda: context.progress(1, 3),
    )
    users = {seen.users[index] for index in rest.left}
    splits = {user: dedup.split_of(user, cfg.valid_share, cfg.test_share, cfg.split_seed) for user in users}
    _refuse_empty(cfg, files[0], splits)
    placed = {index: splits[seen.users[index]] for index in rest.left}
    kinds = _finish(cfg, files, starts, seen, rest, placed, context, cores)
    gone = {one.id for one in rest.dropped if one.reason == "personal_data"}
    placed = {index: split for index, split in placed.items() if seen.ids[index] not in gone}
    context.summary |= _summary(seen, rest.dropped, placed, kinds)
    page.write(
        context.path("report.html"), context.folder.parent.name, seen, rest.dropped, placed, context.summary
    )
    context.progress(3, 3, prompts=context.summary["prompts"])


def _large(files: Sequence[Path]) -> bool:
    """Whether there is more to do than starting processes takes."""
    return sum(path.stat().st_size for path in files if path.is_file()) > parallel.PIECE_BYTES


def _refuse(cfg: Config) -> None:
    wrong = []
    if cfg.valid_share + cfg.test_share >= 1:
        wrong.append(
            f"valid_share + test_share = {cfg.valid_share + cfg.test_share:g}: less than 1 was expected; the rest trains"
        )
    if cfg.languages:
        known = language.known()
        told = ", ".join(sorted(known))
        wrong += [f"languages: {code!r}: not among {told}" for code in cfg.languages if code not in known]
    if wrong:
        raise UserError(wrong)
    if cfg.personal != "keep":
        masking.finders(cfg.names, cfg.presidio)


def _scan(cfg: Config, files: Sequence[Path], context: StageContext, cores: int) -> tuple[Scanned, list[int]]:
    """First pass over all files; and where each file's prompts begin (one more at the end). Raises UserError with every mistake."""
    wrong = [
        f"{path}: no such file; expected one Prompt record a line" for path in files if not path.is_file()
    ]
    wrong += [
        f"{path}: the file is empty; expected at least one Prompt record"
        for path in files[:1]
        if path.is_file() and not path.stat().st_size
    ]
    if wrong:
        raise UserError(wrong)
    looks = [
        parallel.Look(
            path, cfg.min_characters, cfg.max_characters, cfg.languages, cfg.language_sure, cfg.near_share > 0
        )
        for path in files
    ]
    jobs = [(look, begin, end) for look in looks for begin, end in parallel.pieces(look.path)]
    parts = [Scanned() for _ in files]
    for (look, _, _), part in zip(jobs, parallel.each(parallel.scan, jobs, cores), strict=True):
        parts[files.index(look.path)].add(part)
        context.progress(0, 3, prompts=sum(len(one.ids) for one in parts))
    seen, starts = Scanned(), [0]
    for path, part in zip(files, parts, strict=True):
        wrong += [f"{path}:{line}{text}" for line, said in part.wrong for text in said]
        seen.add(part)
        starts.append(len(seen.ids))
    twice = [name for name, times in Counter(seen.ids).items() if times > 1]
    wrong += [
        f"{files[-1]}: Prompt id = {name!r}: there twice; every prompt needs an id of its own"
        for name in twice
    ]
    if wrong:
        raise UserError(wrong)
    return seen, starts


def _refuse_empty(cfg: Config, path: Path, splits: dict[str, Split]) -> None:
    empty = [split for split in SPLITS if split not in splits.values()]
    if empty:
        shown = f"valid_share = {cfg.valid_share:g}, test_share = {cfg.test_share:g}, split_seed = {cfg.split_seed}"
        raise UserError(
            [
                f"{path}: no prompts for the split {split!r}: {len(splits)} users, {shown}; "
                "add prompts of more users, or change the shares or the seed"
                for split in empty
            ]
        )


def _finish(
    cfg: Config,
    files: Sequence[Path],
    starts: Sequence[int],
    seen: Scanned,
    rest: filters.Rest,
    placed: dict[int, Split],
    context: StageContext,
    cores: int,
) -> Counter[str]:
    """Second pass: masks and writes what stays; returns how often each kind of personal data was found."""
    jobs = []
    for number, path in enumerate(files):
        change = parallel.Change(
            path, cfg.personal, cfg.personal_kinds, cfg.personal_splits, cfg.names, cfg.presidio
        )
        own = [index for index in rest.left if starts[number] <= index < starts[number + 1]]
        for begin in range(0, len(own), ROWS):
            rows = [(seen.offsets[i], placed[i], seen.languages[i]) for i in own[begin : begin + ROWS]]
            jobs.append((change, rows))
    kinds: Counter[str] = Counter()
    apart = context.folder.parent / "personal"
    with (
        LineWriter(context.path("prompts.jsonl")) as prompts,
        LineWriter(context.path("changed.jsonl")) as changed,
        LineWriter(context.path("dropped.jsonl")) as dropped,
        LineWriter(apart / f"{context.key}.jsonl", private=True) as originals,
    ):
        for done in parallel.each(parallel.finish, jobs, cores):
            prompts.add(done.prompts)
            changed.add(done.changed)
            originals.add(done.originals)
            rest.dropped += done.dropped
            kinds.update(done.kinds)
            context.progress(2, 3, prompts=prompts.count)
        dropped.add(one.model_dump_json(exclude_none=True) + "\n" for one in rest.dropped)
    return kinds


def _summary(
    seen: Scanned, dropped: Sequence[Dropped], placed: dict[int, Split], kinds: Counter[str]
) -> dict[str, int]:
    found = {"prompts_read": len(seen.ids), "prompts": len(placed)}
    reasons = Counter(one.reason for one in dropped)
    found |= {f"dropped_{reason}": reasons[reason] for reason in get_args(Reason)}
    found |= {f"masked_{kind}": kinds[kind] for kind in sorted(kinds)}
    for split in SPLITS:
        own = [index for index, where in placed.items() if where == split]
        found[f"prompts_{split}"] = len(own)
        found[f"users_{split}"] = len({seen.users[index] for index in own})
    return found
