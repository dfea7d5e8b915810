"""Answers side by side: every model's to the same prompts, and the policy's own while it learned."""

from __future__ import annotations

import collections
import itertools
from typing import Any, NamedTuple

from biddable.measure.report.evidence import Evidence
from biddable.run import jsonl, records
from biddable.run.records import Answer, Comparison, Prompt, Replies


class Sample(NamedTuple):
    """One prompt with the models' answers side by side."""

    prompt: Prompt
    columns: list[tuple[str, str, Answer, str]]  # colour role, title, answer, what labelers thought


def samples(evidence: Evidence, most: int) -> list[Sample]:
    """Prompts drawn by chance, use cases in turn, with every model's first answer; plain PPO is left to the numbers."""
    rows = jsonl.read(evidence.replies.folder / "replies.jsonl", Replies)
    left_out = evidence.plain.name if evidence.plain else None
    opinions = mean_ranks(evidence)
    by_use_case: dict[str, list[Replies]] = collections.defaultdict(list)
    for row in sorted(rows, key=lambda row: records.hash_fraction("sample", row.prompt.id)):
        by_use_case[row.prompt.use_case or ""].append(row)
    turns = itertools.zip_longest(*by_use_case.values())
    drawn = [row for turn in turns for row in turn if row is not None][:most]
    found = []
    for row in drawn:
        first = {answer.model: answer for answer in reversed(row.answers) if answer.model != left_out}
        order = list(dict.fromkeys(a.model for a in row.answers if a.model in first))
        columns = [
            (
                evidence.role(evidence.short_of(m)),
                evidence.title(evidence.short_of(m)),
                first[m],
                opinions.get((row.prompt.id, m, first[m].text), ""),
            )
            for m in order
        ]
        found.append(Sample(row.prompt, columns))
    return found


def mean_ranks(evidence: Evidence) -> dict[tuple[str, str, str], str]:
    """What the labelers behind the win rates thought of an answer: its mean rank."""
    node = evidence.lineage.through(evidence.winrate, "comparisons")
    if node is None or "comparisons.jsonl" not in node.rows:
        return {}
    held: dict[tuple[str, str, str], list[tuple[int, int]]] = collections.defaultdict(list)
    for row in jsonl.read(node.folder / "comparisons.jsonl", Comparison):
        for answer, rank in zip(row.answers, row.ranks, strict=True):
            held[row.prompt.id, answer.model, answer.text].append((rank, len(row.answers)))
    return {
        key: f"mean rank {sum(rank for rank, _ in seen) / len(seen):.1f} of {max(of for _, of in seen)}"
        for key, seen in held.items()
    }


def training_samples(evidence: Evidence) -> list[tuple[int, list[dict[str, Any]]]]:
    """What the policy wrote while it learned: samples of its first, middle and last step."""
    rows = jsonl.read_objects(evidence.ppo.folder / "samples.jsonl", ("step", "prompt", "answer"))
    steps = sorted({int(row["step"]) for row in rows})
    kept = sorted({steps[0], steps[len(steps) // 2], steps[-1]}) if steps else []
    return [(step, [row for row in rows if row["step"] == step][:3]) for step in kept]
