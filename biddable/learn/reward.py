"""The reward model: a scorer trained on rankings of K answers (Ouyang et al. 2022, 3.5 and C.2).

policy + comparisons (+ demonstrations) -> a scorer folder. It starts from the SFT model with a new scalar
head. All rankings of one prompt's K answers are one batch element: their C(K, 2) pairs together with weight
1/C(K, 2), each answer through the network once, the prompt's part shared by its K answers. One epoch. In the
end a bias is set so that demonstrations score 0 on average. Accuracy is measured on prompts and on labelers
that were not trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from biddable.learn import losses
from biddable.learn.batches import (
    cache_trunk_outputs,
    in_order,
    microbatches,
    split_answers,
)
from biddable.learn.lengths import LengthSettings, PromptLimits
from biddable.learn.negatives import draw_negatives, off_topic_summary
from biddable.learn.optimizer import OptimizerSettings
from biddable.learn.reward_accuracy import accuracy_summary, accuracy_tables, count_in_order, pair_margins
from biddable.learn.training import batches_per_epoch, derive_seed, epochs
from biddable.learn.tree_store import TreeStore
from biddable.model import checkpoints
from biddable.model.encoding import answer_ids
from biddable.model.packing import Tree, pack
from biddable.model.trunk import Scorer, scorer_from
from biddable.run import jsonl
from biddable.run.config import Input, UserError
from biddable.run.context import StageContext
from biddable.run.manifest import read_summary
from biddable.run.records import Answer, Comparison, Demonstration


class Config(OptimizerSettings, LengthSettings):
    runtime_settings = frozenset({"checkpoint_seconds", "checkpoint_share"})
    renamed: ClassVar[dict[str, str]] = {"head_deviation": "head_std"}
    left_out: ClassVar[tuple[str, ...]] = ("demonstrations",)
    policy: Input = Path("learn.sft")
    """The model it starts from (3.5: the SFT model)."""
    comparisons: Input = Path("label.comparisons")
    """Rankings: those on prompts of the split `train` train, those of `valid` measure."""
    demonstrations: Input | None = Path("label.demonstrations")
    """Whose mean score becomes 0; none: no bias. May be left out where the run has no such table."""
    held_out: Input | None = None
    """Rankings by labelers who gave no training data, to measure; only those on prompts of the split `valid`
    count."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the rankings (C.2: 1; more overfit quickly)."""
    batch: int = Field(default=64, ge=1)
    """Prompts per update, each with all the rankings its answers got (C.2: 64 distinct prompts)."""
    learning_rate: float = Field(default=9e-6, gt=0)
    """Peak for the branch (C.2: 9e-6)."""
    head_learning_rate: float = Field(default=9e-6, gt=0)
    """Peak for the scalar head, which starts from random numbers and may want more."""
    head_std: float | None = Field(default=None, gt=0)
    """Standard deviation of the new head's weights; none: 1/sqrt(d + 1) (Stiennon et al. 2020, code). Less,
    where final states are large."""
    ties: losses.Ties = "drop"
    """What ties do: `drop` (C.2), or `even`: a target of one half (Menick et al. 2022, 2.8)."""
    loss: Literal["pairs", "softmax"] = "pairs"
    """`pairs`: all pairs of a ranking (Ouyang et al. 2022); `softmax`: the choice of the best among the shown
    answers and `negatives`, with the two terms below (Glaese et al. 2022)."""
    negatives: int = Field(default=0, ge=0)
    """With `softmax`: answers to other dialogues beside each ranking, which must lose. The paper has some."""
    elo_weight: float = Field(default=1.0, ge=0)
    """With `softmax`: weight of the pairs of the best answer and each other shown one."""
    centre_weight: float = Field(default=0.01, ge=0)
    """With `softmax`: weight of what holds the scores around 0."""
    centre_form: losses.Centre = "mean_squared"
    """Which of two forms that has: `mean_squared`, or `sum_of_squares`, which also pulls scores together."""
    off_topic_each: int = Field(default=0, ge=0)
    """Answers to other dialogues that each prompt of the split `valid` is measured with: how often they score
    below all shown ones."""
    microbatch_tokens: int = Field(default=1024, ge=64)
    """Tokens per forward: less memory, same result. A longer ranking is run twice, a part at a time."""
    trunk_cache_gb: float = Field(default=2.0, ge=0)
    """Memory for trunk outputs kept over epochs and measurements, in GB."""
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    """Time between checkpoints."""


