"""A2C: two steps against a reference on plain transformers models, the advantage by hand, its gradient beside
PPO's, the exact KL, and value heads per term."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from biddable.learn import a2c, losses, ppo, rollout
from biddable.learn.optimizer import Optimizer
from biddable.learn.reward_terms import RewardTerm
from biddable.learn.training import derive_seed
from biddable.model.packing import Tree
from biddable.model.sampler import Request, SampledAnswer
from tests.learn import plain

pytestmark = pytest.mark.usefixtures("fp32")

PROMPTS = [plain.prompt(i) for i in range(4)] + [plain.prompt(i, "valid") for i in (4, 5)]
ENDS = frozenset(range(60))
SETTINGS: dict[str, Any] = {
    "episodes": 16,
    "batch": 8,
    "max_tokens": 6,
    "learning_rate": 3e-3,
    "value_learning_rate": 5e-3,
    "alpha": 0.3,
    "kl_coef": 0.4,
    "clip_norm": 0.5,
    "missing_eos_score": None,
    "eval_every": 1,
    "eval_prompts": 2,
}
Rollouts = list[tuple[list[Request], list[SampledAnswer]]]


def terms(reward: Path) -> tuple[RewardTerm, ...]:
    """A reward model at half its weight, and length."""
    return (RewardTerm(scorer=reward, weight=0.5), RewardTerm(length=True, weight=0.1))


def run(
    folder: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> tuple[Any, Rollouts]:
    rollouts: Rollouts = []
    real = rollout.sample

    def recorded(policy: Any, requests: Sequence[Request], *rest: Any, **named: Any) -> list[SampledAnswer]:
        samples = real(policy, requests, *rest, **named)
        rollouts.append((list(requests), samples))
        return samples

    monkeypatch.setattr(rollout, "sample", recorded)
    monkeypatch.setattr(a2c.checkpoints, "eos_ids", lambda *_: ENDS)
    prompts = plain.write(folder / "prompts", "prompts.jsonl", PROMPTS)
    context = plain.make_context(folder / "learn.a2c", "learn.a2c")
    values = {"reward": terms(models[1])} | SETTINGS | settings
    a2c.run(a2c.Config(policy=models[0], prompts=prompts, **values), context)
    monkeypatch.setattr(rollout, "sample", real)
    return context, rollouts


def loaded(models: tuple[Path, Path], **settings: Any) -> tuple[a2c.Config, rollout.Models, list[Tree]]:
    """Networks, settings and eight sampled answers."""
    cfg = a2c.Config(policy=models[0], **({"reward": terms(models[1])} | SETTINGS | settings))
    m = rollout.load_models(cfg, cfg.policy)
    requests = [Request((5, 6, 7 + i % 3), derive_seed(0, i), 6) for i in range(8)]
    return cfg, m, rollout.sample_episodes(m.policy, requests, ENDS, 8)[1]


class Reference:
    """A2C one answer at a time, with plain autograd."""

    def __init__(self, models: tuple[Path, Path], kl: str) -> None:
        self.policy, self.frozen, self.kl = plain.load(models[0]), plain.load(models[0]), kl
        self.reward, value = plain.load_scorer(models[1]), plain.load_scorer(models[1])
        self.value = plain.PlainScorer(
            value.network, value.weight.clone().requires_grad_(True), value.bias.clone().requires_grad_(True)
        )
        self.adam = plain.Adam(plain.branch(self.policy))
        self.value_adam = plain.Adam([*plain.branch(value.network), self.value.weight, self.value.bias])

    def distributions(self, network: Any, prompt: Sequence[int], tokens: Sequence[int]) -> torch.Tensor:
        """(T, V) log-probabilities before each token."""
        table = network(torch.tensor([[*prompt, *tokens]])).logits[0].log_softmax(-1)
        return table[len(prompt) - 1 : -1]

    def step(self, requests: list[Request], samples: list[SampledAnswer]) -> dict[str, float]:
        count = sum(len(s.tokens) for s in samples)
        policy_loss, value_loss, kl_loss = torch.zeros(()), torch.zeros(()), torch.zeros(())
        paid = []
        for request, sampled in zip(requests, samples, strict=True):
            prompt, tokens = list(request.prompt), list(sampled.tokens)
            new = self.distributions(self.policy, prompt, tokens)
            with torch.no_grad():
                old = self.distributions(self.frozen, prompt, tokens)
                reward = 0.5 * self.reward.score(prompt, tokens).item() - 0.1 * len(tokens)
            paid.append(reward)
            drawn = torch.tensor(tokens)[:, None]
            logp, logp_old = new.gather(1, drawn)[:, 0], old.gather(1, drawn)[:, 0]
            values = self.value.states([*prompt, *tokens])[len(prompt) - 1 : -1]
            for t in range(len(tokens)):
                goal = reward
                if self.kl == "reward":  # what is still to come, this token's penalty included
                    goal -= 0.4 * float((logp - logp_old).detach()[t:].sum())
                policy_loss = policy_loss - (goal - values[t].item()) * logp[t] / count
                value_loss = value_loss + (values[t] - goal) ** 2 / 2 / count
            kl_loss = kl_loss + (new.exp() * (new - old)).sum() / count
        loss = policy_loss if self.kl == "reward" else 0.7 * policy_loss + 0.3 * kl_loss
        loss.backward()
        value_loss.backward()
        row = {
            "reward": sum(paid) / 8,
            "policy_loss": policy_loss.item(),
            "value_loss": value_loss.item(),
            "grad_norm_policy": self.adam.step(3e-3, 0.5),
            "grad_norm_value": self.value_adam.step(5e-3, 0.5),
        }
        return row if self.kl == "reward" else row | {"kl_exact": kl_loss.item()}


@pytest.mark.parametrize("kl", ["loss", "reward"])
@pytest.mark.parametrize("microbatch_tokens", [4096, 64])
def test_two_steps_against_the_reference(
    tmp_path: Path,
    models: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    kl: str,
    microbatch_tokens: int,
) -> None:
    context, rollouts = run(tmp_path, models, monkeypatch, kl=kl, microbatch_tokens=microbatch_tokens)
    reference = Reference(models, kl)
    measured = plain.metrics(context)
    assert [row["step"] for row in measured] == [1, 2]
    for ours, (requests, samples) in zip(measured, rollouts[1::2], strict=True):
        theirs = reference.step(requests, samples)
        assert {name: ours[name] for name in theirs} == pytest.approx(theirs, rel=1e-3, abs=2e-6)
        lengths = [len(s.tokens) for s in samples]
        assert ours["reward_length"] == pytest.approx(-0.1 * sum(lengths) / 8)
        assert ours["raw_length"] == pytest.approx(-sum(lengths) / 8)
        assert ours["reward"] == pytest.approx(ours["reward_length"] + ours["reward_scorer"], abs=1e-5)
    assert measured[0]["kl"] == 0 and measured[1]["kl"] != 0
    if kl == "loss":
        assert measured[0]["kl_exact"] == 0 and measured[1]["kl_exact"] > 0
    saved = plain.load(tmp_path / "learn.a2c")
    plain.same_weights(saved, reference.policy)
    plain.only_the_branch_changed(saved, plain.load(models[0]))
    assert context.summary == {"steps": 2, "episodes": 16, "prompts": 4}


@pytest.mark.parametrize("value_per_term", [False, True])
def test_a_broken_run_goes_on_to_the_same_weights(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, value_per_term: bool
) -> None:
    """Broken in the second step; what was measured on the reference answers comes back too."""
    measured = (
        RewardTerm(scorer=models[1], standardise=True, cap_to_reference=True),
        RewardTerm(length=True, weight=0.1),
    )
    settings: dict[str, Any] = {
        "reward": measured,
        "value_per_term": value_per_term,
        "reference_answers": 9,
        "episodes": 24,
        "selfplay": 0.5,
    }
    straight, _ = run(tmp_path / "straight", models, monkeypatch, **settings)
    real, calls = a2c.accumulate_gradients, []

    def dies(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(a2c, "accumulate_gradients", dies)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", models, monkeypatch, checkpoint_seconds=0, **settings)
    broken, rollouts = run(tmp_path / "broken", models, monkeypatch, checkpoint_seconds=0, **settings)
    assert len(calls) == 4 and len(rollouts) == 2  # one rollout and one look: nothing is measured again
    folders = [plain.load(tmp_path / name / "learn.a2c") for name in ("broken", "straight")]
    plain.same_weights(*folders, 0)
    rows = [[{**row, "tokens_per_second": 0} for row in plain.metrics(c)] for c in (broken, straight)]
    assert rows[0] == rows[1]
    assert broken.summary == straight.summary and "scorer" in straight.summary["reward_reference"]


def test_with_lambda_1_the_advantage_is_what_was_paid_minus_the_value(models: tuple[Path, Path]) -> None:
    cfg, m, trees = loaded(models)
    paid = torch.arange(16.0).reshape(8, 2)
    experiences, targets, _ = a2c.accumulate_gradients(cfg, m, trees, paid)
    for e, target in zip(experiences, targets, strict=True):
        reward = e.terms.sum(1)[e.answer]  # (N,) the same at every token of an answer
        torch.testing.assert_close(target.returns, reward)
        torch.testing.assert_close(target.advantages, reward - e.values)


def gradient_of(m: rollout.Models, work: Any) -> torch.Tensor:
    adam = Optimizer(m.policy.parameters())
    work()
    return adam.gradient()


def test_the_first_step_of_ppo_has_the_same_gradient(models: tuple[Path, Path]) -> None:
    """The ratio is 1 there, so the clipped surrogate's gradient is the plain policy gradient."""
    cfg, m, trees = loaded(models, kl="reward", gae_lambda=0.9)
    paid = torch.randn(8, 2, generator=torch.Generator().manual_seed(1))
    ours = gradient_of(m, lambda: a2c.accumulate_gradients(cfg, m, trees, paid))
    m.policy.zero_grad()

    def work() -> None:
        part = rollout.make_experience(m, trees, paid, 4096, True)
        (target,) = rollout.compute_advantages([part], 0.4, 1.0, 0.9, False, whiten_advantages=False)
        ppo.accumulate_gradients(ppo.Config(policy=models[0], reward=models[1]), m, part, target, True)

    theirs = gradient_of(m, work)
    assert theirs.norm() > 1e-3
    torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-4)


