"""The pretraining mix of PPO-ptx: running text's log-likelihood beside the reward (Ouyang et al. 2022,
equation 2 and C.4).

It keeps the policy from forgetting what pretraining taught it: the paper's remedy for the alignment tax.
"""

from __future__ import annotations

from collections.abc import Sequence

from biddable.learn.batches import counted_tokens, microbatches
from biddable.learn.optimizer import Optimizer
from biddable.learn.training import derive_seed, shuffled_indices
from biddable.model.packing import Tree
from biddable.model.trunk import Policy


def text_pieces(text: Sequence[Tree], count: int, update: int, seed: int) -> list[Tree]:
    """The `count` pieces of one update, counted from 0 over the whole run: every piece once before any comes
    again."""
    order = shuffled_indices(len(text), derive_seed("text", seed), update * count)
    return [text[next(order)] for _ in range(count)]


def accumulate_gradient(
    policy: Policy, pieces: Sequence[Tree], coef: float, tokens: int, adam: Optimizer
) -> dict[str, float]:
    """Add the gradient of -`coef` times the text's mean log-likelihood per token to the PPO gradient that is
    there already.

    One optimizer step is taken for their sum (C.4). The norms of both parts say whether one drowns the other;
    the text's is told from a sketch, within about 1 %.
    """
    ppo_norm, ppo_sketch = adam.norm(), adam.gradient_sketch()
    counted, loss = counted_tokens(pieces), 0.0
    for _, packed in microbatches(pieces, tokens):
        ptx_loss = -policy.logp(packed)[0].sum() / counted
        (coef * ptx_loss).backward()
        loss += ptx_loss.item()
    return {
        "ptx_loss": loss,
        "grad_norm_ppo": ppo_norm,
        "grad_norm_ptx": adam.gradient_sketch().norm_since(ppo_sketch),
    }
