"""Duplicates, the cap per user, and splits by user: pure functions on prompts (Ouyang et al. 2022, section
3.2).

The paper drops prompts that share a long common prefix and gives no threshold; ours: at least `characters`,
and at least `share` of the shorter one. Clusters of such prompts do not depend on the order of the input; of
each the first in the input stays.
"""

from __future__ import annotations

import heapq
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from biddable.run.records import Prompt, Record

Reason = Literal[
    "empty", "too_long", "language", "same_text", "long_prefix", "near_duplicate", "user_cap", "personal_data"
]
"""Why a prompt is left out, in the order in which the rules are applied."""


class Dropped(Record):
    """A prompt that curation left out, and why. Its text is where it was; here it would only be one more
    copy."""

    id: str
    user: str
    reason: Reason
    like: str | None = None
    """Id of the prompt that stayed in its place."""
    shared: int | None = None
    """Characters of the prefix that both share, blanks and capitals evened out."""
    similarity: float | None = None
    """Of the two as sets of pieces of five letters, marks and signs: shared over all."""
    found: str | None = None
    """The language it is in, its length in characters, or the kinds of personal data."""


class Masked(Record):
    """A prompt in which personal data was masked: its pseudonyms, not what they stand for."""

    id: str
    user: str
    masked: tuple[str, ...]


def comparison_key(prompt: Prompt) -> str:
    """What two prompts are compared by: all turns, composed (NFC), without capitals, every run of blanks one
    blank."""
    turns = [(message.role, fold_case(message.content)) for message in prompt.messages]
    first, rest = turns[0], turns[1:]
    return (first[1] if first[0] == "user" else f"{first[0]}: {first[1]}") + "".join(
        f"\n{role}: {text}" for role, text in rest
    )


def fold_case(text: str) -> str:
    """A text without capitals, its characters composed, every run of blanks one blank."""
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).split())


def first_of_same_text(keys: Sequence[str]) -> list[int]:
    """For each text the index of the first text that equals it."""
    first: dict[str, int] = {}
    return [first.setdefault(text, index) for index, text in enumerate(keys)]


def shared_prefix(first_text: str, second_text: str) -> int:
    """Length of the longest common prefix, by bisection: slices compare at the speed of memory."""
    low, high = 0, min(len(first_text), len(second_text))
    while low < high:
        middle = (low + high + 1) // 2
        if first_text[low:middle] == second_text[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def first_of_prefix_cluster(keys: Sequence[str], characters: int, share: float) -> list[int]:
    """For each text the index of the first text of its cluster. O(n log n) comparisons; exact.

    Two texts are alike when their common prefix has at least max(characters, share * length of the shorter).
    A cluster holds what such pairs connect. In sorted order two texts share the least of what neighbours from
    one to the other share. So the texts around a text that share at least its own threshold with it are an
    unbroken run; all of them are like it (for the shorter ones the threshold is lower), and every pair that
    is alike lies in the run of its shorter text. Hence a cluster is a union of overlapping runs, and a gap
    between neighbours is inside a cluster when some run crosses it, from the left or from the right.
    """
    order = sorted(
        range(len(keys)), key=keys.__getitem__
    )  # stable: equal texts stay in the order of the input
    needs = [max(characters, share * len(keys[index])) for index in order]
    shares = [shared_prefix_at_least(keys[a], keys[b], characters) for a, b in pairwise(order)]
    to_right = crossed_gaps(needs, shares)
    to_left = crossed_gaps(needs[::-1], shares[::-1])[::-1]
    first_of = [0] * len(keys)
    start = 0
    for place in range(len(order)):
        if place + 1 == len(order) or not (to_right[place] or to_left[place]):
            first = min(order[start : place + 1], default=0)
            for index in order[start : place + 1]:
                first_of[index] = first
            start = place + 1
    return first_of


def shared_prefix_at_least(first_text: str, second_text: str, characters: int) -> int:
    """As shared_prefix; 0 for less than `characters`, which reaches no threshold."""
    return (
        shared_prefix(first_text, second_text) if first_text[:characters] == second_text[:characters] else 0
    )


def crossed_gaps(needs: Sequence[float], shares: Sequence[int]) -> list[bool]:
    """For each gap whether the run of some text before it reaches across, going one way."""
    reaching: list[
        float
    ] = []  # negated needs of the texts whose runs are unbroken so far: a heap with the most demanding on top
    crossed = []
    for need, share in zip(needs, shares, strict=False):
        heapq.heappush(reaching, -need)
        while reaching and -reaching[0] > share:
            heapq.heappop(reaching)
        crossed.append(bool(reaching))
    return crossed


def within_cap(users: Sequence[str], most: int) -> list[bool]:
    """Whether each text is among the first `most` of its user."""
    counts: Counter[str] = Counter()
    within = []
    for user in users:
        counts[user] += 1
        within.append(counts[user] <= most)
    return within
