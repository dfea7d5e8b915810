"""Training's shared functions: fp32 masters, schedules, order, dropout, microbatches."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from biddable.learn import batches, sft, training
from biddable.learn.optimizer import Ema, Optimizer, cosine_decay, linear_warmup
from biddable.model import checkpoints
from biddable.model.packing import Tree


def test_optimizer_on_masters_equals_torch_adamw_in_fp32() -> None:
    torch.manual_seed(0)
    mine, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(mine.state_dict())
    ours = Optimizer(mine.parameters())
    peer = torch.optim.AdamW(theirs.parameters(), lr=0.01, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0)
    x = torch.randn(8, 4)
    for _ in range(10):
        mine(x).pow(2).sum().backward()
        ours.step(0.01, 1e9)
        peer.zero_grad()
        theirs(x).pow(2).sum().backward()
        peer.step()
    torch.testing.assert_close(mine.weight, theirs.weight)


def test_small_steps_are_not_lost_in_bf16() -> None:
    """A bf16 weight of 1 has neighbours 2^-8 below and 2^-7 above: steps of 1e-4 move it only because they add up in the master."""
    layer = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    optimizer = Optimizer(layer.parameters())
    for step in range(100):
        layer(torch.ones(1, 1, dtype=torch.bfloat16)).sum().backward()
        optimizer.step(1e-4, 1.0)
        if step == 5:
            assert layer.weight.item() == 1.0
    assert optimizer.masters[0].item() == pytest.approx(1 - 100 * 1e-4, abs=2e-4)
    assert layer.weight.item() < 1.0


def test_clipping_scales_the_whole_gradient() -> None:
    layer = nn.Linear(2, 1, bias=False)
    optimizer = Optimizer(layer.parameters())
    layer(torch.tensor([[3.0, 4.0]])).sum().backward()
    assert optimizer.step(0.0, 1.0) == pytest.approx(5.0)


def test_schedules_by_hand() -> None:
    assert cosine_decay(0, 10, 2.0) == pytest.approx(2.0)
    assert cosine_decay(5, 10, 2.0) == pytest.approx(2.0 * 0.55)  # 0.1 + 0.9 / 2
    assert cosine_decay(10, 10, 2.0) == pytest.approx(0.2)
    assert [round(linear_warmup(i, 1.0, 10), 3) for i in (0, 5, 10, 99)] == [0.1, 0.55, 1.0, 1.0]


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
    found = []
    for tokens in (1, 60, 10_000):
        policy = checkpoints.load_policy(tiny_folder, trunk=trunk)
        optimizer = Optimizer(policy.parameters())
        loss = sft.accumulate_gradient(policy, trees(), tokens)
        found.append((loss, torch.cat([m.grad.flatten() for m in optimizer.masters if m.grad is not None])))
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], abs=1e-5)
        torch.testing.assert_close(gradient, found[0][1], atol=2e-6, rtol=1e-3)


@pytest.mark.usefixtures("fp32")
def test_order_changes_nothing_and_kept_trunk_outputs_change_nothing(tiny_folder: Path) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=2)
    forward = sft.valid_loss(policy, trees(), 4096)
    assert sft.valid_loss(policy, trees()[::-1], 4096) == pytest.approx(forward, abs=1e-5)
    kept = batches.cache_trunk_outputs(policy.trunk, trees(), 1.0)
    assert all(tree.hidden is not None for tree in kept)
    assert sft.valid_loss(policy, kept, 4096) == pytest.approx(forward, abs=1e-5)
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


def test_moving_average_by_hand() -> None:
    """Decay 0.9 from 1 towards 2, twice: 0.9 + 0.2 = 1.1; 0.99 + 0.2 = 1.19."""
    master = torch.tensor([1.0])
    average = Ema([master], 0.9)
    for expected in (1.1, 1.19):
        average.update([torch.tensor([2.0])])
        assert average.values[0].item() == pytest.approx(expected)


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
    got = sample(policy.freeze(), [Request((5, 6, 7), 1, 20, 0.0)], frozenset({int(words.eos_token_id)}))
    assert got[0].tokens == answer and got[0].finish == "stop"
