"""Reranking against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from biddable.model.rerank import RuleJudge, RunningAverage, best, rerank_scores, rule_factor


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_three_reductions_by_hand() -> None:
    """Two rules kept with 0.9 and 0.4: sqrt(0.36) = 0.6, 0.9 · 0.4 = 0.36, min = 0.4."""
    p_break = t(0.1, 0.6)[None]
    assert math.exp(rule_factor(p_break).item()) == pytest.approx(0.6)
    assert math.exp(rule_factor(p_break, "product").item()) == pytest.approx(0.36)
    assert math.exp(rule_factor(p_break, "minimum").item()) == pytest.approx(0.4)


def test_one_doubtful_rule_of_23_costs_little_in_the_geometric_mean() -> None:
    """0.1^(1/23) = exp(-2.302585 / 23) = 0.9047."""
    p_break = torch.zeros(1, 23)
    p_break[0, 7] = 0.9
    assert math.exp(rule_factor(p_break).item()) == pytest.approx(0.9047, abs=1e-4)


@pytest.mark.parametrize("reduction", ["geometric_mean", "product", "minimum"])
def test_a_certain_violation_scores_minus_infinity_and_loses_to_any_other(reduction: str) -> None:
    p_break = torch.full((2, 23), 0.999)
    p_break[0] = 0.0
    p_break[0, 3] = 1.0
    scores = rerank_scores(t(50.0, -50.0), p_break, reduction=reduction)  # type: ignore[arg-type]
    assert scores[0] == -math.inf and math.isfinite(scores[1])
    assert best(scores) == 1


def test_the_whole_formula_by_hand() -> None:
    """Preference 1 and average 0.5: σ(0.5) = 0.62246; one rule kept with 0.75: 0.62246 · 0.75 = 0.46684."""
    score = rerank_scores(t(1.0), t(0.25)[None], average=0.5)
    assert math.exp(score.item()) == pytest.approx(0.466844, abs=1e-6)


def test_preference_decides_between_equal_answers_and_rules_between_two_far_above_average() -> None:
    assert best(rerank_scores(t(0.0, 1.0), torch.full((2, 3), 0.2))) == 1
    p_break = t(0.3, 0.1)[:, None]
    assert best(rerank_scores(t(9.0, 8.0), p_break)) == 1
    assert best(rerank_scores(t(9.0, 8.0), p_break, average=20.0)) == 0


def test_without_rules_preference_alone_decides_and_of_one_answer_it_is_that_one() -> None:
    scores = rerank_scores(t(0.1, 0.7, 0.3), torch.zeros(3, 0))
    assert best(scores) == 1 and torch.isfinite(scores).all()
    assert best(rerank_scores(t(-9.0), torch.ones(1, 4))) == 0


def test_of_equals_the_first_also_where_all_break_a_rule() -> None:
    assert best(t(0.5, 0.9, 0.9)) == 1
    assert best(t(-math.inf, -math.inf)) == 0


def test_the_running_average_by_hand_and_after_a_restart() -> None:
    """decay 0.5: starts at 2, then (2 + 4) / 2 = 3, then (3 + 0) / 2 = 1.5."""
    average = RunningAverage(0.5)
    assert [average.update(t(*row)) for row in ((1.0, 3.0), (4.0,))] == [2.0, 3.0]
    resumed = RunningAverage(0.5)
    resumed.restore(average.state())
    assert resumed.update(t(0.0)) == average.update(t(0.0)) == 1.5


class NearlyCertain:
    """A rule model's stand-in: log odds of 30 and of 20."""

    def log_odds(self, dialogues: object, rules: object) -> torch.Tensor:
        return torch.tensor([[30.0], [20.0]])


def test_a_rule_that_is_all_but_certainly_broken_is_no_certainty() -> None:
    """1 - sigmoid(20) = 2e-9 is 0 in fp32, where both answers would lose to everything and the first be sent."""
    judge = RuleJudge(NearlyCertain(), (), "product")  # type: ignore[arg-type]
    scores, _ = judge.rank((1,), [(2,), (3,)], torch.zeros(2))
    assert best(scores) == 1
    assert scores.isfinite().all()
    assert (scores[1] - scores[0]).item() == pytest.approx(10, abs=0.2)
