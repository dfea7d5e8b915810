"""Text likelihood: each policy's negative log-likelihood on held-out running text, the alignment tax in nats per token.

Intervals are a bootstrap over pieces of text; the change relative to the base policy is paired, piece by piece.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from pydantic import Field

from biddable.model import checkpoints
from biddable.model.encoding import encode_text
from biddable.model.packing import PackedBatch, Tree, pack
from biddable.model.trunk import Trunk
from biddable.run import jsonl
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.records import Text

BATCH = 4
"""Pieces of text in one forward: enough to keep two cores busy, little enough for any memory."""


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


def run(cfg: Config, context: StageContext) -> None:
    rows = [row for row in jsonl.read(cfg.text / "text.jsonl", Text) if row.split == "valid"][: cfg.pieces]
    if len(rows) < 2:
        raise UserError(f"[{context.key}] text: {len(rows)} pieces of the split valid; at least 2 are needed")
    folders = list(dict.fromkeys((*cfg.policies, cfg.relative_to)))
    names = [folder.name.split(".")[-1] for folder in folders]
    if twins := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(
            f"[{context.key}] policies: two are called {twins[0]}; compare policies of several runs with [measure.benchmarks], which has `names`"
        )
    sums, counts = likelihoods(cfg, context, [row.text for row in rows])
    drawn = np.random.default_rng(context.seed).integers(0, len(rows), size=(cfg.resamples, len(rows)))
    base = sums[cfg.relative_to.name]
    for name, nll in sums.items():
        short = name.split(".")[-1]
        context.summary[f"nll_{short}"] = float(nll.sum() / counts[name].sum())
        resampled = nll[drawn].sum(axis=1) / counts[name][drawn].sum(axis=1)
        change = 100 * (nll[drawn].sum(axis=1) / base[drawn].sum(axis=1) - 1)
        context.summary[f"nll_change_{short}"] = float(100 * (nll.sum() / base.sum() - 1))
        for mark, quantile in (("low", 0.025), ("high", 0.975)):
            context.summary[f"nll_{short}_{mark}"] = float(np.quantile(resampled, quantile))
            context.summary[f"nll_change_{short}_{mark}"] = float(np.quantile(change, quantile))
    context.summary |= {"pieces": len(rows), "tokens": int(counts[cfg.relative_to.name].sum())}


def likelihoods(
    cfg: Config, context: StageContext, texts: list[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """By policy: each piece's summed NLL in nats, and the number of tokens it is over. A policy whose pieces are measured is not run again."""
    folders = tuple(dict.fromkeys((*cfg.policies, cfg.relative_to)))
    resumed = context.restore()
    shared: Trunk | None = None
    packed_pieces: list[tuple[int, ...]] = []
    packs: list[PackedBatch] = []
    for number, folder in enumerate(folders):
        if resumed and number < resumed[0]:
            continue
        policy = checkpoints.load_policy(folder, shared=shared).freeze()
        shared = shared or policy.trunk
        tokenizer = checkpoints.tokenizer(folder)
        pieces = [encode_text(tokenizer, text)[: cfg.tokens] for text in texts]
        if (
            pieces != packed_pieces
        ):  # the first policy, or another tokenizer; the trunk's outputs are the same for all policies
            packed_pieces, packs = pieces, []
            for at in range(0, len(pieces), BATCH):
                packed = pack([Tree((), (ids,)) for ids in pieces[at : at + BATCH]])
                packs.append(replace(packed, hidden=policy.trunk(packed)))
                context.progress(number * len(texts), len(folders) * len(texts))
        for i, packed in enumerate(packs):
            with torch.no_grad():
                logp, _ = policy.logp(packed)
            sums = logp.new_zeros(len(packed.last), dtype=torch.double).index_add_(
                0, packed.answer, logp.double()
            )
            tokens = torch.bincount(
                packed.answer, minlength=len(packed.last)
            )  # a piece's first token is not predicted
            for nll, count in zip((-sums).tolist(), tokens.tolist(), strict=True):
                context.append("pieces.jsonl", {"model": folder.name, "nll": nll, "tokens": count})
            context.progress(number * len(texts) + i * BATCH + len(packed.last), len(folders) * len(texts))
        context.checkpoint(number + 1, lambda _: None)
    rows = [json.loads(line) for _, line in jsonl.read_lines(context.path("pieces.jsonl"))]
    return (
        {
            folder.name: np.array([row["nll"] for row in rows if row["model"] == folder.name])
            for folder in folders
        },
        {
            folder.name: np.array([row["tokens"] for row in rows if row["model"] == folder.name])
            for folder in folders
        },
    )
