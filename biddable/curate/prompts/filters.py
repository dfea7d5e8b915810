"""The rules across prompts, in their order: what each leaves, and why the others go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from biddable.curate.prompts import dedup, near_duplicates
from biddable.curate.prompts.dedup import Dropped
from biddable.curate.prompts.parallel import Scanned


@dataclass
class Rest:
    """Places of the prompts that are left, in the order of the input, and the others with their reasons."""

    left: list[int]
    dropped: list[Dropped] = field(default_factory=list)


def apply(
    seen: Scanned,
    prefix_characters: int,
    prefix_share: float,
    near_share: float,
    user_cap: int,
    told: Callable[[], None],
) -> Rest:
    """Unfit ones, equal texts, long common prefixes, near-duplicates, the cap. `told` is called between them."""
    rest = Rest([])
    for index, unfit in enumerate(seen.unfit):
        if unfit is None:
            rest.left.append(index)
        else:
            rest.dropped.append(
                Dropped(id=seen.ids[index], user=seen.users[index], reason=unfit[0], found=unfit[1])
            )
    _same_text(seen, rest)
    told()
    _long_prefix(seen, rest, prefix_characters, prefix_share)
    told()
    if near_share:
        _near(seen, rest, near_share)
    told()
    within = dedup.within_cap([seen.users[index] for index in rest.left], user_cap)
    _sort_out(seen, rest, [None if kept else {"reason": "user_cap"} for kept in within])
    return rest


def _same_text(seen: Scanned, rest: Rest) -> None:
    first = dedup.same_text([seen.keys[index] for index in rest.left])
    why = [
        None
        if one == place
        else {
            "reason": "same_text",
            "like": seen.ids[rest.left[one]],
            "shared": len(seen.keys[rest.left[one]]),
        }
        for place, one in enumerate(first)
    ]
    _sort_out(seen, rest, why)


def _long_prefix(seen: Scanned, rest: Rest, characters: int, share: float) -> None:
    keys = [seen.keys[index] for index in rest.left]
    why = [
        None
        if one == place
        else {
            "reason": "long_prefix",
            "like": seen.ids[rest.left[one]],
            "shared": dedup.shared_prefix(keys[one], keys[place]),
        }
        for place, one in enumerate(dedup.long_prefix(keys, characters, share))
    ]
    _sort_out(seen, rest, why)


def _near(seen: Scanned, rest: Rest, share: float) -> None:
    bands = (
        np.concatenate(seen.bands) if seen.bands else np.zeros((0, near_duplicates.BANDS), dtype=np.uint64)
    )
    seen.bands = []  # the largest thing in memory is not needed any more
    found = near_duplicates.near([seen.keys[index] for index in rest.left], bands[rest.left], share)
    why = [
        one
        and {"reason": "near_duplicate", "like": seen.ids[rest.left[one[0]]], "similarity": round(one[1], 4)}
        for one in found
    ]
    _sort_out(seen, rest, why)


def _sort_out(seen: Scanned, rest: Rest, why: list[dict[str, object] | None]) -> None:
    """Move those with a reason from what is left to what is dropped."""
    gone = [
        Dropped.model_validate({"id": seen.ids[index], "user": seen.users[index], **reason})
        for index, reason in zip(rest.left, why, strict=True)
        if reason
    ]
    rest.left = [index for index, reason in zip(rest.left, why, strict=True) if not reason]
    rest.dropped += gone
