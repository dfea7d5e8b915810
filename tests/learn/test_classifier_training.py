"""The classifier's training, split and measures against the same written out on plain transformers models."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from biddable.learn import classifier
from biddable.learn.training import derive_seed, epoch_order
from biddable.run.config import UserError
from tests.learn import plain

pytestmark = pytest.mark.usefixtures("fp32")

LABELS = [1.0, 0.0, 0.75, 0.25, True, False, 0.5, 0.4, 1, 0, 0.9, 0.1]
ROWS = [
    {"question": f"q{i // 2}", "answer": "salt kettle " * 9 + f"fox {i}" + " Paris" * (i % 4), "label": label}
    for i, label in enumerate(LABELS)
]
SETTINGS: dict[str, Any] = {
    "text": "{answer}",
    "valid_share": 0.4,
    "epochs": 2,
    "batch": 3,
    "max_tokens": 25,
    "learning_rate": 2e-3,
    "head_learning_rate": 1e-2,
    "weight_decay": 0.1,
    "clip_norm": 0.5,
    "warmup": 2,
}


def run(folder: Path, start: Path, rows: list[dict[str, Any]] = ROWS, **settings: Any) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    context = plain.make_context(folder / "learn.classifier", "learn.classifier")
    cfg = classifier.Config(policy=start, files=(folder / "x.jsonl",), **(SETTINGS | settings))
    classifier.run(cfg, context)
    return context


def fraction(group: str) -> float:
    """The hash that decides a group's split, in [0, 1)."""
    return int(hashlib.sha256(f"classifier\x1f{group}".encode()).hexdigest()[:12], 16) / 2**48


