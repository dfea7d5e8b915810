"""The ladder: by hand, against choix, and how often its intervals hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from biddable.measure import statistics
from biddable.measure.winrate import bradley_terry


def test_two_models_by_hand() -> None:
    # 3 wins of 4: σ(s) = 3/4 at s = ln 3 apart, each half of it from the mean; 400 / ln 10 · ln 3 / 2 = 95.42
    # Elo points
    found = bradley_terry.ladder(["a"] * 4, ["b"] * 4, [1, 1, 1, 0], list("pqrs"), ["w"] * 4, 300, 1)
    assert found["a"].value == pytest.approx(
        400 / math.log(10) * math.log(3) / 2, rel=0.02
    )  # the weak prior pulls a little
    assert found["b"].value == pytest.approx(-found["a"].value)
    assert list(found) == ["a", "b"]


def test_ties_are_half_a_win() -> None:
    tied = bradley_terry.strengths([0, 0], [1, 1], [0.5, 0.5], 2)
    halves = bradley_terry.strengths([0, 0], [1, 1], [1, 0], 2)
    assert tied == pytest.approx([0, 0]) and halves == pytest.approx([0, 0])


def test_the_direction_of_a_pair_changes_nothing() -> None:
    chance = np.random.default_rng(1)
    one, other = chance.integers(0, 3, size=60), chance.integers(3, 6, size=60)
    won = chance.random(60).round()
    assert bradley_terry.strengths(one, other, won, 6) == pytest.approx(
        bradley_terry.strengths(other, one, 1 - won, 6)
    )


def test_a_model_that_always_wins_is_finite() -> None:
    found = bradley_terry.ladder(["a", "a", "b"], ["b", "c", "c"], [1, 1, 1], list("pqr"), ["w"] * 3, 300, 1)
    assert math.isfinite(found["a"].value) and found["a"].value > found["b"].value > found["c"].value
    assert all(found[name].high - found[name].low > 400 for name in "abc")  # three verdicts: far from sure


def test_everybody_alike_is_not_certain() -> None:
    """All ties, or the same order on each of 12 prompts: nothing varies, and yet 12 prompts do not tell to
    the point."""
    first, second, prompts = (
        list("aab") * 12,
        list("bcc") * 12,
        [f"p{i}" for i in range(12) for _ in range(3)],
    )
    tied = bradley_terry.ladder(first, second, [0.5] * 36, prompts, ["w"] * 36, 300, 1)
    # Hessian of 12 verdicts a pair: 12 / 4 · (3 I - 1 1') ; its inverse around the mean has 2/3 / 9 on the
    # diagonal; one voice a prompt, not three: times 3
    half = 2.201 * bradley_terry.POINTS * math.sqrt(2 / 27 * 3)  # Student's quantile of 11 degrees
    assert tied["a"].value == 0.0 and tied["a"].high == pytest.approx(half, rel=0.01)
    same = bradley_terry.ladder(first, second, [1.0] * 36, prompts, ["w"] * 36, 300, 1)
    assert same["a"].high - same["a"].low > 200


def test_strengths_equal_choix() -> None:
    choix = pytest.importorskip("choix")
    chance = np.random.default_rng(2)
    true = np.array([0.0, 0.4, -0.5, 1.1, 0.2])
    pairs = [tuple(chance.choice(5, size=2, replace=False)) for _ in range(600)]
    won = [float(chance.random() < special.expit(true[i] - true[j])) for i, j in pairs]
    ours = bradley_terry.strengths([i for i, _ in pairs], [j for _, j in pairs], won, 5)
    data = [(int(i), int(j)) if w else (int(j), int(i)) for (i, j), w in zip(pairs, won, strict=True)]
    peer = choix.opt_pairwise(5, data, alpha=bradley_terry.PRIOR / 2)
    assert ours == pytest.approx(peer - peer.mean(), abs=1e-4)
    assert ours == pytest.approx(
        choix.ilsr_pairwise(5, data) - np.mean(choix.ilsr_pairwise(5, data)), abs=0.01
    )


def test_groups_that_never_met_are_named() -> None:
    with pytest.raises(ValueError, match=r"a, b; c, d"):
        bradley_terry.ladder(["a", "c"], ["b", "d"], [1, 0], ["p", "q"], ["w", "w"], 300, 1)


def test_intervals_hold_the_truth_under_planted_clusters() -> None:
    """Each prompt favours a model of its own a little: verdicts on one prompt are alike. All pairs of 4
    models, 40 prompts, 3 labelers of 6 each."""
    chance = np.random.default_rng(5)
    models, prompts, labelers, trials = 4, 40, 6, 300
    cells = [
        (a, b, p, (p + k) % labelers)
        for p in range(prompts)
        for k in range(3)
        for a in range(4)
        for b in range(a)
    ]
    a, b, p, w = (np.array(column) for column in zip(*cells, strict=True))
    base = np.array([0.0, 0.3, -0.3, 0.6])
    names = np.array(["m0", "m1", "m2", "m3"])
    held = []
    noise = chance.normal(scale=0.7, size=(200_000, models))
    rates = {
        (i, j): special.expit(base[i] - base[j] + noise[:, i] - noise[:, j]).mean()
        for i in range(4)
        for j in range(i)
    }
    truth = bradley_terry.strengths(
        *zip(*rates, strict=True), list(rates.values()), 4
    )  # what infinitely many prompts would give
    for _ in range(trials):
        taste = base + chance.normal(scale=0.7, size=(prompts, models))
        won = (chance.random(len(a)) < special.expit(taste[p, a] - taste[p, b])).astype(float)
        found = bradley_terry.ladder(
            names[a], names[b], won, [f"p{i}" for i in p], [f"w{i}" for i in w], 200, 1
        )
        held += [
            found[f"m{i}"].low <= truth[i] * bradley_terry.POINTS <= found[f"m{i}"].high for i in range(4)
        ]
    assert 0.92 <= np.mean(held) <= 0.98, np.mean(held)


def test_two_models_interval_is_the_win_rates_by_the_delta_method() -> None:
    """s = logit(p) / 2, so its standard error is that of the clustered share p over 2 p (1 - p): with people
    who differ, and with the clusters swapped."""
    chance = np.random.default_rng(3)
    cells = [(i, j) for i in range(30) for j in range(5)]
    won = [float(chance.random() < 0.35 + 0.12 * j) for _, j in cells]
    prompts, labelers = [f"p{i}" for i, _ in cells], [f"w{j}" for _, j in cells]
    p = sum(won) / len(won)
    sums = np.stack([np.array(won), np.ones(len(won))], axis=1)
    halves = []
    for first, second in ((prompts, labelers), (labelers, prompts), (prompts, prompts)):
        spread = statistics.spread(sums, statistics.ratio, first, second, 300, 1)
        half = bradley_terry.POINTS * spread.quantile * math.sqrt(spread.variance) / (2 * p * (1 - p))
        ladder = bradley_terry.ladder(["a"] * 150, ["b"] * 150, won, first, second, 300, 1)
        assert (ladder["a"].high - ladder["a"].low) / 2 == pytest.approx(half, rel=0.01)
        halves.append(half)
    assert halves[0] > 1.2 * halves[2]  # people who differ widen it
