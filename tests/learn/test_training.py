"""The shared loop: order, checkpoints, dropout, microbatches."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from biddable.learn import batches, sft, training
from biddable.learn.optimizer import Optimizer
from biddable.model import checkpoints
from biddable.model.packing import Tree, pack
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


def test_slow_checkpoints_are_written_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes 4 s and a checkpoint 6: a tenth of the time allows the next 60 s after it was written, that
    is after 15 steps. With 0 seconds between them one follows every step."""
    now, steps = [100.0], []

    def save(context: Any, step: int, parts: Any) -> None:
        steps.append(step)
        now[0] += 6

    monkeypatch.setattr(training.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(training, "save_checkpoint", save)
    for seconds in (10, 0):
        for _ in training.updates(plain.make_context(tmp_path, "learn.x"), 20, {}, seconds, 0.1):
            now[0] += 4
    assert steps == [3, 18, *range(1, 21)]


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
    assert [indices for indices, _ in batches.microbatches(mixed, 100)] == [[1, 2], [0, 3]]
    assert batches.counted_tokens([*trees, Tree((), ((1, 2, 3),))]) == 2 + 3 + 4 + 19 + 1 + 2


def test_a_partly_cached_batch_is_cut_as_often_as_a_cached_one() -> None:
    """64 trees of 3 tokens, every second with trunk outputs, 48 tokens a microbatch: 2 * 32 * 3 / 48 = 4. In
    turns they would never share one."""
    cached, bare = Tree((1,), ((2, 3),), (torch.zeros(3, 4),)), Tree((1,), ((2, 3),))
    parts = list(batches.microbatches([cached, bare] * 32, 48))
    assert [len(indices) for indices, _ in parts] == [16] * 4
    assert [packed.hidden is None for _, packed in parts] == [False, False, True, True]
    # results come back in the given order
    named = [(indices, [torch.tensor(index) for index in indices]) for indices, _ in parts]
    assert [int(value) for value in batches.in_order(named, 64)] == list(range(64))


def test_a_tree_is_split_between_its_answers() -> None:
    """Prompt of 2, answers of 3, 1, 4, 2 tokens; 6 a part: 2 + 3 + 1, then 2 + 4, then 2 + 2."""
    hidden = torch.arange(12.0)[:, None]
    tree = Tree((1, 2), ((3, 4, 5), (6,), (7, 8, 9, 10), (11, 12)), (hidden,))
    parts = batches.split_answers(tree, 6)
    assert [part.answers for part in parts] == [((3, 4, 5), (6,)), ((7, 8, 9, 10),), ((11, 12),)]
    states = [torch.cat(part.hidden).flatten().tolist() for part in parts if part.hidden]
    assert states == [[0, 1, 2, 3, 4, 5], [0, 1, 6, 7, 8, 9], [0, 1, 10, 11]]
    assert [len(part.answers) for part in batches.split_answers(tree, 1)] == [1, 1, 1, 1]
    assert len(batches.split_answers(tree, 12)) == 1


def test_the_data_cursor_is_one_number() -> None:
    straight = list(itertools.islice(training.shuffled_indices(5, 3, 0), 23))
    assert straight[9:] == list(itertools.islice(training.shuffled_indices(5, 3, 9), 14))
    assert all(sorted(straight[i : i + 5]) == [0, 1, 2, 3, 4] for i in (0, 5, 10, 15))
    assert straight[:5] != straight[5:10]


def test_an_epoch_is_shuffled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing 10 at every one of 50 updates from 1,000 shuffles one epoch, not fifty; and the order is that of
    Python's own shuffle."""
    shuffles: list[int] = []
    shuffle = random.Random.shuffle

    def counted(self: random.Random, order: Any) -> None:
        shuffles.append(len(order))
        shuffle(self, order)

    monkeypatch.setattr(random.Random, "shuffle", counted)
    drawn = [
        list(itertools.islice(training.shuffled_indices(1000, 77, update * 10), 10)) for update in range(50)
    ]
    assert shuffles == [1000]
    expected = list(range(1000))
    shuffle(random.Random(training.derive_seed("order", 77, 0)), expected)
    assert [index for batch in drawn for index in batch] == expected[:500]


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
        results.append((loss, optimizer.gradient()))
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
def test_the_trunk_reads_no_more_than_a_microbatch_at_once(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trees of 5 to 29 tokens, 60 at once: no forward sees more, and the first without room ends it."""
    policy = checkpoints.load_policy(tiny_folder, trunk=2)
    sizes: list[int] = []
    forward = type(policy.trunk).__call__

    def noted(self: Any, packed: Any) -> Any:
        sizes.append(packed.count)
        return forward(self, packed)

    monkeypatch.setattr(type(policy.trunk), "__call__", noted)
    batches.cache_trunk_outputs(policy.trunk, trees(), 1.0, 60)
    assert sum(sizes) == sum(map(len, trees())) and max(sizes) <= 60
    sizes.clear()
    # 64 states of 4 bytes a token: 60 tokens are 15,360 bytes, so after the first microbatch there is no room
    cached = batches.cache_trunk_outputs(policy.trunk, trees(), 1e-5, 60)
    assert len(sizes) == 1 and sum(tree.hidden is not None for tree in cached) < len(cached)


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("trunk", [0, 2])
def test_gradient_checkpointing_keeps_less_and_changes_no_gradient(tiny_folder: Path, trunk: int) -> None:
    """The same gradient bit by bit, with dropout too; autograd keeps a block's input in place of what is
    inside."""
    gradients, saved_totals = [], []
    for checkpointing in (False, True):
        policy = checkpoints.load_policy(tiny_folder, trunk=trunk)
        policy.branch.checkpointing = checkpointing
        saved: list[int] = []

        def note(tensor: torch.Tensor, saved: list[int] = saved) -> torch.Tensor:
            saved.append(tensor.numel())
            return tensor

        torch.manual_seed(3)
        with training.residual_dropout(policy.branch, 0.3):
            with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
                states = policy.logp(pack(trees()))[0]
            states.sum().backward()
        gradients.append([p.grad for p in policy.parameters() if p.grad is not None])
        saved_totals.append(sum(saved))
        assert "forward" not in vars(policy.branch.model.layers[0])  # type: ignore[union-attr, index, arg-type]
    assert len(gradients[0]) == len(gradients[1]) > 10
    for plainly, recomputed in zip(*gradients, strict=True):
        assert torch.equal(plainly, recomputed)
    assert saved_totals[1] < saved_totals[0] / 2


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
