"""PPO: the ratio starts at 1, KL at 0, the bandit's optimum is reached, missing ends pay nothing extra, ptx
joins the same step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from biddable.learn import ppo, ppo_metrics, ptx, rollout, sft
from biddable.learn.optimizer import Optimizer
from biddable.learn.reward_sources import FROZEN_TOKENS, reward_of
from biddable.learn.reward_terms import Episode, penalize_missing_eos
from biddable.learn.training import derive_seed
from biddable.model import checkpoints, hardware, random_model
from biddable.model import trunk as lm
from biddable.model.packing import PackedBatch, Tree, pack
from biddable.model.sampler import Request

pytestmark = pytest.mark.usefixtures("fp32")


class ByToken(lm.Scorer):
    """A reward that depends on the answer's last token only."""

    table = torch.tensor([1.0, 0.0, 0.5, -1.0])

    def scores(self, packed: PackedBatch) -> torch.Tensor:
        return self.table[packed.tokens.flatten()[packed.last] % 4]


def four(tmp_path: Path, start: Path, trunk: int, scorer: Any = None) -> rollout.Models:
    checkpoints.import_model(str(start), tmp_path / "start" / "model", trunk)
    policy = checkpoints.load_policy(tmp_path / "start")
    value = lm.scorer_from(policy, torch.Generator().manual_seed(0))
    reward = scorer(policy.trunk, value.branch, value.weight, value.bias) if scorer else value.freeze()
    return rollout.Models(policy, policy.copy().requires_grad_(False), value, reward_of(reward))


def experience(
    m: rollout.Models, samples: Any, trees: list[Tree], tokens: int, graph: bool
) -> rollout.Experience:
    """A minibatch's experience; the answers' texts don't matter to a scorer."""
    episodes = [Episode((), tree, "", s.finish) for s, tree in zip(samples, trees, strict=True)]
    return rollout.make_experience(m, trees, m.reward.score(episodes).terms, tokens, graph)


def requests(count: int, tokens: int, step: int = 0) -> list[Request]:
    return [Request((5, 6, 7 + i % 3), derive_seed(step, i), tokens) for i in range(count)]


@pytest.mark.parametrize("trunk", [0, 2])
@pytest.mark.parametrize("graph", [True, False])
def test_first_ratio_is_one_and_first_kl_is_zero(
    tmp_path: Path, tiny_folder: Path, trunk: int, graph: bool
) -> None:
    m = four(tmp_path, tiny_folder, trunk)
    cfg = ppo.Config(policy=tmp_path, reward=tmp_path)
    samples, trees = rollout.sample_episodes(m.policy, requests(8, 6), frozenset({2}), 4)
    part = experience(m, samples, trees, 40, graph)
    assert torch.equal(part.logp, part.logp_reference)
    (target,) = rollout.compute_advantages([part], 0.1, 1.0, 0.95, False)
    assert ppo.accumulate_gradients(cfg, m, part, target, True)["ratio_first"] == pytest.approx(1.0, abs=1e-6)
    assert target.advantages.mean().abs() < 1e-5
    torch.testing.assert_close(
        torch.tensor([v for g in samples for v in g.logp]), part.logp, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("trunk", [0, 6])
def test_first_kl_is_zero_in_bf16_for_a_deep_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trunk: int
) -> None:
    """At the default settings, with more tokens than one forward of the frozen models takes: rows that are
    packed otherwise would be rounded otherwise."""
    monkeypatch.setattr(hardware, "compute_dtype", lambda: torch.bfloat16)
    source = random_model.save_random_model(tmp_path / "deep", layers=12)
    m = four(tmp_path, source, trunk)
    cfg = ppo.Config(policy=tmp_path, reward=tmp_path)
    prompts = [tuple(3 + (i * j) % 90 for j in range(1, 70)) for i in range(48)]
    sampling_requests = [Request(ids, derive_seed("deep", i), 8) for i, ids in enumerate(prompts)]
    samples, trees = rollout.sample_episodes(m.policy, sampling_requests, frozenset({2}), 16)
    assert sum(map(len, trees)) > FROZEN_TOKENS
    part = experience(m, samples, trees, cfg.microbatch_tokens, True)
    assert part.logp.dtype == torch.float32 and torch.equal(part.logp, part.logp_reference)


