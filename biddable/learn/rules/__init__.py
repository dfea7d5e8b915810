"""The rule model: one classifier for all rules, conditional on the rule's text (Glaese et al. 2022).

policy + rule checks and files of judged replies -> a rule model's folder. It starts from the policy's own yes
or no to a rule's question behind a dialogue; a dialogue goes through the network once for all its rules.
Measured on replies that were not trained on, and on rules that were not (`held_out_rules`): a team's own
rules are rules it never saw.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import Field

from biddable.learn.batches import cache_trunk_outputs, microbatches
from biddable.learn.optimizer import OptimizerSettings
from biddable.learn.rules.examples import (
    Judged,
    Unsure,
    check_rules,
    judge_checks,
    read_checks,
    read_files,
)
from biddable.learn.rules.measures import rule_summary
from biddable.learn.training import batches_per_epoch, derive_seed, epochs
from biddable.model import checkpoints
from biddable.model.encoding import answer_ids, encode_chat
from biddable.model.packing import Tree
from biddable.model.rule_model import RuleModel, TrainedRule, rule_model_from
from biddable.model.trunk import Scorer
from biddable.run import rules as rulebook
from biddable.run.config import Input, UserError
from biddable.run.context import StageContext


class Config(OptimizerSettings):
    runtime_settings = frozenset({"checkpoint_seconds", "checkpoint_share"})
    policy: Input = Path("learn.sft")
    """The model it starts from."""
    rulechecks: Input | None = Path("label.rulechecks")
    """Rule checks by labelers: those on the split `train` train, those of `valid` measure."""
    files: tuple[Input, ...] = ()
    """JSONL files (also gzipped) of judged replies: {"messages": [...], "response": "...", "rules": [{"id",
    "text", "holds": true}]}, or "broken" in place of "holds"; a "question" and a "split" may stand there."""
    rules: Input | None = None
    """A TOML file of rules with their questions, which rule checks don't hold; none: ours. A rule that is not
    there, or has another text, is asked about in general words."""
    held_out: Input | None = None
    """Rule checks by labelers who gave no training data, to measure; those on the split `train` are left
    out."""
    held_out_rules: tuple[str, ...] = ()
    """Ids of rules that are not trained on, but measured on all replies."""
    unsure: Unsure = "drop"
    """What the level `unsure` does: `drop` (Glaese et al. 2022), or `half`: it trains towards one half."""
    valid_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of dialogues without a split that measure."""
    template: str = "{text} {question} Yes or no?"
    """What is asked behind a dialogue; {text} and {question} are the rule's. Rules and statements without a
    question have a general one."""
    max_tokens: int | None = Field(default=256, ge=16)
    """Tokens of a dialogue that are read; the beginning of a longer one is cut off. none: dialogues that the
    context doesn't hold are refused."""
    rules_each: int = Field(default=8, ge=1)
    """Rules of a reply in an update, drawn anew in every epoch; more cost time."""
    epochs: int = Field(default=4, ge=1)
    """Passes over the replies."""
    batch: int = Field(default=4, ge=1)
    """Replies per update."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Peak for the branch."""
    head_learning_rate: float = Field(default=1e-3, gt=0)
    """Peak for the head, which begins as the language-model head's row of yes less that of no."""
    microbatch_tokens: int = Field(default=2048, ge=64)
    """Tokens per forward."""
    trunk_cache_gb: float = Field(default=2.0, ge=0)
    """Memory for trunk outputs kept over epochs and measurements, in GB."""
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    """Time between checkpoints."""


class Example(NamedTuple):
    """A tree of a reply with some of its rules, and their labels (K,). `dialogue` numbers the replies."""

    tree: Tree
    rules: tuple[TrainedRule, ...]
    labels: tuple[float, ...]
    dialogue: int
    split: str


