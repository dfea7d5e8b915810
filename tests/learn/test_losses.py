"""Every loss against numbers worked out by hand, a naive loop, or finite differences."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.autograd import gradcheck

from biddable.learn import losses


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_token_rewards_sum_to_the_bandit_reward() -> None:
    """Answer 1 has 2 tokens, answer 2 has 3. beta = 0.5.

    answer 1: log ratios 0.2, -0.4: rewards -0.1, 0.2 + score 1 = 1.2; sum 1.1 = 1 - 0.5 (-0.2)
    answer 2: log ratios 0, 0.6, 0.2: rewards 0, -0.3, -0.1 - 2 = -2.1; sum -2.4 = -2 - 0.5 0.8
    """
    logp = torch.tensor([[-1.0, -2.0, 9.0], [-1.0, -1.0, -1.0]])
    reference = torch.tensor([[-1.2, -1.6, 0.0], [-1.0, -1.6, -1.2]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    rewards = losses.token_rewards(logp, reference, torch.tensor([1.0, -2.0]), mask, 0.5)
    torch.testing.assert_close(rewards, torch.tensor([[-0.1, 1.2, 0.0], [0.0, -0.3, -2.1]]))


def test_a_token_pushed_above_the_reference_lowers_its_reward() -> None:
    mask = torch.ones(1, 1, dtype=torch.bool)
    low, high = (
        losses.token_rewards(torch.tensor([[x]]), torch.tensor([[-1.0]]), torch.zeros(1), mask, 0.1)
        for x in (-1.0, -0.5)
    )
    assert high.item() < low.item() == 0.0


def test_gae_by_hand_with_unequal_lengths() -> None:
    """gamma = 0.9, lambda = 0.5. Answer 1 has 2 tokens: rewards 1, 2; values 0.5, 1; what stands behind its
    end must not count.

    delta_1 = 2 + 0 - 1 = 1;                 A_1 = 1;                    return 2 delta_0 = 1 + 0.9 1 - 0.5 =
    1.4;         A_0 = 1.4 + 0.45 1 = 1.85;  return 2.35 Answer 2 has 3: rewards 0, 0, 3; values 1, 2, 0.
    delta_2 = 3;  delta_1 = 0 + 0 - 2 = -2, A_1 = -2 + 0.45 3 = -0.65;  delta_0 = 0.9 2 - 1 = 0.8, A_0 = 0.8 +
    0.45 -0.65 = 0.5075
    """
    rewards = torch.tensor([[1.0, 2.0, 7.0], [0.0, 0.0, 3.0]])
    values = torch.tensor([[0.5, 1.0, 8.0], [1.0, 2.0, 0.0]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    advantages, returns = losses.gae(rewards, values, mask, 0.9, 0.5)
    torch.testing.assert_close(advantages, torch.tensor([[1.85, 1.0, 0.0], [0.5075, -0.65, 3.0]]))
    torch.testing.assert_close(returns, torch.tensor([[2.35, 2.0, 0.0], [1.5075, 1.35, 3.0]]))


def test_gae_equals_the_brute_force_sum_on_random_masks() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = [1, 2, 5, 7]
    rewards, values = torch.randn(4, 7, generator=generator), torch.randn(4, 7, generator=generator)
    mask = torch.arange(7)[None] < torch.tensor(lengths)[:, None]
    advantages, returns = losses.gae(rewards, values, mask, 0.97, 0.8)
    for a, length in enumerate(lengths):
        for start in range(length):
            total = 0.0
            for step in range(start, length):
                after = values[a, step + 1].item() if step + 1 < length else 0.0
                delta = rewards[a, step].item() + 0.97 * after - values[a, step].item()
                total += (0.97 * 0.8) ** (step - start) * delta
            assert advantages[a, start].item() == pytest.approx(total, abs=1e-5)
    torch.testing.assert_close(returns[mask], (advantages + values)[mask])


def test_with_lambda_one_and_no_discount_the_return_is_the_rest_of_the_rewards() -> None:
    """The value branch's target: what is still to come, e.g. 2, 1 + 2, 0.5 + 1 + 2 from the end."""
    rewards = torch.tensor([[0.5, 1.0, 2.0]])
    _, returns = losses.gae(
        rewards, torch.tensor([[5.0, -3.0, 0.1]]), torch.ones(1, 3, dtype=torch.bool), 1.0, 1.0
    )
    torch.testing.assert_close(returns, torch.tensor([[3.5, 3.0, 2.0]]))


