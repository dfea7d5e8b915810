"""Win rates and intervals: numbers by hand, symmetries, and the share of intervals that hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from biddable.measure import statistics
from biddable.measure.statistics import Estimate

CROSSED = [(f"p{i}", f"w{j}") for i in range(12) for j in range(4)]
PROMPTS, LABELERS = [p for p, _ in CROSSED], [w for _, w in CROSSED]


def outcomes(seed: int = 0) -> list[float]:
    return [
        float(x)
        for x in np.random.default_rng(seed).choice([0, 0.5, 1], size=len(CROSSED), p=[0.3, 0.1, 0.6])
    ]


def test_ties_count_half() -> None:
    # 2 wins, 1 tie, 1 loss: (1 + 1 + 0.5 + 0) / 4 = 0.625
    found = statistics.win_rate([1, 1, 0.5, 0], ["a", "b", "c", "d"], ["w"] * 4, 300, 1)
    assert found.value == 0.625
    assert 0 < found.low < 0.625 < found.high < 1


def test_wilson_by_hand() -> None:
    # 8 of 10 with z = 2: z²/n = 0.4; middle = (0.8 + 0.2) / 1.4 = 0.714286; half = √(0.8·0.2·0.4 + 0.16/4) /
    # 1.4 = √0.104 / 1.4 = 0.230350
    found = statistics.wilson(0.8, 10, 2)
    assert found.low == pytest.approx(0.714286 - 0.230350, abs=1e-5)
    assert found.high == pytest.approx(0.714286 + 0.230350, abs=1e-5)


def test_a_model_against_itself_is_one_half() -> None:
    found = statistics.win_rate([0.5] * len(CROSSED), PROMPTS, LABELERS, 300, 1)
    assert found.value == 0.5
    assert found.low == pytest.approx(1 - found.high)
    assert found.low < 0.5 < found.high


def test_b_over_a_is_one_minus_a_over_b() -> None:
    won = outcomes()
    one = statistics.win_rate(won, PROMPTS, LABELERS, 500, 3)
    other = statistics.win_rate([1 - x for x in won], PROMPTS, LABELERS, 500, 3)
    assert other == pytest.approx(Estimate(1 - one.value, 1 - one.high, 1 - one.low))
    longer = [float(x) for x in np.random.default_rng(1).normal(size=len(won))]
    one = statistics.equal_length_rate(won, longer, PROMPTS, LABELERS, 500, 3)
    other = statistics.equal_length_rate(
        [1 - x for x in won], [-x for x in longer], PROMPTS, LABELERS, 500, 3
    )
    assert other == pytest.approx(Estimate(1 - one.value, 1 - one.high, 1 - one.low))


def test_order_of_labels_changes_nothing() -> None:
    won = outcomes()
    order = np.random.default_rng(2).permutation(len(won))
    one = statistics.win_rate(won, PROMPTS, LABELERS, 500, 3)
    other = statistics.win_rate(
        [won[i] for i in order], [PROMPTS[i] for i in order], [LABELERS[i] for i in order], 500, 3
    )
    assert one == pytest.approx(other)


def test_blocks_of_resamples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn block after block, as for many clusters, the numbers are those of one draw."""
    one = statistics.win_rate(outcomes(), PROMPTS, LABELERS, 300, 3)
    monkeypatch.setattr(statistics, "BLOCK", 100)
    monkeypatch.setattr(statistics, "CACHED_DRAWS", 0)
    drawn: list[int] = []
    real = statistics._blocks
    monkeypatch.setattr(
        statistics, "_blocks", lambda g, n, block, seed: drawn.append(block) or real(g, n, block, seed)
    )
    assert statistics.win_rate(outcomes(), PROMPTS, LABELERS, 300, 3) == pytest.approx(one)
    assert drawn and max(drawn) < 300


