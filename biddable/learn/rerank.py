"""Rerank: of a policy's answers to each prompt the best one by preference and rules, as one more model's answer.

replies -> replies: the first answer of each model, and beside them the best of the policy's n answers under the
name POLICY+bestN, so that it can be compared with the others (Glaese et al. 2022: RL with reranking is the best
setting). Nothing is sampled: the plain policy's answer is one of those that the best is chosen from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from biddable.learn.simulate.speaker import best_name
from biddable.model import checkpoints
from biddable.model.encoding import answer_ids, encode_chat
from biddable.model.rerank import RuleReduction, load_reranker
from biddable.run import jsonl, rules
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer, Replies


class Config(Settings):
    replies: Input = Path("learn.replies.test")
    """Answers of several models to the same prompts; of `policy` at least two each."""
    policy: Input = Path("learn.a2c")
    """Whose answers are reranked."""
    reward: Input = Path("learn.reward")
    """The preference model."""
    rule_model: Input = Path("learn.rules")
    """The rule model."""
    rules: Input | None = None
    """A TOML file of rules; none: ours."""
    rule_reduction: RuleReduction = "geometric_mean"
    """How the rules' probabilities of being kept become one factor."""


def run(cfg: Config, context: StageContext) -> None:
    rows = jsonl.read(cfg.replies / "replies.jsonl", Replies)
    name = cfg.policy.name
    groups = [[answer for answer in row.answers if answer.model == name] for row in rows]
    fewest = min(map(len, groups))
    if fewest < 2:
        raise UserError(
            f"[{context.key}] policy = {name}: a prompt has {fewest} answers of it; needs at least 2 to choose from: "
            f"see min_answers of the stage {cfg.replies.name}"
        )
    tokenizer = checkpoints.tokenizer(cfg.policy)
    trunk = checkpoints.load_policy(cfg.policy).trunk
    reranker = load_reranker(cfg.reward, cfg.rule_model, trunk, rules.load(cfg.rules), cfg.rule_reduction)
    chosen, places = [], []
    for number, (row, answers) in enumerate(zip(rows, groups, strict=True)):
        ids = encode_chat(tokenizer, row.prompt.messages)
        place = reranker.choose(ids, [answer_ids(tokenizer, answer) for answer in answers[:fewest]])
        places.append(place)
        chosen.append(answers[place].model_copy(update={"model": best_name(name, fewest)}))
        context.progress(number + 1, len(rows))
    reranked = [
        Replies(prompt=row.prompt, answers=(*first_answers(row.answers), best))
        for row, best in zip(rows, chosen, strict=True)
    ]
    jsonl.write(context.path("replies.jsonl"), reranked)
    context.summary = {
        "prompts": len(rows),
        "candidates": fewest,
        "changed": sum(place > 0 for place in places) / len(places),
    }


def first_answers(answers: Sequence[Answer]) -> list[Answer]:
    """The first answer of each model, in the models' order."""
    return list({answer.model: answer for answer in reversed(answers)}.values())[::-1]