def run(cfg: Config, context: StageContext) -> None:
    policy = checkpoints.load_policy(cfg.policy)
    tokenizer = checkpoints.tokenizer(cfg.policy)
    generator = torch.Generator().manual_seed(derive_seed("head", context.seed))
    scorer = scorer_from(policy, generator, cfg.head_std)
    scorer.branch.checkpointing = cfg.gradient_checkpointing
    limits = PromptLimits(cfg, tokenizer, checkpoints.context_length(cfg.policy))
    train, valid, held_out = (fitting_rankings(rows, tokenizer, limits) for rows in read_rankings(cfg))
    if limits.errors:
        raise UserError([f"[{context.key}] {line}" for line in limits.errors])
    context.summary |= limits.summary()
    check_rankings(context, train, valid, held_out)
    groups = group_rankings(train)
    ranks = [[row.ranks for row in group] for group in groups]
    if cfg.negatives and cfg.loss == "pairs":
        raise UserError(f'[{context.key}] negatives = {cfg.negatives}: only loss = "softmax" has them')
    firsts = [group[0] for group in groups]
    negatives = draw_negatives(firsts, cfg.negatives, context.seed)
    trees = comparison_trees(firsts, tokenizer, cfg, context, negatives)
    valid_trees, held_out_trees = (comparison_trees(p, tokenizer, cfg, context) for p in (valid, held_out))
    trees = cache_trunk_outputs(policy.trunk, trees, cfg.trunk_cache_gb, cfg.microbatch_tokens, context)
    del policy  # its branch was copied: memory
    steps = fit(cfg, context, scorer, trees, ranks)
    frozen = scorer.freeze()
    scores = score_trees(frozen, valid_trees, cfg.microbatch_tokens, context)
    context.summary |= accuracy_summary(valid, scores, "valid")
    if held_out:
        held_out_scores = score_trees(frozen, held_out_trees, cfg.microbatch_tokens, context)
        context.summary |= accuracy_summary(held_out, held_out_scores, "held_out_labelers")
    context.summary |= accuracy_tables(valid, scores)
    off_topic = draw_negatives(valid, cfg.off_topic_each, context.seed)
    if cfg.off_topic_each:
        with_negatives = comparison_trees(valid, tokenizer, cfg, context, off_topic)
        context.summary |= off_topic_summary(
            valid, score_trees(frozen, with_negatives, cfg.microbatch_tokens, context)
        )
    # A constant changes no comparison; it gives the number a meaning: a demonstration scores 0 on average
    # (3.5).
    bias = scorer.bias.item()
    if cfg.demonstrations:
        bias -= demonstration_mean(frozen, cfg, tokenizer, context)
    with torch.no_grad():
        scorer.bias.fill_(bias)
    checkpoints.save_scorer(scorer, context.path("model"), cfg.policy)
    agreement = read_summary(cfg.comparisons) if (cfg.comparisons / "summary.json").is_file() else {}
    context.summary |= {
        k: agreement[k] for k in ("agreement", "agreement_low", "agreement_high") if k in agreement
    }
    pairs = sum(len(losses.drop_ties(row.ranks)) for row in train)
    context.summary |= {"rankings": len(train), "pairs": pairs, "bias": bias, "steps": steps}


def fit(
    cfg: Config,
    context: StageContext,
    scorer: Scorer,
    trees: Sequence[Tree],
    ranks: Sequence[Sequence[Sequence[int]]],
) -> int:
    """Minimise the loss; returns the number of updates. With `pairs` the bias doesn't train: it cancels in
    every pair."""
    weights = None
    if cfg.loss == "softmax":
        weights = losses.PreferenceWeights(cfg.elo_weight, cfg.centre_weight, cfg.centre_form)
    branch = cfg.adamw(scorer.branch.parameters())
    head = cfg.adamw([scorer.weight] if weights is None else [scorer.weight, scorer.bias], weight_decay=0.0)
    steps = cfg.epochs * batches_per_epoch(len(trees), cfg.batch)
    for step, batch in epochs(
        context,
        len(trees),
        cfg.batch,
        cfg.epochs,
        {"branch": branch, "head": head},
        cfg.checkpoint_seconds,
        cfg.checkpoint_share,
    ):
        loss, accuracy = accumulate_gradient(
            scorer,
            [trees[i] for i in batch],
            [ranks[i] for i in batch],
            cfg.ties,
            cfg.microbatch_tokens,
            weights,
        )
        rate = cfg.rate_at(step, steps, cfg.learning_rate)
        norm = branch.step(rate, cfg.clip_norm)
        head.step(cfg.rate_at(step, steps, cfg.head_learning_rate), cfg.clip_norm)
        context.log(step + 1, loss=loss, accuracy=accuracy, learning_rate=rate, grad_norm=norm)
        context.progress(step + 1, steps, loss=loss, accuracy=accuracy)
    return steps