def test_copies_of_a_label_add_nothing() -> None:
    """Ten people who always say the same on a prompt are one opinion a prompt: the interval must not shrink
    with their number."""
    verdicts = [float(x) for x in np.random.default_rng(5).integers(0, 2, size=30)]
    few = statistics.win_rate(verdicts, [f"p{i}" for i in range(30)], ["w"] * 30, 3000, 1)
    prompts = [f"p{i}" for i in range(30) for _ in range(10)]
    labelers = [f"w{j}" for _ in range(30) for j in range(10)]
    many = statistics.win_rate(
        [verdicts[i] for i in range(30) for _ in range(10)], prompts, labelers, 3000, 1
    )
    assert many == pytest.approx(few, abs=0.02)  # t of 29 degrees instead of z
    naive = 1.96 * math.sqrt(few.value * (1 - few.value) / 300)
    assert many.high - many.low > 2 * 2 * naive


def test_one_labeler_on_one_prompt_says_nothing() -> None:
    assert statistics.win_rate([1.0], ["p"], ["w"], 300, 1) == Estimate(1.0, 0.0, 1.0)
    found = statistics.mean([4.0], ["p"], ["w"], 300, 1)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_all_wins_still_have_a_width() -> None:
    # 20 prompts by one person, nothing clustered, no variance: Wilson with n = 20 and z = 1.96: low = n / (n
    # + z²)
    found = statistics.win_rate([1.0] * 20, [f"p{i}" for i in range(20)], ["w"] * 20, 300, 1)
    assert found.low == pytest.approx(20 / (20 + stats.norm.ppf(0.975) ** 2))
    assert found.high == 1.0


@pytest.mark.parametrize(("wins", "labels"), [(0, 5), (3, 7), (17, 20), (150, 400)])
def test_unclustered_labels_have_wilsons_own_interval(wins: int, labels: int) -> None:
    won = [1.0] * wins + [0.0] * (labels - wins)
    found = statistics.win_rate(won, [f"p{i}" for i in range(labels)], ["w"] * labels, 300, 1)
    peer = stats.binomtest(wins, labels).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high))


@pytest.mark.parametrize(("wins", "labels"), [(0, 5), (3, 7), (17, 20), (20, 20), (150, 400)])
def test_exact_intervals_are_clopper_and_pearsons(wins: int, labels: int) -> None:
    won = [1.0] * wins + [0.0] * (labels - wins)
    prompts = [f"p{i}" for i in range(labels)]
    found = statistics.exact(won, prompts, ["w"] * labels)
    peer = stats.binomtest(wins, labels).proportion_ci(method="exact")
    assert found == pytest.approx((wins / labels, peer.low, peer.high))
    wilson = statistics.win_rate(won, prompts, ["w"] * labels, 300, 1)
    assert found is not None and found.high - found.low > wilson.high - wilson.low


def test_exact_intervals_by_hand_and_where_there_are_none() -> None:
    # none of 10 won: the largest share at which that still has a chance of 2.5 % is 1 - 0.025^(1/10) = 0.3085
    prompts = [f"p{i}" for i in range(10)]
    assert statistics.exact([0.0] * 10, prompts, ["w"] * 10) == pytest.approx((0.0, 0.0, 1 - 0.025**0.1))
    assert statistics.exact([0.5] + [1.0] * 9, prompts, ["w"] * 10) is None  # a tie is neither
    assert statistics.exact([1.0] * 10, ["p"] * 10, ["w"] * 10) is None  # labels share a prompt
    assert statistics.exact([1.0] * 10, prompts, ["w", "v"] * 5) is None  # some share a person
    assert statistics.exact([1.0] * 10, prompts, prompts) == pytest.approx((1.0, 0.025**0.1, 1.0))


def test_the_p_value_agrees_with_the_interval() -> None:
    for seed in range(40):
        won = outcomes(seed)
        found = statistics.win_test(won, PROMPTS, LABELERS, 300, 1)
        outside = found.estimate.low > 0.5 or found.estimate.high < 0.5
        assert outside == (found.p < 0.05)
    # 15 of 20 unclustered: the score test has z = 0.25 / √(0.25 / 20) = 2.236, p = 0.02535
    found = statistics.win_test([1.0] * 15 + [0.0] * 5, [f"p{i}" for i in range(20)], ["w"] * 20, 300, 1)
    assert found.p == pytest.approx(0.02535, abs=1e-5)


