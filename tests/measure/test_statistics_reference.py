"""Variances, intervals and tests against a second, plain implementation: loops over resamples and labels,
formulas as the papers print them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import optimize, special, stats

from biddable.measure import statistics

RESAMPLES, SEED = 300, 7


def bootstrap_variance(values: Sequence[float], names: Sequence[str]) -> float:
    """Variance of the mean when whole clusters are drawn: by G / (G - 1) more than that of the resampled
    means."""
    clusters = sorted(set(names))
    if len(clusters) == 1:
        return 0.0
    even = np.full(len(clusters), 1 / len(clusters))
    draws = np.random.default_rng(SEED).multinomial(len(clusters), even, size=RESAMPLES)
    means = []
    for counts in draws:
        weight = dict(zip(clusters, counts, strict=True))
        total = sum(weight[name] * value for name, value in zip(names, values, strict=True))
        means.append(total / sum(weight[name] for name in names))
    average = sum(means) / RESAMPLES
    variance = sum((mean - average) ** 2 for mean in means) / RESAMPLES
    return variance * len(clusters) / (len(clusters) - 1)


def two_way(
    values: Sequence[float], prompts: Sequence[str], labelers: Sequence[str]
) -> tuple[float, float, tuple[float, float, float]]:
    """(variance, degrees of freedom, its three parts): Cameron, Gelbach and Miller's 2.6 with the floor, and
    Satterthwaite's approximation."""
    labels = [f"{p}\x1f{w}" for p, w in zip(prompts, labelers, strict=True)]
    parts = (
        bootstrap_variance(values, prompts),
        bootstrap_variance(values, labelers),
        bootstrap_variance(values, labels),
    )
    prompt, labeler, label = parts
    variance = prompt + labeler
    if prompt > 0 and labeler > 0:
        variance = max(prompt + labeler - label, min(prompt, labeler), label / 2)
    denominator = 0.0
    if prompt > 0:
        denominator += prompt**2 / (len(set(prompts)) - 1)
    if labeler > 0:
        denominator += labeler**2 / (len(set(labelers)) - 1)
    return variance, max(1.0, variance**2 / denominator), parts


def study(
    seed: int, prompts: int, labelers: int, by_prompt: float, by_labeler: float, noise: float
) -> tuple[list[float], list[str], list[str]]:
    """Values with planted tastes; a third of the cells is missing, so that clusters have different sizes."""
    chance = np.random.default_rng(seed)
    p, w = by_prompt * chance.normal(size=prompts), by_labeler * chance.normal(size=labelers)
    cells = [
        (i, j)
        for i in range(prompts)
        for j in range(labelers)
        if chance.random() < 2 / 3 or j == i % labelers
    ]
    values = [float(p[i] + w[j] + noise * chance.normal()) for i, j in cells]
    return values, [f"p{i}" for i, _ in cells], [f"w{j}" for _, j in cells]


STUDIES = {
    "both": study(1, 12, 4, 1.0, 0.5, 1.0),
    "prompts alone": study(2, 9, 3, 1.0, 0.0, 0.2),
    "labelers alone": study(3, 14, 5, 0.0, 1.0, 0.3),
    "noise alone": study(4, 6, 6, 0.0, 0.0, 1.0),
    "noise again": study(11, 4, 4, 0.0, 0.0, 1.0),
    "one labeler": study(5, 15, 1, 1.0, 0.0, 1.0),
    "one prompt": study(6, 1, 8, 0.0, 1.0, 1.0),
    "two by two": study(8, 2, 2, 1.0, 1.0, 1.0),
}


@pytest.mark.parametrize("name", STUDIES)
def test_the_spread_is_that_of_two_way_clusters(name: str) -> None:
    values, prompts, labelers = STUDIES[name]
    sums = np.stack([np.array(values), np.ones(len(values))], axis=1)
    spread = statistics.spread(sums, statistics.ratio, prompts, labelers, RESAMPLES, SEED)
    variance, freedom, _ = two_way(values, prompts, labelers)
    assert spread.variance == pytest.approx(variance, rel=1e-9)
    assert spread.freedom == pytest.approx(freedom, rel=1e-9)
    assert spread.quantile == pytest.approx(stats.t.ppf(0.975, freedom))


def test_each_term_of_the_floor_is_the_largest_somewhere() -> None:
    """The sum less the labels', the smaller of the two, half the labels': each decides in one of many small
    studies, and the room follows all three."""
    decided = set()
    for seed in range(60):
        values, prompts, labelers = study(seed, 4, 4, 0.3, 0.3, 1.0)
        variance, freedom, (prompt, labeler, label) = two_way(values, prompts, labelers)
        terms = (prompt + labeler - label, min(prompt, labeler), label / 2)
        decided.add(terms.index(max(terms)))
        sums = np.stack([np.array(values), np.ones(len(values))], axis=1)
        spread = statistics.spread(sums, statistics.ratio, prompts, labelers, RESAMPLES, SEED)
        assert (spread.variance, spread.freedom) == pytest.approx((variance, freedom), rel=1e-9)
    assert decided == {0, 1, 2}


