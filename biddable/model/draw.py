"""Drawing the next token from logits: temperature, top-k, nucleus (top-p), and the likeliest alternatives.

Legend: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

CDF_BLOCK = 256
"""Words whose weights are summed together before a draw looks inside one such block."""

ROWS = 16
"""Rows that are drawn together: 16 of 49k words in fp32 are 3 MB."""


def draw(
    logits: torch.Tensor,
    uniforms: torch.Tensor,
    temperature: torch.Tensor,
    top_p: torch.Tensor,
    words: int | None = None,
    gaps: Sequence[int] = (),
    top_k: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw by inverse CDF: logits (n, V) fp32, the rest (n,) -> tokens (n,) and their log-probabilities at
    temperature 1 (n,). Temperature comes first, then top-k (0 is off), then top-p among what is left. Of V
    ids only the first `words` without the `gaps` are drawn; the log-probability counts all V, as training
    does.

    Some rows at a time: what lies between logits and a token then stays in the processor's cache.
    """
    top_k = torch.zeros_like(top_p) if top_k is None else top_k
    columns = (part.split(ROWS) for part in (logits, uniforms, temperature, top_p, top_k))
    parts = [
        _draw_rows(rows, u, heat, p, k, words, gaps) for rows, u, heat, p, k in zip(*columns, strict=True)
    ]
    return torch.cat([tokens for tokens, _ in parts]), torch.cat([logp for _, logp in parts])


def _draw_rows(
    logits: torch.Tensor,
    uniforms: torch.Tensor,
    temperature: torch.Tensor,
    top_p: torch.Tensor,
    top_k: torch.Tensor,
    words: int | None,
    gaps: Sequence[int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """`draw` for a few rows.

    The cumulative sum runs over blocks of words first and then inside one block: over all 49k words at once
    it costs more than the network's last blocks.
    """
    n = len(logits)
    top = logits.amax(dim=-1, keepdim=True)
    weights = (logits - top).exp_()  # the softmax without its normaliser: the draw needs only ratios
    normaliser = (
        weights.sum(dim=-1, keepdim=True).log() + top
    )  # logsumexp; what follows may replace the weights
    logits = _without_gaps(logits[:, :words], gaps)
    weights, vocabulary = weights[:, :words], logits.shape[1]
    if gaps:
        weights[:, list(gaps)] = 0.0
    if bool((temperature != 1).any()):
        divisor = torch.where(temperature > 0, temperature, torch.ones_like(temperature))[:, None]
        weights = ((logits - top) / divisor).exp_()
    if bool((top_k > 0).any()):
        weights = _largest(weights, top_k.long())
    if bool((top_p < 1).any()):
        weights = _nucleus(weights, top_p)
    blocks = -(-vocabulary // CDF_BLOCK)
    padding = blocks * CDF_BLOCK - vocabulary
    if padding:  # padding by nothing would copy
        weights = torch.nn.functional.pad(weights, (0, padding))
    tiles = weights.reshape(n, blocks, CDF_BLOCK)
    sums = tiles.sum(dim=-1).cumsum(dim=-1)  # (n, blocks)
    target = uniforms[:, None] * sums[:, -1:]  # where in the cumulative sum the draw falls
    block = torch.searchsorted(sums, target, right=True).clamp_(max=blocks - 1)
    before = torch.where(block > 0, sums.gather(1, (block - 1).clamp(min=0)), torch.zeros_like(target))
    inside = tiles.gather(1, block[..., None].expand(n, 1, CDF_BLOCK))[:, 0]  # (n, CDF_BLOCK)
    offset = torch.searchsorted(inside.cumsum(dim=-1), target - before, right=True).clamp_(max=CDF_BLOCK - 1)
    # two sums of the same weights round differently, so the target can lie beyond the block's last word of
    # weight > 0
    offset = torch.where(inside.gather(1, offset) > 0, offset, inside.argmax(dim=-1, keepdim=True))
    tokens = block * CDF_BLOCK + offset
    greedy = temperature[:, None] == 0
    if bool(greedy.any()):
        tokens = torch.where(greedy, logits.argmax(dim=-1, keepdim=True), tokens)
    return tokens[:, 0], (logits.gather(1, tokens) - normaliser)[:, 0]


def _largest(weights: torch.Tensor, top_k: torch.Tensor) -> torch.Tensor:
    """Weights (n, V) with all but the top_k (n,) largest of each row set to 0 (Fan et al. 2018); rows with 0
    stay as they are. Of equal ones at the edge as many are kept as there is room for."""
    most = min(int(top_k.max()), weights.shape[1])
    values, index = weights.topk(most, dim=-1)
    inside = torch.arange(most, device=weights.device) < top_k[:, None]
    truncated = torch.zeros_like(weights).scatter(1, index, values * inside)
    return torch.where((top_k > 0)[:, None], truncated, weights)


NUCLEUS = 1024
"""So many of the likeliest words usually hold the nucleus; finding them takes a tenth of sorting all."""


def _nucleus(weights: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Weights with all but the smallest set of the likeliest tokens whose share reaches top_p set to 0
    (Holtzman et al. 2020). A token is in it when those before it have not reached top_p yet, so the likeliest
    always is. Rows with top_p = 1 stay as they are."""
    share = top_p[:, None]
    total = weights.sum(dim=-1, keepdim=True)
    ordered, index = weights.topk(min(NUCLEUS, weights.shape[1]), dim=-1)
    reached = ordered.sum(dim=-1, keepdim=True) >= share * total
    if not bool((reached | (share >= 1)).all()):  # a flat distribution: its nucleus has more words
        ordered, index = weights.sort(dim=-1, descending=True)
    before = (ordered.cumsum(dim=-1) - ordered) / total
    nucleus = torch.zeros_like(weights).scatter(1, index, ordered * (before < share))
    return torch.where(share < 1, nucleus, weights)


def _without_gaps(logits: torch.Tensor, gaps: Sequence[int]) -> torch.Tensor:
    """Logits of minus infinity for ids that no token has."""
    if not gaps:
        return logits
    return logits.index_fill(1, torch.tensor(gaps, device=logits.device), float("-inf"))


def likeliest(
    logits: torch.Tensor, counts: Sequence[int], words: int | None = None, gaps: Sequence[int] = ()
) -> list[tuple[tuple[int, float], ...]]:
    """For each row of logits (n, V) its `count` likeliest of the first `words` tokens without the `gaps`,
    with their log-probabilities, the likeliest first."""
    most = max(counts, default=0)
    if most == 0:
        return [()] * len(counts)
    values, ids = _without_gaps(logits.log_softmax(dim=-1)[:, :words], gaps).topk(most, dim=-1)
    return [
        tuple(zip(row_ids[:count], row_values[:count], strict=True))
        for row_ids, row_values, count in zip(ids.tolist(), values.tolist(), counts, strict=True)
    ]