def test_alpha_1_at_the_first_policy_has_no_gradient(models: tuple[Path, Path]) -> None:
    cfg, m, trees = loaded(models, alpha=1.0)
    paid = torch.ones(8, 2)
    assert gradient_of(m, lambda: a2c.accumulate_gradients(cfg, m, trees, paid)).norm() == 0
    with torch.no_grad():
        for weight in m.policy.branch.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    m.policy.zero_grad()
    assert gradient_of(m, lambda: a2c.accumulate_gradients(cfg, m, trees, paid)).norm() > 1e-3


def test_the_trunk_stays_as_it_is(models: tuple[Path, Path]) -> None:
    cfg, m, trees = loaded(models)
    blocks: Any = m.policy.trunk.blocks
    before = {name: tensor.clone() for name, tensor in blocks.state_dict().items()}
    adams = Optimizer(m.policy.parameters()), Optimizer(m.value.parameters())
    a2c.accumulate_gradients(cfg, m, trees, torch.ones(8, 2))
    for adam in adams:
        assert adam.step(1e-2, 1.0) > 0
    after = blocks.state_dict()
    assert before and all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert m.value.trunk is m.policy.trunk and m.reference.trunk is m.policy.trunk


# a value head per term


def test_heads_of_terms_begin_as_the_reward_model_and_as_zeros(models: tuple[Path, Path]) -> None:
    _, loaded_models, trees = loaded(models)
    _, per_term, _ = loaded(models, value_per_term=True)
    rows = next(rows for _, rows in a2c.microbatches(trees, 4096))
    with torch.no_grad():
        single, several = loaded_models.value.values(rows), per_term.value.values(rows)
    assert several.shape == (len(single), 3)  # scorer, length, KL
    torch.testing.assert_close(several[:, 0], 0.5 * single)
    assert several[:, 1:].abs().max() == 0


