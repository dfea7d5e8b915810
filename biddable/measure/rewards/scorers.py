"""What is measured: reward models, a judge, and length, each as an order of every ranking's answers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from biddable.measure.judge.bias import JudgedPair
from biddable.measure.judge.questions import JudgeQuestion
from biddable.measure.rewards.rankings import Ranking
from biddable.model import checkpoints, classifier
from biddable.model.encoding import answer_ids, encode_chat
from biddable.model.packing import Tree
from biddable.run import words
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer

Array = np.ndarray[Any, Any]
CHUNK_TREES = 64
"""Prompts between two words of progress."""


class Scored(NamedTuple):
    """One system's view of a ranking's K answers."""

    scores: Array  # (K,), higher is better
    margins: Array  # (K, K): above 0 where the first is better than the second; not a number: it did not say

    @classmethod
    def by_scores(cls, scores: Array) -> Scored:
        return cls(scores, scores[:, None] - scores[None, :])


def by_length(rankings: Sequence[Ranking]) -> list[Scored | None]:
    """The baseline: the longer answer is better."""
    unit = words.length_unit(answer.text for row in rankings for answer in row.answers)
    return [
        Scored.by_scores(np.array([float(words.length(answer.text, unit)) for answer in row.answers]))
        for row in rankings
    ]


def by_reward_model(
    folder: Path, rankings: Sequence[Ranking], tokens: int, context: StageContext
) -> list[Scored | None]:
    """A reward model's scores, each answer read at its last token; `tokens` per forward. None for a ranking with an
    answer that does not fit into the model's context, or whose dialogue its chat template refuses: it cannot judge
    those. Equal rankings, as several labelers give them, are read once."""
    tokenizer, limit = checkpoints.tokenizer(folder), checkpoints.context_length(folder)
    scorer = checkpoints.load_scorer(folder).freeze()
    trees = [_tree(tokenizer, limit, row) for row in rankings]
    distinct = list({tree: None for tree in trees if tree is not None})
    scores: dict[tuple[Any, Any], Array] = {}
    for start in range(0, len(distinct), CHUNK_TREES):
        part = [Tree(*ids) for ids in distinct[start : start + CHUNK_TREES]]
        flat = classifier.scores(scorer, part, tokens).astype(float)
        ends = np.cumsum([len(tree.answers) for tree in part])
        for tree, tree_scores in zip(part, np.split(flat, ends[:-1]), strict=True):
            scores[tree.prompt, tree.answers] = tree_scores
        context.progress(min(start + CHUNK_TREES, len(distinct)), len(distinct))
    return [None if tree is None else Scored.by_scores(scores[tree]) for tree in trees]


TreeIds = tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]


def _tree(tokenizer: Any, limit: int, row: Ranking) -> TreeIds | None:
    """The prompt's ids and each answer's; None where they cannot be read."""
    try:
        prompt = encode_chat(tokenizer, row.prompt.messages)
    except UserError:
        return None
    answers = tuple(_ids(tokenizer, answer) for answer in row.answers)
    return None if len(prompt) + max(map(len, answers)) > limit else (prompt, answers)


def _ids(tokenizer: Any, answer: Answer) -> tuple[int, ...]:
    """An answer's ids. Those that it was sampled as may be another model's: they count where they spell its text."""
    if answer.tokens is not None:
        spelled = tokenizer.decode(list(answer.tokens), skip_special_tokens=True)
        if spelled.strip() != answer.text.strip():
            answer = answer.model_copy(update={"tokens": None})
    return answer_ids(tokenizer, answer) or (int(tokenizer.eos_token_id),)


def questions(rankings: Sequence[Ranking]) -> list[JudgeQuestion]:
    """Every two answers of every ranking in both orders, one after the other; equal ones once."""
    questions_of: dict[tuple[Any, str, str], list[JudgeQuestion]] = {}
    for row in rankings:
        for i, j in itertools.combinations(range(len(row.answers)), 2):
            first, second = row.answers[i], row.answers[j]
            orders = [JudgeQuestion(row.prompt, first, second), JudgeQuestion(row.prompt, second, first)]
            questions_of.setdefault((row.prompt.messages, first.text, second.text), orders)
    return [question for orders in questions_of.values() for question in orders]


def by_judge(
    rankings: Sequence[Ranking], judge_questions: Sequence[JudgeQuestion], choices: Sequence[str | None]
) -> tuple[list[Scored | None], list[JudgedPair]]:
    """A judge's verdicts as scores: the share of the other answers that each beats, a tie is half. Orders that
    contradict each other are a tie; a pair without a verdict counts nowhere. And the pairs as judged."""
    pairs = [
        JudgedPair(
            judge_questions[n].prompt,
            judge_questions[n].first,
            judge_questions[n].second,
            choices[n],
            choices[n + 1],
        )
        for n in range(0, len(judge_questions), 2)
    ]
    outcomes: Mapping[tuple[Any, str, str], float | None] = {
        (pair.prompt.messages, pair.first.text, pair.second.text): pair.outcome for pair in pairs
    }
    scored: list[Scored | None] = []
    for row in rankings:
        count = len(row.answers)
        margins = np.zeros((count, count))
        for i, j in itertools.combinations(range(count), 2):
            outcome = outcomes[row.prompt.messages, row.answers[i].text, row.answers[j].text]
            margins[i, j] = np.nan if outcome is None else 2 * outcome - 1
            margins[j, i] = -margins[i, j]
        is_complete = not np.isnan(margins).any()
        scores = (margins.sum(axis=1) / (count - 1) + 1) / 2 if is_complete else np.full(count, np.nan)
        scored.append(Scored(scores, margins))
    return scored, pairs
