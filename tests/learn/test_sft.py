"""SFT on a small random model against the same training written out on a plain transformers model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from biddable.learn import batches, sft
from biddable.learn.training import derive_seed, epoch_order
from biddable.model import checkpoints
from biddable.model.packing import Tree
from biddable.model.sampler import Request, sample
from biddable.run.config import UserError
from biddable.run.records import Answer
from tests.learn import plain

pytestmark = pytest.mark.usefixtures("fp32")

TRAIN = [
    plain.demonstration(0, "train", plain.answer(50, 61, 2)),
    plain.demonstration(1, "train", Answer(text="a fox", model="person")),  # ids by the tokenizer, and an EOS
    plain.demonstration(2, "train", plain.answer(70, 71, 72, 73, 74, 75, 2)),
    plain.demonstration(3, "train", plain.answer(90, 2)),
    plain.demonstration(4, "train", plain.answer(81, 82, 83, 2)),
]
OTHER = [plain.demonstration(1, "valid", plain.answer(93, 42, 101))]  # what training makes unlikely
SAME = [plain.demonstration(2, "valid", plain.answer(70, 71, 72, 73, 74, 75, 2))]
NEITHER = plain.demonstration(3, "test", plain.answer(66, 67, 2))  # neither trains nor measures
SETTINGS: dict[str, Any] = {
    "epochs": 3,
    "batch": 2,
    "learning_rate": 3e-3,
    "dropout": 0.0,
    "weight_decay": 0.1,
    "clip_norm": 0.5,
}


def run(folder: Path, start: Path, rows: list[Any], **settings: Any) -> Any:
    context = plain.make_context(folder / "learn.sft", "learn.sft")
    data = plain.write(folder / "demonstrations", "demonstrations.jsonl", [*rows, NEITHER])
    sft.run(sft.Config(start=start, demonstrations=data, **(SETTINGS | settings)), context)
    return context


def pairs(start: Path, rows: list[Any]) -> list[tuple[list[int], list[int]]]:
    """(prompt, answer) ids; a person's text gets the tokenizer's ids and the end-of-sequence token."""
    tokenizer = checkpoints.tokenizer(start)
    answers = [
        list(r.answer.tokens or (*tokenizer.encode(r.answer.text, add_special_tokens=False), 2)) for r in rows
    ]
    return [(plain.encode(start, r.prompt), a) for r, a in zip(rows, answers, strict=True)]


def mean_loss(network: Any, examples: list[tuple[list[int], list[int]]]) -> torch.Tensor:
    """Negative log-likelihood per answer token over all examples together."""
    return -torch.cat([plain.logps(network, p, a) for p, a in examples]).mean()


def plain_training(
    start: Path, text: list[list[int]] | None = None
) -> tuple[list[dict[str, float]], list[Any]]:
    """Metrics and the network after each epoch. With text, two pieces go with every batch of two."""
    network = plain.load(start)
    adam = plain.Adam(plain.branch(network), decay=0.1)
    examples, rows, epochs = pairs(start, TRAIN), [], []
    for step in range(9):
        epoch, at = divmod(step, 3)
        order = epoch_order(5, 1, epoch)[2 * at : 2 * at + 2]
        batch = [examples[i] for i in order]
        if text:
            queue = [i for e in range(9) for i in epoch_order(len(text), derive_seed("text", 1), e)]
            first, stop = len(order) * step, len(order) * (step + 1)
            batch += [([], text[i]) for i in queue[first:stop]]
        loss = mean_loss(network, batch)
        loss.backward()
        rate = plain.cosine(step, 9, 3e-3)
        norm = adam.step(rate, 0.5)
        rows.append({"loss": loss.item(), "learning_rate": rate, "grad_norm": norm})
        if at == 2:
            epochs.append(copy.deepcopy(network))
    return rows, epochs


@pytest.mark.parametrize("valid", [OTHER, SAME], ids=["first epoch best", "last epoch best"])
def test_every_update_and_the_epoch_that_is_kept(
    tmp_path: Path, models: tuple[Path, Path], valid: Any
) -> None:
    start, _ = models
    context = run(tmp_path, start, [*TRAIN, *valid])
    rows, epochs = plain_training(start)
    updates = [row for row in plain.metrics(context) if "loss" in row]
    assert [row["step"] for row in updates] == list(range(1, 10))
    for ours, theirs in zip(updates, rows, strict=True):
        assert {k: ours[k] for k in theirs} == pytest.approx(theirs, rel=1e-4)
    losses = [mean_loss(network, pairs(start, valid)).item() for network in epochs]
    measured = [row for row in plain.metrics(context) if "epoch" in row]
    assert [(row["step"], row["epoch"]) for row in measured] == [(3, 1), (6, 2), (9, 3)]
    assert [row["valid_loss"] for row in measured] == pytest.approx(losses, rel=1e-4)
    best = losses.index(min(losses))
    assert best == (0 if valid is OTHER else 2)
    saved = plain.load(tmp_path / "learn.sft")
    plain.same_weights(saved, epochs[best])
    plain.only_the_branch_changed(saved, plain.load(start))
    assert context.summary["epoch_chosen"] == best + 1 and context.summary["chosen_by"] == "valid_loss"
    assert context.summary["valid_loss"] == -context.summary["quality_chosen"] == measured[best]["valid_loss"]
    assert (context.summary["steps"], context.summary["demonstrations"]) == (9, 5)
    assert context.summary["valid_demonstrations"] == 1
    assert context.summary["tokens"] == sum(len(p) + len(a) for p, a in pairs(start, TRAIN))


def test_text_is_mixed_in_piece_after_piece(tmp_path: Path, models: tuple[Path, Path]) -> None:
    start, _ = models
    texts = [plain.text(i) for i in range(7)]
    folder = plain.write(tmp_path / "text", "text.jsonl", [*texts, plain.text(99, "valid")])
    context = run(tmp_path, start, [*TRAIN, *OTHER], text=folder, text_share=0.5, text_tokens=9)
    tokenizer = checkpoints.tokenizer(start)
    ids = plain.pieces([tokenizer.encode(row.text, add_special_tokens=False) for row in texts], 9)
    assert len(ids) > len(texts)  # some texts go on in a second piece
    rows, _ = plain_training(start, ids)
    updates = [row["loss"] for row in plain.metrics(context) if "loss" in row]
    assert updates == pytest.approx([row["loss"] for row in rows], rel=1e-4)
    assert updates[0] != pytest.approx(plain_training(start)[0][0]["loss"], rel=1e-3)


def test_a_long_text_goes_on_in_the_next_piece(tmp_path: Path, models: tuple[Path, Path]) -> None:
    """10 tokens in pieces of 4: 0123, 3456, 6789. Each but the first is predicted once."""
    tokenizer = checkpoints.tokenizer(models[0])
    row = plain.text(2)
    ids = tokenizer.encode(row.text, add_special_tokens=False)[:10]
    row = row.model_copy(update={"text": tokenizer.decode(ids)})
    ids = tokenizer.encode(row.text, add_special_tokens=False)
    assert len(ids) == 10
    folder = plain.write(tmp_path / "text", "text.jsonl", [row])
    trees = batches.text_trees(tokenizer, folder, 4)
    assert [list(tree.answers[0]) for tree in trees] == [ids[0:4], ids[3:7], ids[6:10]]
    assert batches.counted_tokens(trees) == 9
    assert [len(tree) for tree in batches.text_trees(tokenizer, folder, 9)] == [9, 2]
    assert [len(tree) for tree in batches.text_trees(tokenizer, folder, 10)] == [10]


def test_the_last_epoch_is_kept_on_request(tmp_path: Path, models: tuple[Path, Path]) -> None:
    """OTHER's loss is lowest after the first of three epochs; `last` saves the third all the same."""
    start, _ = models
    context = run(tmp_path, start, [*TRAIN, *OTHER], keep="last")
    _, epochs = plain_training(start)
    plain.same_weights(plain.load(tmp_path / "learn.sft"), epochs[2])
    assert (context.summary["epoch_chosen"], context.summary["chosen_by"]) == (3, "last")
    measured = [row["valid_loss"] for row in plain.metrics(context) if "epoch" in row]
    assert context.summary["valid_loss"] == measured[2] > measured[0]


