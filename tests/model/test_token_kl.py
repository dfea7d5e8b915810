"""The exact KL of next-token distributions: value and gradients against plain autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from biddable.model import token_kl as module
from biddable.model.logprobs import LMHead
from biddable.model.token_kl import token_entropy, token_kl


def inputs(seed: int = 0) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    hidden, reference = torch.randn(7, 5, generator=g), torch.randn(7, 5, generator=g)
    weight, weight_reference = torch.randn(11, 5, generator=g), torch.randn(11, 5, generator=g)
    return hidden, reference, torch.randint(11, (7,), generator=g), weight, weight_reference


def plain_logits(
    hidden: torch.Tensor, weight: torch.Tensor, scale: float, softcap: float | None
) -> torch.Tensor:
    logits = hidden @ weight.T * scale
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


@pytest.mark.parametrize("scale, softcap", [(1.0, None), (0.5, None), (2.0, 3.0)])
@pytest.mark.parametrize("chunk", [128, 3])
def test_against_plain_autograd(
    scale: float, softcap: float | None, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    upstream = torch.arange(1.0, 8.0)
    results: list[Any] = []
    for ours in (True, False):
        hidden, reference, target, weight, weight_reference = inputs()
        hidden.requires_grad_(True)
        weight.requires_grad_(True)
        if ours:
            heads = LMHead(weight, None, scale, softcap), LMHead(weight_reference, None, scale, softcap)
            kl, logp = token_kl(hidden, reference, target, *heads)
        else:
            log_p = plain_logits(hidden, weight, scale, softcap).log_softmax(-1)
            log_q = plain_logits(reference, weight_reference, scale, softcap).log_softmax(-1)
            kl, logp = (log_p.exp() * (log_p - log_q)).sum(-1), log_q[torch.arange(7), target]
        (kl * upstream).sum().backward()
        results.append((kl, logp, hidden.grad, weight.grad))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_by_hand() -> None:
    """p = (3/4, 1/4), q = (1/2, 1/2): 3/4 ln 3/2 + 1/4 ln 1/2."""
    head = LMHead(torch.eye(2), None, 1.0, None)
    kl, logp = token_kl(torch.tensor([[3.0, 1.0]]).log(), torch.zeros(1, 2), torch.tensor([0]), head, head)
    assert kl.item() == pytest.approx(0.75 * torch.tensor(1.5).log().item() - 0.25 * 0.6931472)
    assert logp.item() == pytest.approx(-0.6931472)


def test_at_the_same_policy_both_are_exactly_zero() -> None:
    hidden, _, target, weight, _ = inputs()
    hidden.requires_grad_(True)
    weight.requires_grad_(True)
    kl, _ = token_kl(
        hidden,
        hidden.detach(),
        target,
        LMHead(weight, None, 1.0, None),
        LMHead(weight.detach(), None, 1.0, None),
    )
    kl.sum().backward()
    assert kl.abs().max() == 0
    assert hidden.grad is not None and weight.grad is not None
    assert hidden.grad.abs().max() == 0 and weight.grad.abs().max() == 0


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_entropy_and_its_gradient(softcap: float | None) -> None:
    """Against -sum p log p by plain autograd."""
    generator = torch.Generator().manual_seed(6)
    hidden = torch.randn(5, 4, generator=generator).requires_grad_(True)
    weight = torch.randn(9, 4, generator=generator).requires_grad_(True)
    upstream = torch.randn(5, generator=generator)
    entropy = token_entropy(hidden, torch.zeros(5, dtype=torch.long), LMHead(weight, None, 0.5, softcap))
    ours = torch.autograd.grad((entropy * upstream).sum(), (hidden, weight))
    logits = hidden @ weight.T * 0.5
    log_p = (logits if softcap is None else torch.tanh(logits / softcap) * softcap).log_softmax(-1)
    plain = -(log_p.exp() * log_p).sum(-1)
    theirs = torch.autograd.grad((plain * upstream).sum(), (hidden, weight))
    torch.testing.assert_close(entropy, plain)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("trains", ["hidden", "weight"])
@pytest.mark.parametrize("softcap", [None, 1.5])
def test_a_heads_bias_counts_and_either_side_may_train_alone(softcap: float | None, trains: str) -> None:
    """logits = c tanh((h W^T + b) s / c), written out: the bias moves the KL and, through the cap, its
    gradient."""
    generator = torch.Generator().manual_seed(9)
    bias, bias_reference = torch.randn(11, generator=generator) * 3, torch.randn(11, generator=generator) * 3
    results = []
    for ours in (True, False):
        hidden, reference, target, weight, weight_reference = inputs(2)
        trained = (hidden if trains == "hidden" else weight).requires_grad_(True)
        if ours:
            head = LMHead(weight, bias, 0.7, softcap)
            kl, logp = token_kl(
                hidden, reference, target, head, LMHead(weight_reference, bias_reference, 0.7, softcap)
            )
        else:
            raw = (hidden @ weight.T + bias) * 0.7, (reference @ weight_reference.T + bias_reference) * 0.7
            log_p, log_q = (
                (logits if softcap is None else softcap * torch.tanh(logits / softcap)).log_softmax(-1)
                for logits in raw
            )
            kl, logp = (log_p.exp() * (log_p - log_q)).sum(-1), log_q[torch.arange(7), target]
        assert kl.requires_grad and not (ours and logp.requires_grad)
        kl.sum().backward()
        results.append((kl.detach(), logp.detach(), trained.grad))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_without_gradients_the_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 3)
    hidden, reference, target, weight, weight_reference = inputs(4)
    heads = LMHead(weight, None, 0.5, 2.0), LMHead(weight_reference, None, 0.5, None)
    plain = token_kl(hidden, reference, target, *heads)
    trained = token_kl(hidden.clone().requires_grad_(True), reference, target, *heads)
    for a, b in zip(plain, trained, strict=True):
        assert not a.requires_grad and torch.equal(a, b.detach())