def test_advantages_of_terms_add_up_to_those_of_their_sum(models: tuple[Path, Path]) -> None:
    """GAE is linear: heads that add up to one value give its advantages, and returns that add up too."""
    _, m, trees = loaded(models)
    generator = torch.Generator().manual_seed(4)
    paid = torch.randn(8, 2, generator=generator)
    all_terms = rollout.make_experience(m, trees, paid, 4096, False)
    all_terms = all_terms._replace(
        logp_reference=all_terms.logp - torch.rand(len(all_terms.logp), generator=generator)
    )
    values = torch.randn(len(all_terms.logp), 3, generator=generator)
    parts = all_terms._replace(values=values)
    all_terms = all_terms._replace(values=values.sum(1))
    (a,), (b,) = (
        rollout.compute_advantages([e], 0.4, 0.9, 0.8, False, whiten_advantages=False)
        for e in (all_terms, parts)
    )
    torch.testing.assert_close(a.advantages, b.advantages)
    torch.testing.assert_close(a.returns, b.returns.sum(1))
    assert b.returns.shape == values.shape
    # the KL's own head: with gamma = lambda = 1 its return is the sum of the penalties still to come
    (c,) = rollout.compute_advantages([parts], 0.4, 1.0, 1.0, False, whiten_advantages=False)
    first = all_terms.answer == 0
    penalty = -0.4 * (all_terms.logp - all_terms.logp_reference)[first]
    torch.testing.assert_close(c.returns[first, 2], penalty.flip(0).cumsum(0).flip(0))
    torch.testing.assert_close(c.returns[first, 0], paid[0, 0].expand(int(first.sum())))


