"""From marks to a table: values, intervals and paired differences by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from biddable.measure.benchmarks import aggregate
from biddable.measure.benchmarks.tasks import TASKS, Marks
from biddable.measure.benchmarks.tasks.task import NATS, SHARE
from biddable.measure.benchmarks.tasks.translation import bleu_sums

BIAS = TASKS["bbq"].metrics
WILSON_Z2 = stats.norm.ppf(0.975) ** 2


def table(
    marks: dict[str, list[Marks]],
    clusters: list[str] | None = None,
    relative_to: str = "a",
    **metrics: object,
) -> list[dict[str, object]]:
    names = clusters or [str(i) for i in range(len(next(iter(marks.values()))))]
    return aggregate.results_table(marks, names, relative_to, metrics, 200, 1)  # type: ignore[arg-type]


def test_a_row_by_hand() -> None:
    """3 of 4 right: Wilson's interval, Clopper and Pearson's beside it; the other system is right on the
    first item only."""
    a: list[Marks] = [{"accuracy": (1.0, 1.0)}] * 3 + [{"accuracy": (0.0, 1.0)}]
    b: list[Marks] = [{"accuracy": (1.0, 1.0)}] + [{"accuracy": (0.0, 1.0)}] * 3
    first, second = table({"a": a, "b": b})
    peer = stats.binomtest(3, 4)
    assert (first["metric"], first["model"], first["value"], first["items"]) == ("accuracy", "a", 0.75, 4)
    wilson = peer.proportion_ci(method="wilson")
    assert (first["low"], first["high"]) == pytest.approx((wilson.low, wilson.high))
    exact = peer.proportion_ci(method="exact")
    assert (first["exact_low"], first["exact_high"]) == pytest.approx((exact.low, exact.high))
    assert "change" not in first and "aim" not in first and first["lower_is_better"] is False
    assert (second["relative_to"], second["change"]) == ("a", -0.5)


def test_differences_are_taken_from_the_named_system() -> None:
    systems: dict[str, list[Marks]] = {
        name: [{"accuracy": (float(i < right), 1.0)} for i in range(10)]
        for name, right in (("a", 9), ("b", 4), ("c", 5))
    }
    rows = {str(row["model"]): row for row in table(systems, relative_to="b")}
    assert "change" not in rows["b"]
    assert (rows["a"]["change"], rows["c"]["change"]) == (pytest.approx(0.5), pytest.approx(0.1))
    assert {rows["a"]["relative_to"], rows["c"]["relative_to"]} == {"b"}


def test_differences_are_paired() -> None:
    """Both systems agree on all but 2 of 40 items: paired, the difference 0.05 has variance (0.05 - 0.05²) /
    39; unpaired it would be ten times that."""
    chance = np.random.default_rng(3).integers(0, 2, size=40)
    a: list[Marks] = [{"accuracy": (float(right), 1.0)} for right in chance]
    b: list[Marks] = [dict(item) for item in a]
    for i in np.flatnonzero(chance == 0)[:2]:
        b[i] = {"accuracy": (1.0, 1.0)}
    rows = aggregate.results_table({"a": a, "b": b}, [str(i) for i in range(40)], "a", {}, 20_000, 1)
    half = stats.t.ppf(0.975, 39) * np.sqrt((0.05 - 0.05**2) / 39)
    assert rows[1]["change"] == pytest.approx(0.05)
    assert rows[1]["change_high"] - 0.05 == pytest.approx(half, rel=0.03)
    assert rows[1]["change_low"] == pytest.approx(0.05 - half, abs=0.003)


def test_items_of_one_cluster_count_as_one_opinion() -> None:
    """Ten passages with four questions each, answered alike. Variance of the mean of ten: 0.24 / 9, as of 9
    independent answers, and Student's quantile of 9 degrees in Wilson's formula: q²/n = 2.2622² / 9 =
    0.56863, middle (0.6 + 0.28431) / 1.56863, half √(0.24 · 0.56863 + 0.28431²) / 1.56863."""
    marks: list[Marks] = [{"f1": (float(i // 4 < 6), 1.0)} for i in range(40)]
    clusters = [f"passage {i // 4}" for i in range(40)]
    (together,) = aggregate.results_table({"a": marks}, clusters, "a", {}, 100_000, 1)
    middle, half = 0.88431 / 1.56863, np.sqrt(0.24 * 0.56863 + 0.28431**2) / 1.56863
    assert (together["low"], together["high"]) == pytest.approx((middle - half, middle + half), abs=0.004)
    assert "exact_low" not in together


def test_a_weighted_metric_is_the_sum_over_the_sum() -> None:
    """1 of 1, 0 of 3: 1/4, not the mean of 1 and 0; an item without a weight does not count."""
    (row,) = table({"a": [{"share": (1.0, 1.0)}, {"share": (0.0, 3.0)}, {}]})
    assert (row["value"], row["items"]) == (0.25, 2)


def test_a_system_without_a_say_has_no_row() -> None:
    rows = table({"a": [{}, {}], "b": [{"f1": (1.0, 1.0)}, {}]})
    assert [row["model"] for row in rows] == ["b"] and "change" not in rows[0]


def test_bleu_is_the_corpuss_and_differences_are_too() -> None:
    from sacrebleu.metrics import BLEU

    references = ["the cat sat on the mat today", "it rains a lot in spring", "we went home"]
    outputs = {
        "a": ["the cat sat on a mat today", "it rains often in spring here", "we went home"],
        "b": references,
    }
    marks: dict[str, list[Marks]] = {
        name: [{"bleu": bleu_sums(text, [right])} for text, right in zip(texts, references, strict=True)]
        for name, texts in outputs.items()
    }
    first, second = table(marks, **TASKS["translation"].metrics)
    theirs = BLEU().corpus_score(outputs["a"], [references]).score
    assert first["value"] == pytest.approx(theirs) and first["items"] == 3
    assert (second["value"], second["change"]) == (pytest.approx(100.0), pytest.approx(100 - theirs))
    assert first["low"] < theirs < first["high"] <= 100.0  # type: ignore[operator]
    assert "exact_low" not in first


def test_a_bias_is_no_share() -> None:
    """Three unknown and one stereotyped of four: 0.25, and 0 (no bias) lies within; four of four is 2 p - 1
    of Wilson's share."""
    biased: list[Marks] = [{"bias_ambiguous": (value, 1.0)} for value in (0.0, 0.0, 0.0, 1.0)]
    (row,) = table({"a": biased}, **BIAS)
    assert row["value"] == 0.25 and row["low"] < 0 < row["high"]  # type: ignore[operator]
    assert "exact_low" not in row and row["aim"] == 0.0
    (row,) = table({"a": [{"bias_clear": (1.0, 1.0)}] * 4}, **BIAS)
    assert (row["low"], row["high"]) == (pytest.approx(2 * 4 / (4 + WILSON_Z2) - 1), 1.0)
    (row,) = table({"a": [{"he": (0.0, 1.0)}] * 4}, **TASKS["winogender"].metrics)
    assert row["aim"] == 0.5 and not row["lower_is_better"]  # always `she` is not the best