def test_whitening_counts_only_what_counts() -> None:
    """Eight counted values 1..8 have mean 4.5 and population variance 5.25."""
    values = torch.tensor([[1.0, 2, 3, 4, 99], [5, 6, 7, 8, -99]])
    mask = torch.tensor([[True] * 4 + [False]] * 2)
    white = losses.whiten(values, mask)
    assert white[0, 0].item() == pytest.approx((1 - 4.5) / math.sqrt(5.25), abs=1e-6)
    assert white[:, 4].tolist() == [0, 0]
    unshifted = losses.whiten(values, mask, shift_mean=False)
    assert unshifted[mask].mean().item() == pytest.approx(4.5, abs=1e-6)


def test_whitening_of_few_values() -> None:
    """2 and 6 have mean 4 and deviation 2; a single value has no deviation and stays."""
    mask = torch.tensor([[True, True, False]])
    values = torch.tensor([[2.0, 6.0, 9.0]])
    assert losses.whiten(values, mask)[0].tolist() == pytest.approx([-1, 1, 0], abs=1e-6)
    assert losses.whiten(values, mask, shift_mean=False)[0].tolist() == pytest.approx([3, 5, 0], abs=1e-6)
    alone = torch.tensor([[False, True, False]])
    assert losses.whiten(values, alone)[0].tolist() == [0, 6, 0]


def test_values_that_the_clip_holds() -> None:
    """Old value 0, clip 0.2, return 1. V = 0.5: clipped to 0.2, 0.64 > 0.25: held. V = 0.1: not clipped. V =
    -0.5: clipped to -0.2, 1.44 < 2.25: free, its error is the larger."""
    values, zeros, ones = torch.tensor([0.5, 0.1, -0.5]), torch.zeros(3), torch.ones(3)
    assert losses.value_clipped(values, zeros, ones, 0.2).item() == 1


def test_ppo_by_hand() -> None:
    """clip 0.2. Ratios 1.5, 1.5, 0.5, 0.5 with advantages 1, -1, 1, -1: min(1.5, 1.2) = 1.2;  min(-1.5, -1.2)
    = -1.5;  min(0.5, 0.8) = 0.5;  min(-0.5, -0.8) = -0.8;  sum -0.6, loss 0.6; two were clipped."""
    new = torch.log(t(1.5, 1.5, 0.5, 0.5))
    loss, clipped = losses.policy_loss(new, torch.zeros(4, dtype=torch.float64), t(1, -1, 1, -1), 0.2)
    assert loss.item() == pytest.approx(0.6)
    assert clipped.item() == 2


def test_ppo_gradient_at_ratio_one_is_that_of_the_plain_policy_gradient() -> None:
    logp = t(-1, -2, -0.5).requires_grad_(True)
    advantages = t(0.3, -1.2, 2.0)
    losses.policy_loss(logp, logp.detach(), advantages, 0.2)[0].backward()
    torch.testing.assert_close(logp.grad, -advantages)


def test_value_loss_by_hand() -> None:
    """clip 0.2, old value 1, return 2. New 1.5 is held at 1.2: max(0.25, 0.64) / 2 = 0.32. New 0.9 is within:
    (1.1)² / 2 = 0.605."""
    loss = losses.value_loss(t(1.5, 0.9), t(1, 1), t(2, 2), 0.2)
    assert loss.item() == pytest.approx(0.32 + 0.605)


def test_finite_differences() -> None:
    generator = torch.Generator().manual_seed(2)
    a, b, c = (torch.randn(6, generator=generator, dtype=torch.float64) for _ in range(3))
    old = a + 0.05 * b  # near the ratio 1, away from the kinks at 0.8 and 1.2
    assert gradcheck(lambda x: losses.policy_loss(x, old, c, 0.2)[0], (a.clone().requires_grad_(True),))
    assert gradcheck(lambda x: losses.value_loss(x, a, c, 10.0), (b.clone().requires_grad_(True),))
    assert gradcheck(
        lambda x: losses.ranking_loss(x, [(1, 2, 2), (3, 1, 2)]), (a.clone().requires_grad_(True),)
    )
    assert gradcheck(
        lambda x: losses.ranking_loss(x, [(1, 2, 2), (3, 1, 2)], "even"), (a.clone().requires_grad_(True),)
    )


def test_kl_estimates() -> None:
    """p = (0.5, 0.5), q = (0.25, 0.75): KL(p, q) = 0.5 ln 2 + 0.5 ln(2/3) = 0.143841. Both estimates have
    that mean under p."""
    p, q = torch.log(t(0.5, 0.5)), torch.log(t(0.25, 0.75))
    exact = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert (p.exp() * losses.kl_k1(p, q)).sum().item() == pytest.approx(exact)
    assert (p.exp() * losses.kl_k3(p, q)).sum().item() == pytest.approx(exact)
    assert (losses.kl_k3(p, q) >= 0).all()