def test_a_paired_test_is_students_when_nothing_is_clustered() -> None:
    differences = list(np.random.default_rng(3).normal(0.3, 1, size=50))
    found = statistics.mean_test(differences, [f"p{i}" for i in range(50)], ["w"] * 50, 200_000, 1)
    peer = stats.ttest_1samp(differences, 0)
    assert found.p == pytest.approx(peer.pvalue, rel=0.05)
    low, high = peer.confidence_interval()
    assert (found.estimate.low, found.estimate.high) == pytest.approx((low, high), abs=0.005)


def test_differences_that_are_all_alike() -> None:
    assert statistics.mean_test([0.0] * 5, list("abcde"), ["w"] * 5, 300, 1).p == 1.0
    # always +1 on 5 prompts: sign test, two-sided 2 · (1/2)⁵ = 1/16
    assert statistics.mean_test([1.0] * 5, list("abcde"), ["w"] * 5, 300, 1).p == pytest.approx(1 / 16)


def test_mean_by_hand() -> None:
    # ratings 1, 2, 3, 6 on four prompts: mean 3; variance of the mean = Σ(x - 3)² / (4 · 3) = (4 + 1 + 0 + 9)
    # / 12 = 7/6; t of 3 degrees = 3.1824
    found = statistics.mean([1, 2, 3, 6], ["a", "b", "c", "d"], ["w"] * 4, 200_000, 1)
    assert found.value == 3.0
    assert found.high - 3 == pytest.approx(3.182446 * math.sqrt(7 / 6), rel=0.01)


def test_variances_of_prompts_and_labelers_add_up() -> None:
    """Values that are a prompt's part plus a labeler's part: V = V(prompts) + V(labelers) - V(labels)."""
    a, b = [0.0, 2.0, 4.0, 6.0], [0.0, 3.0]
    values = [x + y for x in a for y in b]
    prompts = [f"p{i}" for i in range(4) for _ in range(2)]
    labelers = [f"w{j}" for _ in range(4) for j in range(2)]
    sums = np.stack([np.array(values), np.ones(8)], axis=1)
    found = statistics.spread(sums, statistics.ratio, prompts, labelers, 200_000, 1)
    # prompts: Σ(a - 3)² / (4·3) = 20/12; labelers: 2·1.5² / (2·1) = 2.25; labels: Σ(x - 4.5)² / (8·7) = (2·20
    # + 4·4.5) / 56
    assert found.variance == pytest.approx(20 / 12 + 2.25 - 58 / 56, rel=0.02)
    # Satterthwaite: V² / ((5/3)²/3 + (9/4)²/1)
    assert found.freedom == pytest.approx(
        (5 / 3 + 9 / 4 - 58 / 56) ** 2 / ((5 / 3) ** 2 / 3 + (9 / 4) ** 2), rel=0.05
    )


@pytest.mark.parametrize(
    ("prompts", "labelers", "overlap", "by_prompt", "by_labeler"),
    [
        (40, 6, 6, 0.8, 0.3),
        (60, 4, 4, 0.5, 0.2),
        (30, 8, 8, 0.5, 0.4),
        (80, 8, 3, 0.8, 0.2),
        (120, 12, 2, 1.0, 0.3),
        (30, 8, 8, 0.0, 0.0),
    ],
)
def test_intervals_hold_the_truth_19_times_in_20(
    prompts: int, labelers: int, overlap: int, by_prompt: float, by_labeler: float
) -> None:
    """Planted tastes: a pair's outcome depends on its prompt, on the labeler and on chance; ties included.
    `overlap` labelers see each prompt."""
    chance = np.random.default_rng(11)
    spread = math.sqrt(by_prompt**2 + by_labeler**2 + 1)
    truth = 0.5 * (stats.norm.sf((0.15 - 0.4) / spread) + stats.norm.sf((-0.15 - 0.4) / spread))
    seen = [(i, (i + j) % labelers) for i in range(prompts) for j in range(overlap)]
    p, w = [f"p{i:02d}" for i, _ in seen], [f"w{j}" for _, j in seen]
    rows, columns = [i for i, _ in seen], [j for _, j in seen]
    trials = 3000
    liked = (
        0.4
        + by_prompt * chance.normal(size=(trials, prompts, 1))
        + chance.normal(size=(trials, prompts, labelers))
    )
    liked = liked + by_labeler * chance.normal(size=(trials, 1, labelers))
    won = np.where(liked > 0.15, 1.0, np.where(liked < -0.15, 0.0, 0.5))[:, rows, columns]  # (trials, N)
    found = [statistics.win_rate(one, p, w, 200, 1) for one in won]
    held = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.93 <= held <= (0.97 if by_prompt else 0.98), held  # without clusters a little too careful


