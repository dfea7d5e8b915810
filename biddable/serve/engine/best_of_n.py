"""Best of n: a run's reward model decides which of n answers is sent. It stands on the policy's trunk, so
scoring starts from the trunk outputs that the sampler kept, and the trunk runs once per token for both.
Stiennon et al. 2020 and Glaese et al. 2022 choose among 8 to 64 answers this way.

How far this moves the policy: KL(best of n) <= ln n - (n - 1)/n nats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from biddable.model.packing import Ids, Tree, pack
from biddable.model.rule_model import RuleLike
from biddable.model.trunk import Scorer

NEAR = 0.2
"""An answer came near to a rule that it breaks with at least this probability."""


class NearRule(NamedTuple):
    """A rule that an answer came near to, and how likely it breaks it."""

    id: str
    p_break: float


def near_rules(p_break: torch.Tensor, rules: Sequence[RuleLike]) -> list[tuple[NearRule, ...]]:
    """The rules that each answer came near to, the nearest first, from the probabilities (A, R)."""
    near = [
        sorted((-p, rule.id) for p, rule in zip(row, rules, strict=True) if p >= NEAR)
        for row in p_break.tolist()
    ]
    return [tuple(NearRule(id, -minus) for minus, id in rows) for rows in near]


def scores(
    scorer: Scorer, prompt: Ids, answers: Sequence[Ids], hidden: tuple[torch.Tensor, ...] | None = None
) -> list[float]:
    """The score of each answer, read at its last token; all in one forward that shares the prompt. `hidden`:
    trunk outputs, the prompt's (P, d) and then each answer's (T_k, d); without them the trunk runs here."""
    with torch.no_grad():
        return [float(score) for score in scorer.scores(pack([Tree(prompt, tuple(answers), hidden)]))]


def best(scores: Sequence[float], n: int) -> list[int]:
    """Which answers are sent: those with the highest scores first, the earlier one where two are equal."""
    return sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:n]


def kl_bound(n: int) -> float:
    """How far best of n is from the policy at most, as KL divergence in nats (Stiennon et al. 2020, appendix
    G.3)."""
    return math.log(n) - (n - 1) / n
