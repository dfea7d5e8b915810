"""Compressed AdamW against torch's own, its codes by hand, its bytes, and going on after a break."""

from __future__ import annotations

import copy
import itertools
from typing import get_args

import pytest
import torch
from torch import nn

from biddable.learn import compressed_adam
from biddable.learn.compressed_adam import AdamMoments, FactoredMoment, MasterWeights
from biddable.learn.optimizer import Optimizer

WAYS = [
    pair
    for pair in itertools.product(get_args(MasterWeights), get_args(AdamMoments))
    if pair != ("fp32", "fp32")
]


def gradients(steps: int, shape: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    mean = torch.randn(shape, generator=generator)
    return [mean + torch.randn(shape, generator=generator) for _ in range(steps)]


def train(parameter: nn.Parameter, optimizer: Optimizer, steps: int = 30, rate: float = 1e-3) -> None:
    for gradient in gradients(steps, tuple(parameter.shape)):
        (parameter * gradient.to(parameter.dtype)).sum().backward()
        optimizer.step(rate, 1e9)


def test_codes_by_hand() -> None:
    """127 sqrt(1/4) = 63.5, rounded to 64 and read as (64/127)^2; 255 (1/16)^(1/4) = 127.5, 128."""
    codes, scales = compressed_adam.encode_signed(torch.tensor([8.0, -2.0, 0.0]))
    assert codes.tolist() == [127, -64, 0] and scales.tolist() == [8.0]
    decoded = compressed_adam.decode_signed(codes, scales).tolist()
    assert decoded == pytest.approx([8, -8 * (64 / 127) ** 2, 0])
    codes, scales = compressed_adam.encode_unsigned(torch.tensor([16.0, 1.0, 0.0, 1e-30]))
    assert codes.tolist() == [255, 128, 0, 1] and scales.tolist() == [16.0]  # what is not 0 does not become 0
    decoded = compressed_adam.decode_unsigned(codes, scales).tolist()
    assert decoded == pytest.approx([16, 16 * (128 / 255) ** 4, 0, 16 / 255**4])
    # each block of 256 has a scale of its own
    values = torch.cat([torch.ones(256), torch.full((44,), 1e-6)])
    codes, scales = compressed_adam.encode_signed(values)
    assert scales.tolist() == pytest.approx([1, 1e-6]) and set(codes.tolist()) == {127}


@pytest.mark.parametrize("values", [torch.randn(5000), torch.tensor([0.0, -0.0, 1.0, -1.00390625, 3e38])])
def test_split_weights_are_fp32_weights(values: torch.Tensor) -> None:
    """bf16 and 16 more bits hold an fp32 number bit by bit; the bf16 half is its rounding. 1.00390625 = 1 +
    2^-8 lies halfway between two bf16 numbers."""
    parameter = nn.Parameter(torch.zeros(len(values), dtype=torch.bfloat16))
    optimizer = Optimizer([parameter], master_weights="split")
    optimizer.set_masters([values])
    assert torch.equal(optimizer.masters[0], values)
    distance = (parameter.detach().double() - values.double()).abs()
    nearest = (values.bfloat16().double() - values.double()).abs()
    assert torch.equal(distance, nearest)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_split_weights_with_fp32_moments_are_torchs_adamw(dtype: torch.dtype, decay: float) -> None:
    start = torch.randn(40, 30, generator=torch.Generator().manual_seed(1)).to(dtype)
    parameter, peer = nn.Parameter(start.clone()), nn.Parameter(start.float().clone())
    train(parameter, optimizer := Optimizer([parameter], (0.8, 0.9), 1e-4, decay, "split"))
    adam = torch.optim.AdamW([peer], lr=1e-3, betas=(0.8, 0.9), eps=1e-4, weight_decay=decay)
    for gradient in gradients(30, (40, 30)):
        peer.grad = gradient.to(dtype).float()
        adam.step()
    torch.testing.assert_close(optimizer.masters[0], peer.detach(), atol=2e-6, rtol=0)
    assert (peer.detach() - start.float()).abs().max() > 1e-2  # it went somewhere


@pytest.mark.parametrize(("moments", "nearness"), [("8bit", 0.04), ("factored", 0.5)])
def test_compressed_moments_are_near_to_torchs(moments: AdamMoments, nearness: float) -> None:
    """How far the way of 30 steps is from AdamW's, relative to its length. Factored second moments know rows
    and columns only, and these gradients have no such form: their way is another by nature."""
    start = torch.zeros(300, 70)
    parameter, peer = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    train(parameter, Optimizer([parameter], moments=moments))
    train(peer, Optimizer([peer]))
    assert (parameter - peer).norm() < nearness * peer.norm()


def test_factored_moments_are_exact_at_rank_one() -> None:
    """Squares r_i c_j: after one update with beta 0.9 the average is a tenth of them."""
    rows, columns = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 0.5])
    moment = FactoredMoment(torch.zeros(3, 2))
    gradient = torch.outer(rows, columns).sqrt().flatten()
    moment.update_means(iter([gradient[:4], gradient[4:]]), 0.9)
    expected = 0.1 * torch.outer(rows, columns).flatten()
    torch.testing.assert_close(moment.update(slice(0, 4), gradient[:4], 0.9), expected[:4])
    torch.testing.assert_close(moment.update(slice(4, 6), gradient[4:], 0.9), expected[4:])


