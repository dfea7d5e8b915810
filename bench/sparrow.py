"""Five networks on one trunk against the same code without one: episodes a second and peak memory.

    python bench/sparrow.py [--model FOLDER] [--rounds 3]

Policy, reference, value, preference and rules (Glaese et al. 2022), `trunk` = 24 of 30 blocks (80 %) against
`trunk = 0`. 40 random prompt tokens, exactly 48 answer tokens, 16 episodes per rollout, one gradient step. The
reward is preference, rules and length. `rules` is how many rules are asked about every answer: each is a question
of about 50 tokens behind the dialogue. Timed after one warm-up update.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common
from common import Case

PROMPT, ANSWER, BATCH = 40, 48, 16


def brought(model: str, trunk: int) -> Path:
    """The start model cut at `trunk`, made in a process of its own: its memory is not what is measured."""
    folder = Path(tempfile.mkdtemp(prefix="biddable-bench-"))
    code = "import sys; from biddable.model.checkpoints import import_model; from pathlib import Path; "
    code += "import_model(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, model, str(folder / "model"), str(trunk)], check=True
    )
    return folder


def five_networks(folder: Path, rules: int) -> Any:
    """All on one trunk, none of them trained: what they say doesn't matter to their time."""
    import torch

    from biddable.learn import rollout
    from biddable.learn.reward_sources import minus_length, score_with
    from biddable.learn.reward_terms import LoadedTerm, Reward, RewardTerm
    from biddable.model import checkpoints
    from biddable.model.rule_model import TrainedRule
    from biddable.model.trunk import scorer_from

    policy = checkpoints.load_policy(folder)
    generator = torch.Generator().manual_seed(1)
    preference = scorer_from(policy, generator).freeze()
    terms = [
        LoadedTerm(RewardTerm(scorer=folder), score_with(preference)),
        LoadedTerm(RewardTerm(length=True, weight=0.01), minus_length),
    ]
    if rules:
        model = checkpoints.load_rule_model(folder, policy.trunk).freeze()
        rules_asked = [TrainedRule(f"r{i}", RULE, QUESTION) for i in range(rules)]
        ids = tuple(rule.id for rule in rules_asked)

        def read(episodes: Any) -> torch.Tensor:
            return model.p_break([(*e.tree.prompt, *e.tokens) for e in episodes], rules_asked)

        terms.append(LoadedTerm(RewardTerm(rules=folder), read, None, ids))
    reference = policy.copy().requires_grad_(False)
    return rollout.Models(policy, reference, scorer_from(policy, generator), Reward(terms))


RULE = "Do not insult or belittle the person you talk to."
QUESTION = "Does the assistant insult or belittle the person?"


def ours(model: str, stage: str, trunk: int, rules: int, updates: int = 2) -> dict[str, float]:
    """Rollouts and updates one after another, made of the same functions as the stages, with their
    settings."""
    from biddable.learn import a2c, ppo, rollout
    from biddable.learn.optimizer import Optimizer
    from biddable.learn.reward_terms import Episode
    from biddable.model.sampler import Request

    m = five_networks(brought(model, trunk), rules)
    adams = [Optimizer(network.parameters()) for network in (m.policy, m.value)]
    prompts = common.prompts(BATCH * (updates + 1), PROMPT)
    stamps: list[float] = []
    for step in range(updates + 1):
        requests = [
            Request(tuple(ids), step * BATCH + i, ANSWER)
            for i, ids in enumerate(prompts[step * BATCH : (step + 1) * BATCH])
        ]
        # no end token: full length
        samples, trees = rollout.sample_episodes(m.policy, requests, frozenset(), 64)
        episodes = [Episode((), tree, "", s.finish) for s, tree in zip(samples, trees, strict=True)]
        terms = m.reward.score(episodes).terms
        if stage == "A2C":
            a2c.accumulate_gradients(a2c.Config(batch=BATCH), m, trees, terms)
        else:
            cfg = ppo.Config(batch=BATCH, minibatch=BATCH, ptx_coef=0.0)
            part = rollout.make_experience(m, trees, terms, cfg.microbatch_tokens, keep_graph=True)
            (target,) = rollout.compute_advantages([part], cfg.kl_coef, cfg.gamma, cfg.gae_lambda, False)
            ppo.accumulate_gradients(cfg, m, part, target, first_pass=True)
        for adam in adams:
            adam.step(1e-6, 1.0)
        stamps.append(time.perf_counter())
    return {"rate": BATCH / common.seconds_between(stamps), "updates": len(stamps)}


CASES = [
    Case(
        f"{stage}, {rules} rules",
        f"trunk = {trunk}",
        None,
        ours,
        {"stage": stage, "trunk": trunk, "rules": rules},
    )
    for rules in (4, 23)
    for stage in ("PPO", "A2C")
    for trunk in (0, 24)
]

if __name__ == "__main__":
    common.main(__doc__.splitlines()[0], "episodes/s", CASES)
