"""PPO's rollouts and updates on a small random model against a reference written out on plain transformers
models and autograd.

Only the draws come from the program's sampler: their tokens are recorded, and all else is worked out again.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from biddable.learn import ppo, rollout
from biddable.learn.training import derive_seed, epoch_order
from biddable.model.sampler import Request, SampledAnswer
from biddable.run.records import Message, Prompt
from tests.learn import plain

pytestmark = pytest.mark.usefixtures("fp32")


def long_prompt(number: int, split: Any = "train") -> Prompt:
    """So long that no two episodes fit into a microbatch of 64 tokens."""
    row = plain.prompt(number, split)
    words = row.messages[0].content + " fox" * 30
    return row.model_copy(update={"messages": (Message(role="user", content=words),)})


PROMPTS = [long_prompt(i) for i in range(5)] + [long_prompt(i, "valid") for i in (5, 6, 7)]
TEXTS = [plain.text(i) for i in range(7)]
ENDS = frozenset(
    range(60)
)  # a random model ends seldom: with so many ends some answers finish and some are cut off
SETTINGS: dict[str, Any] = {
    "episodes": 16,
    "batch": 8,
    "minibatch": 4,
    "ppo_epochs": 2,
    "max_tokens": 6,
    "learning_rate": 3e-3,
    "value_learning_rate": 5e-3,
    "warmup": 4,
    "kl_coef": 0.3,
    "kl_target": 0.01,
    "kl_horizon": 50,
    "ptx_coef": 0.7,
    "ptx_per_episode": 0.75,
    "ptx_tokens": 8,
    "clip": 0.02,
    "value_clip": 0.05,
    "gamma": 0.9,
    "gae_lambda": 0.8,
    "whiten_rewards": True,
    "missing_eos_score": -0.5,
    "ema_decay": 0.6,
    "clip_norm": 0.5,
    "eval_every": 1,
    "eval_prompts": 2,
}


class Run(NamedTuple):
    context: Any
    rollouts: list[tuple[list[Request], list[SampledAnswer]]]  # every call of the sampler
    folder: Path


def run(folder: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Run:
    start, reward = models
    rollouts: list[Any] = []
    real = rollout.sample

    def recorded(policy: Any, requests: Sequence[Request], *rest: Any, **named: Any) -> list[SampledAnswer]:
        samples = real(policy, requests, *rest, **named)
        rollouts.append((list(requests), samples))
        return samples

    monkeypatch.setattr(rollout, "sample", recorded)
    monkeypatch.setattr(ppo.checkpoints, "eos_ids", lambda *_: ENDS)
    prompts = plain.write(folder / "prompts", "prompts.jsonl", PROMPTS)
    text = plain.write(folder / "text", "text.jsonl", [*TEXTS, plain.text(99, "valid")])
    context = plain.make_context(folder / "learn.ppo", "learn.ppo")
    cfg = ppo.Config(policy=start, reward=reward, prompts=prompts, text=text, **(SETTINGS | settings))
    ppo.run(cfg, context)
    monkeypatch.setattr(rollout, "sample", real)
    return Run(context, rollouts, folder / "learn.ppo")


def training_rollouts(run: Run) -> list[tuple[list[Request], list[SampledAnswer]]]:
    """With evaluations before the first and after every rollout: every second call of the sampler."""
    return run.rollouts[1::2]


class Reference:
    """Two rollouts of PPO-ptx, one answer at a time."""

    def __init__(self, models: tuple[Path, Path], tokenizer: Any) -> None:
        start, reward = models
        self.policy, self.frozen = plain.load(start), plain.load(start)
        self.reward, value = plain.load_scorer(reward), plain.load_scorer(reward)
        self.value = plain.PlainScorer(
            value.network, value.weight.clone().requires_grad_(True), value.bias.clone().requires_grad_(True)
        )
        self.adam = plain.Adam(plain.branch(self.policy))
        self.value_adam = plain.Adam([*plain.branch(value.network), self.value.weight, self.value.bias])
        self.average = [p.detach().clone() for p in self.adam.parameters]
        self.beta, self.updates, self.rows = 0.3, 0, []
        self.text = plain.pieces([tokenizer.encode(row.text, add_special_tokens=False) for row in TEXTS], 8)

    def values(self, prompt: Sequence[int], tokens: Sequence[int]) -> torch.Tensor:
        """V before each token: read at the position in front of it."""
        return self.value.states([*prompt, *tokens])[len(prompt) - 1 : -1]

    def rollout(self, step: int, requests: list[Request], samples: list[SampledAnswer]) -> None:
        episodes = [(list(r.prompt), list(s.tokens)) for r, s in zip(requests, samples, strict=True)]
        with torch.no_grad():
            old = [plain.logps(self.policy, *e) for e in episodes]
            kl = [o - plain.logps(self.frozen, *e) for o, e in zip(old, episodes, strict=True)]
            old_values = [self.values(*e) for e in episodes]
            scores = [self.reward.score(*e).item() for e in episodes]
            scores = [
                min(score, -0.5) if s.tokens[-1] not in ENDS else score
                for score, s in zip(scores, samples, strict=True)
            ]
        rewards = [-self.beta * k for k in kl]
        for reward, score in zip(rewards, scores, strict=True):
            reward[-1] += score
        flat = torch.cat(rewards)
        deviation = math.sqrt(((flat - flat.mean()) ** 2).mean() + 1e-8)
        rewards = [(r - flat.mean()) / deviation + flat.mean() for r in rewards]
        advantages = []
        for reward, value in zip(rewards, old_values, strict=True):
            after = torch.cat([value[1:], torch.zeros(1)])
            delta = reward + 0.9 * after - value
            advantages.append(
                torch.stack(
                    [
                        sum((0.9 * 0.8) ** (k - t) * delta[k] for k in range(t, len(delta)))
                        for t in range(len(delta))
                    ]
                )
            )
        returns = [a + v for a, v in zip(advantages, old_values, strict=True)]
        flat = torch.cat(advantages)
        deviation = math.sqrt(((flat - flat.mean()) ** 2).mean() + 1e-8)
        advantages = [(a - flat.mean()) / deviation for a in advantages]
        row: dict[str, list[float]] = {}
        order = epoch_order(8, derive_seed("minibatch", 1), step)
        for indices in (order[:4], order[4:]) * 2:
            for name, number in self.update(
                step, indices, episodes, old, old_values, advantages, returns
            ).items():
                row.setdefault(name, []).append(number)
        kl_sums = torch.stack([k.sum() for k in kl])
        means = {name: sum(numbers) / 4 for name, numbers in row.items()}
        self.rows.append(
            means
            | {
                "kl": kl_sums.mean().item(),
                "kl_k3": torch.stack([(torch.exp(-k) - 1 + k).sum() for k in kl]).mean().item(),
                "kl_coef": self.beta,
                "reward": sum(scores) / 8,
                "reward_with_kl": (torch.tensor(scores) - self.beta * kl_sums).mean().item(),
                "length": sum(len(s.tokens) for s in samples) / 8,
                "finished": sum(s.tokens[-1] in ENDS for s in samples) / 8,
                "episodes": 8 * (step + 1),
                "explained_variance": 1
                - (torch.cat(returns) - torch.cat(old_values)).var(unbiased=False).item()
                / torch.cat(returns).var(unbiased=False).item(),
                "learning_rate": 3e-3 * (0.1 + 0.9 * step / 4),
                "ratio_first": 1.0,
                "score_std": torch.tensor(scores).std(unbiased=False).item(),
                "value_start": sum(v[0].item() for v in old_values) / 8,
                "kl_sampler": 0.0,  # in fp32; what it is in bf16 depends on the machine
            }
        )
        self.beta *= 1 + max(-0.2, min(0.2, kl_sums.mean().item() / 0.01 - 1)) * 8 / 50

    def update(
        self,
        step: int,
        indices: list[int],
        episodes: list[Any],
        old: list[torch.Tensor],
        old_values: list[torch.Tensor],
        advantages: list[torch.Tensor],
        returns: list[torch.Tensor],
    ) -> dict[str, float]:
        tokens = sum(len(old[i]) for i in indices)
        policy_loss, value_loss, clipped = torch.zeros(()), torch.zeros(()), 0
        values_held, kl = 0, 0.0
        for i in indices:
            ratio = torch.exp(plain.logps(self.policy, *episodes[i]) - old[i])
            values = self.values(*episodes[i])
            for t in range(len(ratio)):
                a, r, v, v_old = advantages[i][t], returns[i][t], values[t], old_values[i][t]
                clipped_term = torch.clamp(ratio[t], 0.98, 1.02) * a
                clipped += int(clipped_term < ratio[t] * a)
                policy_loss = policy_loss - torch.min(ratio[t] * a, clipped_term) / tokens
                near = torch.clamp(v, v_old - 0.05, v_old + 0.05)
                values_held += int((near - r) ** 2 > (v - r) ** 2)
                kl += ratio[t].item() - 1 - math.log(ratio[t].item())
                value_loss = value_loss + torch.max((v - r) ** 2, (near - r) ** 2) / 2 / tokens
        policy_loss.backward()
        alone = math.sqrt(sum(float((p.grad**2).sum()) for p in self.adam.parameters))
        # 3 = 0.75 pieces x 4 episodes an update, one after another through shuffled rounds of all
        queue = [i for e in range(9) for i in epoch_order(len(self.text), derive_seed("text", 1), e)]
        pieces = [self.text[i] for i in queue[3 * self.updates : 3 * self.updates + 3]]
        ptx_loss = -torch.cat([plain.logps(self.policy, [], piece) for piece in pieces]).mean()
        (0.7 * ptx_loss).backward()
        value_loss.backward()
        self.updates += 1
        norm = self.adam.step(3e-3 * (0.1 + 0.9 * step / 4), 0.5)
        value_norm = self.value_adam.step(5e-3 * (0.1 + 0.9 * step / 4), 0.5)
        for average, p in zip(self.average, self.adam.parameters, strict=True):
            average.mul_(0.6).add_(0.4 * p.detach())
        return {
            "policy_loss": policy_loss.item(),
            "value_loss": value_loss.item(),
            "clip_fraction": clipped / tokens,
            "value_clip_fraction": values_held / tokens,
            "approx_kl": kl / tokens,
            "ptx_loss": ptx_loss.item(),
            "grad_norm_ppo": alone,
            "grad_norm_policy": norm,
            "grad_norm_value": value_norm,
        }


@pytest.mark.parametrize("microbatch_tokens", [4096, 64])
def test_two_rollouts_against_the_reference(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, microbatch_tokens: int
) -> None:
    """Metrics of every step, and the saved weights: the moving average of the policy's, to 2e-6."""
    result = run(tmp_path, models, monkeypatch, microbatch_tokens=microbatch_tokens)
    from transformers import AutoTokenizer

    reference = Reference(models, AutoTokenizer.from_pretrained(models[0] / "model"))
    for step, (requests, samples) in enumerate(training_rollouts(result)):
        reference.rollout(step, requests, samples)
    measured = plain.metrics(result.context)
    assert [row["step"] for row in measured] == [1, 2]
    for ours, theirs in zip(measured, reference.rows, strict=True):
        assert {name: ours[name] for name in theirs} == pytest.approx(theirs, rel=1e-3, abs=2e-6)
    assert 0 < measured[0]["finished"] < 1 and measured[1]["clip_fraction"] > 0
    assert measured[0]["kl"] == 0 and measured[0]["ratio_first"] == 1 and measured[1]["kl"] != 0
    assert measured[1]["kl_coef"] != 0.3
    expected = copy.deepcopy(reference.policy)
    with torch.no_grad():
        for p, average in zip(plain.branch(expected), reference.average, strict=True):
            p.copy_(average)
    saved = plain.load(result.folder)
    plain.same_weights(saved, expected)
    plain.only_the_branch_changed(saved, plain.load(models[0]))
    assert result.context.summary == {"steps": 2, "episodes": 16, "text_pieces": 2 * 4 * 3, "prompts": 5}


