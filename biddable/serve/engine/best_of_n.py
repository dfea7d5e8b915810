"""Best of n: a run's reward model says which of n answers is given out. It stands on the policy's trunk, so scoring starts from the trunk outputs
that the sampler kept: the trunk runs once per token for both (Stiennon et al. 2020 and Glaese et al. 2022 choose among 8 to 64 so).

How far this moves the policy: KL(best of n) <= ln n - (n - 1)/n nats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from biddable.model.packing import Ids, Tree, pack
from biddable.model.trunk import Scorer


def scores(
    scorer: Scorer, prompt: Ids, answers: Sequence[Ids], hidden: tuple[torch.Tensor, ...] | None = None
) -> list[float]:
    """The score of each answer, read at its last token; all in one forward that shares the prompt. `hidden`: kept trunk outputs, the prompt's
    (P, d) and then each answer's (T_k, d); without them the trunk runs here."""
    with torch.no_grad():
        found = scorer.scores(pack([Tree(prompt, tuple(answers), hidden)]))
    return [float(score) for score in found]


def best(found: Sequence[float], wanted: int) -> list[int]:
    """Which answers are given out: the highest scores first, the earlier one where two are equal."""
    return sorted(range(len(found)), key=lambda index: (-found[index], index))[:wanted]


def divergence(count: int) -> float:
    """At most how far best of `count` is from the policy, in nats (Stiennon et al. 2020, appendix G.3)."""
    return math.log(count) - (count - 1) / count