@pytest.mark.parametrize("name", STUDIES)
def test_a_mean_and_its_p_value_are_students(name: str) -> None:
    values, prompts, labelers = STUDIES[name]
    variance, freedom, _ = two_way(values, prompts, labelers)
    test = statistics.mean_test(values, prompts, labelers, RESAMPLES, SEED)
    middle, error = sum(values) / len(values), math.sqrt(variance)
    half = stats.t.ppf(0.975, freedom) * error
    assert test.estimate == pytest.approx((middle, middle - half, middle + half))
    two_sided = stats.t.cdf(-abs(middle) / error, freedom) + stats.t.sf(abs(middle) / error, freedom)
    assert test.p == pytest.approx(two_sided)
    cut = statistics.mean(values, prompts, labelers, RESAMPLES, SEED, (middle - half / 2, middle + half / 3))
    assert cut == pytest.approx((middle, middle - half / 2, middle + half / 3))


@pytest.mark.parametrize("name", STUDIES)
def test_a_win_rate_is_wilsons_with_the_independent_labels(name: str) -> None:
    """The interval's ends solve |p̂ - p| = q √(p (1 - p) / n), found by bisection; p̂ (1 - p̂) / n is the
    clustered variance."""
    values, prompts, labelers = STUDIES[name]
    middle = float(np.quantile(values, 0.45))
    won = [1.0 if value > middle + 0.1 else 0.5 if value > middle else 0.0 for value in values]
    variance, freedom, _ = two_way(won, prompts, labelers)
    test = statistics.win_test(won, prompts, labelers, RESAMPLES, SEED)
    share = sum(won) / len(won)
    if (
        name == "one labeler"
    ):  # every label has its own prompt: the ordinary variance, and the normal quantile
        variance, freedom = float(np.var(won)) / len(won), math.inf
    if name == "one prompt":
        assert test.estimate.low < share < test.estimate.high
    labels, q = share * (1 - share) / variance, stats.t.ppf(0.975, freedom)

    def beyond(p: float) -> float:
        return abs(share - p) - q * math.sqrt(p * (1 - p) / labels)

    low, high = optimize.brentq(beyond, 1e-12, share), optimize.brentq(beyond, share, 1 - 1e-12)
    assert test.estimate == pytest.approx((share, low, high), abs=1e-6)
    z = abs(share - 0.5) / math.sqrt(0.25 / labels)
    assert test.p == pytest.approx(2 * stats.t.sf(z, freedom))


def test_nobody_disagrees() -> None:
    """All wins: no variance. Clustered: one label a prompt, or fewer prompts than people, and Student's
    quantile of the larger number less one."""
    prompts, labelers = (
        [f"p{i}" for i in range(6) for _ in range(3)],
        [f"w{j}" for _ in range(6) for j in range(3)],
    )
    rate = statistics.win_rate([1.0] * 18, prompts, labelers, RESAMPLES, SEED)
    q = stats.t.ppf(0.975, 5)
    assert rate == pytest.approx((1.0, 6 / (6 + q**2), 1.0))
    sums = np.ones((18, 2))
    assert statistics.spread(sums, statistics.ratio, prompts, labelers, RESAMPLES, SEED) == (0.0, 5.0)
    assert statistics.spread(sums[:3], statistics.ratio, ["p"] * 3, ["w"] * 3, RESAMPLES, SEED) == (
        math.inf,
        1.0,
    )
    assert statistics.spread(sums[:5], statistics.ratio, ["p"] * 5, list("vwxyz"), RESAMPLES, SEED) == (
        0.0,
        4.0,
    )
    two = statistics.spread(sums[:4], statistics.ratio, list("aabb"), ["w"] * 4, RESAMPLES, SEED)
    assert two == (0.0, 1.0)


def test_one_tie_says_nothing_and_two_do() -> None:
    assert statistics.win_test([0.5], ["p"], ["w"], RESAMPLES, SEED) == ((0.5, 0.0, 1.0), 1.0)
    assert statistics.win_test([0.5], ["p"], ["p"], RESAMPLES, SEED) == ((0.5, 0.0, 1.0), 1.0)
    q2 = (
        stats.norm.ppf(0.975) ** 2
    )  # ties have no variance: two labels; half = √(1/4 · q²/2 + q⁴/16) / (1 + q²/2)
    half = math.sqrt(q2 / 8 + q2**2 / 16) / (1 + q2 / 2)
    rate = statistics.win_rate([0.5, 0.5], ["p", "q"], ["w", "w"], RESAMPLES, SEED)
    assert rate == pytest.approx((0.5, 0.5 - half, 0.5 + half))


