"""A budget for rules: a Lagrange multiplier for each holds the rate at which it is broken at a stated level.

Maximise E[R] subject to E[p_break_i] <= d for every rule i: the policy maximises E[R - sum lambda_i
p_break_i], and lambda_i climbs by lambda_i <- clip(lambda_i + eta (E[p_break_i] - d), 0, cap) after every
rollout (dual ascent, Tessler et al. 2019; for language models Dai et al. 2024, Safe RLHF, with one cost).
So nobody has to find 23 weights, and rules that are kept anyway cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MEMORY = 0.8
"""Decay of each rule's average rate, by which an unreached budget is judged: one rollout is too noisy."""


class RuleBudget:
    """Multipliers of some rules, and the average rate at which each was broken."""

    def __init__(self, rules: int, budget: float, rate: float, cap: float) -> None:
        self.budget, self.rate, self.cap = budget, rate, cap
        # they begin as the equal weights 1/n of the paper's mean, so a budget only moves from there
        self.multipliers = [min(1.0 / rules, cap)] * rules
        self.averages: list[float] | None = None

    def update(self, rates: Sequence[float]) -> None:
        """Move each multiplier by how far its rule's rate in a rollout was from the budget."""
        self.multipliers = [
            min(max(multiplier + self.rate * (rate - self.budget), 0.0), self.cap)
            for multiplier, rate in zip(self.multipliers, rates, strict=True)
        ]
        before = self.averages or list(rates)
        self.averages = [MEMORY * a + (1 - MEMORY) * r for a, r in zip(before, rates, strict=True)]

    def unreached(self, rules: Sequence[str]) -> dict[str, float]:
        """Rules whose average rate is above the budget although their multiplier is at its cap -> the
        rate."""
        rows = zip(rules, self.multipliers, self.averages or [0.0] * len(rules), strict=True)
        return {rule: rate for rule, m, rate in rows if m >= self.cap and rate > self.budget}

    def state(self) -> dict[str, Any]:
        return {"multipliers": list(self.multipliers), "averages": self.averages}

    def restore(self, state: dict[str, Any]) -> None:
        self.multipliers, self.averages = list(state["multipliers"]), state["averages"]
