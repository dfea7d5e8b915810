"""Screening, part 2: ranking answers as trusted people did (Ouyang et al. 2022, B.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from biddable.label import collection, comparisons
from biddable.label.queue import CollectedLabel
from biddable.run.jsonl import read
from biddable.run.records import Comparison, Replies
from biddable.store.types import Task


def tasks(path: Path) -> list[tuple[Task, str | None]]:
    """A task for each comparison of the file, with the expected ranking as JSON."""
    rows: list[tuple[Task, str | None]] = []
    for row in read(path, Comparison):
        replies = Replies(prompt=row.prompt, answers=row.answers)
        answer = comparisons.RankingAnswer(ranks=comparisons.dense(row.ranks))
        task = Task(collection.task_id(replies), replies.model_dump_json(exclude_none=True))
        rows.append((task, answer.model_dump_json(exclude_none=True)))
    return rows


def score(labels: Sequence[CollectedLabel], expected: Mapping[str, str]) -> float | None:
    """Share of answer pairs ordered as by trusted people, over the pairs of all rankings together."""
    kind = comparisons.KIND
    return comparisons.rankings_score(
        (kind.ranks_or_ties(label), kind.expected(expected[label.task]).ranks or ()) for label in labels
    )
