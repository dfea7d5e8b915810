"""A classifier: a scorer branch trained to tell yes from no, e.g. whether an answer is true or a text toxic.

policy + JSONL files with a text and a label -> a scorer folder with classifier.json, which
[measure.benchmarks] uses as a judge. The label is true or false, 1 or 0, or a share between. As the GPT-judge
of TruthfulQA (Lin et al. 2022, 2.3), but small and trained here. Rows of one `group`, e.g. one question, are
in one split only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from scipy import stats

from biddable.learn.batches import cache_trunk_outputs, microbatches
from biddable.learn.optimizer import OptimizerSettings
from biddable.learn.training import batches_per_epoch, derive_seed, epoch_order, epochs
from biddable.model import checkpoints, classifier
from biddable.model.packing import Tree
from biddable.model.trunk import Scorer, scorer_from
from biddable.run.config import Input, UserError
from biddable.run.context import StageContext

RESAMPLES = 2000


class Config(OptimizerSettings):
    runtime_settings = frozenset({"checkpoint_seconds", "checkpoint_share"})
    renamed: ClassVar[dict[str, str]] = {"longest": "max_tokens"}
    policy: Input = Path("learn.start")
    """The model it starts from."""
    files: tuple[Input, ...] = (Path("examples/judgements.jsonl"),)
    """JSONL files (also gzipped), one example a line."""
    text: str | tuple[str, ...] = "Q: {question}\nA: {answer}\nTrue:"
    """How a line becomes text: names of its keys in braces, dots for keys within keys. Several: a line has
    several texts, read alike."""
    label: str | tuple[str, ...] = "label"
    """For each of `text`, the key of its label: true or false, or a number from 0 to 1. Texts without one are
    left out."""
    group: str | None = "question"
    """The key whose equal values stay in one split; none: every line by itself."""
    valid_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of groups kept to measure."""
    limit: int | None = Field(default=None, ge=2)
    """Training texts at most; none: all."""
    valid_limit: int | None = Field(default=None, ge=2)
    """Texts measured at most; none: all that were kept for it."""
    max_tokens: int = Field(default=256, ge=1)
    """Tokens of a text at most; the beginning of a longer one is cut off."""
    epochs: int = Field(default=2, ge=1)
    """Passes over the examples."""
    batch: int = Field(default=32, ge=1)
    """Examples per update."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Peak for the branch."""
    head_learning_rate: float = Field(default=1e-3, gt=0)
    """Peak for the scalar head, which starts from random numbers."""
    microbatch_tokens: int = Field(default=4096, ge=64)
    """Tokens per forward."""
    trunk_cache_gb: float = Field(default=2.0, ge=0)
    """Memory for trunk outputs kept over epochs, in GB."""
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    """Time between checkpoints."""