def run(cfg: Config, context: StageContext) -> None:
    judged = read_judged(cfg, context)
    check_rules(judged, cfg.held_out_rules, context.key)
    policy = checkpoints.load_policy(cfg.policy)
    tokenizer, length = checkpoints.tokenizer(cfg.policy), checkpoints.context_length(cfg.policy)
    model = rule_model_from(policy, tokenizer, length, cfg.template, cfg.max_tokens)
    model.scorer.branch.checkpointing = cfg.gradient_checkpointing
    del policy  # its branch was copied: memory
    examples = build_examples(model, judged, context)
    trees = cache_trunk_outputs(
        model.scorer.trunk,
        [example.tree for example in examples],
        cfg.trunk_cache_gb,
        cfg.microbatch_tokens,
        context,
    )
    examples = [e._replace(tree=split_hidden(tree)) for e, tree in zip(examples, trees, strict=True)]
    train = [
        part
        for example in examples
        if example.split == "train" and (part := without(example, cfg.held_out_rules)) is not None
    ]
    model.rules = tuple(dict.fromkeys(rule for example in train for rule in example.rules))
    context.summary["steps"] = fit(cfg, context, model, train)
    context.summary |= measure(cfg, context, model, examples)
    checkpoints.save_rule_model(model, context.path("model"), cfg.policy)
    context.summary |= {
        "replies": len({example.dialogue for example in train}),
        "judgements": sum(len(example.rules) for example in train),
        "rules": len(model.rules),
    }


def read_judged(cfg: Config, context: StageContext) -> list[Judged]:
    """Everything labelled, from every source; what held-out labelers say gets the split `held_out`. Raises
    UserError when there is no source, or when a labeler is on both sides."""
    if cfg.rulechecks is None and not cfg.files:
        raise UserError(f"[{context.key}] rulechecks and files: both are empty; name one")
    judged = read_files(cfg.files, context.key, cfg.valid_share)
    checks = [] if cfg.rulechecks is None else read_checks(cfg.rulechecks)
    held_out = [] if cfg.held_out is None else read_checks(cfg.held_out)
    shared = {row.labeler for row in checks} & {row.labeler for row in held_out}
    if shared:
        raise UserError(
            f"[{context.key}] held_out: labelers {', '.join(sorted(shared))} also gave training data"
        )
    questions = {(rule.id, rule.text): rule.question for rule in rulebook.load(cfg.rules)}
    judged += judge_checks(checks, cfg.unsure, cfg.valid_share, questions)
    for row in judge_checks(held_out, cfg.unsure, cfg.valid_share, questions):
        if row.split == "valid":
            row.split = "held_out"
            judged.append(row)
    return judged


def build_examples(model: RuleModel, judged: Sequence[Judged], context: StageContext) -> list[Example]:
    """Trees of all replies but those of the split test, each with the rules that it was judged by. Raises
    UserError with a line for every dialogue or rule that does not fit into the model's context."""
    examples = []
    errors: list[str] = []
    for number, row in enumerate(judged):
        if row.split == "test":
            continue
        dialogue = encode_chat(model.tokenizer, row.messages) + answer_ids(model.tokenizer, row.reply)
        rules = tuple(row.labels)
        start = 0
        try:
            for tree in model.trees(dialogue, rules):
                part = rules[start : start + len(tree.answers)]
                start += len(tree.answers)
                labels = tuple(row.label(rule) for rule in part)
                examples.append(Example(tree, part, labels, number, row.split))
        except UserError as error:
            errors += [f"dialogue {row.messages[0].content[:40]!r}: {line}" for line in error.lines]
    if errors:
        raise UserError([f"[{context.key}] {line}" for line in errors])
    return examples


def split_hidden(tree: Tree) -> Tree:
    """The same tree with its trunk outputs in pieces, the dialogue's and each question's."""
    if tree.hidden is None:
        return tree
    pieces = torch.cat(list(tree.hidden)).split([len(tree.prompt), *map(len, tree.answers)])
    return Tree(tree.prompt, tree.answers, tuple(pieces))


def select(example: Example, places: Sequence[int]) -> Example:
    """The example with some of its rules only. Trunk outputs stay right: rules do not see each other."""
    tree = example.tree
    hidden = None if tree.hidden is None else (tree.hidden[0], *(tree.hidden[1 + i] for i in places))
    return example._replace(
        tree=Tree(tree.prompt, tuple(tree.answers[i] for i in places), hidden),
        rules=tuple(example.rules[i] for i in places),
        labels=tuple(example.labels[i] for i in places),
    )


def without(example: Example, held_out_rules: Sequence[str]) -> Example | None:
    """The example without rules that are held out; None when no rule is left."""
    places = [i for i, rule in enumerate(example.rules) if rule.id not in held_out_rules]
    return select(example, places) if places else None


