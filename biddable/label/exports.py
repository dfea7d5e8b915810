"""Exports: comparisons and demonstrations in TRL's formats, for other trainers: conversational preference pairs, and dialogues for fine-tuning.

`preferences.jsonl`: {"prompt": [...], "chosen": [...], "rejected": [...]}, a line for every pair of answers
that a labeler did not rank equal. `sft.jsonl`: {"messages": [...]}. People are known by their pseudonyms
only, and these formats do not even hold those.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from biddable.run import jsonl
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.records import Comparison, Demonstration, Split


class Config(Settings):
    left_out: ClassVar[tuple[str, ...]] = ("comparisons", "demonstrations")
    comparisons: Input | None = Path("label.comparisons")
    """Rankings to turn into pairs."""
    demonstrations: Input | None = Path("label.demonstrations")
    """Demonstrations to turn into dialogues."""
    pairs: Literal["all", "extremes"] = "all"
    """Which pairs of a ranking: `all` that are not tied, or the `extremes`, one of the best against one of
    the worst."""
    splits: tuple[Split, ...] | None = None
    """Only prompts of these splits; none: all."""


def to_preferences(row: Comparison, pairs: str = "all") -> Iterator[dict[str, Any]]:
    """A ranking's untied pairs in TRL's conversational preference format; with `extremes` at most one."""
    order = sorted(
        range(len(row.ranks)), key=lambda i: row.ranks[i]
    )  # equal ranks stay in the order of the answers
    index_pairs = [(order[0], order[-1])] if pairs == "extremes" else itertools.combinations(order, 2)
    prompt = [turn.model_dump() for turn in row.prompt.messages]
    for better, worse in index_pairs:
        if row.ranks[better] < row.ranks[worse]:
            yield {
                "prompt": prompt,
                "chosen": assistant_turn(row.answers[better].text),
                "rejected": assistant_turn(row.answers[worse].text),
            }


def to_dialogue(row: Demonstration) -> dict[str, Any]:
    """A demonstration in TRL's conversational format for fine-tuning."""
    return {"messages": [turn.model_dump() for turn in row.prompt.messages] + assistant_turn(row.answer.text)}


def assistant_turn(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def run(cfg: Config, context: StageContext) -> None:
    if cfg.comparisons is None and cfg.demonstrations is None:
        raise UserError(f"[{context.key}] comparisons, demonstrations: expected at least one of them")
    all_comparisons = (
        []
        if cfg.comparisons is None
        else jsonl.read(jsonl.find_file(cfg.comparisons, "comparisons.jsonl"), Comparison)
    )
    all_demonstrations = (
        []
        if cfg.demonstrations is None
        else jsonl.read(jsonl.find_file(cfg.demonstrations, "demonstrations.jsonl"), Demonstration)
    )
    comparisons = [row for row in all_comparisons if cfg.splits is None or row.prompt.split in cfg.splits]
    demonstrations = [
        row for row in all_demonstrations if cfg.splits is None or row.prompt.split in cfg.splits
    ]
    if not comparisons and not demonstrations:
        raise UserError(f"[{context.key}] splits: no label belongs to {', '.join(cfg.splits or ())}")
    pairs = [pair for row in comparisons for pair in to_preferences(row, cfg.pairs)]
    if comparisons:
        jsonl.write_objects(context.path("preferences.jsonl"), pairs)
    if demonstrations:
        jsonl.write_objects(context.path("sft.jsonl"), (to_dialogue(row) for row in demonstrations))
    context.summary = {
        "pairs": len(pairs),
        "rankings": len(comparisons),
        "dialogues": len(demonstrations),
        "simulated": any(row.simulated for row in comparisons)
        or any(row.simulated for row in demonstrations),
    }
