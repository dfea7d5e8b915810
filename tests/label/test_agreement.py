"""Agreement: by hand, against scipy and krippendorff, on real labels, and whether the intervals hold what
they promise."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from biddable.label import agreement
from biddable.label.agreement import Ranking

DATA = Path(os.environ.get("BIDDABLE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
ROWS = [
    ("x", "a", (1, 2, 3)),
    ("x", "b", (1, 3, 2)),
    ("y", "a", (1, 1)),
    ("y", "b", (1, 2)),
    ("z", "a", (2, 1)),
    ("z", "b", (2, 1)),
]


def test_agreement_by_hand() -> None:
    """Item x: 1 2 3 against 1 3 2: the pairs (0,1), (0,2) alike, (1,2) not: 2 of 3. Item y: 1 1 against 1 2:
    a tie, nothing to compare. Item z: 2 1 against 2 1: 1 of 1. Together 3 of 4."""
    found = agreement.agreement_summary(ROWS)
    assert found["agreement"] == 0.75 and found["agreement_pairs"] == 4
    assert found["agreement_low"] <= 0.75 <= found["agreement_high"]


def test_a_tie_may_be_something_to_agree_on() -> None:
    """As above, but item y's pair counts as differing: 3 of 5. Twice 1 1: both say equal, 1 of 1."""
    found = agreement.pairwise_agreement_with_ties(agreement.ranking_pairs(Ranking(*row) for row in ROWS))
    assert found is not None and (found.value, found.number, found.items) == (0.6, 5, 3)
    both = agreement.pairwise_agreement_with_ties(
        agreement.ranking_pairs([Ranking("x", "a", (1, 1)), Ranking("x", "b", (1, 1))])
    )
    assert both is not None and both.value == 1


def test_three_labelers_are_three_couples() -> None:
    """Orders of one pair: <, <, >. Couples: alike, not, not: 1 of 3."""
    found = agreement.agreement_summary([("x", "a", (1, 2)), ("x", "b", (1, 2)), ("x", "c", (2, 1))])
    assert found["agreement"] == 1 / 3 and found["agreement_pairs"] == 3


def test_interval_is_over_items() -> None:
    """One item: every resample is that item, so the interval is the point. Two items, all right and all
    wrong: the resamples are 0, 1/2 or 1."""
    one = agreement.agreement_summary(ROWS[:2])
    assert one["agreement_low"] == one["agreement"] == one["agreement_high"] == 2 / 3
    two = agreement.agreement_summary(
        [("x", "a", (1, 2)), ("x", "b", (1, 2)), ("y", "a", (1, 2)), ("y", "b", (2, 1))]
    )
    assert (two["agreement_low"], two["agreement"], two["agreement_high"]) == (0.0, 0.5, 1.0)
    assert agreement.agreement_summary(ROWS, seed=3) == agreement.agreement_summary(ROWS, seed=3)


def test_only_order_counts_and_only_between_two_people() -> None:
    dense = agreement.agreement_summary([("x", "a", (1, 1, 2)), ("x", "b", (1, 2, 3))])
    assert dense == agreement.agreement_summary([("x", "a", (1, 1, 3)), ("x", "b", (1, 2, 3))])
    assert agreement.agreement_summary(ROWS[2:4]) == {}
    assert agreement.agreement_summary([]) == {}
    assert (
        agreement.agreement_summary([("x", "a", (1, 2)), ("x", "a", (2, 1))]) == {}
    )  # nobody agrees with themselves
    with pytest.raises(ValueError, match=r"item x: rankings of \[2, 3\] answers"):
        agreement.ranking_pairs([Ranking("x", "a", (1, 2)), Ranking("x", "b", (1, 2, 3))])