def accumulate_gradient(
    scorer: Scorer,
    trees: Sequence[Tree],
    ranks: Sequence[Sequence[Sequence[int]]],
    ties: losses.Ties,
    tokens: int,
    weights: losses.PreferenceWeights | None = None,
) -> tuple[float, float]:
    """Add the gradient of the mean loss over these prompts, each the mean over its rankings; returns that
    mean and the share of pairs scored in the labelled order. `ranks[p]` holds every labeler's ranking of the
    answers of `trees[p]`; behind them a tree may hold answers to other dialogues. `weights`: the preference
    model's loss in place of all pairs.

    A ranking longer than `tokens` takes two passes: its loss depends on the network through K scores alone,
    so these come first, without a graph, and then each part of its answers is run again and carries its
    scores' gradients back.
    """
    total, ordered, pairs = 0.0, 0.0, 0
    for indices, packed in microbatches(trees, tokens):
        parts = split_answers(trees[indices[0]], tokens) if len(indices) == 1 else []
        if len(parts) > 1:
            with torch.no_grad():
                flat = torch.cat([scorer.scores(pack([part])) for part in parts])
            flat.requires_grad_()
        else:
            flat = scorer.scores(packed)  # (A,)
        by_prompt = flat.split([len(trees[i].answers) for i in indices])
        prompt_losses = [
            prompt_loss(scores, ranks[i], ties, weights) for scores, i in zip(by_prompt, indices, strict=True)
        ]
        loss = torch.stack(prompt_losses).sum() / len(trees)
        loss.backward()
        if len(parts) > 1:
            assert flat.grad is not None
            gradients = flat.grad.split([len(part.answers) for part in parts])
            for part, gradient in zip(parts, gradients, strict=True):
                scorer.scores(pack([part])).backward(gradient)
        total += loss.item()
        for scores, i in zip(by_prompt, indices, strict=True):
            values = scores.detach().cpu().numpy()
            margins = np.concatenate([pair_margins(values, ranking) for ranking in ranks[i]])
            ordered += count_in_order(margins)
            pairs += len(margins)
    if not np.isfinite(total):
        raise UserError(f"the loss is {total}; lower learning_rate")
    return total, ordered / max(pairs, 1)


def prompt_loss(
    scores: torch.Tensor,
    rankings: Sequence[Sequence[int]],
    ties: losses.Ties,
    weights: losses.PreferenceWeights | None,
) -> torch.Tensor:
    """One prompt's loss, the mean over its rankings."""
    if weights is not None:
        return losses.preference_loss(scores, rankings, weights, ties)
    return losses.ranking_loss(scores.repeat(len(rankings)), rankings, ties) / len(rankings)


def read_rankings(cfg: Config) -> tuple[list[Comparison], list[Comparison], list[Comparison]]:
    """Rankings to train on, to measure on, and by held-out labelers. A prompt's split decides: no prompt
    trains and measures."""
    rows = jsonl.read(jsonl.find_file(cfg.comparisons, "comparisons.jsonl"), Comparison)
    held_out = (
        jsonl.read(jsonl.find_file(cfg.held_out, "comparisons.jsonl"), Comparison) if cfg.held_out else []
    )
    return (
        [row for row in rows if row.prompt.split == "train"],
        [row for row in rows if row.prompt.split == "valid"],
        [row for row in held_out if row.prompt.split == "valid"],
    )


