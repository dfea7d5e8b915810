"""Log-probabilities without logits: values and gradients against the naive way."""

from __future__ import annotations

import pytest
import torch

from biddable.model import logprobs
from biddable.model.logprobs import LMHead, token_logprobs


@pytest.mark.parametrize(("scale", "softcap"), [(1.0, None), (0.25, None), (1.0, 2.0), (0.5, 1.5)])
@pytest.mark.parametrize("trains", [True, False])
def test_equals_log_softmax_with_gradients(
    monkeypatch: pytest.MonkeyPatch, scale: float, softcap: float | None, trains: bool
) -> None:
    monkeypatch.setattr(logprobs, "CHUNK", 3)  # several chunks, the last one short
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(8, 5, generator=generator).requires_grad_(True)
    weight = torch.randn(11, 5, generator=generator).requires_grad_(trains)
    target = torch.randint(0, 11, (8,), generator=generator)
    upstream = torch.randn(8, generator=generator)
    spec = LMHead(weight, None, scale, softcap)
    logp, entropy = token_logprobs(hidden, target, spec)
    (logp * upstream).sum().backward()
    found = hidden.grad, weight.grad
    hidden.grad = weight.grad = None
    logits = hidden @ weight.T * scale
    logits = logits if softcap is None else torch.tanh(logits / softcap) * softcap
    full = logits.log_softmax(-1)
    (full.gather(1, target[:, None])[:, 0] * upstream).sum().backward()
    torch.testing.assert_close(logp, full.gather(1, target[:, None])[:, 0])
    torch.testing.assert_close(entropy, -(full.exp() * full).sum(-1))
    torch.testing.assert_close(found[0], hidden.grad)
    if trains:
        torch.testing.assert_close(found[1], weight.grad, atol=1e-5, rtol=1e-4)
    else:
        assert found[1] is None


