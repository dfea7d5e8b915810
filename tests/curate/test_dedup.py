"""Duplicates against a quadratic search, the cap, and splits that never move."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from biddable.curate.prompts import dedup, filters, parallel
from biddable.curate.prompts import near_duplicates as near_module
from biddable.curate.prompts.normalisation import normalise
from biddable.run.records import Message, Prompt, draw_split


def prompt(number: int, text: str, user: str = "amber-otter") -> Prompt:
    return Prompt(id=f"p{number}", messages=(Message(role="user", content=text),), user=user)


def clusters(found: list[int]) -> set[frozenset[int]]:
    return {frozenset(i for i, first in enumerate(found) if first == one) for one in found}


def slow_clusters(keys: list[str], characters: int, share: float) -> list[int]:
    """Every pair, one letter after the other; then what pairs connect, named by its first."""
    found = list(range(len(keys)))
    for i, one in enumerate(keys):
        for j, other in enumerate(keys[:i]):
            shared = next(
                (k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
                min(len(one), len(other)),
            )
            if shared >= max(characters, share * min(len(one), len(other))):
                a, b = sorted((found[i], found[j]))
                found = [a if first == b else first for first in found]
    return found


# Few letters and stems that are common, so that prefixes nest, branch and chain.
texts = st.lists(st.text("ab", max_size=12).map(lambda end: "aabab"[: len(end) % 6] + end), max_size=14)


@given(texts, st.integers(1, 6), st.sampled_from([0.3, 0.5, 0.8, 1.0]))
@settings(max_examples=400, deadline=None)
def test_long_prefix_equals_the_search_over_all_pairs(keys: list[str], characters: int, share: float) -> None:
    assert dedup.first_of_prefix_cluster(keys, characters, share) == slow_clusters(keys, characters, share)


def test_a_pair_that_is_no_neighbour_in_sorted_order_is_found() -> None:
    # Sorted: short, long_b, long_a. The long ones share 5 of 26 letters: not alike, 5 < 13. Each shares 4
    # with the short one, and 4 >= 0.5 * 6: all three are connected, although long_a is no neighbour of the
    # short one.
    keys = ["ab" + "cd" + "yy", "ab" + "cd" + "zz" + "x" * 20, "ab" + "cd" + "zy" + "x" * 20]
    assert dedup.shared_prefix(keys[0], keys[2]) == 4
    assert dedup.first_of_prefix_cluster(keys, 4, 0.5) == [0, 0, 0]
    assert dedup.first_of_prefix_cluster(keys[1:], 4, 0.5) == [0, 1]


def test_golden_threshold() -> None:
    # 100 shared characters; the shorter has 200: 100 >= max(100, 0.5 * 200). With 201 it is 100 < 100.5.
    shared = "x" * 100
    assert dedup.first_of_prefix_cluster([shared + "a" * 100, shared + "b" * 400], 100, 0.5) == [0, 0]
    assert dedup.first_of_prefix_cluster([shared + "a" * 101, shared + "b" * 400], 100, 0.5) == [0, 1]
    assert dedup.first_of_prefix_cluster(["x" * 99 + "a", "x" * 99 + "b"], 100, 0.5) == [0, 1]


@given(texts, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_input_order_decides_only_which_one_stays(keys: list[str], rng: random.Random) -> None:
    order = list(range(len(keys)))
    rng.shuffle(order)
    mixed = dedup.first_of_prefix_cluster([keys[i] for i in order], 3, 0.5)
    there = {frozenset(order[i] for i in cluster) for cluster in clusters(mixed)}
    assert there == clusters(dedup.first_of_prefix_cluster(keys, 3, 0.5))
    assert all(first == min(i for i, one in enumerate(mixed) if one == first) for first in mixed)


@given(st.text(max_size=40), st.text(max_size=40))
@settings(deadline=None)
def test_shared_prefix_is_the_longest(one: str, other: str) -> None:
    length = dedup.shared_prefix(one, other)
    assert one[:length] == other[:length]
    assert length == min(len(one), len(other)) or one[length] != other[length]


def left(prompts: list[Prompt], near: float = 0.0, cap: int = 200) -> filters.Remaining:
    seen = parallel.Scanned()
    look = parallel.ScanSettings(Path(), 1, 4000, (), 0.9, False)
    for number, one in enumerate(prompts):
        parallel.add_prompt(seen, look, one, number)
    seen.bands = [near_module.band_hashes([normalise(key) for key in seen.keys])]
    return filters.apply_filters(seen, 100, 0.5, near, cap, lambda: None)


def test_equal_texts_blanks_and_capitals_and_the_first_stays() -> None:
    prompts = [
        prompt(1, "Name a tree."),
        prompt(2, "NAME  a\ttree.\n"),
        prompt(3, "Name a bush."),
        prompt(4, "name a tree."),
    ]
    rest = left(prompts)
    assert [prompts[index].id for index in rest.indices] == ["p1", "p3"]
    assert [(one.id, one.reason, one.like, one.shared) for one in rest.dropped] == [
        ("p2", "same_text", "p1", 12),
        ("p4", "same_text", "p1", 12),
    ]


def test_turns_count_as_text() -> None:
    turns = (
        Message(role="user", content="Hi"),
        Message(role="assistant", content="Hello"),
        Message(role="user", content="Rhyme?"),
    )
    chat = Prompt(id="c", messages=turns, user="u")
    assert dedup.comparison_key(chat) == "hi\nassistant: hello\nuser: rhyme?"
    assert left([chat, prompt(1, "Rhyme?"), prompt(2, "Hi")]).indices == [0, 1, 2]


def test_duplicates_are_dropped_with_their_reason_and_nothing_is_lost() -> None:
    long = (
        "Write a story about a lighthouse keeper who finds a letter in a bottle and answers it on the "
        "back of a chart"
    )
    prompts = [
        prompt(1, long + "."),
        prompt(2, "Short"),
        prompt(3, long + " in two sentences."),
        prompt(4, "short"),
    ]
    rest = left(prompts)
    assert rest.indices == [0, 1]
    assert {(one.id, one.reason, one.like) for one in rest.dropped} == {
        ("p4", "same_text", "p2"),
        ("p3", "long_prefix", "p1"),
    }
    assert next(one.shared for one in rest.dropped if one.reason == "long_prefix") == len(long)


@given(st.lists(st.sampled_from("abcde"), max_size=60), st.integers(1, 9))
@settings(deadline=None)
def test_the_cap_holds_and_keeps_the_first(users: list[str], most: int) -> None:
    within = dedup.within_cap(users, most)
    for user in set(users):
        mine = [fine for one, fine in zip(users, within, strict=True) if one == user]
        assert mine == [True] * min(most, len(mine)) + [False] * max(0, len(mine) - most)


@given(st.text(), st.integers(0, 2**31 - 1))
@settings(deadline=None)
def test_a_split_depends_on_user_and_seed_only(user: str, seed: int) -> None:
    assert draw_split(user, 0.12, 0.18, seed) == draw_split(user, 0.12, 0.18, seed)
    assert draw_split(user, 0.4, 0.4, seed) in ("train", "valid", "test")


def test_shares_of_many_users() -> None:
    found = [draw_split(f"user-{number}", 0.12, 0.18, 1) for number in range(20_000)]
    # Standard deviation of a share of 0.18 of 20,000 is sqrt(0.18 * 0.82 / 20,000) = 0.0027.
    assert abs(found.count("test") / 20_000 - 0.18) < 0.011
    assert abs(found.count("valid") / 20_000 - 0.12) < 0.011


def test_a_hundred_thousand_prompts() -> None:
    """A quadratic search would take hours: this passes only with the sorted one."""
    rng = random.Random(1)
    words = [
        "the",
        "of",
        "and",
        "bridge",
        "letter",
        "soup",
        "please",
        "write",
        "short",
        "story",
        "river",
        "garden",
    ]
    stems = [" ".join(rng.choices(words, k=rng.randint(5, 40))) for _ in range(20_000)]
    keys = [
        f"{rng.choice(stems)} {' '.join(rng.choices(words, k=rng.randint(0, 20)))}" for _ in range(100_000)
    ]
    found = dedup.first_of_prefix_cluster(keys, 100, 0.5)
    assert 20_000 < len(set(found)) < 100_000
    assert all(first <= index for index, first in enumerate(found))