def test_adaptive_kl_by_hand() -> None:
    """Target 6, horizon 10,000, 500 episodes. KL 12: error clipped to 0.2: 0.1 1.01; KL 5.4: error -0.1: 0.1
    0.995."""
    assert losses.adapted_kl_coef(0.1, 12, 6, 500, 10_000) == pytest.approx(0.1 * 1.01)
    assert losses.adapted_kl_coef(0.1, 5.4, 6, 500, 10_000) == pytest.approx(0.1 * 0.995)


def test_explained_variance() -> None:
    returns = t(1, 2, 3, 4)
    assert losses.explained_variance(returns, returns) == 1
    assert losses.explained_variance(t(9, 9, 9, 9), returns) == pytest.approx(0)
    assert losses.explained_variance(returns, t(1, 1, 1, 1)) == 0


def naive(scores: list[float], ranks: tuple[int, ...]) -> float:
    pairs = list(itertools.combinations(range(len(ranks)), 2))
    total = 0.0
    for i, j in pairs:
        if ranks[i] != ranks[j]:
            winner, loser = (i, j) if ranks[i] < ranks[j] else (j, i)
            total += -math.log(1 / (1 + math.exp(-(scores[winner] - scores[loser]))))
    return total / len(pairs)


def test_ranking_loss_equals_the_naive_loop_over_pairs() -> None:
    rankings = [(1, 2, 2, 4), (2, 1), (3, 3, 1, 2, 5)]
    scores = torch.randn(11, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    at, expected = 0, 0.0
    for ranks in rankings:
        expected += naive(scores[at : at + len(ranks)].tolist(), ranks)
        at += len(ranks)
    assert losses.ranking_loss(scores, rankings).item() == pytest.approx(expected)


def test_ranking_loss_by_hand_and_its_ties() -> None:
    """Scores 1, 0 with 1 before 0: -log sigma(1) = 0.313262. All tied: 0, no NaN; even: log 2 at equal
    scores."""
    assert losses.ranking_loss(t(1, 0), [(1, 2)]).item() == pytest.approx(0.313262, abs=1e-6)
    assert losses.ranking_loss(t(1, 0), [(1, 1)]).item() == 0
    assert losses.ranking_loss(t(1, 1), [(1, 1)], "even").item() == pytest.approx(math.log(2))


def test_a_large_ranking_weighs_as_much_as_a_small_one_and_a_shift_changes_nothing() -> None:
    nine, two = tuple(range(1, 10)), (1, 2)
    assert losses.ranking_loss(torch.zeros(11), [nine, two]).item() == pytest.approx(
        2 * math.log(2), abs=1e-6
    )
    scores = torch.randn(11, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        losses.ranking_loss(scores, [nine, two]), losses.ranking_loss(scores + 5, [nine, two])
    )


def test_wrong_shapes_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"shapes differ: logp \(2,\), logp_old \(3,\)"):
        losses.policy_loss(torch.zeros(2), torch.zeros(3), torch.zeros(2), 0.2)
    with pytest.raises(ValueError, match="3 scores but 2 ranks"):
        losses.ranking_loss(torch.zeros(3), [(1, 2)])


def test_advantages_refuse_values_of_another_shape() -> None:
    """Values (1, 3) would broadcast against rewards (2, 3) without an error of torch's own."""
    with pytest.raises(ValueError):
        losses.gae(torch.zeros(2, 3), torch.zeros(1, 3), torch.ones(2, 3, dtype=torch.bool), 1.0, 0.95)


def log_sum_exp(*values: float) -> float:
    return math.log(sum(math.exp(v) for v in values))


