"""Reranked replies: the best one under a name of its own, chosen as the models' own numbers say."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from biddable.learn import rerank
from biddable.model import checkpoints
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.records import Replies
from tests.learn import plain

pytestmark = pytest.mark.usefixtures("fp32")
RULES = (
    '[[rule]]\nid = "salt"\ntext = "No salt."\nquestion = "Is there salt?"\n'
    '[[rule]]\nid = "fox"\ntext = "No fox."\nquestion = "Is there a fox?"\n'
)


def rows(policy: str, answers: int) -> list[Replies]:
    generator = torch.Generator().manual_seed(2)
    prompt_replies = []
    for number in range(4):
        ids = torch.randint(60, 300, (answers, 3), generator=generator).tolist()
        replies = [plain.answer(*row).model_copy(update={"model": policy}) for row in ids]
        other_model = plain.answer(7, 8).model_copy(update={"model": "learn.sft"})
        prompt_replies.append(Replies(prompt=plain.prompt(number, "test"), answers=(other_model, *replies)))
    return prompt_replies


def run(
    folder: Path, models: tuple[Path, Path], replies: list[Replies]
) -> tuple[list[Replies], dict[str, object]]:
    start, reward = models
    (folder / "rules.toml").write_text(RULES)
    cfg = rerank.Config(
        replies=plain.write(folder / "replies", "replies.jsonl", replies), policy=start, reward=reward,
        rule_model=start, rules=folder / "rules.toml", rule_reduction="product",
    )  # fmt: skip
    context = plain.make_context(folder / "learn.rerank", "learn.rerank")
    rerank.run(cfg, context)
    return jsonl.read(context.path("replies.jsonl"), Replies), context.summary


def test_the_best_is_chosen_as_the_formula_says(tmp_path: Path, models: tuple[Path, Path]) -> None:
    """Scores by a plain forward of the reward model, one sequence at a time; the formula written out. (The
    rule model is asked here too: its own numbers are tested beside it.)"""
    source_rows = rows("learn.start", 5)
    written, summary = run(tmp_path, models, source_rows)
    scorer = plain.load_scorer(models[1])
    rule_model = checkpoints.load_rule_model(models[0]).freeze()
    rules = rerank.rules.load(tmp_path / "rules.toml")
    average, places = None, []
    for row, result in zip(source_rows, written, strict=True):
        prompt = plain.encode(models[0], row.prompt)
        tokens = [list(answer.tokens or ()) for answer in row.answers[1:]]
        with torch.no_grad():
            scores = [float(scorer.score(prompt, ids)) for ids in tokens]
        mean = sum(scores) / len(scores)
        average = mean if average is None else 0.99 * average + 0.01 * mean
        p_break = rule_model.p_break([(*prompt, *ids) for ids in tokens], rules).tolist()
        totals = [
            1 / (1 + math.exp(average - score)) * math.prod(1 - p for p in broken)
            for score, broken in zip(scores, p_break, strict=True)
        ]
        place = totals.index(max(totals))
        places.append(place)
        assert [answer.model for answer in result.answers] == [
            "learn.sft",
            "learn.start",
            "learn.start+best5",
        ]
        assert result.answers[1] == row.answers[1]  # the plain policy's is its first
        assert result.answers[2].tokens == row.answers[1 + place].tokens
    assert any(places)  # not always the first one
    assert summary == {"prompts": 4, "candidates": 5, "changed": sum(p > 0 for p in places) / 4}


def test_one_answer_leaves_nothing_to_choose(tmp_path: Path, models: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=r"a prompt has 1 answers of it; needs at least 2"):
        run(tmp_path, models, rows("learn.start", 1))
    with pytest.raises(UserError, match=r"a prompt has 0 answers of it"):
        run(tmp_path, models, rows("learn.a2c", 3))