def test_a_difference_is_marked_only_where_the_test_agrees() -> None:
    """All three items differ by 1: too few to be sure; six are enough. Nothing followed at all keeps a width,
    too."""
    for count, sure in ((3, False), (6, True)):
        marks: dict[str, list[Marks]] = {
            "a": [{"accuracy": (0.0, 1.0)}] * count,
            "b": [{"accuracy": (1.0, 1.0)}] * count,
        }
        row = table(marks)[1]
        assert row["change"] == 1.0
        assert (row["change_low"] > 0) == (row["change_p"] < 0.05) == sure  # type: ignore[operator]
    none: list[Marks] = [{"instruction_strict": (0.0, weight)} for weight in (2.0, 1.0, 3.0)]
    (row,) = table({"a": none})
    assert row["low"] == 0.0 and row["high"] == pytest.approx(1 - 0.025 ** (1 / 3))
    (row,) = table({"a": [{"nll": (3.0, 2.0)}]}, nll=NATS)
    # one item: no number says how far others are
    assert (row["value"], row["low"], row["high"]) == (1.5, None, None)


def test_intervals_end_where_the_metric_does() -> None:
    """Items of one to three instructions, a bias from -1 to 1: Student's intervals alone would go beyond.
    Nats have no end."""
    parts: list[Marks] = [{"share": (0.0, 3.0)}, {"share": (1.0, 1.0)}, {"share": (2.0, 2.0)}]
    bias: list[Marks] = [{"bias_clear": (1.0, 1.0)}, {"bias_clear": (-1.0, 2.0)}]
    for marks, least in ((parts, 0.0), (bias, -1.0)):
        (row,) = table({"a": marks}, share=SHARE, **BIAS)
        assert (row["low"], row["high"]) == (least, 1.0)
    nats: list[Marks] = [{"nll": (30.0, 10.0)}, {"nll": (10.0, 10.0)}]
    (row,) = table({"a": nats}, nll=NATS)
    assert row["value"] == 2.0 and row["high"] > 3.0 and row["lower_is_better"] is True  # type: ignore[operator]


def test_a_differences_bounds_are_twice_the_metrics() -> None:
    """Two items, a bias of -1 and of +1 each: the difference is 2, as far as it can go."""
    marks: dict[str, list[Marks]] = {
        "a": [{"bias_clear": (-1.0, 1.0)}] * 2,
        "b": [{"bias_clear": (1.0, 1.0)}] * 2,
    }
    row = table(marks, **BIAS)[1]
    # up to 1 - 0.025^(1/2) of all items may be at the other end, 4 below: 2 - 4 · 0.8419
    assert (row["change"], row["change_high"]) == (2.0, 2.0)
    assert row["change_low"] == pytest.approx(2 - 4 * (1 - 0.025**0.5))


def test_the_seed_draws_the_resamples() -> None:
    marks: dict[str, list[Marks]] = {"a": [{"share": (float(i % 3), 2.0)} for i in range(30)]}
    names = [str(i) for i in range(30)]
    tables = [aggregate.results_table(marks, names, "a", {}, 200, seed) for seed in (1, 1, 2)]
    assert tables[0] == tables[1] != tables[2]
    texts = ["a b c d e f g", "a b c d e f", "x b c d e f g"] * 4
    bleu: dict[str, list[Marks]] = {"a": [{"bleu": bleu_sums(text, ["a b c d e f g"])} for text in texts]}
    facts = TASKS["translation"].metrics
    lows = [
        aggregate.results_table(bleu, list("abcdefghijkl"), "a", facts, 200, seed)[0]["low"]
        for seed in (1, 1, 2)
    ]
    assert lows[0] == lows[1] != lows[2]
