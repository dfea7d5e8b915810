"""The sampler: true draws, refilled slots, answers that do not depend on their neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from biddable.model import checkpoints
from biddable.model import prefill as prefill_module
from biddable.model.packing import Tree, pack
from biddable.model.prefill import prefill
from biddable.model.sampler import Request, draw, sample

pytestmark = pytest.mark.usefixtures("fp32")


def requests(count: int, length: int = 12) -> list[Request]:
    return [
        Request(tuple(range(5 + i % 7, 15 + i % 7 + i % 3)), 100 + i, 1 + (length + 5 * i) % 17)
        for i in range(count)
    ]


@pytest.mark.parametrize("trunk", [0, 2])
def test_alone_equals_in_company_in_any_order_with_any_number_of_slots(tiny_folder: Path, trunk: int) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=trunk).freeze()
    asked = requests(9)
    eos = frozenset({2})
    alone = [sample(policy, [one], eos)[0] for one in asked]
    for slots in (1, 2, 4, 9):
        assert [one.tokens for one in sample(policy, asked, eos, slots)] == [one.tokens for one in alone]
    backwards = sample(policy, asked[::-1], eos, 3)[::-1]
    assert [one.tokens for one in backwards] == [one.tokens for one in alone]


@pytest.mark.parametrize("trunk", [0, 2])
def test_log_probabilities_and_trunk_outputs_are_those_of_a_forward(tiny_folder: Path, trunk: int) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=trunk)
    asked = requests(7)
    got = sample(policy.freeze(), asked, frozenset({2}), 3, keep_trunk=True)
    trees = [Tree(r.prompt, (g.tokens,)) for r, g in zip(asked, got, strict=True)]
    packed = pack(trees)
    logp = policy.logp(packed)[0]
    torch.testing.assert_close(torch.tensor([v for g in got for v in g.logp]), logp, atol=1e-5, rtol=0)
    if trunk:
        hidden = policy.trunk(packed)
        for number, one in enumerate(got):
            row, columns = (packed.tree == number).nonzero(as_tuple=True)
            assert one.hidden is not None and hidden is not None
            torch.testing.assert_close(one.hidden, hidden[row, columns], atol=1e-5, rtol=0)
        kept = pack(
            [
                Tree(t.prompt, t.answers, (g.hidden,))
                for t, g in zip(trees, got, strict=True)
                if g.hidden is not None
            ]
        )
        torch.testing.assert_close(policy.logp(kept)[0], logp, atol=1e-5, rtol=0)


def test_end_token_is_in_the_answer_and_finishes_it_although_pad_is_the_same_id(tiny_folder: Path) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=2).freeze()
    words = checkpoints.tokenizer(tiny_folder)
    assert words.pad_token_id == words.eos_token_id
    got = sample(
        policy, [Request((5, 6, 7), s, 60, temperature=3.0) for s in range(60)], frozenset(range(0, 384, 9))
    )
    assert {one.finish for one in got} == {"stop", "length"}
    for one in got:
        ends = [token % 9 == 0 for token in one.tokens]
        assert not any(ends[:-1]) and ends[-1] == (one.finish == "stop")
        assert len(one.tokens) == 60 or one.finish == "stop"


def test_draws_follow_the_softmax() -> None:
    """300 words (more than one block of 256), 40,000 draws: every frequency within 5 standard errors of its probability."""
    logits = torch.randn(1, 300, generator=torch.Generator().manual_seed(1)) * 2
    count = 40_000
    uniforms = torch.from_numpy(np.random.default_rng(0).random(count, dtype=np.float32))
    tokens, logp = draw(logits.expand(count, -1).clone(), uniforms, torch.ones(count), torch.ones(count))
    probability = logits.softmax(-1)[0]
    frequency = torch.bincount(tokens, minlength=300) / count
    assert (
        (frequency - probability).abs() <= 5 * (probability * (1 - probability) / count).sqrt() + 1e-4
    ).all()
    torch.testing.assert_close(logp, logits.log_softmax(-1)[0][tokens])


def test_temperature_and_top_p_shape_draws_but_not_the_log_probability() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).expand(1000, -1).clone()
    uniforms = torch.linspace(0, 0.999, 1000)
    cold, logp = draw(logits, uniforms, torch.zeros(1000), torch.ones(1000))
    assert set(cold.tolist()) == {0} and logp[0].exp().item() == pytest.approx(0.5)
    nucleus, logp = draw(logits, uniforms, torch.ones(1000), torch.full((1000,), 0.7))
    assert set(nucleus.tolist()) == {0, 1}  # 0.5 < 0.7 <= 0.5 + 0.3
    assert logp[nucleus == 1][0].exp().item() == pytest.approx(0.3)
    warm, _ = draw(logits, uniforms, torch.full((1000,), 2.0), torch.ones(1000))
    root = torch.tensor([0.5, 0.3, 0.15, 0.05]).sqrt()
    assert (warm == 3).float().mean().item() == pytest.approx(float(root[3] / root.sum()), abs=0.01)


def test_answers_to_one_prompt_share_its_prefill(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=2).freeze()
    seen: list[int] = []
    original = prefill_module.pack
    monkeypatch.setattr(
        prefill_module,
        "pack",
        lambda trees, row_tokens: seen.append(len(trees)) or original(trees, row_tokens),
    )
    got = sample(
        policy,
        [Request((5, 6, 7), s, 5) for s in range(6)] + [Request((9, 6), s, 5) for s in range(3)],
        frozenset(),
    )
    assert sum(seen) == 2
    assert len({one.tokens for one in got[:6]}) > 1


@pytest.mark.parametrize("trunk", [0, 2])
def test_prompts_that_begin_alike_run_their_beginning_once(
    tiny_folder: Path, trunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As alone: keys, values, logits, trunk outputs; also over several rows, and when one prompt is the beginning of another."""
    policy = checkpoints.load_policy(tiny_folder, trunk=trunk).freeze()
    common = tuple(range(20, 40))
    prompts = [common + tuple(range(5, 6 + i)) for i in range(9)] + [common]
    monkeypatch.setattr(prefill_module, "FAMILY_TOKENS", 32)
    run: list[int] = []
    original = prefill_module.pack
    monkeypatch.setattr(
        prefill_module,
        "pack",
        lambda trees, row_tokens: run.append(sum(map(len, trees))) or original(trees, row_tokens),
    )
    together = prefill(policy, prompts, True)
    alone = [prefill(policy, [prompt], True)[0] for prompt in prompts]
    # of 20 common tokens the shortest prompt keeps one; the others' 2 to 10 and its 1 stand in six rows of 32: 6 · 19 + 55 of 245 tokens
    assert run[0] == 169 and sum(map(len, prompts)) == 245
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.logits, other.logits, atol=1e-5, rtol=0)
        assert (one.hidden is None) == (other.hidden is None) == (trunk == 0)
        if one.hidden is not None:
            torch.testing.assert_close(one.hidden, other.hidden, atol=1e-5, rtol=0)
        for mine, theirs in zip(one.trunk + one.branch, other.trunk + other.branch, strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)
    asked = [Request(prompt, i, 9) for i, prompt in enumerate(prompts)]
    assert [a.tokens for a in sample(policy, asked, frozenset({2}), 4)] == [
        sample(policy, [r], frozenset({2}))[0].tokens for r in asked
    ]


def test_impossible_requests_are_refused() -> None:
    for wrong in ({"prompt": ()}, {"max_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}):
        with pytest.raises(ValueError, match="a request needs"):
            Request(**{"prompt": (1,), "seed": 1, "max_tokens": 3, **wrong})
