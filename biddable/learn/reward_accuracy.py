"""How well scores order answers: accuracy with its interval, accuracy by margin, calibration, and what length
has to do with it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from biddable.learn.losses import drop_ties
from biddable.run.records import Comparison
from biddable.run.words import chunks


def pair_margins(scores: np.ndarray[Any, Any], ranks: Sequence[int]) -> np.ndarray[Any, Any]:
    """Score of the better minus score of the worse answer, for every untied pair of one ranking."""
    return np.array([scores[better] - scores[worse] for better, worse in drop_ties(ranks)])


def count_in_order(margins: np.ndarray[Any, Any]) -> float:
    """How many pairs are scored in the labelled order; equal scores count half."""
    return float(((margins > 0) + 0.5 * (margins == 0)).sum())


def accuracy_summary(
    rows: Sequence[Comparison], scores: Sequence[np.ndarray[Any, Any]], name: str
) -> dict[str, float]:
    """Accuracy on untied pairs with a 95 % interval that counts prompts and labelers: pairs of one prompt
    share their answers, rankings of one labeler their taste."""
    margins = [pair_margins(row_scores, row.ranks) for row, row_scores in zip(rows, scores, strict=True)]
    in_order = np.array([count_in_order(m) for m in margins])  # (R,) for R rankings
    pairs = np.array([len(m) for m in margins])  # (R,)
    low, high = share_interval(
        in_order, pairs, [row.prompt.id for row in rows], [row.labeler for row in rows]
    )
    return {
        f"accuracy_{name}": float(in_order.sum() / pairs.sum()),
        f"accuracy_{name}_low": low,
        f"accuracy_{name}_high": high,
        f"pairs_{name}": int(pairs.sum()),
        # -log sigmoid(m) = log(1 + exp(-m)), which overflows nowhere in this form
        f"loss_{name}": float(np.logaddexp(0, -np.concatenate(margins)).mean()),
    }


def share_interval(
    successes: np.ndarray[Any, Any],
    trials: np.ndarray[Any, Any],
    prompts: Sequence[str],
    labelers: Sequence[str],
) -> tuple[float, float]:
    """95 % interval of a share of all trials (R,), of which those of one prompt, and those of one labeler,
    hang together.

    Variance by two-way clustering (Cameron, Gelbach and Miller 2011): that of prompts plus that of labelers
    less that of their intersection, which both hold. Degrees of freedom by Satterthwaite 1946: six labelers
    make heavy tails. Wilson's form of the interval stays within 0 and 1.
    """
    share = float(successes.sum() / trials.sum())
    influence = (successes - share * trials) / trials.sum()  # (R,): what the share moves by with each ranking
    by_prompt, prompt_clusters = _cluster_variance(influence, prompts)
    by_labeler, labeler_clusters = _cluster_variance(influence, labelers)
    pairs = [f"{prompt}\x1f{labeler}" for prompt, labeler in zip(prompts, labelers, strict=True)]
    by_ranking, _ = _cluster_variance(influence, pairs)
    if by_prompt + by_labeler == 0:  # all right or all wrong: as many witnesses as there are prompts
        return _wilson(share, max(prompt_clusters, 1), 1.96)
    variance = by_prompt + by_labeler
    if by_prompt and by_labeler:
        # never below the smaller of the two, nor below half of what rankings vary by on their own
        variance = max(variance - by_ranking, min(by_prompt, by_labeler), by_ranking / 2)
    parts = ((by_prompt, prompt_clusters), (by_labeler, labeler_clusters))
    freedom = variance**2 / sum(v**2 / (clusters - 1) for v, clusters in parts if v)
    quantile = float(stats.t.ppf(0.975, max(freedom, 1.0)))
    return _wilson(share, share * (1 - share) / variance, quantile)


def _cluster_variance(influence: np.ndarray[Any, Any], names: Sequence[str]) -> tuple[float, int]:
    """Variance of a sum whose terms are independent between clusters only, and how many clusters there are; 0
    for one cluster, which says nothing about others."""
    unique, codes = np.unique(np.asarray(names), return_inverse=True)
    clusters = len(unique)
    if clusters == 1:
        return 0.0, 1
    sums = np.bincount(codes, weights=influence)
    variance = float((sums**2).sum()) * clusters / (clusters - 1)
    return (variance if variance > 1e-18 else 0.0), clusters


def _wilson(share: float, trials: float, quantile: float) -> tuple[float, float]:
    """Wilson's interval (1927) of a share of so many independent trials."""
    spread = quantile**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = quantile / (1 + spread) * np.sqrt(share * (1 - share) / trials + quantile**2 / (4 * trials**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def accuracy_tables(rows: Sequence[Comparison], scores: Sequence[np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Accuracy against margin, calibration of σ(margin), and the correlation of score and length within a
    prompt."""
    margins = np.concatenate([pair_margins(s, row.ranks) for s, row in zip(scores, rows, strict=True)])
    size = np.abs(margins)
    edges = np.quantile(size, np.linspace(0, 1, 6))  # fifths
    by_margin, calibration = [], []
    for low, high in itertools.pairwise(edges):
        inside = (size >= low) & (size <= high)
        if not inside.any():  # of fewer than five pairs some fifths are empty
            continue
        accuracy = float((margins[inside] > 0).mean())
        pairs = int(inside.sum())
        by_margin.append({"margin": float(size[inside].mean()), "accuracy": accuracy, "pairs": pairs})
        # what the model claims: σ(|margin|) is its probability that the higher score is the better answer
        predicted = float((1 / (1 + np.exp(-size[inside]))).mean())
        calibration.append({"predicted": predicted, "observed": accuracy, "pairs": pairs})
    # Scores and lengths less their prompt's mean: prompts differ in both, and that is no preference for
    # length.
    lengths = [np.array([len(a.tokens or chunks(a.text)) for a in row.answers], dtype=float) for row in rows]
    centred_score = np.concatenate([s - s.mean() for s in scores])
    centred_length = np.concatenate([n - n.mean() for n in lengths])
    spread = float(centred_score.std() * centred_length.std())
    return {
        "accuracy_by_margin": by_margin,
        "calibration": calibration,
        "length_correlation": float((centred_score * centred_length).mean() / spread) if spread else 0.0,
        "score_std": float(np.concatenate(list(scores)).std()),
    }