def fit(cfg: Config, context: StageContext, model: RuleModel, train: Sequence[Example]) -> int:
    """Minimise the mean cross-entropy of broken or kept; returns the number of updates."""
    scorer = model.scorer
    branch = cfg.adamw(scorer.branch.parameters())
    head = cfg.adamw([scorer.weight, scorer.bias], weight_decay=0.0)
    per_epoch = batches_per_epoch(len(train), cfg.batch)
    steps = cfg.epochs * per_epoch
    for step, batch in epochs(
        context,
        len(train),
        cfg.batch,
        cfg.epochs,
        {"branch": branch, "head": head},
        cfg.checkpoint_seconds,
        cfg.checkpoint_share,
    ):
        drawn = [draw_rules(train[i], cfg.rules_each, context.seed, step // per_epoch, i) for i in batch]
        loss = accumulate_gradient(model, drawn, cfg.microbatch_tokens)
        if not np.isfinite(loss):
            raise UserError(f"[{context.key}] the loss is {loss}; lower learning_rate")
        rate = cfg.rate_at(step, steps, cfg.learning_rate)
        norm = branch.step(rate, cfg.clip_norm)
        head.step(cfg.rate_at(step, steps, cfg.head_learning_rate), cfg.clip_norm)
        context.log(step + 1, loss=loss, learning_rate=rate, grad_norm=norm)
        context.progress(step + 1, steps, loss=loss)
    return steps


def draw_rules(example: Example, count: int, *key: object) -> Example:
    """Some of an example's rules, by a seed that depends on the place in the work only: a resumed epoch draws
    the same."""
    if len(example.rules) <= count:
        return example
    draw = random.Random(derive_seed("rules", *key))
    return select(example, sorted(draw.sample(range(len(example.rules)), count)))


def accumulate_gradient(model: RuleModel, examples: Sequence[Example], tokens: int) -> float:
    """Add the gradient of the mean cross-entropy over all judgements of these examples; returns that mean in
    nats. Labels may be shares between 0 and 1."""
    count = sum(len(example.labels) for example in examples)
    total = 0.0
    for indices, packed in microbatches([example.tree for example in examples], tokens):
        labels = [label for i in indices for label in examples[i].labels]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            model.scorer.scores(packed),
            torch.tensor(labels, dtype=torch.float32, device=packed.tokens.device),
            reduction="sum",
        )
        (loss / count).backward()
        total += loss.item() / count
    return total


def measure(
    cfg: Config, context: StageContext, model: RuleModel, examples: Sequence[Example]
) -> dict[str, Any]:
    """Measures on replies that were not trained on, on what held-out labelers say of them, and on rules that
    were not trained on (all replies but held-out labelers')."""
    rules = cfg.held_out_rules
    groups = {
        "valid": [p for e in examples if e.split == "valid" and (p := without(e, rules))],
        "held_out_labelers": [p for e in examples if e.split == "held_out" and (p := without(e, rules))],
        "held_out_rules": [p for e in examples if e.split != "held_out" and (p := only(e, rules))],
    }
    frozen = model.freeze().scorer
    numbers: dict[str, Any] = {}
    for name, group in groups.items():
        judgements = judge(frozen, group, cfg.microbatch_tokens)
        numbers |= rule_summary(*judgements, context.seed, name)
    return numbers


def only(example: Example, rule_ids: Sequence[str]) -> Example | None:
    """The example with these rules only; None when it has none of them."""
    places = [i for i, rule in enumerate(example.rules) if rule.id in rule_ids]
    return select(example, places) if places else None


class Judgements(NamedTuple):
    """N judgements: log odds of broken, labels, rule ids, and which reply each is about."""

    scores: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]
    rules: list[str]
    dialogues: list[int]


@torch.no_grad()
def judge(scorer: Scorer, examples: Sequence[Example], tokens: int) -> Judgements:
    """What a frozen rule model's scorer says of every judgement of the examples."""
    trees = [example.tree for example in examples]
    parts = [scorer.scores(packed).cpu().numpy() for _, packed in microbatches(trees, tokens)]
    return Judgements(
        np.concatenate(parts) if parts else np.zeros(0),
        np.array([label for example in examples for label in example.labels]),
        [rule.id for example in examples for rule in example.rules],
        [example.dialogue for example in examples for _ in example.rules],
    )
