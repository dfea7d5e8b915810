"""The reward model: a scorer trained on rankings of K answers (Ouyang et al. 2022, 3.5 and C.2).

policy + comparisons (+ demonstrations) -> a scorer folder. It starts from the SFT model with a new scalar head. One ranking is one batch element: all its
C(K, 2) pairs together with weight 1/C(K, 2), each answer through the network once, the prompt's part shared by its K answers. One epoch. In the end a
bias is set so that demonstrations score 0 on average. Accuracy is measured on prompts and on labelers that were not trained on.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from biddable.learn import losses
from biddable.learn.training import (
    CheckpointTimer,
    Optimizer,
    answer_ids,
    cache_trunk_outputs,
    cosine_decay,
    derive_seed,
    epoch_order,
    microbatches,
    prompt_ids,
    resume,
    save_checkpoint,
)
from biddable.model import checkpoints
from biddable.model.packing import Tree
from biddable.model.trunk import Scorer, scorer_from
from biddable.run import jsonl
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.records import Comparison, Demonstration


class Config(Settings):
    runtime_settings = frozenset({"checkpoint_seconds"})
    renamed: ClassVar[dict[str, str]] = {"head_deviation": "head_std"}
    policy: Input = Path("learn.sft")
    """The model it starts from (3.5: the SFT model)."""
    comparisons: Input = Path("label.comparisons")
    """Rankings: those on prompts of the split `train` train, those of `valid` measure."""
    demonstrations: Input | None = Path("label.demonstrations")
    """Whose mean score becomes 0; none: no bias."""
    held_out: Input | None = None
    """Rankings by labelers who gave no training data, to measure; only those on prompts of the split `valid` count."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the rankings (C.2: 1; more overfit quickly)."""
    batch: int = Field(default=64, ge=1)
    """Prompts per update, each with all the rankings its answers got (C.2: 64 distinct prompts)."""
    learning_rate: float = Field(default=9e-6, gt=0)
    """Peak for the branch, decaying along a cosine to a tenth (C.2: 9e-6)."""
    head_learning_rate: float = Field(default=9e-6, gt=0)
    """Peak for the scalar head, which starts from random numbers and may want more."""
    head_std: float | None = Field(default=None, gt=0)
    """Standard deviation of the new head's weights; none: 1/sqrt(d + 1) (Stiennon et al. 2020, code). Less, where final states are large."""
    warmup: int = Field(default=0, ge=0)
    """Updates over which both rates rise from nothing (the paper names none; few updates at high rates want some)."""
    ties: losses.Ties = "drop"
    """What ties do: `drop` (C.2), or `even`: a target of one half (Menick et al. 2022, 2.8)."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's weight decay."""
    clip_norm: float = Field(default=1.0, gt=0)
    """The gradient is scaled down to this length."""
    microbatch_tokens: int = Field(default=1024, ge=64)
    """Tokens per forward: less memory, same result. A ranking is never split."""
    trunk_cache_gb: float = Field(default=2.0, ge=0)
    """Memory for trunk outputs kept over epochs and measurements, in GB."""
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    """Time between checkpoints."""


