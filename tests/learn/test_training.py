"""The shared loop: order, checkpoints, dropout, microbatches."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from biddable.learn import batches, sft, training
from biddable.learn.optimizer import Optimizer
from biddable.model import checkpoints
from biddable.model.packing import Tree
from tests.learn import plain


class Counter:
    """A part of a checkpoint: how many steps were done."""

    def __init__(self) -> None:
        self.value = 0

    def state(self) -> int:
        return self.value

    def restore(self, state: int) -> None:
        self.value = state


def test_updates_go_on_after_the_step_of_the_newest_checkpoint(tmp_path: Path) -> None:
    """With checkpoint_seconds = 0 every finished step is kept; a step broken off is done again, with torch's
    draws of then."""
    context = plain.make_context(tmp_path, "learn.x")
    counter, draws = Counter(), {}
    with pytest.raises(KeyboardInterrupt):
        for step in training.updates(context, 5, {"counter": counter}, 0):
            draws[step] = torch.rand(1).item()
            counter.value += 10
            if step == 3:
                raise KeyboardInterrupt
    fresh, steps = Counter(), []
    torch.manual_seed(99)
    for step in training.updates(context, 5, {"counter": fresh}, 0):
        assert fresh.value == 10 * step  # steps 0 to 2 came from the checkpoint
        steps.append(step)
        if step == 3:
            assert torch.rand(1).item() == draws[3]
        fresh.value += 10
    assert steps == [3, 4] and fresh.value == 50
    assert list(training.updates(context, 5, {"counter": Counter()}, 0)) == []  # all done


def test_a_run_begins_with_draws_of_its_own_seed(tmp_path: Path) -> None:
    draws = []
    for name, key, seed in (
        ("a", "learn.x", 1),
        ("b", "learn.x", 1),
        ("c", "learn.x", 2),
        ("d", "learn.y", 1),
    ):
        torch.manual_seed(len(draws))
        for _ in training.updates(plain.make_context(tmp_path / name, key, seed), 1, {}, 60):
            draws.append(torch.rand(1).item())
    assert draws[0] == draws[1] and len(set(draws)) == 3


def test_checkpoints_are_written_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes 4 s of a clock that is ours: with 10 s between checkpoints steps 3 and 6 are kept."""
    now, steps = [100.0], []
    monkeypatch.setattr(training.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(training, "save_checkpoint", lambda context, step, parts: steps.append(step))
    for _ in training.updates(plain.make_context(tmp_path, "learn.x"), 7, {}, 10):
        now[0] += 4
    assert steps == [3, 6]


@pytest.mark.parametrize("examples, sizes", [(5, [2, 2, 1]), (4, [2, 2]), (1, [1])])
def test_an_epoch_visits_every_example_once_in_its_own_order(
    tmp_path: Path, examples: int, sizes: list[int]
) -> None:
    batches = list(training.epochs(plain.make_context(tmp_path, "learn.x"), examples, 2, 3, {}, 60))
    assert [step for step, _ in batches] == list(range(3 * len(sizes)))
    assert [len(batch) for _, batch in batches] == sizes * 3
    orders = [
        [i for _, batch in batches[e * len(sizes) : (e + 1) * len(sizes)] for i in batch] for e in range(3)
    ]
    assert all(sorted(order) == list(range(examples)) for order in orders)
    assert examples == 1 or len({tuple(order) for order in orders}) > 1


def test_orders_depend_on_seed_and_epoch_and_are_shuffled() -> None:
    orders = [training.epoch_order(20, seed, epoch) for seed in (1, 2) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4 and list(range(20)) not in orders
    assert training.epoch_order(20, 1, 0) == orders[0]
    assert 0 <= training.derive_seed("a", 1) < 2**63 and training.derive_seed("a", 1) != training.derive_seed(
        "a1"
    )


def test_microbatches_hold_at_most_their_tokens_in_order() -> None:
    """Sizes 3, 4, 5, 20, 2 with 8 tokens: a tree larger than that goes alone; cached and uncached trees stay
    apart."""
    trees = [Tree((1,), (tuple(range(n - 1)),)) for n in (3, 4, 5, 20, 2)]
    assert [indices for indices, _ in batches.microbatches(trees, 8)] == [[0, 1], [2], [3], [4]]
    assert [indices for indices, _ in batches.microbatches(trees, 7)] == [[0, 1], [2], [3], [4]]
    assert [indices for indices, _ in batches.microbatches(trees, 6)] == [[0], [1], [2], [3], [4]]
    cached = Tree((1,), ((2, 3),), (torch.zeros(3, 4),))
    mixed = [trees[0], cached, cached, trees[0]]
    assert [indices for indices, _ in batches.microbatches(mixed, 100)] == [[0], [1, 2], [3]]
    assert batches.counted_tokens([*trees, Tree((), ((1, 2, 3),))]) == 2 + 3 + 4 + 19 + 1 + 2


def test_the_data_cursor_is_one_number() -> None:
    straight = list(itertools.islice(training.shuffled_indices(5, 3, 0), 23))
    assert straight[9:] == list(itertools.islice(training.shuffled_indices(5, 3, 9), 14))
    assert all(sorted(straight[i : i + 5]) == [0, 1, 2, 3, 4] for i in (0, 5, 10, 15))
    assert straight[:5] != straight[5:10]


def trees() -> list[Tree]:
    return [Tree(tuple(range(5, 8 + n)), (tuple(range(40, 42 + 3 * n)),)) for n in range(8)]


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("trunk", [0, 2])
def test_microbatches_of_any_size_add_up_to_the_same_gradient(tiny_folder: Path, trunk: int) -> None:
    """8x1 = 1x8 = ragged: the loss is a mean over all counted tokens, whatever they are packed with."""
    results = []
    for tokens in (1, 60, 10_000):
        policy = checkpoints.load_policy(tiny_folder, trunk=trunk)
        optimizer = Optimizer(policy.parameters())
        loss = sft.accumulate_gradient(policy, trees(), tokens)
        results.append((loss, torch.cat([m.grad.flatten() for m in optimizer.masters if m.grad is not None])))
    for loss, gradient in results[1:]:
        assert loss == pytest.approx(results[0][0], abs=1e-5)
        torch.testing.assert_close(gradient, results[0][1], atol=2e-6, rtol=1e-3)


@pytest.mark.usefixtures("fp32")
def test_order_changes_nothing_and_kept_trunk_outputs_change_nothing(tiny_folder: Path) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=2)
    forward = sft.valid_loss(policy, trees(), 4096)
    assert sft.valid_loss(policy, trees()[::-1], 4096) == pytest.approx(forward, abs=1e-5)
    cached = batches.cache_trunk_outputs(policy.trunk, trees(), 1.0)
    assert all(tree.hidden is not None for tree in cached)
    assert sft.valid_loss(policy, cached, 4096) == pytest.approx(forward, abs=1e-5)
    assert all(
        tree.hidden is None for tree in batches.cache_trunk_outputs(policy.trunk, trees(), -1.0)
    )  # no memory: none kept


@pytest.mark.usefixtures("fp32")
def test_residual_dropout_is_on_inside_and_off_in_copies_and_afterwards(tiny_folder: Path) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=2)
    calm = sft.valid_loss(policy, trees(), 4096)
    with training.residual_dropout(policy.branch, 0.5):
        assert sft.valid_loss(policy, trees(), 4096) != sft.valid_loss(policy, trees(), 4096)
        assert sft.valid_loss(policy.freeze(), trees(), 4096) == pytest.approx(calm, abs=1e-6)
    assert sft.valid_loss(policy, trees(), 4096) == calm


@pytest.mark.usefixtures("fp32")
def test_end_of_sequence_is_learned_although_pad_is_the_same_id(tiny_folder: Path) -> None:
    """Memorise one answer: greedy decoding gives it back and ends where it ends."""
    from biddable.model.sampler import Request, sample

    policy = checkpoints.load_policy(tiny_folder, trunk=2)
    words = checkpoints.tokenizer(tiny_folder)
    assert words.pad_token_id == words.eos_token_id
    answer = (50, 61, 72, int(words.eos_token_id))
    optimizer = Optimizer(policy.parameters())
    for _ in range(60):
        sft.accumulate_gradient(policy, [Tree((5, 6, 7), (answer,))], 4096)
        optimizer.step(1e-2, 1.0)
    samples = sample(policy.freeze(), [Request((5, 6, 7), 1, 20, 0.0)], frozenset({int(words.eos_token_id)}))
    assert samples[0].tokens == answer and samples[0].finish == "stop"
