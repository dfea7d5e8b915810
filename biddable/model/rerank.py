"""Reranking: which of n answers is best by preference and rules together (Glaese et al. 2022, Sparrow).

    score(s) = σ(R_pref(s | c) - AVG(R_pref)) · (∏_i (1 - p_i(s)))^(1/n)

R_pref is the preference model's score, AVG a running average of such scores, p_i the probability that rule i
of n is broken. Everything is in log space: one rule that is certainly broken gives -inf, which loses to any
other answer. A floor would not do: at 23 rules a floor of 1e-6 has a 23rd root of 0.55, and a certain
violation would only halve the score.

Legend: A answers, R rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn import functional

from biddable.model import checkpoints
from biddable.model.packing import Ids, Tree, pack
from biddable.model.rule_model import RuleLike, RuleModel
from biddable.model.trunk import Scorer, Trunk

RuleReduction = Literal["geometric_mean", "product", "minimum"]
"""How the rules' probabilities of being kept become one factor. The geometric mean is lenient by design: one
rule at 0.1 beside 22 at 1 gives 0.905. The product counts every doubt in full; the minimum sees the worst
rule only, and is the strict choice."""


def rule_factor(p_break: torch.Tensor, reduction: RuleReduction = "geometric_mean") -> torch.Tensor:
    """Log of the rules' factor (A,) from probabilities (A, R) that each rule is broken; 0 without rules."""
    log_kept = torch.log1p(-p_break.double())  # log 0 is -inf, and is meant to be
    if not p_break.shape[-1]:
        return log_kept.sum(-1)
    if reduction == "geometric_mean":
        return log_kept.mean(-1)
    if reduction == "product":
        return log_kept.sum(-1)
    return log_kept.amin(-1)


def rerank_scores(
    preference: torch.Tensor,
    p_break: torch.Tensor,
    average: float = 0.0,
    reduction: RuleReduction = "geometric_mean",
) -> torch.Tensor:
    """Log of each answer's score (A,), from preference scores (A,) and probabilities of breaking each rule
    (A, R). With `average` at the preference model's typical score the sigmoid is steepest there: between two
    good answers the rules decide, between a good and a bad one preference does."""
    return functional.logsigmoid(preference.double() - average) + rule_factor(p_break, reduction)


def best(scores: torch.Tensor) -> int:
    """The answer with the highest score, the earlier one of equals; so of one answer it is that one, and of
    answers that all break a rule the first."""
    return int((scores == scores.max()).nonzero()[0, 0])


class RunningAverage:
    """AVG(R_pref): an exponential moving average over the answers scored so far, begun at the first scores'
    mean. With `decay` 0.99 it remembers about the last hundred prompts."""

    def __init__(self, decay: float = 0.99) -> None:
        self.decay, self.value, self.updates = decay, 0.0, 0

    def update(self, preference: torch.Tensor) -> float:
        """Take one prompt's scores (A,) in; the average with them."""
        mean = float(preference.double().mean())
        self.value = mean if not self.updates else self.decay * self.value + (1 - self.decay) * mean
        self.updates += 1
        return self.value

    def state(self) -> Any:
        return {"value": self.value, "updates": self.updates}

    def restore(self, state: Any) -> None:
        self.value, self.updates = float(state["value"]), int(state["updates"])


@dataclass
class RuleJudge:
    """The rule model and the rules that have a say in a choice, beside preference. `average` is that of the
    preference model's scores so far."""

    rule_model: RuleModel
    rules: Sequence[RuleLike]
    reduction: RuleReduction
    average: RunningAverage = field(default_factory=RunningAverage)

    def rank(
        self, prompt: Ids, answers: Sequence[Ids], preference: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """From the answers' preference scores (A,): log scores (A,), and the probabilities (A, R) that each
        breaks each rule."""
        log_odds = self.rule_model.log_odds([(*prompt, *answer) for answer in answers], self.rules)
        # in fp32 log odds of 17 would be a certainty, which is never forgiven
        p_break = torch.sigmoid(log_odds.double())
        average = self.average.update(preference)
        return rerank_scores(preference, p_break, average, self.reduction), p_break


@dataclass
class Reranker:
    """Preference model and rule judge, by which the best answer is chosen."""

    preference: Scorer
    judge: RuleJudge

    @torch.no_grad()
    def choose(self, prompt: Ids, answers: Sequence[Ids]) -> int:
        """The place of the best answer (token ids) to a prompt."""
        preference = self.preference.scores(pack([Tree(tuple(prompt), tuple(answers))]))
        return best(self.judge.rank(prompt, answers, preference)[0])


def load_reranker(
    reward: Path, rule_model: Path, trunk: Trunk, rules: Sequence[RuleLike], reduction: RuleReduction
) -> Reranker:
    """Both models on a policy's trunk. Raises UserError for one that stands on another."""
    judge = RuleJudge(checkpoints.load_rule_model(rule_model, trunk).freeze(), rules, reduction)
    return Reranker(checkpoints.load_scorer(reward, trunk).freeze(), judge)
