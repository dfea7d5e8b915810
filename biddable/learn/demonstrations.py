"""What fine-tuning imitates: demonstrations by labelers, replies that were chosen, and replies that broke no rule.

The last two are Sparrow's (Glaese et al. 2022): the turns that people preferred, and those of probing
dialogues in which the model kept the rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from biddable.run import jsonl
from biddable.run.records import (
    Answer,
    Comparison,
    Demonstration,
    Prompt,
    RuleCheck,
    Split,
    hash_fraction,
)

VALID_SHARE = 0.1
"""Share of prompts without a split, such as probing dialogues, that belong to the split valid."""


def read_demonstrations(
    demonstrations: Path | None, chosen: Iterable[Path], followed: Iterable[Path]
) -> list[Demonstration]:
    """All that is imitated: demonstrations, and each reply to the same dialogue of comparisons and rule checks
    once (folders or files)."""
    rows: list[Demonstration] = []
    if demonstrations is not None:
        rows += jsonl.read(jsonl.find_file(demonstrations, "demonstrations.jsonl"), Demonstration)
    replies: list[Demonstration] = []
    for folder in chosen:
        replies += chosen_replies(jsonl.read(jsonl.find_file(folder, "comparisons.jsonl"), Comparison))
    for folder in followed:
        replies += followed_replies(jsonl.read(jsonl.find_file(folder, "rulechecks.jsonl"), RuleCheck))
    imitated = {(row.prompt.messages, row.answer.text) for row in rows}
    for row in replies:
        key = row.prompt.messages, row.answer.text
        if key not in imitated:
            imitated.add(key)
            rows.append(row)
    return rows


def chosen_replies(comparisons: Sequence[Comparison]) -> list[Demonstration]:
    """The answer that alone has rank 1 in each comparison, unless all were bad or it was cut off."""
    return [
        _demonstration(row, row.answers[row.ranks.index(1)])
        for row in comparisons
        if row.ranks.count(1) == 1 and not row.all_bad and row.answers[row.ranks.index(1)].finish == "stop"
    ]


def followed_replies(checks: Sequence[RuleCheck]) -> list[Demonstration]:
    """The answers that every rater of every rule says follow it; one doubt keeps an answer out."""
    by_answer: dict[tuple[str, str], list[RuleCheck]] = {}
    for row in checks:
        by_answer.setdefault((row.prompt.id, row.answer.text), []).append(row)
    return [
        _demonstration(rows[0], rows[0].answer)
        for rows in by_answer.values()
        if all(row.level.endswith("follows") for row in rows) and rows[0].answer.finish == "stop"
    ]


def _demonstration(row: Comparison | RuleCheck, answer: Answer) -> Demonstration:
    return Demonstration(
        id=row.id,
        prompt=row.prompt.model_copy(update={"split": split_of(row.prompt)}),
        answer=answer,
        labeler=row.labeler,
        simulated=row.simulated,
        guideline=row.guideline,
    )


def split_of(prompt: Prompt) -> Split:
    """The prompt's split, or, without one, a split by its id alone."""
    return prompt.split or ("valid" if hash_fraction("split", prompt.id) < VALID_SHARE else "train")