@pytest.mark.parametrize("share, per_update", [(0.5, 3), (0.25, 1), (0.1, 1 / 3), (0.4, 2)])
def test_no_piece_of_text_is_skipped_or_taken_twice(share: float, per_update: float) -> None:
    """Three demonstrations an update; pieces / (pieces + demonstrations) is the share. 30 updates, 90
    demonstrations."""
    text = [Tree((), ((i, i),)) for i in range(11)]
    taken = [sft.mixed_text(text, 3, share, step, 5) for step in range(30)]
    flat = [tree.answers[0][0] for part in taken for tree in part]
    assert len(flat) == pytest.approx(30 * per_update, abs=1)
    assert all(sorted(flat[i : i + 11]) == list(range(11)) for i in range(0, len(flat) - 10, 11))
    assert max(map(len, taken)) - min(map(len, taken)) <= 1
    assert sft.mixed_text([], 3, share, 0, 5) == []


def test_the_reward_model_chooses_the_epoch(tmp_path: Path, models: tuple[Path, Path]) -> None:
    """One answer per validation prompt, sampled without dropout and scored; the saved weights are the best
    scored epoch's."""
    start, reward = models
    valid = [plain.demonstration(20 + i, "valid", plain.answer(200 + i, 201, 2)) for i in range(3)]
    context = run(tmp_path, start, [*TRAIN, *valid], reward=reward, epochs=5, max_tokens=6, dropout=0.3)
    measured = [row for row in plain.metrics(context) if "epoch" in row]
    rewards, losses = [row["valid_reward"] for row in measured], [row["valid_loss"] for row in measured]
    best = rewards.index(max(rewards))
    assert best not in (4, losses.index(min(losses)))  # neither the last nor the one of the lowest loss
    assert context.summary["chosen_by"] == "reward" and context.summary["epoch_chosen"] == best + 1
    assert context.summary["quality_chosen"] == rewards[best]
    assert context.summary["valid_loss"] == losses[best]
    scorer = plain.load_scorer(reward)
    requests = [
        Request(tuple(p), derive_seed(1, "judge", i), 6) for i, (p, _) in enumerate(pairs(start, valid))
    ]
    saved = checkpoints.load_policy(tmp_path / "learn.sft").freeze()
    answers = [sampled.tokens for sampled in sample(saved, requests, frozenset({2}))]
    scores = [scorer.score(r.prompt, a).item() for r, a in zip(requests, answers, strict=True)]
    assert rewards[best] == pytest.approx(sum(scores) / 3, abs=1e-4)
    plain_loss = mean_loss(plain.load(tmp_path / "learn.sft"), pairs(start, valid)).item()
    assert losses[best] == pytest.approx(plain_loss, rel=1e-4)  # measured without dropout