def test_explained_variance_of_each_head(models: tuple[Path, Path]) -> None:
    from biddable.learn.ppo_metrics import explained_variances

    _, m, trees = loaded(models)
    e = rollout.make_experience(m, trees, torch.ones(8, 2), 4096, False)
    returns = torch.randn(len(e.logp), 3, generator=torch.Generator().manual_seed(1))
    values = returns.clone()
    values[:, 1] = 0.0
    target = rollout.Advantages(returns[:, 0], returns)
    numbers = explained_variances([e._replace(values=values)], [target], ("scorer", "length"))
    assert numbers["explained_variance_scorer"] == numbers["explained_variance_kl"] == 1
    assert numbers["explained_variance_length"] == pytest.approx(0, abs=1e-6)
    total = returns.sum(1)
    expected = 1 - returns[:, 1].var(unbiased=False) / total.var(unbiased=False)
    assert numbers["explained_variance"] == pytest.approx(expected.item(), abs=1e-5)


def test_a_value_without_a_reward_model_begins_at_zero(models: tuple[Path, Path]) -> None:
    cfg = a2c.Config(policy=models[0], reward=(RewardTerm(length=True),), **SETTINGS)
    m = rollout.load_models(cfg, cfg.policy)
    trees = [Tree((5, 6), ((7, 8, 2),))]
    rows = next(rows for _, rows in a2c.microbatches(trees, 64))
    assert m.value.values(rows).abs().max() == 0
    assert math.isfinite(float(losses.explained_variance(torch.ones(3), torch.ones(3))))
    assert copy.copy(m).reward.names == ("length",)