def check_rankings(
    context: StageContext,
    train: Sequence[Comparison],
    valid: Sequence[Comparison],
    held_out: Sequence[Comparison],
) -> None:
    """Raise UserError for data that cannot train or measure anything."""
    errors = [
        f"comparisons: no ranking on a prompt of the split {split} prefers one answer to another"
        for split, rows in (("train", train), ("valid", valid))
        if not any(losses.drop_ties(row.ranks) for row in rows)
    ]
    shared = {row.labeler for row in train} & {row.labeler for row in held_out}
    if shared:
        errors.append(f"held_out: labelers {', '.join(sorted(shared))} also gave training data")
    if errors:
        raise UserError([f"[{context.key}] {line}" for line in errors])


def group_rankings(rows: Sequence[Comparison]) -> list[list[Comparison]]:
    """Rankings of the same answers to the same prompt by several labelers, together: they share one forward
    and one batch element."""
    groups: dict[tuple[Any, ...], list[Comparison]] = {}
    for row in rows:
        groups.setdefault((row.prompt.id, row.answers), []).append(row)
    return list(groups.values())


def fitting_rankings(rows: Sequence[Comparison], tokenizer: Any, limits: PromptLimits) -> list[Comparison]:
    """The rankings whose prompt has room for the longest answer; others are refused or left out."""
    longest = [max(len(answer_ids(tokenizer, answer)) for answer in row.answers) for row in rows]
    pairs = zip(rows, longest, strict=True)
    return [row for row, length in pairs if limits.encode(row.prompt, max(length, 1)) is not None]


def comparison_trees(
    rows: Sequence[Comparison],
    tokenizer: Any,
    cfg: Config,
    context: StageContext,
    negatives: Sequence[Sequence[Answer]] = (),
) -> Sequence[Tree]:
    """A ranking as a tree: the prompt once, then its K answers, then its negatives if there are any. An empty
    answer is its end-of-sequence token."""
    limits = PromptLimits(cfg, tokenizer, checkpoints.context_length(cfg.policy))
    trees = []
    for number, row in enumerate(rows):
        shown = (*row.answers, *(negatives[number] if negatives else ()))
        answers = tuple(answer_ids(tokenizer, a) or (int(tokenizer.eos_token_id),) for a in shown)
        ids = limits.encode(row.prompt, max(map(len, answers)))
        if ids is None:  # its own answers leave room, see fitting_rankings
            limits.errors.append(f"prompt {row.prompt.id}: no room beside its negatives")
        else:
            trees.append(Tree(ids, answers))
    if limits.errors:
        raise UserError([f"[{context.key}] {line}" for line in limits.errors])
    return TreeStore(trees)


@torch.no_grad()
def score_trees(
    scorer: Scorer, trees: Sequence[Tree], tokens: int, context: StageContext | None = None
) -> list[np.ndarray[Any, Any]]:
    """Each tree's scores (K,); equal trees, as several labelers rank them, go through the network once. With
    `context` its progress shows how many are done: on real data this takes minutes."""
    distinct = {(tree.prompt, tree.answers): tree for tree in trees}
    unique = list(distinct.values())
    parts = []
    measured = 0
    for indices, packed in microbatches(unique, tokens):
        parts.append((indices, scorer.scores(packed).cpu().split([len(unique[i].answers) for i in indices])))
        measured += len(indices)
        if context is not None:
            context.progress(measured, len(unique))
    scores = [part.numpy() for part in in_order(parts, len(unique))]
    by_key = dict(zip(distinct, scores, strict=True))
    return [by_key[(tree.prompt, tree.answers)] for tree in trees]


def demonstration_mean(scorer: Scorer, cfg: Config, tokenizer: Any, context: StageContext) -> float:
    """What demonstrations of all splits score on average before the bias (3.5)."""
    assert cfg.demonstrations is not None
    limits = PromptLimits(cfg, tokenizer, checkpoints.context_length(cfg.policy))
    trees = []
    for row in jsonl.read(jsonl.find_file(cfg.demonstrations, "demonstrations.jsonl"), Demonstration):
        answer = answer_ids(tokenizer, row.answer)
        ids = limits.encode(row.prompt, len(answer))
        if ids is not None:
            trees.append(Tree(ids, (answer,)))
    if limits.errors:
        raise UserError([f"[{context.key}] demonstrations: {line}" for line in limits.errors])
    return float(np.mean(np.concatenate(score_trees(scorer, trees, cfg.microbatch_tokens, context))))