@pytest.mark.parametrize(
    ("prompts", "labelers", "shared"),
    [
        ("abc", "www", False),
        ("abc", "xyz", False),
        ("abc", "xxy", True),
        ("aab", "xyz", True),
        ("a", "x", True),
    ],
)
def test_when_labels_are_clustered(prompts: str, labelers: str, shared: bool) -> None:
    assert statistics.is_clustered(list(prompts), list(labelers)) is shared


def test_the_length_regressions_fit_and_its_resamples() -> None:
    """The fit by scipy's minimiser; each resample one Newton step from it with that resample's own gradient
    and information matrix; clusters by prompt."""
    chance = np.random.default_rng(5)
    size = 60
    longer = chance.normal(3, 8, size=size)
    won = np.where(chance.random(size) < special.expit(0.5 + 0.08 * longer), 1.0, 0.0)
    won[::9] = 0.5
    prompts = [f"p{i % 20:02d}" for i in range(size)]
    x = np.stack([np.ones(size), longer / longer.std()], axis=1)
    ridge = statistics.RIDGE

    def loss(c: np.ndarray) -> float:
        z = x @ c
        return float(np.logaddexp(0, z).sum() - (won * z).sum() + ridge / 2 * c @ c)

    fit = optimize.minimize(loss, np.zeros(2), tol=1e-14).x
    intercepts = []
    for counts in np.random.default_rng(SEED).multinomial(20, np.full(20, 1 / 20), size=RESAMPLES):
        weight = np.array([counts[int(name[1:])] for name in prompts])
        chances = special.expit(x @ fit)
        gradient = x.T @ (weight * (won - chances)) - ridge * fit
        information = (x * (weight * chances * (1 - chances))[:, None]).T @ x + ridge * np.eye(2)
        intercepts.append(fit[0] + np.linalg.solve(information, gradient)[0])
    variance = np.var(intercepts) * 20 / 19
    half = stats.t.ppf(0.975, 19) * math.sqrt(variance)
    rate = statistics.equal_length_rate(list(won), list(longer), prompts, ["w"] * size, RESAMPLES, SEED)
    expected = special.expit([fit[0], fit[0] - half, fit[0] + half])
    assert rate == pytest.approx(tuple(expected), abs=1e-5)


def test_the_variances_floor_by_hand() -> None:
    wins = np.array([1.0, 0.0, 1.0, 1.0])
    prompts = ["p", "p", "q", "q"]
    assert statistics.variance_floor(0.3, 1.0, wins, prompts) == 0.3  # more than a quarter of the fit's
    assert statistics.variance_floor(0.25, 1.0, wins, prompts) == 1.0 * 4 / 2  # not more: one label a prompt
    # two of four are ties: half of the fit's variance
    assert statistics.variance_floor(0.0, 1.0, np.array([1.0, 0.5, 0.5, 0.0]), prompts) == 0.5 * 4 / 2
    assert statistics.variance_floor(0.0, 1.0, np.full(4, 0.5), prompts) == 1.0 * 4 / 2  # nothing but ties


def test_a_statistic_of_sums_has_its_own_value_and_spread() -> None:
    """The ratio of two sums over clusters of items: 6 / 4, with its variance from the plain bootstrap of each
    cluster's sums."""
    values = [2.0, 1.0, 0.0, 3.0]
    names = ["b", "a", "c", "a"]
    sums = np.stack([np.array(values), np.ones(4)], axis=1)
    test = statistics.test_of_sums(sums, statistics.ratio, names, RESAMPLES, SEED)
    variance = bootstrap_variance(values, names)
    half = stats.t.ppf(0.975, 2) * math.sqrt(variance)
    assert test.estimate == pytest.approx((1.5, 1.5 - half, 1.5 + half))
    assert test.p == pytest.approx(2 * stats.t.sf(1.5 / math.sqrt(variance), 2))


def test_all_alike_the_interval_reaches_for_both_bounds() -> None:
    """Four clusters at 2 between 1 and 7: up to 1 - 0.025^(1/4) = 0.6024 of all may be elsewhere, so 2 -
    0.6024 · 1 and 2 + 0.6024 · 5; sign test 1/8."""
    test = statistics.mean_test([2.0] * 4, list("abcd"), ["w"] * 4, RESAMPLES, SEED, (1.0, 7.0))
    share = 1 - 0.025**0.25
    assert test.estimate == pytest.approx((2.0, 2 - share, 2 + 5 * share)) and test.p == 0.125
    unbounded = statistics.mean_test([2.0] * 4, list("abcd"), ["w"] * 4, RESAMPLES, SEED)
    assert unbounded == ((2.0, 2.0, 2.0), 0.125)


def test_the_seed_and_the_number_of_resamples_are_used() -> None:
    values, prompts, labelers = STUDIES["both"]
    highs = {
        statistics.mean(values, prompts, labelers, resamples, seed).high
        for resamples, seed in ((300, 7), (300, 8), (301, 7), (300, 7))
    }
    assert len(highs) == 3
