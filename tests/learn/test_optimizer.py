"""The optimizer: AdamW on fp32 masters, schedules, and the moving average; settings reach it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from biddable.learn import classifier, ppo, reward, sft
from biddable.learn.optimizer import Ema, Optimizer, OptimizerSettings, cosine_decay, linear_warmup
from tests.learn import plain


def test_optimizer_on_masters_equals_torch_adamw_in_fp32() -> None:
    torch.manual_seed(0)
    layer, peer_layer = nn.Linear(4, 3), nn.Linear(4, 3)
    peer_layer.load_state_dict(layer.state_dict())
    settings = OptimizerSettings(adam_betas=(0.8, 0.7), adam_eps=1e-3, weight_decay=0.2)
    optimizer = settings.adamw(layer.parameters())
    peer = torch.optim.AdamW(peer_layer.parameters(), lr=0.01, betas=(0.8, 0.7), eps=1e-3, weight_decay=0.2)
    x = torch.randn(8, 4)
    for _ in range(10):
        layer(x).pow(2).sum().backward()
        optimizer.step(0.01, 1e9)
        peer.zero_grad()
        peer_layer(x).pow(2).sum().backward()
        peer.step()
    torch.testing.assert_close(layer.weight, peer_layer.weight)


def test_the_defaults_are_the_papers() -> None:
    layer = nn.Linear(2, 2)
    for optimizer in (Optimizer(layer.parameters()), OptimizerSettings().adamw(layer.parameters())):
        group = optimizer.adam.param_groups[0]
        assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.95), 1e-5, 0)
    decayed = OptimizerSettings(weight_decay=0.3)
    assert decayed.adamw(layer.parameters(), weight_decay=0.0).adam.param_groups[0]["weight_decay"] == 0
    for stage, schedule, warmup in (
        (sft, "cosine", 0),
        (reward, "cosine", 0),
        (classifier, "cosine", 0),
        (ppo, "constant", 10),
    ):
        cfg: Any = stage.Config()
        assert (cfg.schedule, cfg.warmup, cfg.clip_norm) == (schedule, warmup, 1.0)


def test_parameters_without_gradients_are_left_out() -> None:
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    assert len(Optimizer(layer.parameters()).masters) == 1


def test_small_steps_are_not_lost_in_bf16() -> None:
    """A bf16 weight of 1 has neighbours 2^-8 below and 2^-7 above: steps of 1e-4 move it only because they
    add up in the master."""
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


def test_bf16_gradients_add_up_in_fp32() -> None:
    """256 + 1 is 256 in bf16; over two backward passes the master's gradient holds 257."""
    layer = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    optimizer = Optimizer(layer.parameters())
    for value in (256.0, 1.0):
        layer(torch.tensor([[value]], dtype=torch.bfloat16)).sum().backward()
    assert layer.weight.grad is None
    assert optimizer.norm() == 257 and optimizer.gradient().tolist() == [257]
    optimizer.step(0.0, 1.0)
    assert optimizer.norm() == 0 and optimizer.gradient().tolist() == [0]


@pytest.mark.parametrize("clip_norm, scale", [(1.0, 1 / 5), (5.0, 1.0), (6.0, 1.0)])
def test_clipping_scales_the_whole_gradient(clip_norm: float, scale: float) -> None:
    """Gradient (3, 4) of two parameters: the first Adam moment holds a tenth of what came through."""
    first, second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = Optimizer([first, second])
    (3 * first + 4 * second).sum().backward()
    assert optimizer.step(0.0, clip_norm) == pytest.approx(5.0)
    moments = [optimizer.adam.state[p]["exp_avg"].item() for p in (first, second)]
    assert moments == pytest.approx([0.3 * scale, 0.4 * scale])


def test_the_state_goes_into_another_optimizer() -> None:
    """Masters, parameters and moments: both take the same next step."""
    layers = [nn.Linear(3, 1).to(torch.bfloat16) for _ in range(2)]
    optimizers = [Optimizer(layer.parameters()) for layer in layers]
    x = torch.randn(4, 3, dtype=torch.bfloat16)
    for size in (1, 2, -3):  # with a constant gradient old moments would change nothing
        layers[0](size * x).sum().backward()
        optimizers[0].step(0.01, 9.0)
    optimizers[1].restore(copy.deepcopy(optimizers[0].state()))  # as from a file: nothing is shared
    assert torch.equal(layers[0].weight, layers[1].weight)
    for layer, optimizer in zip(layers, optimizers, strict=True):
        layer(x).sum().backward()
        optimizer.step(0.01, 1.0)
    for first, second in zip(optimizers[0].masters, optimizers[1].masters, strict=True):
        assert torch.equal(first, second)


def test_schedules_by_hand() -> None:
    assert cosine_decay(0, 10, 2.0) == pytest.approx(2.0)
    assert cosine_decay(5, 10, 2.0) == pytest.approx(2.0 * 0.55)  # 0.1 + 0.9 / 2
    assert cosine_decay(10, 10, 2.0) == pytest.approx(0.2)
    assert [round(linear_warmup(i, 1.0, 10), 3) for i in (0, 5, 10, 99)] == [0.1, 0.55, 1.0, 1.0]
    assert linear_warmup(0, 3.0, 0) == 3.0
    cosine = OptimizerSettings(warmup=4)
    for step in range(10):
        assert cosine.rate_at(step, 10, 2.0) == pytest.approx(
            plain.cosine(step, 10, 2.0) * min(1, (step + 1) / 4)
        )
    constant = OptimizerSettings(schedule="constant", warmup=4)
    assert [constant.rate_at(step, 10, 2.0) for step in range(6)] == pytest.approx(
        [0.2, 0.65, 1.1, 1.55, 2, 2]
    )
    assert OptimizerSettings().rate_at(0, 10, 2.0) == 2.0


def test_moving_average_by_hand() -> None:
    """Decay 0.9 from 1 towards 2, twice: 0.9 + 0.2 = 1.1; 0.99 + 0.2 = 1.19."""
    master = torch.tensor([1.0])
    average = Ema([master], 0.9)
    for expected in (1.1, 1.19):
        average.update([torch.tensor([2.0])])
        assert average.values[0].item() == pytest.approx(expected)
    assert master.item() == 1  # the weights themselves go on from where they are
    other = Ema([master], 0.9)
    other.restore(average.state())
    assert other.values[0].item() == pytest.approx(1.19)