def test_tau_and_w_by_hand() -> None:
    """1 2 3 against 1 3 2: two pairs alike, one not: tau = (2 - 1) / 3. 1 1 2 against 1 2 3: of three pairs
    one is tied by the first: two alike, tau-b = 2 / sqrt(2 * 3). All tied: no tau.

    W of 1 2 3, 1 3 2 (m = 2, n = 3): rank sums 2 5 5, mean 4, S = 4 + 1 + 1 = 6, W = 12 * 6 / (4 * 24) =
    0.75."""
    couple = agreement.ranking_pairs([Ranking("x", "a", (1, 2, 3)), Ranking("x", "b", (1, 3, 2))])[0]
    assert couple.tau == pytest.approx(1 / 3)
    tied = agreement.ranking_pairs([Ranking("x", "a", (1, 1, 2)), Ranking("x", "b", (1, 2, 3))])[0]
    assert tied.tau == pytest.approx(2 / 6**0.5)
    assert (
        agreement.ranking_pairs([Ranking("x", "a", (1, 1, 1)), Ranking("x", "b", (1, 2, 3))])[0].tau is None
    )
    assert agreement.kendall_w([(1, 2, 3), (1, 3, 2)]) == pytest.approx(0.75)
    assert agreement.kendall_w([(1, 2, 3)] * 4) == pytest.approx(1.0)
    assert agreement.kendall_w([(1, 1, 1)] * 2) is None


RANKINGS = st.integers(3, 7).flatmap(
    lambda n: st.lists(st.lists(st.integers(1, n), min_size=n, max_size=n).map(tuple), min_size=2, max_size=6)
)


@settings(max_examples=80, deadline=None)
@given(RANKINGS)
def test_tau_and_w_are_scipys(rows: list[tuple[int, ...]]) -> None:
    couple = agreement.ranking_pairs([Ranking("x", "a", rows[0]), Ranking("x", "b", rows[1])])[0]
    if len(set(rows[0])) > 1 and len(set(rows[1])) > 1:
        assert couple.tau == pytest.approx(scipy.stats.kendalltau(rows[0], rows[1]).statistic)
    else:
        assert couple.tau is None
    w = agreement.kendall_w(rows)
    if any(len(set(row)) > 1 for row in rows):
        # Friedman's statistic, corrected for ties, is m (n - 1) W
        friedman = scipy.stats.friedmanchisquare(*np.array(rows).T).statistic
        assert w == pytest.approx(friedman / (len(rows) * (len(rows[0]) - 1)))
    else:
        assert w is None


SCORES = st.lists(
    st.lists(st.one_of(st.none(), st.integers(1, 7)), min_size=3, max_size=3), min_size=2, max_size=12
)


@settings(max_examples=80, deadline=None)
@given(SCORES, st.sampled_from(["nominal", "ordinal"]))
def test_alpha_is_krippendorffs(table: list[list[int | None]], level: Any) -> None:
    rows = [
        (str(i), str(j), float(v))
        for i, unit in enumerate(table)
        for j, v in enumerate(unit)
        if v is not None
    ]
    found = agreement.krippendorff_alpha(rows, level, resamples=20)
    paired = [v for unit in table if sum(v is not None for v in unit) > 1 for v in unit if v is not None]
    if len(set(paired)) < 2:
        assert found is None
        return
    # without the values that cannot be paired: the library takes their categories into its ordinal ranks only
    # if it sees them
    kept = [unit if sum(v is not None for v in unit) > 1 else [None] * 3 for unit in table]
    theirs = krippendorff.alpha(
        reliability_data=np.array(
            [[np.nan if v is None else v for v in unit] for unit in kept], dtype=float
        ).T,
        level_of_measurement=level,
    )
    assert found is not None and found.value == pytest.approx(theirs, abs=1e-9)


