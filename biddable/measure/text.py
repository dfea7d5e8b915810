"""Text likelihood: each policy's negative log-likelihood on held-out running text, the alignment tax in nats per token.

Intervals are a bootstrap over pieces of text; the change relative to the base policy is paired, piece by piece.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from pydantic import Field

from biddable.base import models, records
from biddable.base.config import Input, Refusal, Settings
from biddable.base.lm import Trunk
from biddable.base.packing import Tree, pack
from biddable.base.records import Text
from biddable.base.runs import Here


class Config(Settings):
    policies: tuple[Input, ...] = (Path("learn.start"), Path("learn.sft"), Path("learn.ppo"))
    """The policies to measure."""
    relative_to: Input = Path("learn.sft")
    """The policy that changes are relative to."""
    text: Input = Path("collect.text")
    """Running text; its split `valid` is measured: no policy was trained on it."""
    pieces: int = Field(default=200, ge=2)
    """Pieces of text measured at most."""
    tokens: int = Field(default=256, ge=2)
    """Tokens per piece at most."""
    resamples: int = Field(default=2000, ge=100)
    """Bootstrap resamples."""


def run(cfg: Config, here: Here) -> None:
    rows = [row for row in records.read(cfg.text / "text.jsonl", Text) if row.split == "valid"][: cfg.pieces]
    if len(rows) < 2:
        raise Refusal(f"[{here.key}] text: {len(rows)} pieces of the split valid; at least 2 are needed")
    sums: dict[str, np.ndarray] = {}
    counts = np.zeros(len(rows))
    shared: Trunk | None = None
    for number, folder in enumerate(dict.fromkeys((*cfg.policies, cfg.relative_to))):
        policy = models.load_policy(folder, shared=shared).freeze()
        shared = shared or policy.trunk
        words = models.tokenizer(folder)
        found = []
        for i, row in enumerate(rows):
            ids = tuple(words.encode(row.text, add_special_tokens=False)[: cfg.tokens])
            with torch.no_grad():
                logp, _ = policy.logp(pack([Tree((), (ids,))]))
            found.append(-float(logp.sum()))
            counts[i] = len(ids) - 1
            here.progress(number * len(rows) + i, len(rows) * len(cfg.policies))
        sums[folder.name] = np.array(found)
    drawn = np.random.default_rng(here.seed).integers(0, len(rows), size=(cfg.resamples, len(rows)))
    base = sums[cfg.relative_to.name]
    for name, own in sums.items():
        short = name.split(".")[-1]
        here.summary[f"nll_{short}"] = float(own.sum() / counts.sum())
        resampled = own[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
        change = 100 * (own[drawn].sum(axis=1) / base[drawn].sum(axis=1) - 1)
        here.summary[f"nll_change_{short}"] = float(100 * (own.sum() / base.sum() - 1))
        for mark, quantile in (("low", 0.025), ("high", 0.975)):
            here.summary[f"nll_{short}_{mark}"] = float(np.quantile(resampled, quantile))
            here.summary[f"nll_change_{short}_{mark}"] = float(np.quantile(change, quantile))
    here.summary |= {"pieces": len(rows), "tokens": int(counts.sum())}