def run(cfg: Config, context: StageContext) -> None:
    templates, keys = classifier.as_tuple(cfg.text), classifier.as_tuple(cfg.label)
    if errors := classifier.paired_settings(templates, keys, context.key):
        raise UserError(errors)
    by_file = classifier.examples(cfg.files, templates, keys, cfg.group, context.key)
    examples = [example for part in by_file.values() for example in part]
    train, valid = split_examples(cfg, examples, context)
    tokenizer = checkpoints.tokenizer(cfg.policy)
    trees = [classifier.tree(tokenizer, example.text, cfg.max_tokens) for example in examples]
    labels = np.array([example.label for example in examples])
    policy = checkpoints.load_policy(cfg.policy)
    scorer = scorer_from(policy, torch.Generator().manual_seed(derive_seed("head", context.seed)))
    scorer.branch.checkpointing = cfg.gradient_checkpointing
    train_trees = cache_trunk_outputs(
        policy.trunk, [trees[i] for i in train], cfg.trunk_cache_gb, cfg.microbatch_tokens, context
    )
    del policy  # its branch was copied: memory
    fit(cfg, context, scorer, train_trees, labels[train])
    scores = classifier.scores(scorer.freeze(), [trees[i] for i in valid], cfg.microbatch_tokens)
    correct = (scores > 0) == (labels[valid] >= 0.5)
    low, high = accuracy_interval(correct, [examples[i].group for i in valid], context.seed)
    context.summary |= measures(scores, labels[valid]) | {"accuracy_low": low, "accuracy_high": high}
    context.summary |= {"train": len(train), "valid": len(valid)}
    checkpoints.save_scorer(scorer, context.path("model"), cfg.policy)
    facts = {
        "text": templates[0],
        "longest": cfg.max_tokens,
        "label": keys[0],
        "group": cfg.group,
        "valid_share": cfg.valid_share,
    }
    context.path(classifier.FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def split_examples(
    cfg: Config, examples: Sequence[classifier.Example], context: StageContext
) -> tuple[list[int], list[int]]:
    """Indices of the examples that train and of those that measure, at most `limit` and `valid_limit` of
    them, drawn at random.

    A group's name alone decides its split: two answers to one question are never on both sides, and more data
    moves nothing. Raises UserError when there is nothing to train on, or only one label to measure on.
    """
    held_out = [classifier.is_held_out(example.group, cfg.valid_share) for example in examples]
    train = [i for i, out in enumerate(held_out) if not out]
    valid = [i for i, out in enumerate(held_out) if out]
    valid = sorted(valid[i] for i in epoch_order(len(valid), context.seed, -2)[: cfg.valid_limit])
    train = sorted(train[i] for i in epoch_order(len(train), context.seed, -1)[: cfg.limit])
    if not train or len({examples[i].label >= 0.5 for i in valid}) < 2:
        raise UserError(
            f"[{context.key}] files: {len(train)} texts to train and {len(valid)} to measure, which must "
            "hold both "
            "labels; give more"
        )
    return train, valid


def fit(
    cfg: Config,
    context: StageContext,
    scorer: Scorer,
    trees: Sequence[Tree],
    labels: np.ndarray[Any, Any],
) -> None:
    """Minimise the mean cross-entropy of σ(score) and label. The bias trains with the head: there is no pair
    in which it cancels."""
    branch = cfg.adamw(scorer.branch.parameters())
    head = cfg.adamw([scorer.weight, scorer.bias], weight_decay=0.0)
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
        loss = accumulate_gradient(scorer, [trees[i] for i in batch], labels[batch], cfg.microbatch_tokens)
        if not np.isfinite(loss):
            raise UserError(f"[{context.key}] the loss is {loss}; lower learning_rate")
        rate = cfg.rate_at(step, steps, cfg.learning_rate)
        norm = branch.step(rate, cfg.clip_norm)
        head.step(cfg.rate_at(step, steps, cfg.head_learning_rate), cfg.clip_norm)
        context.log(step + 1, loss=loss, learning_rate=rate, grad_norm=norm)
        context.progress(step + 1, steps, loss=loss)


def accumulate_gradient(
    scorer: Scorer, trees: Sequence[Tree], labels: np.ndarray[Any, Any], tokens: int
) -> float:
    """Add the gradient of the mean cross-entropy over these texts; returns that mean in nats. Labels may be
    shares between 0 and 1."""
    total = 0.0
    for indices, packed in microbatches(trees, tokens):
        target = torch.tensor(labels[indices], dtype=torch.float32, device=packed.tokens.device)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            scorer.scores(packed), target, reduction="sum"
        )
        (loss / len(trees)).backward()
        total += loss.item() / len(trees)
    return total


def measures(scores: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> dict[str, float]:
    """How well scores (log odds) tell labels: accuracy at one half, area under the ROC curve, loss, and
    correlations where labels are shares."""
    yes = labels >= 0.5
    numbers = {
        "accuracy": float(((scores > 0) == yes).mean()),
        "balanced_accuracy": float(((scores > 0)[yes].mean() + (scores <= 0)[~yes].mean()) / 2),
        "auc": classifier.roc_auc(scores, labels),
        # -label log σ(s) - (1 - label) log(1 - σ(s)) = log(1 + exp s) - label s
        "loss": float(np.mean(np.logaddexp(0, scores) - labels * scores)),
        "positive": float(yes.mean()),
        "majority": float(max(yes.mean(), 1 - yes.mean())),
    }
    if len(set(labels.tolist())) > 2:
        numbers["pearson"] = float(stats.pearsonr(np.exp(-np.logaddexp(0, -scores)), labels).statistic)
        numbers["spearman"] = float(stats.spearmanr(scores, labels).statistic)
    return numbers


def accuracy_interval(correct: np.ndarray[Any, Any], groups: Sequence[str], seed: int) -> tuple[float, float]:
    """95 % interval of the share that is correct, by a bootstrap over groups: judgements of one question are
    no independent witnesses."""
    _, codes = np.unique(groups, return_inverse=True)
    totals = np.stack([np.bincount(codes, weights=correct), np.bincount(codes)], axis=1)  # (groups, 2)
    # how often each group is drawn: (RESAMPLES, groups)
    draws = np.random.default_rng(seed).multinomial(
        len(totals), np.full(len(totals), 1 / len(totals)), size=RESAMPLES
    )
    resampled = draws @ totals
    low, high = np.quantile(resampled[:, 0] / resampled[:, 1], [0.025, 0.975])
    return float(low), float(high)
