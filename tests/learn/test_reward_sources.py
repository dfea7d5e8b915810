"""Terms that read networks: reward models against plain transformers, rules by a rule model of real files, and a
budget that training holds or tells about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from biddable.learn import a2c, rollout
from biddable.learn.reward_sources import load_reward
from biddable.learn.reward_terms import Episode, RewardTerm
from biddable.model import checkpoints
from biddable.model.packing import Tree
from biddable.model.rule_model import TrainedRule, rule_model_from
from biddable.run.config import UserError
from tests.learn import plain

pytestmark = pytest.mark.usefixtures("fp32")

RULES = (
    TrainedRule("no-insults", "Do not insult anybody.", "Does the assistant insult somebody?"),
    TrainedRule("no-advice", "Give no advice on money.", "Does the assistant give advice on money?"),
)


@pytest.fixture
def rules(models: tuple[Path, Path], tmp_path: Path) -> Path:
    """A rule model's folder."""
    policy, tokenizer = checkpoints.load_policy(models[0]), checkpoints.tokenizer(models[0])
    model = rule_model_from(policy, tokenizer, 2048)
    model.rules = RULES
    checkpoints.save_rule_model(model, tmp_path / "learn.rules" / "model", models[0])
    return tmp_path / "learn.rules"


def episodes() -> list[Episode]:
    return [
        Episode((), Tree((5, 6, 7), (ids,)), "text", "stop") for ids in ((8, 9, 2), (30, 31, 32, 2), (12, 2))
    ]


def test_reward_models_and_ensembles(models: tuple[Path, Path], tmp_path: Path) -> None:
    second_reward = plain.make_reward(tmp_path, models[0], seed=8)
    trunk = checkpoints.load_policy(models[0]).trunk
    terms = [
        RewardTerm(scorer=models[1]),
        RewardTerm(name="mean", ensemble=(models[1], second_reward)),
        RewardTerm(name="worst", ensemble=(models[1], second_reward), ensemble_reduction="worst"),
    ]
    scored = load_reward(terms, None, trunk).score(episodes())
    peers = [plain.load_scorer(folder) for folder in (models[1], second_reward)]
    table = torch.tensor([[p.score((5, 6, 7), e.tokens).item() for e in episodes()] for p in peers])
    assert not torch.equal(table[0], table[1])
    expected = torch.stack([table[0], table.mean(0), table.min(0).values], 1)
    torch.testing.assert_close(scored.terms, expected, atol=1e-5, rtol=1e-4)


def test_a_rule_model_in_a_reward(models: tuple[Path, Path], rules: Path) -> None:
    trunk = checkpoints.load_policy(models[0]).trunk
    reward = load_reward([RewardTerm(rules=rules)], None, trunk)
    assert reward.rule_ids == ("no-insults", "no-advice")
    scored = reward.score(episodes())
    alone = checkpoints.load_rule_model(rules, trunk)
    p_break = torch.cat([alone.p_break([(5, 6, 7, *e.tokens)], RULES) for e in episodes()])
    torch.testing.assert_close(scored.p_break, p_break, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(scored.rewards, (1 - p_break).sum(1) / 2, atol=1e-5, rtol=1e-4)


def test_rules_of_a_file_that_the_model_never_saw(
    models: tuple[Path, Path], rules: Path, tmp_path: Path
) -> None:
    file = tmp_path / "rules.toml"
    row = '[[rule]]\nid = "no-cats"\ntext = "Never speak of cats."\nquestion = "Does it speak of cats?"\n'
    file.write_text(row, encoding="utf-8")
    trunk = checkpoints.load_policy(models[0]).trunk
    reward = load_reward([RewardTerm(rules=rules, rules_file=file)], None, trunk)
    assert reward.rule_ids == ("no-cats",)
    cats = [TrainedRule("no-cats", "Never speak of cats.", "Does it speak of cats?")]
    p_break = checkpoints.load_rule_model(rules, trunk).p_break([(5, 6, 7, 8, 9, 2)], cats)
    torch.testing.assert_close(reward.score(episodes()[:1]).p_break, p_break, atol=1e-5, rtol=1e-4)


def test_a_folder_without_rules_is_refused(models: tuple[Path, Path]) -> None:
    trunk = checkpoints.load_policy(models[0]).trunk
    with pytest.raises(UserError, match="this folder names no rules"):
        load_reward([RewardTerm(rules=models[0])], None, trunk)


def test_a_budget_through_a_stage(
    models: tuple[Path, Path], rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An untrained rule model says about 1/2 of everything: no policy keeps a budget of 0.05, so every
    multiplier climbs by 4 times the excess to its cap of 2, and the summary names the rules."""
    prompts = plain.write(
        tmp_path / "prompts", "prompts.jsonl", [plain.prompt(0), plain.prompt(1), plain.prompt(2, "valid")]
    )
    reward = (
        RewardTerm(scorer=models[1]),
        RewardTerm(rules=rules, budget=0.05, multiplier_rate=4.0, multiplier_cap=2.0),
    )
    settings: dict[str, Any] = {"episodes": 12, "batch": 4, "max_tokens": 4, "eval_prompts": 1}
    cfg = a2c.Config(policy=models[0], prompts=prompts, reward=reward, value_per_term=True, **settings)
    context = plain.make_context(tmp_path / "learn.a2c", "learn.a2c")
    a2c.run(cfg, context)
    rows = plain.metrics(context)
    for rule in ("no-insults", "no-advice"):
        multiplier = 0.5  # 1/n
        for row in rows:
            assert row[f"multiplier_{rule}"] == pytest.approx(multiplier)
            multiplier = min(2.0, multiplier + 4.0 * (row[f"p_break_{rule}"] - 0.05))
    expected = -sum(rows[0][f"p_break_{rule}"] * 0.5 for rule in ("no-insults", "no-advice"))
    assert rows[0]["reward_rules"] == pytest.approx(expected, rel=1e-4)
    over = context.summary["rules_over_budget"]
    assert set(over) == {"no-insults", "no-advice"} and all(0.3 < rate < 0.7 for rate in over.values())
    assert {f"explained_variance_{name}" for name in ("scorer", "rules", "kl")} <= set(rows[0])
    assert rollout.RewardSettings(reward=reward).terms == reward
