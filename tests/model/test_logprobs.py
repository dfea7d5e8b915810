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