def run(cfg: Config, context: StageContext) -> None:
    policy = checkpoints.load_policy(cfg.policy)
    tokenizer = checkpoints.tokenizer(cfg.policy)
    generator = torch.Generator().manual_seed(derive_seed("head", context.seed))
    scorer = scorer_from(policy, generator, cfg.head_std)
    rows = jsonl.read(cfg.comparisons / "comparisons.jsonl", Comparison)
    train, valid = ([r for r in rows if r.prompt.split == split] for split in ("train", "valid"))
    strangers = jsonl.read(cfg.held_out / "comparisons.jsonl", Comparison) if cfg.held_out else []
    strangers = [r for r in strangers if r.prompt.split == "valid"]
    refuse(context, train, valid, strangers)
    groups = alike(train)
    ranks = [[row.ranks for row in group] for group in groups]
    first = [group[0] for group in groups]
    parts = [trees_of(part, tokenizer, cfg, context) for part in (first, valid, strangers)]
    trees = cache_trunk_outputs(policy.trunk, parts[0], cfg.trunk_cache_gb, context)
    del policy
    branch, head = Optimizer(scorer.branch.parameters(), cfg.weight_decay), Optimizer([scorer.weight])
    per_epoch = -(-len(trees) // cfg.batch)
    steps, step = cfg.epochs * per_epoch, 0
    if kept := resume(context):
        step, state = kept
        branch.restore(state["branch"])
        head.restore(state["head"])
    clock = CheckpointTimer(cfg.checkpoint_seconds)
    while step < steps:
        epoch, at = divmod(step, per_epoch)
        order = epoch_order(len(trees), context.seed, epoch)[at * cfg.batch : (at + 1) * cfg.batch]
        loss, accuracy = accumulate(
            scorer, [trees[i] for i in order], [ranks[i] for i in order], cfg.ties, cfg.microbatch_tokens
        )
        rising = min(1.0, (step + 1) / max(cfg.warmup, 1))
        rate = rising * cosine_decay(step, steps, cfg.learning_rate)
        norm = branch.step(rate, cfg.clip_norm)
        head.step(rising * cosine_decay(step, steps, cfg.head_learning_rate), cfg.clip_norm)
        step += 1
        context.log(step, loss=loss, accuracy=accuracy, learning_rate=rate, grad_norm=norm)
        context.progress(step, steps, loss=loss, accuracy=accuracy)
        if clock.due():
            save_checkpoint(context, step, {"branch": branch.state(), "head": head.state()})
    still = scorer.freeze()
    measured = score(still, parts[1], cfg.microbatch_tokens)
    context.summary |= summary(valid, measured, context.seed, "valid")
    if strangers:
        found = score(still, parts[2], cfg.microbatch_tokens)
        context.summary |= summary(strangers, found, context.seed, "held_out_labelers")
    context.summary |= tables(valid, measured)
    bias = -mean_of_demonstrations(still, cfg, tokenizer, context) if cfg.demonstrations else 0.0
    with torch.no_grad():
        scorer.bias.fill_(bias)
    checkpoints.save_scorer(scorer, context.path("model"), cfg.policy)
    agreement = json.loads((cfg.comparisons / "summary.json").read_text(encoding="utf-8"))
    context.summary |= {
        k: agreement[k] for k in ("agreement", "agreement_low", "agreement_high") if k in agreement
    }
    pairs = sum(pair_count(group) for group in ranks)
    context.summary |= {"rankings": len(train), "pairs": pairs, "bias": bias, "steps": steps}


def alike(rows: Sequence[Comparison]) -> list[list[Comparison]]:
    """Rankings of the same answers to the same prompt by several labelers, together: they share one forward and one batch element."""
    found: dict[tuple[Any, ...], list[Comparison]] = {}
    for row in rows:
        found.setdefault((row.prompt.id, row.answers), []).append(row)
    return list(found.values())


def refuse(
    context: StageContext,
    train: Sequence[Comparison],
    valid: Sequence[Comparison],
    strangers: Sequence[Comparison],
) -> None:
    """Refuse data that cannot train or measure anything."""
    wrong = []
    if not any(len(set(row.ranks)) > 1 for row in train):
        wrong.append("comparisons: no ranking on a prompt of the split train prefers one answer to another")
    if not any(len(set(row.ranks)) > 1 for row in valid):
        wrong.append("comparisons: no ranking on a prompt of the split valid prefers one answer to another")
    both = {row.labeler for row in train} & {row.labeler for row in strangers}
    if both:
        wrong.append(f"held_out: labelers {', '.join(sorted(both))} also gave training data")
    if wrong:
        raise UserError([f"[{context.key}] {line}" for line in wrong])


def trees_of(rows: Sequence[Comparison], tokenizer: Any, cfg: Config, context: StageContext) -> list[Tree]:
    """A ranking as a tree: the prompt once, then its K answers. An empty answer is its end-of-sequence token."""
    wrong: list[str] = []
    trees = []
    for row in rows:
        answers = tuple(answer_ids(tokenizer, a) or (int(tokenizer.eos_token_id),) for a in row.answers)
        room = checkpoints.context_length(cfg.policy) - max(map(len, answers))
        trees.append(Tree(prompt_ids(tokenizer, row.prompt.messages, room, row.prompt.id, wrong), answers))
    if wrong:
        raise UserError([f"[{context.key}] {line}" for line in wrong])
    return trees


def accumulate(
    scorer: Scorer,
    trees: Sequence[Tree],
    ranks: Sequence[Sequence[Sequence[int]]],
    ties: losses.Ties,
    tokens: int,
) -> tuple[float, float]:
    """Add the gradient of the mean loss over these prompts, each the mean over its rankings; returns that mean and the share of pairs ordered
    as labelled."""
    total, right, pairs = 0.0, 0.0, 0
    for held, packed in microbatches(trees, tokens):
        parts = scorer.scores(packed).split([len(trees[i].answers) for i in held])
        each = [
            losses.ranking(part.repeat(len(ranks[i])), ranks[i], ties) / len(ranks[i])
            for part, i in zip(parts, held, strict=True)
        ]
        loss = torch.stack(each).sum() / len(trees)
        loss.backward()
        total += loss.item()
        for part, i in zip(parts, held, strict=True):
            margins = np.concatenate([pair_margins(part.detach().cpu().numpy(), own) for own in ranks[i]])
            right, pairs = right + float(((margins > 0) + 0.5 * (margins == 0)).sum()), pairs + len(margins)
    if not np.isfinite(total):
        raise UserError(f"the loss is {total}; lower learning_rate")
    return total, right / max(pairs, 1)


def split_like(scores: torch.Tensor, sizes: Sequence[int]) -> list[np.ndarray[Any, Any]]:
    """Flat scores (A,) as one array per ranking of `sizes` answers."""
    return [part.numpy() for part in scores.cpu().split(list(sizes))]


def pair_margins(scores: np.ndarray[Any, Any], ranks: Sequence[int]) -> np.ndarray[Any, Any]:
    """Score of the better minus score of the worse answer, for every untied pair of one ranking."""
    return np.array(
        [scores[i] - scores[j] for i, a in enumerate(ranks) for j, b in enumerate(ranks) if a < b]
    )


def pair_count(ranks: Sequence[Sequence[int]]) -> int:
    """Untied pairs in these rankings."""
    return sum(a < b for r in ranks for a in r for b in r)


@torch.no_grad()
def score(scorer: Scorer, trees: Sequence[Tree], tokens: int) -> list[np.ndarray[Any, Any]]:
    """Each tree's scores; equal trees go through the network once."""
    own = {(tree.prompt, tree.answers): tree for tree in trees}
    found: list[np.ndarray[Any, Any]] = []
    for held, packed in microbatches(list(own.values()), tokens):
        found += split_like(scorer.scores(packed), [len(list(own.values())[i].answers) for i in held])
    by_tree = dict(zip(own, found, strict=True))
    return [by_tree[(tree.prompt, tree.answers)] for tree in trees]


def summary(
    rows: Sequence[Comparison], scores: Sequence[np.ndarray[Any, Any]], seed: int, name: str
) -> dict[str, float]:
    """Accuracy on untied pairs with a 95 % interval by bootstrap over prompts: pairs of one prompt are not independent."""
    by_prompt: dict[str, list[np.ndarray[Any, Any]]] = {}
    for row, own in zip(rows, scores, strict=True):
        by_prompt.setdefault(row.prompt.id, []).append(pair_margins(own, row.ranks))
    joined = [np.concatenate(parts) for parts in by_prompt.values()]
    right = np.array([((m > 0) + 0.5 * (m == 0)).sum() for m in joined])
    pairs = np.array([len(m) for m in joined])
    drawn = np.random.default_rng(seed).integers(0, len(joined), size=(2000, len(joined)))
    shares = right[drawn].sum(axis=1) / np.maximum(pairs[drawn].sum(axis=1), 1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return {
        f"accuracy_{name}": float(right.sum() / pairs.sum()),
        f"accuracy_{name}_low": float(low),
        f"accuracy_{name}_high": float(high),
        f"pairs_{name}": int(pairs.sum()),
        f"loss_{name}": float(np.mean(np.log1p(np.exp(-np.concatenate(joined))))),
    }


def tables(rows: Sequence[Comparison], scores: Sequence[np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Accuracy against margin, calibration of σ(margin), and the correlation of score and length within a prompt."""
    margins = np.concatenate([pair_margins(s, row.ranks) for s, row in zip(scores, rows, strict=True)])
    size = np.abs(margins)
    edges = np.quantile(size, np.linspace(0, 1, 6))
    by_margin, calibration = [], []
    for low, high in itertools.pairwise(edges):
        inside = (size >= low) & (size <= high)
        right = float((margins[inside] > 0).mean()) if inside.any() else float("nan")
        by_margin.append(
            {"margin": float(size[inside].mean()), "accuracy": right, "pairs": int(inside.sum())}
        )
        predicted = float((1 / (1 + np.exp(-size[inside]))).mean())
        calibration.append({"predicted": predicted, "observed": right, "pairs": int(inside.sum())})
    centred = np.concatenate([s - s.mean() for s in scores])
    lengths = [np.array([len(a.tokens or a.text.split()) for a in row.answers], dtype=float) for row in rows]
    length = np.concatenate([n - n.mean() for n in lengths])
    spread = float(centred.std() * length.std())
    return {
        "accuracy_by_margin": by_margin,
        "calibration": calibration,
        "length_correlation": float((centred * length).mean() / spread) if spread else 0.0,
        "score_std": float(np.concatenate(list(scores)).std()),
    }


def mean_of_demonstrations(scorer: Scorer, cfg: Config, tokenizer: Any, context: StageContext) -> float:
    """What demonstrations score on average before the bias (3.5)."""
    assert cfg.demonstrations is not None
    rows = jsonl.read(cfg.demonstrations / "demonstrations.jsonl", Demonstration)
    wrong: list[str] = []
    room = checkpoints.context_length(cfg.policy)
    trees = []
    for row in rows:
        answer = answer_ids(tokenizer, row.answer)
        trees.append(
            Tree(
                prompt_ids(tokenizer, row.prompt.messages, room - len(answer), row.prompt.id, wrong),
                (answer,),
            )
        )
    if wrong:
        raise UserError([f"[{context.key}] demonstrations: {line}" for line in wrong])
    return float(np.mean(np.concatenate(score(scorer, trees, cfg.microbatch_tokens))))