def test_alpha_by_hand() -> None:
    """Two labelers, items (1,1), (1,2), (2,2), (2,2). Coincidences: o11 = 2, o12 = o21 = 1, o22 = 4; margins
    3, 5; n = 8. Nominal: observed 2, expected 2 * 15; alpha = 1 - 7 * 2 / 30 = 16/30."""
    rows = [
        (str(i), who, v)
        for i, pair in enumerate([(1, 1), (1, 2), (2, 2), (2, 2)])
        for who, v in zip("ab", pair, strict=True)
    ]
    found = agreement.krippendorff_alpha([(i, w, float(v)) for i, w, v in rows], "nominal")
    assert (
        found is not None and found.value == pytest.approx(16 / 30) and (found.number, found.items) == (8, 4)
    )
    assert found.low <= found.value <= found.high
    assert agreement.krippendorff_alpha([("x", "a", 1.0), ("x", "b", 1.0)], "nominal") is None


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Items differ in how clear they are (agreement 0.5 to 1, mean 0.75) and have three couples each. Of 200
    experiments 95 % should cover: 190, standard deviation sqrt(200 * 0.95 * 0.05) = 3.1; the percentile
    interval is a little short at 60 items. Rows drawn one by one would cover far less often."""
    chance = np.random.default_rng(5)
    covered = 0
    for trial in range(200):
        rows = [
            (str(item), float(alike), 3.0) for item in range(60) for alike in [3 * (chance.random() < 0.75)]
        ]
        found = agreement.ratio_with_interval(rows, seed=trial, resamples=300)
        assert found is not None
        covered += found.low <= 0.75 <= found.high
    assert 180 <= covered <= 199


def test_groups() -> None:
    day = 86400.0
    rows = [
        Ranking("x", "a", (1, 2), "training", "v1", 0.0),
        Ranking("x", "b", (1, 2), "training", "v2", day),
        Ranking("x", "c", (2, 1), "held_out", "v2", 2 * day),
        Ranking("y", "a", (1, 2), "training", "v2", 3 * day),
        Ranking("y", "b", (1, 2), "training", "v2", 3 * day),
    ]
    found = agreement.ranking_pairs(rows)
    assert len(found) == 4
    each = {name: agreement.pairwise_agreement(of) for name, of in agreement.by_labeler(found).items()}
    # a: with b on x (alike), c on x (not), b on y (alike)
    assert {name: figure and figure.value for name, figure in each.items()} == {
        "a": 2 / 3,
        "b": 2 / 3,
        "c": 0,
    }
    assert {k: len(v) for k, v in agreement.grouped(found, lambda row: row.panel).items()} == {"training": 2}
    assert {k: len(v) for k, v in agreement.grouped(found, lambda row: row.guideline).items()} == {"v2": 2}
    assert {k: len(v) for k, v in agreement.by_day(found).items()} == {
        "1970-01-02": 1,
        "1970-01-03": 2,
        "1970-01-04": 1,
    }


def test_the_order_of_people_and_items_changes_nothing() -> None:
    chance = random.Random(1)
    rows = [
        Ranking(f"i{i}", f"p{p}", tuple(chance.randint(1, 4) for _ in range(4)))
        for i in range(8)
        for p in range(3)
    ]
    mixed = chance.sample(rows, len(rows))
    for function in (
        agreement.pairwise_agreement,
        agreement.pairwise_agreement_with_ties,
        agreement.mean_kendall_tau,
    ):
        one, other = function(agreement.ranking_pairs(rows)), function(agreement.ranking_pairs(mixed))
        assert one is not None and other is not None and one.value == pytest.approx(other.value)
    assert agreement.mean_kendall_w(rows)[0] == pytest.approx(agreement.mean_kendall_w(mixed)[0])  # type: ignore[index]


def real(name: str) -> list[dict[str, Any]]:
    path = DATA / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there (BIDDABLE_DATA names the folder)")
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


RANKS = {"first": (1, 2), "second": (2, 1), "tie": (1, 1)}


@pytest.mark.parametrize("name", ["prefs_pandalm_3annotators", "prefs_newsum_human_vs_davinci002"])
def test_real_labels(name: str) -> None:
    """Against counting couples one by one, and against krippendorff on the three choices."""
    rows = real(name)
    rankings = [Ranking(r["id"], a["annotator"], RANKS[a["choice"]]) for r in rows for a in r["annotations"]]
    found = agreement.ranking_pairs(rankings)
    both = [
        (one["choice"], other["choice"])
        for row in rows
        for one, other in itertools.combinations(row["annotations"], 2)
    ]
    untied = [(one, other) for one, other in both if "tie" not in (one, other)]
    share, ties = agreement.pairwise_agreement(found), agreement.pairwise_agreement_with_ties(found)
    assert share is not None and ties is not None
    assert share.value == pytest.approx(sum(one == other for one, other in untied) / len(untied))
    assert ties.value == pytest.approx(sum(one == other for one, other in both) / len(both))
    assert share.low < share.value < share.high
    people = sorted({ranking.labeler for ranking in rankings})
    code = {"first": 0.0, "tie": 1.0, "second": 2.0}
    said = {(row["id"], a["annotator"]): code[a["choice"]] for row in rows for a in row["annotations"]}
    table = np.array([[said.get((row["id"], person), np.nan) for row in rows] for person in people])
    for level in ("nominal", "ordinal"):
        ours = agreement.krippendorff_alpha([(i, p, v) for (i, p), v in said.items()], level)  # type: ignore[arg-type]
        theirs = krippendorff.alpha(reliability_data=table, level_of_measurement=level)
        assert ours is not None and ours.value == pytest.approx(theirs) and ours.low < theirs < ours.high
    expected = {"prefs_pandalm_3annotators": 0.9, "prefs_newsum_human_vs_davinci002": 0.5}[name]
    assert abs(share.value - expected) < 0.15
    print(name, share, ties, agreement.mean_kendall_tau(found))


def test_tied_answers_share_the_mean_of_their_places() -> None:
    """Places 1 and 2, 3 and 4 are shared: 1.5 1.5 3.5 3.5; whatever numbers stand for the order."""
    assert agreement._mean_ranks((1, 1, 2, 2)).tolist() == [1.5, 1.5, 3.5, 3.5]
    assert agreement._mean_ranks((7, 2, 2, 2, 9)).tolist() == [4.0, 2.0, 2.0, 2.0, 5.0]
    assert agreement._mean_ranks((3, 1, 2)).tolist() == [3.0, 1.0, 2.0]


KRIPPENDORFFS_TABLE = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
"""Four observers, twelve units with values missing: Krippendorff 2011, Computing Krippendorff's
Alpha-Reliability, example C."""


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815)])
def test_alpha_is_the_published_one(level: Any, published: float) -> None:
    """The paper gives these to three places. Unit 12 has one value, which pairs with none: 40 values on 11
    units are left."""
    rows = [
        (str(unit), str(observer), float(value))
        for observer, values in enumerate(KRIPPENDORFFS_TABLE)
        for unit, value in enumerate(values.split())
        if value != "."
    ]
    figure = agreement.krippendorff_alpha(rows, level)
    assert figure is not None and round(figure.value, 3) == published
    assert (figure.number, figure.items) == (40, 11) and figure.low < published < figure.high


def test_w_leaves_out_items_of_one_labeler_and_of_none_who_orders() -> None:
    """x: 0.75 (worked out above); y has one labeler, z nobody who orders: the mean is x's, of one item."""
    rows = [
        *(Ranking("x", "a", (1, 2, 3)), Ranking("x", "b", (1, 3, 2))),
        Ranking("y", "a", (1, 2, 3)),
        *(Ranking("z", "a", (1, 1, 1)), Ranking("z", "b", (1, 1, 1))),
    ]
    figure = agreement.mean_kendall_w(rows)
    assert figure is not None and (figure.value, figure.number, figure.items) == (0.75, 1, 1)
    assert agreement.mean_kendall_w(rows[2:]) is None


def test_bootstrap_draws_as_many_items_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every resample draws 5 items of 5; in pieces of at most 12 numbers (two resamples of five)."""
    monkeypatch.setattr(agreement, "CHUNK", 12)
    pieces = list(agreement.bootstrap_weights(5, 1, 7))
    assert [len(piece) for piece in pieces] == [2, 2, 2, 1]
    assert all((piece.sum(axis=1) == 5).all() and piece.shape[1] == 5 for piece in pieces)
    assert len({tuple(row) for piece in pieces for row in piece}) > 3
