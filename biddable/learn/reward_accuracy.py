"""How well scores order answers: accuracy with its interval, accuracy by margin, calibration, and what length
has to do with it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from biddable.learn.losses import drop_ties
from biddable.run.records import Comparison

RESAMPLES = 2000


def pair_margins(scores: np.ndarray[Any, Any], ranks: Sequence[int]) -> np.ndarray[Any, Any]:
    """Score of the better minus score of the worse answer, for every untied pair of one ranking."""
    return np.array([scores[better] - scores[worse] for better, worse in drop_ties(ranks)])


def count_in_order(margins: np.ndarray[Any, Any]) -> float:
    """How many pairs are scored in the labelled order; equal scores count half."""
    return float(((margins > 0) + 0.5 * (margins == 0)).sum())


def accuracy_summary(
    rows: Sequence[Comparison], scores: Sequence[np.ndarray[Any, Any]], seed: int, name: str
) -> dict[str, float]:
    """Accuracy on untied pairs with a 95 % interval by bootstrap over prompts: pairs of one prompt are not
    independent."""
    by_prompt: dict[str, list[np.ndarray[Any, Any]]] = {}
    for row, row_scores in zip(rows, scores, strict=True):
        by_prompt.setdefault(row.prompt.id, []).append(pair_margins(row_scores, row.ranks))
    margins = [np.concatenate(parts) for parts in by_prompt.values()]
    in_order = np.array([count_in_order(m) for m in margins])  # (P,) for P prompts
    pairs = np.array([len(m) for m in margins])  # (P,)
    drawn = np.random.default_rng(seed).integers(0, len(margins), size=(RESAMPLES, len(margins)))
    accuracies = in_order[drawn].sum(axis=1) / np.maximum(pairs[drawn].sum(axis=1), 1)
    low, high = np.quantile(accuracies, [0.025, 0.975])
    return {
        f"accuracy_{name}": float(in_order.sum() / pairs.sum()),
        f"accuracy_{name}_low": float(low),
        f"accuracy_{name}_high": float(high),
        f"pairs_{name}": int(pairs.sum()),
        f"loss_{name}": float(np.mean(np.log1p(np.exp(-np.concatenate(margins))))),
    }


def accuracy_tables(rows: Sequence[Comparison], scores: Sequence[np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Accuracy against margin, calibration of σ(margin), and the correlation of score and length within a
    prompt."""
    margins = np.concatenate([pair_margins(s, row.ranks) for s, row in zip(scores, rows, strict=True)])
    size = np.abs(margins)
    edges = np.quantile(size, np.linspace(0, 1, 6))  # fifths
    by_margin, calibration = [], []
    for low, high in itertools.pairwise(edges):
        inside = (size >= low) & (size <= high)
        accuracy = float((margins[inside] > 0).mean()) if inside.any() else float("nan")
        pairs = int(inside.sum())
        by_margin.append({"margin": float(size[inside].mean()), "accuracy": accuracy, "pairs": pairs})
        # what the model claims: σ(|margin|) is its probability that the higher score is the better answer
        predicted = float((1 / (1 + np.exp(-size[inside]))).mean())
        calibration.append({"predicted": predicted, "observed": accuracy, "pairs": pairs})
    # Scores and lengths less their prompt's mean: prompts differ in both, and that is no preference for
    # length.
    lengths = [np.array([len(a.tokens or a.text.split()) for a in row.answers], dtype=float) for row in rows]
    centred_score = np.concatenate([s - s.mean() for s in scores])
    centred_length = np.concatenate([n - n.mean() for n in lengths])
    spread = float(centred_score.std() * centred_length.std())
    return {
        "accuracy_by_margin": by_margin,
        "calibration": calibration,
        "length_correlation": float((centred_score * centred_length).mean() / spread) if spread else 0.0,
        "score_std": float(np.concatenate(list(scores)).std()),
    }
