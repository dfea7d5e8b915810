"""Agreement of rankings, by hand."""

from __future__ import annotations

from biddable.label import agreement

ROWS = [
    ("x", "a", (1, 2, 3)),
    ("x", "b", (1, 3, 2)),
    ("y", "a", (1, 1)),
    ("y", "b", (1, 2)),
    ("z", "a", (2, 1)),
    ("z", "b", (2, 1)),
]


def test_agreement_by_hand() -> None:
    """Item x: 1 2 3 against 1 3 2: the pairs (0,1), (0,2) alike, (1,2) not: 2 of 3. Item y: 1 1 against 1 2: a tie, nothing to compare.
    Item z: 2 1 against 2 1: 1 of 1. Together 3 of 4."""
    found = agreement.pairwise(ROWS)
    assert found["agreement"] == 0.75 and found["agreement_pairs"] == 4
    assert found["agreement_low"] <= 0.75 <= found["agreement_high"]


def test_three_labelers_are_three_couples() -> None:
    """Orders of one pair: <, <, >. Couples: alike, not, not: 1 of 3."""
    found = agreement.pairwise([("x", "a", (1, 2)), ("x", "b", (1, 2)), ("x", "c", (2, 1))])
    assert found["agreement"] == 1 / 3 and found["agreement_pairs"] == 3


def test_interval_is_over_items() -> None:
    """One item: every resample is that item, so the interval is the point. Two items, all right and all wrong: the resamples are 0, 1/2 or 1."""
    one = agreement.pairwise(ROWS[:2])
    assert one["agreement_low"] == one["agreement"] == one["agreement_high"] == 2 / 3
    two = agreement.pairwise([("x", "a", (1, 2)), ("x", "b", (1, 2)), ("y", "a", (1, 2)), ("y", "b", (2, 1))])
    assert (two["agreement_low"], two["agreement"], two["agreement_high"]) == (0.0, 0.5, 1.0)
    assert agreement.pairwise(ROWS, seed=3) == agreement.pairwise(ROWS, seed=3)


def test_only_order_counts_and_only_between_two_people() -> None:
    dense = agreement.pairwise([("x", "a", (1, 1, 2)), ("x", "b", (1, 2, 3))])
    assert dense == agreement.pairwise([("x", "a", (1, 1, 3)), ("x", "b", (1, 2, 3))])
    assert agreement.pairwise(ROWS[2:4]) == {}
    assert agreement.pairwise([]) == {}
    assert agreement.pairwise([("x", "a", (1, 2)), ("x", "a", (2, 1))]) == {}  # nobody agrees with themselves