def test_first_ratio_is_measured_by_a_forward_of_its_own(tmp_path: Path, tiny_folder: Path) -> None:
    """Weights that move between rollout and update make another ratio, also where the graph was kept."""
    m = four(tmp_path, tiny_folder, 2)
    samples, trees = rollout.sample_episodes(m.policy, requests(8, 6), frozenset({2}), 4)
    part = experience(m, samples, trees, 4096, True)
    assert part.first_forward is not None
    with torch.no_grad():
        for parameter in m.policy.branch.parameters():
            parameter.data.mul_(1.05)  # as the graph does not see
        moved = m.policy.logp(part.packed[0])[0]
    (target,) = rollout.compute_advantages([part], 0.1, 1.0, 0.95, False)
    numbers = ppo.accumulate_gradients(ppo.Config(policy=tmp_path, reward=tmp_path), m, part, target, True)
    difference = moved - part.logp
    assert numbers["ratio_first"] == pytest.approx(float(difference.exp().mean()), abs=1e-5)
    assert abs(numbers["ratio_first"] - 1) > 1e-3
    k3 = (difference.exp() - 1 - difference).mean()
    assert numbers["approx_kl"] == pytest.approx(float(k3), rel=1e-3) and numbers["approx_kl"] > 1e-5


def test_one_token_is_a_rollout(tmp_path: Path, tiny_folder: Path) -> None:
    """Fewer tokens than a variance likes: two answers of one token each have advantages of 1 and -1."""
    m = four(tmp_path, tiny_folder, 0)
    for count, expected in ((1, None), (2, [-1.0, 1.0])):
        samples, trees = rollout.sample_episodes(m.policy, requests(count, 1), frozenset({2}), 4)
        part = experience(m, samples, trees, 4096, True)._replace(terms=torch.arange(1.0, count + 1)[:, None])
        (target,) = rollout.compute_advantages(
            [part._replace(values=torch.zeros(count))], 0.1, 1.0, 0.95, True
        )
        assert target.advantages.isfinite().all()
        if expected:
            assert target.advantages.tolist() == pytest.approx(expected, abs=1e-3)


def test_kept_graph_and_second_forward_give_the_same_gradient(tmp_path: Path, tiny_folder: Path) -> None:
    gradients = []
    for graph in (True, False):
        m = four(tmp_path, tiny_folder, 2)
        adam = Optimizer(m.policy.parameters())
        samples, trees = rollout.sample_episodes(m.policy, requests(8, 6), frozenset({2}), 4)
        part = experience(m, samples, trees, 4096, graph)
        (target,) = rollout.compute_advantages([part], 0.1, 1.0, 0.95, False)
        ppo.accumulate_gradients(ppo.Config(policy=tmp_path, reward=tmp_path), m, part, target, True)
        gradients.append(adam.gradient())
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-7, rtol=1e-4)


def test_bandit_reaches_the_known_optimum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One token out of four with rewards 1, 0, 0.5, -1: reward minus beta KL is greatest at pi_ref(a)
    exp(r(a) / beta) / Z."""
    network = random_model.build_model(vocabulary=4, layers=2)
    below, above = lm.split_model(network.base_model, 0)
    policy = lm.Policy(lm.Trunk(below, ""), above, network.lm_head.weight, None, network.config)
    value = lm.scorer_from(policy, torch.Generator().manual_seed(0))
    reward = ByToken(policy.trunk, value.branch, value.weight, value.bias)
    m = rollout.Models(policy, policy.copy().requires_grad_(False), value, reward_of(reward))
    beta, prompt = 0.5, (1, 2, 3)
    cfg = ppo.Config(policy=tmp_path, reward=tmp_path, kl_coef=beta)
    policy_adam, value_adam = Optimizer(policy.parameters()), Optimizer(value.parameters())
    for step in range(120):
        samples, trees = rollout.sample_episodes(
            policy, [Request(prompt, derive_seed(step, i), 1) for i in range(64)], frozenset(), 64
        )
        part = experience(m, samples, trees, 4096, True)
        targets = rollout.compute_advantages([part], beta, 1.0, 0.95, False)
        ppo.accumulate_gradients(cfg, m, part, targets[0], True)
        rate = 3e-3 * (1 - step / 120)
        policy_adam.step(rate, 1.0)
        value_adam.step(rate, 1.0)

    def distribution(of: lm.Policy) -> torch.Tensor:
        from biddable.model.packing import pack

        with torch.no_grad():
            return torch.stack([of.logp(pack([Tree(prompt, ((a,),))]))[0][0] for a in range(4)]).exp()

    reference = distribution(m.reference)
    optimum = (reference.log() + ByToken.table / beta).softmax(-1)
    assert (optimum - reference).abs().sum() > 0.3  # there is something to learn
    assert (distribution(policy) - optimum).abs().sum() / 2 < 0.06


def test_missing_end_is_held_down_but_never_raised() -> None:
    score = penalize_missing_eos(torch.tensor([2.0, 2.0, -3.0]), ["stop", "length", "length"], -1.0)
    assert score.tolist() == [2.0, -1.0, -3.0]
    assert penalize_missing_eos(torch.tensor([2.0]), ["length"], None).tolist() == [2.0]


@pytest.mark.parametrize("coefficient", [0.0, 1.0, 2.0])
def test_text_joins_the_same_step_in_proportion(
    tmp_path: Path, tiny_folder: Path, coefficient: float
) -> None:
    """Doubling gamma doubles the text's part of the gradient; the PPO part stays as it is."""
    m = four(tmp_path, tiny_folder, 2)
    adam = Optimizer(m.policy.parameters())
    text = [Tree((), (tuple(range(9, 30)),)), Tree((), ((3, 4, 5),))]
    numbers = ptx.accumulate_gradient(m.policy, text, coefficient, 4096, adam)
    m.policy.zero_grad()
    peer = Optimizer(m.policy.parameters())
    sft.accumulate_gradient(m.policy, text, 4096)
    assert numbers["grad_norm_ptx"] == pytest.approx(coefficient * peer.norm(), rel=0.02)  # from a sketch
    assert numbers["grad_norm_ppo"] == 0