def tokens(start: Path, text: str) -> list[int]:
    """The last 25 tokens and an end, where the score is read."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(start / "model")
    return [*tokenizer.encode(text, add_special_tokens=False)[-25:], tokenizer.eos_token_id]


def test_every_update_and_every_measure(tmp_path: Path, models: tuple[Path, Path]) -> None:
    start, _ = models
    context = run(tmp_path, start, microbatch_tokens=64, valid_share=0.6)
    valid = [row for row in ROWS if fraction(str(row["question"])) < 0.6]
    train = [row for row in ROWS if row not in valid]
    assert {row["question"] for row in valid}.isdisjoint(row["question"] for row in train)
    assert (context.summary["train"], context.summary["valid"]) == (len(train), len(valid))
    network = plain.load(start)
    branch = plain.branch(network)
    head = torch.randn(64, generator=torch.Generator().manual_seed(derive_seed("head", 1))) / math.sqrt(65)
    head, bias = head.requires_grad_(True), torch.zeros((), requires_grad=True)
    scorer = plain.PlainScorer(network, head, bias)
    adam, head_adam = plain.Adam(branch, decay=0.1), plain.Adam([head, bias])
    per_epoch = -(-len(train) // 3)
    measured = plain.metrics(context)
    assert len(measured) == 2 * per_epoch
    for step, row in enumerate(measured):
        epoch, at = divmod(step, per_epoch)
        batch = [train[i] for i in epoch_order(len(train), 1, epoch)[3 * at : 3 * at + 3]]
        loss = torch.zeros(())
        for example in batch:
            p, label = (
                scorer.score([], tokens(start, str(example["answer"]))).sigmoid(),
                float(example["label"]),
            )
            loss = loss - (label * p.log() + (1 - label) * (1 - p).log()) / len(batch)
        loss.backward()
        rate = plain.cosine(step, 2 * per_epoch, 2e-3) * min(1, (step + 1) / 2)
        norm = adam.step(rate, 0.5)
        head_adam.step(5 * rate, 0.5)
        expected = {"step": step + 1, "loss": loss.item(), "learning_rate": rate, "grad_norm": norm}
        assert row == pytest.approx(expected, rel=2e-4)
    saved = plain.load_scorer(tmp_path / "learn.classifier")
    plain.same_weights(saved.network.model, network.model)
    plain.only_the_branch_changed(saved.network.model, plain.load(start).model)
    torch.testing.assert_close(saved.weight, head.detach(), atol=2e-6, rtol=0)
    assert saved.bias.item() == pytest.approx(bias.item(), abs=2e-6) and bias.item() != 0
    with torch.no_grad():
        scores = np.array([saved.score([], tokens(start, str(row["answer"]))).item() for row in valid])
    labels = np.array([float(row["label"]) for row in valid])  # type: ignore[arg-type]
    right = [(score > 0) == (label >= 0.5) for score, label in zip(scores, labels, strict=True)]
    assert context.summary["accuracy"] == sum(right) / len(right)
    chances = 1 / (1 + np.exp(-scores))
    loss_by_hand = -np.mean(labels * np.log(chances) + (1 - labels) * np.log(1 - chances))
    assert context.summary["loss"] == pytest.approx(loss_by_hand, rel=1e-4)
    assert context.summary["pearson"] == pytest.approx(stats.pearsonr(chances, labels).statistic, rel=1e-3)
    groups = [str(row["question"]) for row in valid]
    interval = classifier.accuracy_interval(np.array(right), groups, 1)  # one half counts as yes here too
    assert (context.summary["accuracy_low"], context.summary["accuracy_high"]) == interval
    facts = json.loads(context.path("classifier.json").read_text())
    assert facts == {
        "text": "{answer}",
        "longest": 25,
        "label": "label",
        "group": "question",
        "valid_share": 0.6,
    }


def test_limits_draw_from_each_split(tmp_path: Path, models: tuple[Path, Path]) -> None:
    rows = [{"question": f"q{i}", "answer": f"fox {i}", "label": i % 2} for i in range(60)]
    context = run(tmp_path, models[0], rows, limit=9, valid_limit=8, epochs=1)
    assert (context.summary["train"], context.summary["valid"]) == (9, 8)
    examples = [classifier.classifier.Example(f"t{i}", i % 2, f"q{i}") for i in range(60)]
    cfg = classifier.Config(limit=9, valid_limit=8, valid_share=0.4)
    train, valid = classifier.split_examples(cfg, examples, context)
    assert all(fraction(f"q{i}") < 0.4 for i in valid) and all(fraction(f"q{i}") >= 0.4 for i in train)
    first = [i for i in range(60) if fraction(f"q{i}") >= 0.4][:9]
    assert train == sorted(train) and valid == sorted(valid) and train != first


def test_training_needs_texts_and_measuring_both_labels(tmp_path: Path, models: tuple[Path, Path]) -> None:
    context = plain.make_context(tmp_path, "learn.classifier")
    kept_out = next(f"g{i}" for i in range(99) if fraction(f"g{i}") < 0.4)
    trained = next(f"g{i}" for i in range(99) if fraction(f"g{i}") >= 0.4)
    example, cfg = classifier.classifier.Example, classifier.Config(valid_share=0.4)
    both = [example("a", 1.0, kept_out), example("b", 0.49, kept_out)]
    assert classifier.split_examples(cfg, [*both, example("c", 1.0, trained)], context) == ([2], [0, 1])
    for examples, line in (
        (both, "files: 0 texts to train and 2 to measure"),
        (
            [both[0], example("b", 0.5, kept_out), example("c", 1.0, trained)],
            "files: 1 texts to train and 2 to",
        ),
    ):
        with pytest.raises(UserError, match=line):
            classifier.split_examples(cfg, examples, context)


def test_a_loss_that_is_not_finite_stops(tmp_path: Path, models: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=r"\[learn.classifier\] the loss is (nan|inf); lower learning_rate"):
        run(tmp_path, models[0], learning_rate=1e30)


def test_the_interval_against_a_loop() -> None:
    """Three groups of 1, 2 and 3 judgements: every resample draws three groups and divides their correct by
    their count."""
    correct = np.array([True, True, False, True, False, False])
    low, high = classifier.accuracy_interval(correct, ["a", "b", "b", "c", "c", "c"], 4)
    groups = [(1, 1), (1, 2), (1, 3)]
    draws = np.random.default_rng(4).multinomial(3, [1 / 3] * 3, size=2000)
    shares = [
        sum(n * g[0] for n, g in zip(draw, groups, strict=True))
        / sum(n * g[1] for n, g in zip(draw, groups, strict=True))
        for draw in draws
    ]
    assert (low, high) == pytest.approx(tuple(np.quantile(shares, [0.025, 0.975])))