@pytest.mark.parametrize(("scale", "softcap"), [(1.0, None), (0.25, None), (1.0, 2.0), (0.5, 1.5)])
def test_gradients_are_finite_differences(scale: float, softcap: float | None) -> None:
    """Another proof than autograd's: the log-probability of a moved hidden state and of a moved weight, in
    double precision and with a bias, against the gradient's prediction."""
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(3, 4, generator=generator).requires_grad_(True)
    weight = torch.randn(6, 4, generator=generator).requires_grad_(True)
    bias = torch.randn(6, generator=generator).requires_grad_(True)
    target, upstream = torch.tensor([5, 0, 2]), torch.tensor([1.0, -2.0, 0.5])

    def loss(h: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> float:
        logits = (h.double() @ w.double().T + b.double()) * scale
        logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
        logp = logits.gather(1, target[:, None])[:, 0] - logits.exp().sum(-1).log()
        return float((logp * upstream.double()).sum().detach())

    logp, _ = token_logprobs(hidden, target, LMHead(weight, bias, scale, softcap))
    (logp * upstream).sum().backward()
    assert float((logp * upstream).sum().detach()) == pytest.approx(loss(hidden, weight, bias), abs=1e-5)
    inputs = [hidden, weight, bias]
    for number, tensor in enumerate(inputs):
        assert tensor.grad is not None
        for place in range(tensor.numel()):
            step = torch.zeros(tensor.numel(), dtype=torch.float64)
            step[place] = 1e-5
            moved = [tensor.detach().double() + sign * step.view(tensor.shape) for sign in (1, -1)]
            up, down = (loss(*inputs[:number], tensor, *inputs[number + 1 :]) for tensor in moved)
            assert float(tensor.grad.flatten()[place]) == pytest.approx((up - down) / 2e-5, abs=2e-4)


@pytest.mark.parametrize("vocabulary", [40, 4096, 5001])
@pytest.mark.parametrize("bias", [False, True])
def test_bf16_logprobs_are_those_of_an_fp32_product(vocabulary: int, bias: bool) -> None:
    """The same bf16 states and weights multiplied in double precision. Rounding every logit to bf16 loses
    0.05 nats at logits of 30; here nothing of that is left, neither at likely targets nor at rare ones."""
    generator = torch.Generator().manual_seed(4)
    hidden = torch.randn(200, 64, generator=generator).bfloat16()
    weight = (torch.randn(vocabulary, 64, generator=generator) * 1.2).bfloat16()
    offset = torch.randn(vocabulary, generator=generator).bfloat16() if bias else None
    exact = hidden.double() @ weight.double().T + (0 if offset is None else offset.double())
    full = exact.log_softmax(-1)
    likeliest, rare = exact.argmax(-1), torch.randint(0, vocabulary, (200,), generator=generator)
    rounded = exact.bfloat16().float().log_softmax(-1)
    head = LMHead(weight, offset, 1.0, None)
    for target in (likeliest, rare):
        here = target[:, None]
        logp, _ = token_logprobs(hidden, target, head)
        assert (logp - full.gather(1, here)[:, 0]).abs().max() < 0.006
        assert (rounded - full).gather(1, here).abs().max() > 0.03
    assert (head.logits(hidden).argmax(-1) == likeliest).all()


def test_a_bias_trains_where_the_weight_does_not() -> None:
    """d log p(target) / d bias is onehot - p: logits log 1, log 2, log 5 and target 1."""
    bias = torch.tensor([1.0, 2.0, 5.0]).log().requires_grad_(True)
    hidden = torch.zeros(1, 1)
    logp, _ = token_logprobs(hidden, torch.tensor([1]), LMHead(torch.zeros(3, 1), bias, 1.0, None))
    logp.sum().backward()
    assert bias.grad is not None
    assert bias.grad.tolist() == pytest.approx([-1 / 8, 1 - 2 / 8, -5 / 8])


def test_golden_values() -> None:
    """Logits log 1, log 2, log 5: probabilities 1/8, 2/8, 5/8; entropy 0.9003 nats."""
    head = LMHead(torch.tensor([[1.0], [2.0], [5.0]]).log(), None, 1.0, None)
    logp, entropy = token_logprobs(torch.ones(3, 1), torch.tensor([0, 1, 2]), head)
    assert logp.exp().tolist() == pytest.approx([0.125, 0.25, 0.625])
    assert entropy.tolist() == pytest.approx([0.900256] * 3, abs=1e-5)


def test_huge_logits_do_not_overflow_and_entropy_carries_no_gradient() -> None:
    hidden = torch.tensor([[1000.0]], requires_grad=True)
    logp, entropy = token_logprobs(
        hidden, torch.tensor([1]), LMHead(torch.tensor([[1.0], [-1.0]]), None, 1.0, None)
    )
    assert float(logp.detach()) == -2000.0 and float(entropy) == pytest.approx(0.0, abs=1e-4)
    assert not entropy.requires_grad and logp.requires_grad


def test_head_logits_by_hand() -> None:
    """h = 2: (2·3 + 1)·0.5 = 3.5 and (2·-1 + 0)·0.5 = -1, capped at 2: 2 tanh(1.75), 2 tanh(-0.5)."""
    head = LMHead(torch.tensor([[3.0], [-1.0]]), torch.tensor([1.0, 0.0]), 0.5, 2.0)
    assert head.logits(torch.tensor([[2.0]]))[0].tolist() == pytest.approx([1.88275, -0.92423], abs=1e-5)
    packed = head._replace(packed=lambda hidden: hidden.new_tensor([[7.0, 7.0]]))
    assert packed.logits(torch.tensor([[2.0]]))[0].tolist() == pytest.approx([1.88275] * 2, abs=1e-5)


@pytest.mark.parametrize("trained", ["weight", "bias", "hidden"])
def test_each_part_trains_alone(trained: str) -> None:
    """The gradient of one part while the two others stand still, against plain autograd."""
    generator = torch.Generator().manual_seed(7)
    parts = {
        "hidden": torch.randn(6, 4, generator=generator),
        "weight": torch.randn(9, 4, generator=generator),
        "bias": torch.randn(9, generator=generator),
    }
    target = torch.randint(0, 9, (6,), generator=generator)
    part = parts[trained].requires_grad_(True)
    logp, _ = token_logprobs(parts["hidden"], target, LMHead(parts["weight"], parts["bias"], 0.5, 2.0))
    (ours,) = torch.autograd.grad(logp.sum(), part)
    logits = 2.0 * torch.tanh((parts["hidden"] @ parts["weight"].T + parts["bias"]) * 0.5 / 2.0)
    (plain,) = torch.autograd.grad(logits.log_softmax(-1).gather(1, target[:, None]).sum(), part)
    torch.testing.assert_close(ours, plain)
    with torch.no_grad():
        assert not token_logprobs(parts["hidden"], target, LMHead(parts["weight"], parts["bias"], 0.5, 2.0))[
            0
        ].requires_grad