def test_contradictions_are_refused_all_at_once(tmp_path: Path) -> None:
    from biddable.run.config import UserError

    class Place:
        key = "learn.ppo"

    cfg = ppo.Config(policy=tmp_path, reward=tmp_path, text=None, batch=10, minibatch=4)
    with pytest.raises(UserError) as refusal:
        ppo.check_settings(cfg, Place())  # type: ignore[arg-type]
    assert len(refusal.value.lines) == 2


def test_not_finite_stops_with_a_line() -> None:
    from biddable.run.config import UserError

    with pytest.raises(UserError, match="step 7: kl = nan; lower learning_rate"):
        ppo_metrics.check_finite({"kl": float("nan"), "reward": 1.0}, 7)


def test_small_statistics() -> None:
    assert ppo_metrics.distinct_ngrams([(1, 2, 1, 2), (1, 2)]) == pytest.approx(
        2 / 4
    )  # 12 21 12 | 12: two different of four
    assert ppo_metrics.correlation(torch.tensor([1.0, 2, 3]), torch.tensor([2.0, 4, 6])) == pytest.approx(1)
    assert ppo_metrics.correlation(torch.ones(3), torch.tensor([2.0, 4, 6])) == 0
    assert rollout.sum_by_answer(torch.tensor([1.0, 2, 3]), torch.tensor([0, 0, 1]), 2).tolist() == [3, 3]


def test_an_entropy_bonus_alone_spreads_the_policy(tmp_path: Path, tiny_folder: Path) -> None:
    """With advantages of 0 the only gradient is the bonus's: one step along it raises the entropy."""
    m = four(tmp_path, tiny_folder, 2)
    adam = Optimizer(m.policy.parameters())
    samples, trees = rollout.sample_episodes(m.policy, requests(8, 6), frozenset({2}), 4)
    part = experience(m, samples, trees, 4096, False)
    target = rollout.Advantages(torch.zeros(len(part.logp)), part.values.clone())
    cfg = ppo.Config(policy=tmp_path, reward=tmp_path, entropy_coef=0.5)
    numbers = ppo.accumulate_gradients(cfg, m, part, target, True)
    assert numbers["policy_loss"] == 0
    adam.step(1e-4, 1.0)
    with torch.no_grad():
        after = m.policy.logp(part.packed[0])[1]
    assert after.mean() > part.entropy.mean() + 1e-4


def test_standardised_scores_and_the_value_function_with_them(tmp_path: Path, tiny_folder: Path) -> None:
    """Scores s of the reference answers become (s - mean) / deviation; so does the value function, which was
    the same model, at an answer's end."""
    from biddable.learn.reward_terms import Reward, RewardTerm

    m = four(tmp_path, tiny_folder, 2)
    (term,) = m.reward.terms
    term.settings = RewardTerm(scorer=tmp_path, standardise=True)
    m = rollout.Models(m.policy, m.reference, m.value, Reward([term], missing_eos_score=None))
    samples, trees = rollout.sample_episodes(m.policy, requests(8, 6), frozenset({2}), 4)
    episodes = [Episode((), tree, "", s.finish) for s, tree in zip(samples, trees, strict=True)]
    raw = torch.tensor([float(x) for x in m.value.scores(pack(trees)).detach()])
    m.reward.measure(episodes)
    rollout.scale_value(m)
    expected = (raw - raw.mean()) / raw.std(unbiased=False)
    torch.testing.assert_close(m.reward.score(episodes).rewards, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(m.value.scores(pack(trees)).detach(), expected, atol=1e-4, rtol=1e-4)
