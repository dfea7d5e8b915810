"""Answers side by side: every model's to the same prompts, and the policy's own while it learned."""

from __future__ import annotations

import collections
import itertools
from typing import Any, NamedTuple

from biddable.measure.report.evidence import Evidence
from biddable.run import jsonl, records
from biddable.run.records import Answer, Comparison, Prompt, Replies

STEP_SAMPLES = 3
"""Answers shown of each of the policy's steps."""


class Sample(NamedTuple):
    """One prompt with the models' answers side by side."""

    prompt: Prompt
    columns: list[tuple[str, str, Answer, str]]  # colour role, title, answer, what labelers thought


def samples(evidence: Evidence, limit: int) -> list[Sample]:
    """At most `limit` prompts with every model's first answer; plain PPO is left to the numbers."""
    left_out = evidence.plain.name if evidence.plain else None
    opinions = mean_ranks(evidence)
    shown = []
    for row in draw_prompts(jsonl.read(evidence.replies.folder / "replies.jsonl", Replies), limit):
        first_answers: dict[str, Answer] = {}
        for answer in row.answers:
            if answer.model != left_out:
                first_answers.setdefault(answer.model, answer)
        columns = [
            (
                evidence.role(evidence.short_of(model)),
                evidence.title(evidence.short_of(model)),
                answer,
                opinions.get((row.prompt.id, model, answer.text), ""),
            )
            for model, answer in first_answers.items()
        ]
        shown.append(Sample(row.prompt, columns))
    return shown


def draw_prompts(rows: list[Replies], limit: int) -> list[Replies]:
    """Prompts in the order of a hash of their ids, so that the same run shows the same ones; use cases take
    turns."""
    by_use_case: dict[str, list[Replies]] = collections.defaultdict(list)
    for row in sorted(rows, key=lambda row: records.hash_fraction("sample", row.prompt.id)):
        by_use_case[row.prompt.use_case or ""].append(row)
    turns = itertools.zip_longest(*by_use_case.values())
    return [row for turn in turns for row in turn if row is not None][:limit]


def mean_ranks(evidence: Evidence) -> dict[tuple[str, str, str], str]:
    """What the labelers behind the win rates thought, by (prompt id, model, text): 'mean rank 1.5 of 4'."""
    node = evidence.lineage.through(evidence.winrate, "comparisons")
    if node is None or "comparisons.jsonl" not in node.rows:
        return {}
    # (rank, number of answers ranked together) of every time that an answer was ranked
    ranks: dict[tuple[str, str, str], list[tuple[int, int]]] = collections.defaultdict(list)
    for row in jsonl.read(node.folder / "comparisons.jsonl", Comparison):
        for answer, rank in zip(row.answers, row.ranks, strict=True):
            ranks[row.prompt.id, answer.model, answer.text].append((rank, len(row.answers)))
    texts = {}
    for key, places in ranks.items():
        mean = sum(rank for rank, _ in places) / len(places)
        texts[key] = f"mean rank {mean:.1f} of {max(total for _, total in places)}"
    return texts


def training_samples(evidence: Evidence) -> list[tuple[int, list[dict[str, Any]]]]:
    """What the policy wrote while it learned: (step, samples) of its first, middle and last step."""
    rows = jsonl.read_objects(evidence.ppo.folder / "samples.jsonl", ("step", "prompt", "answer"))
    steps = sorted({int(row["step"]) for row in rows})
    if not steps:
        return []
    chosen = sorted({steps[0], steps[len(steps) // 2], steps[-1]})
    return [(step, [row for row in rows if row["step"] == step][:STEP_SAMPLES]) for step in chosen]