@pytest.mark.parametrize("decay, share", [(0.0, 1.0), (0.999999, 0.0)])
def test_what_is_saved_is_the_average(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, decay: float, share: float
) -> None:
    """Decay 0: the last weights. Decay near 1: as good as the first ones."""
    result = run(tmp_path, models, monkeypatch, ema_decay=decay)
    start, saved = plain.load(models[0]).state_dict(), plain.load(result.folder).state_dict()
    name = "model.layers.1.mlp.down_proj.weight"
    moved = (saved[name] - start[name]).abs().max().item()
    assert moved > 1e-3 if share else moved < 1e-7


def test_evaluations_are_answers_with_their_score_and_kl(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same two validation prompts with the same draws at steps 0, 1 and 2; with ema_decay = 0 the saved
    policy is that of step 2."""
    start, reward = models
    result = run(tmp_path, models, monkeypatch, ema_decay=0.0)
    rows = plain.metrics(result.context, "replies.jsonl")
    assert [(row["prompt"]["id"], row["answers"][0]["step"]) for row in rows] == [
        (p, s) for s in (0, 1, 2) for p in ("p5", "p6")
    ]
    assert [row["answers"][0]["model"] for row in rows[::2]] == ["learn.ppo@0", "learn.ppo@1", "learn.ppo@2"]
    frozen, last, scorer = plain.load(start), plain.load(result.folder), plain.load_scorer(reward)
    assert len({request.seed for requests, _ in result.rollouts[::2] for request in requests}) == 2
    for i, row in enumerate(rows):
        (answer,) = row["answers"]
        prompt, tokens = plain.encode(start, PROMPTS[5 + i % 2]), answer["tokens"]
        score = scorer.score(prompt, tokens).item()
        cut_off = tokens[-1] not in ENDS
        assert answer["finish"] == ("length" if cut_off else "stop")
        assert answer["score"] == pytest.approx(min(score, -0.5) if cut_off else score, abs=1e-5)
        if answer["step"] == 0:
            assert answer["kl"] == 0
        if answer["step"] == 2:
            with torch.no_grad():
                kl = plain.logps(last, prompt, tokens).sum() - plain.logps(frozen, prompt, tokens).sum()
            assert answer["kl"] == pytest.approx(kl.item(), abs=1e-4) and abs(answer["kl"]) > 1e-3


def test_samples_show_episodes_with_their_own_numbers(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(tmp_path, models, monkeypatch)
    rows = plain.metrics(result.context, "samples.jsonl")
    assert [row["step"] for row in rows] == [1, 1, 1, 2, 2, 2]
    scorer = plain.load_scorer(models[1])
    requests, samples = training_rollouts(result)[0]
    for row, i in zip(rows[:3], epoch_order(8, derive_seed("minibatch", 1), 0), strict=False):
        score = scorer.score(requests[i].prompt, samples[i].tokens).item()
        assert row["finish"] == samples[i].finish and row["kl"] == 0
        assert row["score"] == pytest.approx(score if row["finish"] == "stop" else min(score, -0.5), abs=1e-5)


def test_every_prompt_is_answered_before_any_again(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(tmp_path, models, monkeypatch)
    requests = [request for part, _ in training_rollouts(result) for request in part]
    encoded = [tuple(plain.encode(models[0], p)) for p in PROMPTS[:5]]
    rounds = [
        [encoded.index(r.prompt) if r.prompt in encoded else -1 for r in requests[i : i + 5]]
        for i in (0, 5, 10)
    ]
    # prompts 0 and 4 have the same words, so the same ids
    assert all(sorted(part) == [0, 0, 1, 2, 3] for part in rounds) and rounds[0] != rounds[1]
    assert len({request.seed for request in requests}) == 16  # each episode has draws of its own
    assert {(r.temperature, r.top_p, r.max_tokens) for r in requests} == {(1.0, 1.0, 6)}


def test_minibatches_part_the_rollout_at_random() -> None:
    cfg = ppo.Config(batch=12, minibatch=4, ptx_coef=0)
    first, second = ppo.minibatch_indices(cfg, 0, 1), ppo.minibatch_indices(cfg, 1, 1)
    for part in (first, second):
        assert [len(indices) for indices in part] == [4, 4, 4]
        flat = [i for indices in part for i in indices]
        assert sorted(flat) == list(range(12)) and flat != sorted(flat)
    assert first != second


def test_beta_follows_the_target() -> None:
    """Ziegler et al. 2019: the error is cut to 0.2; 50 of 100 episodes of the horizon make half of it."""
    beta = ppo.KLCoefficient(0.1, 6.0, 100.0)
    beta.update(6.6, 50)  # 10 % above: 0.1 (1 + 0.1 / 2)
    assert beta.value == pytest.approx(0.105)
    beta.update(0.0, 50)  # far below: - 0.2 / 2
    assert beta.value == pytest.approx(0.105 * 0.9)
    fixed = ppo.KLCoefficient(0.1, None, 100.0)
    fixed.update(6.6, 50)
    assert fixed.value == 0.1


@pytest.mark.parametrize("ptx", [0.0, 0.7])
def test_a_broken_run_goes_on_to_the_same_weights(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, ptx: float
) -> None:
    """Broken in the second rollout: both optimizers, the average, beta and the cursors of prompts and text
    come back."""
    straight = run(tmp_path / "straight", models, monkeypatch, ptx_coef=ptx)
    real, calls = ppo.accumulate_gradients, []

    def dies(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(ppo, "accumulate_gradients", dies)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", models, monkeypatch, ptx_coef=ptx, checkpoint_seconds=0)
    broken = run(tmp_path / "broken", models, monkeypatch, ptx_coef=ptx, checkpoint_seconds=0)
    assert len(calls) == 6 + 4
    plain.same_weights(plain.load(broken.folder), plain.load(straight.folder), 0)
    for name in ("replies.jsonl", "samples.jsonl"):
        assert plain.metrics(broken.context, name) == plain.metrics(straight.context, name)
    ours, theirs = (
        [{**row, "tokens_per_second": 0} for row in plain.metrics(r.context)] for r in (broken, straight)
    )
    assert ours == theirs
    assert broken.context.summary == straight.context.summary
    assert broken.context.summary["text_pieces"] == (24 if ptx else 0)


def test_a_rollout_whose_policy_moved_far_enough_ends_early(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first minibatch trains at KL 0, the second after a step: with a tiny limit it is the last of four."""
    result = run(tmp_path, models, monkeypatch, early_stop_kl=1e-9)
    rows = plain.metrics(result.context)
    assert [row["updates"] for row in rows] == [2, 2]
    assert [row["updates"] for row in plain.metrics(run(tmp_path / "all", models, monkeypatch).context)] == [
        4,
        4,
    ]


def test_standardised_rewards_have_mean_0_before_training(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole stage: scores near mean 0 and deviation 1 in the first rollout, and V(s_0) near them."""
    settings = {"standardise_reward": True, "missing_eos_score": None, "whiten_rewards": False}
    result = run(tmp_path, models, monkeypatch, **settings, batch=32, minibatch=16, episodes=32, eval_every=9)
    (row,) = plain.metrics(result.context)
    assert abs(row["reward"]) < 0.8 and 0.5 < row["score_std"] < 2 and abs(row["value_start"]) < 2
    moments = result.context.summary["reward_reference"]["scorer"]
    plainly = run(
        tmp_path / "off",
        models,
        monkeypatch,
        **(settings | {"standardise_reward": False}),
        batch=32,
        minibatch=16,
        episodes=32,
        eval_every=9,
    )
    (unscaled,) = plain.metrics(plainly.context)
    assert row["reward"] == pytest.approx(
        (unscaled["reward"] - moments["mean"]) / moments["deviation"], abs=1e-4
    )
    assert row["value_start"] == pytest.approx(
        (unscaled["value_start"] - moments["mean"]) / moments["deviation"], abs=1e-4
    )
