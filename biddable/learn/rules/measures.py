"""How well a rule model tells broken from kept: area under the ROC curve, calibration and confusion, pooled
and by rule.

Legend: N judgements, each of one reply under one rule; `scores` are log odds of broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from biddable.model.classifier import roc_auc

RESAMPLES = 500
Array = np.ndarray[Any, Any]


def rule_summary(
    scores: Array, labels: Array, rules: Sequence[str], dialogues: Sequence[int], seed: int, name: str
) -> dict[str, Any]:
    """All measures of one group of judgements, their names ending in `_NAME`; {} for an empty group. The AUC
    pooled over rules is what a threshold for all rules sees: rules that are broken more often must score
    higher. The mean over rules asks about the order of replies under a rule alone."""
    if not len(labels):
        return {}
    names = np.array(rules)
    by_rule = {rule: rule_table(scores[names == rule], labels[names == rule]) for rule in sorted(set(rules))}
    aucs = [row["auc"] for row in by_rule.values() if row["auc"] is not None]
    numbers: dict[str, Any] = {
        f"judgements_{name}": len(labels),
        f"broken_{name}": float((labels >= 0.5).mean()),
        # -y log σ(s) - (1 - y) log(1 - σ(s)) = log(1 + exp s) - y s
        f"loss_{name}": float(np.mean(np.logaddexp(0, scores) - labels * scores)),
        f"accuracy_{name}": float(((scores > 0) == (labels >= 0.5)).mean()),
        f"calibration_{name}": calibration(scores, labels),
        f"rules_{name}": by_rule,
    }
    if aucs:
        low, high = auc_interval(scores, labels, dialogues, seed)
        numbers |= {
            f"auc_{name}": roc_auc(scores, labels),
            f"auc_{name}_low": low,
            f"auc_{name}_high": high,
            f"auc_per_rule_{name}": float(np.mean(aucs)),
        }
    return numbers


def rule_table(scores: Array, labels: Array) -> dict[str, float | int | None]:
    """One rule's AUC (none where all replies have one label) and its confusion at one half."""
    broken, called = labels >= 0.5, scores > 0
    return {
        "auc": roc_auc(scores, labels) if 0 < broken.sum() < len(broken) else None,
        "broken_called": int((broken & called).sum()),
        "broken_missed": int((broken & ~called).sum()),
        "kept_called": int((~broken & called).sum()),
        "kept_passed": int((~broken & ~called).sum()),
    }


def calibration(scores: Array, labels: Array, bins: int = 5) -> list[dict[str, float]]:
    """Mean probability and share of broken in fifths of the probability's range; empty fifths are left
    out."""
    p = 1 / (1 + np.exp(-scores))
    place = np.minimum((p * bins).astype(int), bins - 1)
    return [
        {
            "predicted": float(p[place == b].mean()),
            "observed": float(labels[place == b].mean()),
            "judgements": int((place == b).sum()),
        }
        for b in range(bins)
        if (place == b).any()
    ]


def auc_interval(scores: Array, labels: Array, dialogues: Sequence[int], seed: int) -> tuple[float, float]:
    """95 % interval of the pooled AUC by a bootstrap over dialogues: judgements of one reply are not
    independent."""
    _, codes = np.unique(np.array(dialogues), return_inverse=True)
    count = codes.max() + 1
    rows = [np.flatnonzero(codes == dialogue) for dialogue in range(count)]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([rows[i] for i in rng.integers(0, count, count)])
        broken = labels[drawn] >= 0.5
        if 0 < broken.sum() < len(drawn):
            values.append(roc_auc(scores[drawn], labels[drawn]))
    low, high = np.quantile(values, [0.025, 0.975]) if values else (0.0, 1.0)
    return float(low), float(high)