def test_dropout_is_on_in_training_and_off_in_measuring(tmp_path: Path, models: tuple[Path, Path]) -> None:
    start, _ = models
    context = run(tmp_path, start, [*TRAIN, *OTHER], dropout=0.5, learning_rate=1e-12, epochs=1)
    first, *_, measured = plain.metrics(context)
    network, examples = plain.load(start), pairs(start, TRAIN)
    calm = mean_loss(network, [examples[i] for i in epoch_order(5, 1, 0)[:2]]).item()
    assert abs(first["loss"] - calm) > 0.01
    assert measured["valid_loss"] == pytest.approx(mean_loss(network, pairs(start, OTHER)).item(), rel=1e-5)


def test_a_broken_run_goes_on_to_the_same_weights(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken in the third epoch, after the best one: optimizer, best weights and dropout's draws all come
    back."""
    start, _ = models
    run(tmp_path / "straight", start, [*TRAIN, *OTHER], dropout=0.3)
    real, calls = sft.accumulate_gradient, []

    def dies(*arguments: Any) -> float:
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(sft, "accumulate_gradient", dies)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", start, [*TRAIN, *OTHER], dropout=0.3, checkpoint_seconds=0)
    context = run(tmp_path / "broken", start, [*TRAIN, *OTHER], dropout=0.3, checkpoint_seconds=0)
    assert len(calls) == 8 + 2  # the eighth again, and the ninth
    plain.same_weights(
        plain.load(tmp_path / "broken/learn.sft"), plain.load(tmp_path / "straight/learn.sft"), 0
    )
    assert (
        context.path("metrics.jsonl").read_bytes()
        == (tmp_path / "straight/learn.sft/metrics.jsonl").read_bytes()
    )


def test_what_cannot_train_is_refused_line_by_line(tmp_path: Path, models: tuple[Path, Path]) -> None:
    start, _ = models
    long = plain.demonstration(0, "train", plain.answer(*range(3, 380), *range(3, 150)))
    with pytest.raises(UserError) as refusal:
        run(tmp_path, start, [long])
    assert refusal.value.lines[0].startswith("[learn.sft] demonstrations: prompt p0: ")
    assert (
        refusal.value.lines[1]
        == "[learn.sft] demonstrations: no demonstration is on a prompt of the split valid"
    )
    fits = 512 - len(plain.encode(start, plain.prompt(0)))  # the context, to the last token
    exact = plain.demonstration(0, "train", plain.answer(*(5 + i % 90 for i in range(fits))))
    run(tmp_path / "exact", start, [exact, *OTHER], epochs=1)
    with pytest.raises(UserError, match="lower learning_rate"):
        run(tmp_path / "nan", start, [*TRAIN, *OTHER], learning_rate=1e30)