def test_preference_softmax_by_hand() -> None:
    """Scores 1, 0, 2 of the shown answers, -1 of a negative; the second is the best.

    -log(e^0 / (e^1 + e^0 + e^2 + e^-1)) = log 11.4752 = 2.44019
    """
    scores = torch.tensor([1.0, 0.0, 2.0, -1.0])
    assert losses.preference_softmax(scores, (2, 1, 3)).item() == pytest.approx(2.44019, abs=1e-5)
    # first and third are the best: any will do; or half the target each
    total = log_sum_exp(1, 0, 2, -1)
    drop = total - log_sum_exp(1, 2)
    assert losses.preference_softmax(scores, (1, 2, 1)).item() == pytest.approx(drop, abs=1e-6)
    even = total - (1 + 2) / 2
    assert losses.preference_softmax(scores, (1, 2, 1), "even").item() == pytest.approx(even, abs=1e-6)
    # all tie: nothing to choose among the shown, but they are above the negative
    assert losses.preference_softmax(scores[:3], (1, 1, 1)).item() == pytest.approx(0, abs=1e-6)
    all_tie = losses.preference_softmax(scores, (1, 1, 1)).item()
    assert all_tie == pytest.approx(total - log_sum_exp(1, 0, 2), abs=1e-6)
    with pytest.raises(ValueError, match="2 scores but 3 ranks"):
        losses.preference_softmax(scores[:2], (1, 2, 3))


def test_elo_and_centre_by_hand() -> None:
    scores = torch.tensor([1.0, 0.0, 2.0, -1.0])
    # the second is the best: against 1 and against 2, softplus(1 - 0) and softplus(2 - 0); not the negative
    expected = (math.log1p(math.e) + math.log1p(math.exp(2))) / 2
    assert losses.elo(scores, (2, 1, 3)).item() == pytest.approx(expected, abs=1e-6)
    # first and third are the best: each against the second
    expected = (math.log1p(math.exp(-1)) + math.log1p(math.exp(-2))) / 2
    assert losses.elo(scores, (1, 2, 1)).item() == pytest.approx(expected, abs=1e-6)
    # even: also 1 against 2 with the target one half: three pairs
    tie = (math.log1p(math.exp(-1)) + math.log1p(math.e)) / 2
    even = losses.elo(scores, (1, 2, 1), "even").item()
    assert even == pytest.approx((2 * expected + tie) / 3, abs=1e-6)
    assert losses.elo(scores, (1, 1, 1)).item() == 0
    assert losses.centre(scores).item() == pytest.approx(0.5**2)
    assert losses.centre(scores, "sum_of_squares").item() == pytest.approx(1 + 0 + 4 + 1)


def test_a_shift_of_all_scores_moves_the_centre_term_only() -> None:
    scores, shifted = torch.tensor([0.3, -0.2, 0.5, 0.1]), torch.tensor([3.3, 2.8, 3.5, 3.1])
    for ties in ("drop", "even"):
        for ranks in ((1, 2, 3), (2, 1, 1)):
            for term in (losses.preference_softmax, losses.elo):
                assert term(shifted, ranks, ties).item() == pytest.approx(
                    term(scores, ranks, ties).item(), abs=1e-5
                )  # type: ignore[operator]
    for form in ("mean_squared", "sum_of_squares"):
        assert losses.centre(shifted, form).item() > losses.centre(scores, form).item() + 1  # type: ignore[arg-type]


@pytest.mark.parametrize("ranks", [(1, 2), (2, 1)])
def test_two_answers_without_negatives_are_the_pair_loss(ranks: tuple[int, int]) -> None:
    scores = torch.tensor([0.7, -0.4], requires_grad=True)
    pair = losses.ranking_loss(scores, [ranks])
    assert losses.preference_softmax(scores, ranks).item() == pytest.approx(pair.item(), abs=1e-6)
    assert losses.elo(scores, ranks).item() == pytest.approx(pair.item(), abs=1e-6)
    (expected,) = torch.autograd.grad(pair, scores)
    (gradient,) = torch.autograd.grad(losses.preference_softmax(scores, ranks), scores)
    torch.testing.assert_close(gradient, expected)


def test_the_preference_loss_is_the_sum_of_its_parts() -> None:
    scores = torch.tensor([1.0, 0.0, 2.0, -1.0])
    rankings = [(2, 1, 3), (1, 2, 1)]
    weights = losses.PreferenceWeights(0.5, 0.25, "sum_of_squares")
    softmax = [losses.preference_softmax(scores, ranks).item() for ranks in rankings]
    pairs = [losses.elo(scores, ranks).item() for ranks in rankings]
    expected = sum(softmax) / 2 + 0.5 * sum(pairs) / 2 + 0.25 * 6
    assert losses.preference_loss(scores, rankings, weights).item() == pytest.approx(expected, abs=1e-5)


def test_finite_differences_of_the_preference_loss() -> None:
    def loss(scores: torch.Tensor) -> torch.Tensor:
        return losses.preference_loss(scores, [(2, 1, 3), (1, 1, 2)], losses.PreferenceWeights(0.7, 0.3))

    torch.autograd.gradcheck(loss, torch.randn(5, dtype=torch.float64, requires_grad=True))