def test_a_bootstrap_over_single_labels_would_be_too_sure() -> None:
    """The trap: rows share prompts and people; resampling rows holds the truth far less often than 19 times
    in 20."""
    chance = np.random.default_rng(12)
    held, trials = 0, 300
    truth = float(stats.norm.cdf(0.4 / math.sqrt(1 + 1 + 0.09)))
    for _ in range(trials):
        liked = (
            0.4 + chance.normal(size=(40, 1)) + 0.3 * chance.normal(size=(1, 6)) + chance.normal(size=(40, 6))
        )
        won = (liked > 0).mean()
        held += abs(won - truth) <= 1.96 * math.sqrt(won * (1 - won) / 240)
    assert held / trials < 0.8


def test_equal_length_rate_recovers_a_planted_preference() -> None:
    """P(first wins) = σ(0.5 + 0.04 · longer) and first answers are 20 longer: the raw rate is near σ(1.3), at
    equal length it is σ(0.5) = 0.622."""
    chance = np.random.default_rng(3)
    prompts = [f"p{i}" for i in range(800) for _ in range(5)]
    labelers = [f"w{j}" for _ in range(800) for j in range(5)]
    longer = chance.normal(20, 15, size=4000)
    won = (chance.random(4000) < special.expit(0.5 + 0.04 * longer)).astype(float)
    found = statistics.equal_length_rate(list(won), list(longer), prompts, labelers, 500, 1)
    assert found.value == pytest.approx(0.622, abs=0.03)
    assert found.low < 0.622 < found.high
    assert won.mean() > 0.72


def test_equal_length_rate_without_differences_is_the_win_rate() -> None:
    won = outcomes()
    found = statistics.equal_length_rate(won, [0.0] * len(won), PROMPTS, LABELERS, 500, 3)
    assert found.value == pytest.approx(float(np.mean(won)), abs=1e-3)


def test_equal_length_where_it_cannot_be_told_or_all_agree() -> None:
    """All won: the win rate's own interval, whatever the lengths. All longer by the same: refused. Length
    tells everything: wide, not a point."""
    one = statistics.equal_length_rate([1.0] * len(CROSSED), [5.0] * len(CROSSED), PROMPTS, LABELERS, 300, 1)
    assert one == statistics.win_rate([1.0] * len(CROSSED), PROMPTS, LABELERS, 300, 1)
    with pytest.raises(ValueError, match="longer by 5"):
        statistics.equal_length_rate(outcomes(), [5.0] * len(CROSSED), PROMPTS, LABELERS, 300, 1)
    longer = [1.0 if i % 2 else -1.0 for i in range(20)]
    told = statistics.equal_length_rate(
        [float(x > 0) for x in longer], longer, [f"p{i}" for i in range(20)], ["w"] * 20, 300, 1
    )
    assert told.value == pytest.approx(0.5, abs=0.01) and told.high - told.low > 0.4