def test_stochastic_rounding_is_right_on_average() -> None:
    """10,000 weights of 1, whose bf16 neighbour below is 1 - 2^-8, go down by 2^-10: about a quarter of them
    move, and none moves further. Standard error of the share: sqrt(1/4 3/4 / 10,000) = 0.0043."""
    parameter = nn.Parameter(torch.ones(10_000, dtype=torch.bfloat16))
    optimizer = Optimizer([parameter], eps=1e-12, master_weights="stochastic")
    parameter.sum().backward()
    optimizer.step(2**-10, 1e9)  # AdamW's first step is the rate
    assert set(parameter.tolist()) == {1.0, 1 - 2**-8}
    assert (parameter < 1).double().mean().item() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(("weights", "moments"), WAYS)
def test_bytes_a_parameter(weights: MasterWeights, moments: AdamMoments) -> None:
    """A matrix of 512 by 512 in bf16: the weights' 2 bytes, and what the optimizer holds."""
    parameter = nn.Parameter(torch.zeros(512, 512, dtype=torch.bfloat16))
    train(parameter, optimizer := Optimizer([parameter], master_weights=weights, moments=moments), 1)
    tensors = optimizer.state()["tensors"]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 512**2
    masters = {"fp32": 4, "split": 2, "stochastic": 0}[weights]
    scales = 4 / 256
    states = {"fp32": 8, "8bit": 2 + 2 * scales, "factored": 1 + scales + 2 * 4 / 512}[moments]
    assert size == pytest.approx(2 + masters + states)


@pytest.mark.parametrize(("weights", "moments"), WAYS)
def test_going_on_gives_the_same_bits(weights: MasterWeights, moments: AdamMoments) -> None:
    layers = [nn.Linear(300, 7).to(torch.bfloat16) for _ in range(2)]
    optimizers = [Optimizer(layer.parameters(), master_weights=weights, moments=moments) for layer in layers]
    x = torch.randn(4, 300, dtype=torch.bfloat16)
    for size in (1, 2, -3):
        layers[0](size * x).square().sum().backward()
        optimizers[0].step(0.01, 1.0)
    optimizers[1].restore(copy.deepcopy(optimizers[0].state()))
    for _ in range(2):
        for layer, optimizer in zip(layers, optimizers, strict=True):
            layer(x).square().sum().backward()
            optimizer.step(0.01, 1.0)
    for first, second in zip(optimizers[0].masters, optimizers[1].masters, strict=True):
        assert torch.equal(first, second)
    assert torch.equal(layers[0].weight, layers[1].weight)


def test_pieces_begin_at_blocks_and_hold_whole_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of 96: 8 rows are 3 blocks of 256. What is done in pieces equals what is done at once."""
    start, ways = torch.randn(37, 96, generator=torch.Generator().manual_seed(3)), []
    for size in (1 << 20, 1):
        monkeypatch.setattr(compressed_adam, "PIECE", size)
        parameter = nn.Parameter(start.clone())
        pieces = list(compressed_adam._pieces(parameter))
        assert all(piece.start % 256 == 0 and piece.start % 96 == 0 for piece in pieces)
        assert pieces[-1].stop == 37 * 96 and len(pieces) == (1 if size > 1 else 5)
        for moments in ("8bit", "factored"):
            train(parameter, Optimizer([parameter], moments=moments), 5)
        ways.append(parameter.detach())
    torch.testing.assert_close(ways[0], ways[1], atol=1e-6, rtol=0)
