"""A classifier: a scorer branch trained to tell yes from no, e.g. whether an answer is true or a text toxic.

policy + JSONL files with a text and a label -> a scorer folder with classifier.json, which [measure.benchmarks] uses as a judge. The label is true or false, 1 or 0, or
a share between. As the GPT-judge of TruthfulQA (Lin et al. 2022, 2.3), but small and trained here. Rows of one `group`, e.g. one question, are in one split only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from scipy import stats

from biddable.learn.training import (
    CheckpointTimer,
    Optimizer,
    cache_trunk_outputs,
    cosine_decay,
    derive_seed,
    epoch_order,
    microbatches,
    resume,
    save_checkpoint,
)
from biddable.model import checkpoints, classifier
from biddable.model.packing import Tree
from biddable.model.trunk import Scorer, scorer_from
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext


class Config(Settings):
    runtime_settings = frozenset({"checkpoint_seconds"})
    renamed: ClassVar[dict[str, str]] = {"longest": "max_tokens"}
    policy: Input = Path("learn.start")
    """The model it starts from."""
    files: tuple[Input, ...] = (Path("examples/judgements.jsonl"),)
    """JSONL files (also gzipped), one example a line."""
    text: str | tuple[str, ...] = "Q: {question}\nA: {answer}\nTrue:"
    """How a line becomes text: names of its keys in braces, dots for keys within keys. Several: a line has several texts, read alike."""
    label: str | tuple[str, ...] = "label"
    """For each of `text`, the key of its label: true or false, or a number from 0 to 1. Texts without one are left out."""
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
    """Peak for the branch, decaying along a cosine to a tenth."""
    head_learning_rate: float = Field(default=1e-3, gt=0)
    """Peak for the scalar head, which starts from random numbers."""
    clip_norm: float = Field(default=1.0, gt=0)
    """The gradient is scaled down to this length."""
    microbatch_tokens: int = Field(default=4096, ge=64)
    """Tokens per forward."""
    trunk_cache_gb: float = Field(default=2.0, ge=0)
    """Memory for trunk outputs kept over epochs, in GB."""
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    """Time between checkpoints."""


def run(cfg: Config, context: StageContext) -> None:
    templates, keys = classifier.as_tuple(cfg.text), classifier.as_tuple(cfg.label)
    if wrong := classifier.paired_settings(templates, keys, context.key):
        raise UserError(wrong)
    held = classifier.examples(cfg.files, templates, keys, cfg.group, context.key)
    found = [one for own in held.values() for one in own]
    kept = [classifier.is_held_out(one.group, cfg.valid_share) for one in found]
    valid, train = [i for i, out in enumerate(kept) if out], [i for i, out in enumerate(kept) if not out]
    valid = sorted(valid[i] for i in epoch_order(len(valid), context.seed, -2)[: cfg.valid_limit])
    train = sorted(train[i] for i in epoch_order(len(train), context.seed, -1)[: cfg.limit])
    if not train or len({found[i].label >= 0.5 for i in valid}) < 2:
        raise UserError(
            f"[{context.key}] files: {len(train)} texts to train and {len(valid)} to measure, which must hold both labels; give more"
        )
    tokenizer = checkpoints.tokenizer(cfg.policy)
    trees = [classifier.tree(tokenizer, one.text, cfg.max_tokens) for one in found]
    labels = np.array([one.label for one in found])
    policy = checkpoints.load_policy(cfg.policy)
    scorer = scorer_from(policy, torch.Generator().manual_seed(derive_seed("head", context.seed)))
    kept_trees = cache_trunk_outputs(policy.trunk, [trees[i] for i in train], cfg.trunk_cache_gb, context)
    del policy
    fit(cfg, context, scorer, kept_trees, labels[train])
    told = classifier.scores(scorer.freeze(), [trees[i] for i in valid], cfg.microbatch_tokens)
    low, high = interval((told > 0) == (labels[valid] >= 0.5), [found[i].group for i in valid], context.seed)
    context.summary |= measured(told, labels[valid]) | {"accuracy_low": low, "accuracy_high": high}
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


def fit(
    cfg: Config, context: StageContext, scorer: Scorer, trees: list[Tree], labels: np.ndarray[Any, Any]
) -> None:
    """Minimise the mean cross-entropy of σ(score) and label."""
    branch, head = Optimizer(scorer.branch.parameters()), Optimizer([scorer.weight, scorer.bias])
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
        total = 0.0
        for own, packed in microbatches([trees[i] for i in order], cfg.microbatch_tokens):
            target = torch.tensor(
                [labels[order[i]] for i in own], dtype=torch.float32, device=packed.tokens.device
            )
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                scorer.scores(packed), target, reduction="sum"
            )
            (loss / len(order)).backward()
            total += loss.item() / len(order)
        if not np.isfinite(total):
            raise UserError(f"[{context.key}] the loss is {total}; lower learning_rate")
        rate = cosine_decay(step, steps, cfg.learning_rate)
        norm = branch.step(rate, cfg.clip_norm)
        head.step(cosine_decay(step, steps, cfg.head_learning_rate), cfg.clip_norm)
        step += 1
        context.log(step, loss=total, learning_rate=rate, grad_norm=norm)
        context.progress(step, steps, loss=total)
        if clock.due():
            save_checkpoint(context, step, {"branch": branch.state(), "head": head.state()})


def measured(scores: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> dict[str, float]:
    """How well scores (log odds) tell labels: accuracy at one half, area under the ROC curve, loss, and correlations where labels are shares."""
    yes = labels >= 0.5
    found = {
        "accuracy": float(((scores > 0) == yes).mean()),
        "balanced_accuracy": float(((scores > 0)[yes].mean() + (scores <= 0)[~yes].mean()) / 2),
        "auc": classifier.roc_auc(scores, labels),
        "loss": float(np.mean(np.logaddexp(0, scores) - labels * scores)),
        "positive": float(yes.mean()),
        "majority": float(max(yes.mean(), 1 - yes.mean())),
    }
    if len(set(labels.tolist())) > 2:
        found["pearson"] = float(stats.pearsonr(1 / (1 + np.exp(-scores)), labels).statistic)
        found["spearman"] = float(stats.spearmanr(scores, labels).statistic)
    return found


def interval(right: np.ndarray[Any, Any], groups: list[str], seed: int) -> tuple[float, float]:
    """95 % interval of the share told right, by a bootstrap over groups: judgements of one question are no independent witnesses."""
    _, codes = np.unique(groups, return_inverse=True)
    held = np.stack([np.bincount(codes, weights=right), np.bincount(codes)], axis=1)  # (groups, 2)
    drawn = (
        np.random.default_rng(seed).multinomial(len(held), np.full(len(held), 1 / len(held)), size=2000)
        @ held
    )
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return float(low), float(high)
