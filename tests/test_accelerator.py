"""Everything that computes puts its tensors where the network is: tried on a pretended accelerator."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from biddable.learn import batches, optimizer, ppo, ppo_metrics, reward, rollout, sft, training
from biddable.learn.reward_sources import reward_of
from biddable.learn.reward_terms import Episode
from biddable.model import checkpoints, classifier, hardware, random_model
from biddable.model import trunk as lm
from biddable.model.packing import Tree, pack
from biddable.model.sampler import Request, sample
from tests import accelerator

pytestmark = pytest.mark.usefixtures("fp32")
TREES = [Tree(tuple(range(10, 25)), (tuple(range(30, 50)), tuple(range(60, 70)))), Tree((5, 6, 7), ((8, 9),))]
REQUESTS = [Request((5, 6, 7 + i % 3), i, 6, temperature) for i in range(6) for temperature in (0.0, 1.0)]


@contextmanager
def pretended() -> Iterator[None]:
    """Inside, this machine has an accelerator."""
    with pytest.MonkeyPatch.context() as patch, accelerator.Accelerator(), accelerator.Numbers():
        patch.setattr(hardware, "device", lambda: accelerator.DEVICE)
        # AdamW's fused step knows devices by name
        patch.setattr(
            sys.modules[torch.optim.Adam.__module__], "_device_dtype_check_for_fused", lambda *_, **__: None
        )
        yield


@pytest.fixture(params=[0, 2])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A model whose head is its own: to move tied weights to the pretended device parts them, to a real one
    it does not."""
    words = random_model.tokenizer()
    network = random_model.build_model(vocabulary=len(words), tied=False)
    network.save_pretrained(tmp_path / "source")
    words.save_pretrained(tmp_path / "source")
    checkpoints.import_model(str(tmp_path / "source"), tmp_path / "start" / "model", request.param)
    return tmp_path / "start"


def on_both(work: Callable[[], Any]) -> None:
    """The same numbers on both."""
    context = work()
    with pretended():
        there = work()
    torch.testing.assert_close(there, context, atol=2e-5, rtol=2e-3)


def home(values: torch.Tensor) -> torch.Tensor:
    assert values.device == hardware.device()
    return values.detach().cpu()


def test_a_forgotten_tensor_is_refused() -> None:
    with pretended():
        there = torch.ones(3, device=hardware.device())
        assert there.device.type == "meta" and float((there * 2).sum()) == 6
        with pytest.raises(AssertionError, match="1 tensors on the accelerator, 1 on the CPU"):
            there + torch.ones(3)


def test_sampling(start: Path) -> None:
    def work() -> Any:
        got = sample(
            checkpoints.load_policy(start).freeze(), REQUESTS, frozenset({2}), slots=4, keep_trunk=True
        )
        return [(torch.tensor(one.tokens), torch.tensor(one.logp)) for one in got]

    on_both(work)


def test_sft_and_text_gradients(start: Path) -> None:
    def work() -> Any:
        policy = checkpoints.load_policy(start)
        adam = optimizer.Optimizer(policy.parameters())
        with training.residual_dropout(policy.branch, 0.0):
            loss = sft.accumulate_gradient(policy, batches.cache_trunk_outputs(policy.trunk, TREES, 1.0), 64)
        first = home(adam.gradient())
        adam.step(1e-3, 1.0)
        return loss, first, home(policy.logp(pack(TREES))[0])

    on_both(work)


def test_reward_model(start: Path) -> None:
    def work() -> Any:
        scorer = lm.scorer_from(checkpoints.load_policy(start), torch.Generator().manual_seed(0))
        adam = optimizer.Optimizer(scorer.parameters())
        loss, accuracy = reward.accumulate_gradient(scorer, TREES[:1], [[[1, 2]]], "drop", 64)
        gradient = home(adam.gradient())
        adam.step(1e-3, 1.0)
        scores = classifier.scores(
            scorer.freeze(), [Tree((), (answer,)) for tree in TREES for answer in tree.answers]
        )
        return (
            loss,
            accuracy,
            gradient,
            torch.from_numpy(scores),
            torch.from_numpy(reward.score_trees(scorer, TREES, 64)[0]),
        )

    on_both(work)


def test_ppo(start: Path, tmp_path: Path) -> None:
    def work() -> Any:
        policy = checkpoints.load_policy(start)
        value = lm.scorer_from(policy, torch.Generator().manual_seed(0))
        m = rollout.Models(
            policy, policy.copy().requires_grad_(False), value, reward_of(value.freeze(), -1.0)
        )
        adam, value_adam = (
            optimizer.Optimizer(m.policy.parameters()),
            optimizer.Optimizer(m.value.parameters()),
        )
        average = optimizer.Ema(adam.masters, 0.5)
        cfg = ppo.Config(policy=tmp_path, reward=tmp_path)
        got, trees = rollout.sample_episodes(
            m.policy, [one for one in REQUESTS if one.temperature == 1], frozenset({2}), 4
        )
        episodes = [Episode((), tree, "", s.finish) for s, tree in zip(got, trees, strict=True)]
        part = rollout.make_experience(m, trees, m.reward.score(episodes).terms, 4096, keep_graph=True)
        (target,) = rollout.compute_advantages([part], 0.1, 1.0, 0.95, True)
        seen = ppo.accumulate_gradients(cfg, m, part, target, True)
        gradient = home(adam.gradient())
        adam.step(1e-3, 1.0)
        value_adam.step(1e-3, 1.0)
        average.update(adam.masters)
        average.restore([value.cpu() for value in average.values])
        numbers = ppo_metrics.summarise([part], [target], [seen], got, 0.1)
        return gradient, numbers, home(torch.cat([value.flatten() for value in average.values]))

    on_both(work)


def test_saved_from_there_it_loads_here(start: Path, tmp_path: Path) -> None:
    with pretended():
        policy = checkpoints.load_policy(start)
        with torch.no_grad():
            for weight in policy.branch.parameters():
                weight.mul_(0.5)
        there = home(policy.logp(pack(TREES))[0])
        checkpoints.save_policy(policy, tmp_path / "saved" / "model", start)
        scorer = lm.scorer_from(policy, torch.Generator().manual_seed(0))
        scores = home(scorer.scores(pack(TREES)))
        checkpoints.save_scorer(scorer, tmp_path / "scorer" / "model", start)
    context = checkpoints.load_policy(tmp_path / "saved")
    torch.testing.assert_close(context.logp(pack(TREES))[0], there, atol=2e-5, rtol=0)
    torch.testing.assert_close(
        checkpoints.load_scorer(tmp_path / "scorer").scores(pack(TREES)), scores, atol=2e-5, rtol=0
    )
