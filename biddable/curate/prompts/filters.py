"""The rules across prompts, in their order (Ouyang et al. 2022, section 3.2): what each leaves, and why the
others go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from biddable.curate.prompts import dedup, near_duplicates
from biddable.curate.prompts.dedup import Dropped
from biddable.curate.prompts.parallel import Scanned

Fields = dict[str, Any]
"""Fields of a `Dropped` record beside id and user: the reason and what goes with it."""


@dataclass
class Remaining:
    """Places of the prompts that remain, in the order of the input, and the others with their reasons."""

    indices: list[int]
    dropped: list[Dropped] = field(default_factory=list)

    def drop(self, scanned: Scanned, reasons: Sequence[Fields | None]) -> None:
        """Move prompts with a reason to the dropped ones; `reasons` has an entry for each of `indices`."""
        remaining = []
        for index, reason in zip(self.indices, reasons, strict=True):
            if reason is None:
                remaining.append(index)
            else:
                names = {"id": scanned.ids[index], "user": scanned.users[index]}
                self.dropped.append(Dropped.model_validate(names | reason))
        self.indices = remaining


def apply_filters(
    scanned: Scanned,
    prefix_characters: int,
    prefix_share: float,
    near_similarity: float,
    user_cap: int,
    progress: Callable[[], None],
) -> Remaining:
    """Unfit prompts, equal texts, long common prefixes, near-duplicates, the cap per user. `progress` is
    called in between."""
    remaining = Remaining(list(range(len(scanned.ids))))
    unfit = [reason and {"reason": reason[0], "found": reason[1]} for reason in scanned.unfit_reasons]
    remaining.drop(scanned, unfit)
    drop_same_text(scanned, remaining)
    progress()
    drop_long_prefix(scanned, remaining, prefix_characters, prefix_share)
    progress()
    if near_similarity:
        drop_near_duplicates(scanned, remaining, near_similarity)
    progress()
    # The cap comes after the duplicates: they don't use up their user's share.
    within = dedup.within_cap([scanned.users[index] for index in remaining.indices], user_cap)
    remaining.drop(scanned, [None if fits else {"reason": "user_cap"} for fits in within])
    return remaining


def drop_same_text(scanned: Scanned, remaining: Remaining) -> None:
    """Of prompts with equal comparison keys the first stays."""
    keys = [scanned.keys[index] for index in remaining.indices]
    ids = [scanned.ids[index] for index in remaining.indices]
    reasons: list[Fields | None] = []
    for place, first in enumerate(dedup.first_of_same_text(keys)):
        reason = {"reason": "same_text", "like": ids[first], "shared": len(keys[first])}
        reasons.append(None if first == place else reason)
    remaining.drop(scanned, reasons)


def drop_long_prefix(scanned: Scanned, remaining: Remaining, characters: int, share: float) -> None:
    """Of a cluster of prompts with long common prefixes the first stays."""
    keys = [scanned.keys[index] for index in remaining.indices]
    ids = [scanned.ids[index] for index in remaining.indices]
    reasons: list[Fields | None] = []
    for place, first in enumerate(dedup.first_of_prefix_cluster(keys, characters, share)):
        if first == place:
            reasons.append(None)
        else:
            shared = dedup.shared_prefix(keys[first], keys[place])
            reasons.append({"reason": "long_prefix", "like": ids[first], "shared": shared})
    remaining.drop(scanned, reasons)


def drop_near_duplicates(scanned: Scanned, remaining: Remaining, similarity: float) -> None:
    """Of prompts that are at least `similarity` alike the first stays."""
    no_bands = np.zeros((0, near_duplicates.BANDS), dtype=np.uint64)
    bands = np.concatenate(scanned.bands) if scanned.bands else no_bands
    scanned.bands = []  # the largest thing in memory is not needed any more
    keys = [scanned.keys[index] for index in remaining.indices]
    ids = [scanned.ids[index] for index in remaining.indices]
    reasons: list[Fields | None] = []
    for duplicate in near_duplicates.find_near_duplicates(keys, bands[remaining.indices], similarity):
        if duplicate is None:
            reasons.append(None)
        else:
            earlier, alike = duplicate
            fields = {"reason": "near_duplicate", "like": ids[earlier], "similarity": round(alike, 4)}
            reasons.append(fields)
    remaining.drop(scanned, reasons)