def test_intervals_of_equal_length_hold_the_truth() -> None:
    """300 studies of 60 prompts with 6 labelers, planted tastes of prompts and of labelers; ties included."""
    chance = np.random.default_rng(21)
    held, studies = 0, 300
    prompts, labelers = (
        [f"p{i}" for i in range(60) for _ in range(6)],
        [f"w{j}" for _ in range(60) for j in range(6)],
    )

    def draw(size: int, people: int = 1) -> tuple[np.ndarray, np.ndarray]:
        longer = chance.normal(5, 10, size=size)
        liked = 0.3 + 0.06 * longer + 0.8 * chance.normal(size=size)
        worth = liked[:, None] + 0.4 * chance.normal(size=(people, 6)) + chance.logistic(size=(size, 6))
        return np.repeat(longer, 6), np.where(worth > 0.2, 1.0, np.where(worth < -0.2, 0.0, 0.5)).ravel()

    longer, won = draw(60_000, 60_000)
    truth = statistics._logistic(won, np.stack([np.ones_like(won), longer / longer.std()], axis=1))[0]
    for _ in range(studies):
        longer, won = draw(60)
        found = statistics.equal_length_rate(list(won), list(longer), prompts, labelers, 200, 1)
        held += found.low <= special.expit(truth) <= found.high
    assert 0.92 <= held / studies <= 0.98, held


def test_all_alike_within_bounds_by_hand() -> None:
    """Five of five differ by +1: up to 1 - 0.025^(1/5) = 0.5218 of all may be at -1, so the interval reaches
    1 - 2 · 0.5218 = -0.0436; six exclude 0."""
    found = statistics.mean_test([1.0] * 5, list("abcde"), ["w"] * 5, 300, 1, (-1.0, 1.0))
    assert found.estimate == pytest.approx((1.0, 1 - 2 * (1 - 0.025**0.2), 1.0)) and found.p == pytest.approx(
        1 / 16
    )
    six = statistics.mean_test([1.0] * 6, list("abcdef"), ["w"] * 6, 300, 1, (-1.0, 1.0))
    assert six.estimate.low > 0 and six.p < 0.05
    none = statistics.mean_test([0.0] * 5, list("abcde"), ["w"] * 5, 300, 1, (-1.0, 1.0))
    assert none.estimate == pytest.approx((0.0, -(1 - 0.025**0.2), 1 - 0.025**0.2)) and none.p == 1.0
    assert statistics.mean([4.0], ["p"], ["w"], 300, 1, (1.0, 7.0)) == Estimate(4.0, 1.0, 7.0)


def test_rounding_is_no_spread() -> None:
    """0.1 is no binary number: its bootstrap means differ in the last bit, which must not be taken for
    certainty."""
    found = statistics.mean_test([0.1] * 4, list("abcd"), ["w"] * 4, 500, 1, (-1.0, 1.0))
    assert found.p == pytest.approx(1 / 8) and found.estimate.low < 0 < found.estimate.high


def test_one_newton_step_is_close_to_fitting_again() -> None:
    """The interval from one-step resamples against one from full refits on the same draws of prompts."""
    chance = np.random.default_rng(4)
    size = 120
    longer = chance.normal(0, 10, size=size)
    won = (chance.random(size) < special.expit(0.6 + 0.05 * longer)).astype(float)
    prompts = [f"p{i:03d}" for i in range(size)]
    found = statistics.equal_length_rate(list(won), list(longer), prompts, ["w"] * size, 2000, 9)
    drawn = np.random.default_rng(9).multinomial(size, np.full(size, 1 / size), size=400)
    design = np.stack([np.ones(size), longer / longer.std()], axis=1)
    fits = [statistics._logistic(np.repeat(won, n), np.repeat(design, n, axis=0))[0] for n in drawn]
    half = (special.logit(found.high) - special.logit(found.low)) / 2
    assert half == pytest.approx(1.98 * np.std(fits), rel=0.15)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        statistics.win_rate([2.0], ["p"], ["w"], 300, 1)
    with pytest.raises(ValueError, match="as many of each"):
        statistics.win_rate([1.0], ["p", "q"], ["w"], 300, 1)
    with pytest.raises(ValueError, match="as many of each"):
        statistics.mean([], [], [], 300, 1)
