"""Rankings to measure rewards on: a stage's comparisons, or any file of preferences that this project reads."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from biddable.formats import known
from biddable.formats.labels import Fields, Label, Skipped
from biddable.formats.own import rank_error
from biddable.run import jsonl
from biddable.run.errors import Mistakes, UserError
from biddable.run.records import Answer, Comparison, Message, Prompt, Split


class Ranking(NamedTuple):
    """What one labeler said about the answers to one prompt; 1 is best, equal ranks are a tie."""

    prompt: Prompt
    answers: tuple[Answer, ...]
    ranks: tuple[int, ...]
    labeler: str
    subset: str
    simulated: bool


def read(
    source: Path, format_name: str, columns: Mapping[str, str], split: Split | None
) -> tuple[list[Ranking], Counter[str]]:
    """All rankings, of one split where one is named, and how many rows were left out, by reason. Raises UserError
    with all that is wrong with the file, and for one without a ranking."""
    skipped: Counter[str] = Counter()
    mistakes = Mistakes()
    rankings = []
    for ranking in _rankings(source, format_name, dict(columns), skipped, mistakes):
        if split is not None and ranking.prompt.split != split:
            skipped["another split"] += 1
        else:
            rankings.append(ranking)
    if mistakes:
        raise UserError(mistakes.lines())
    if not rankings:
        reasons = ", ".join(f"{count} {reason}" for reason, count in skipped.most_common(3))
        raise UserError(
            f"comparisons: there is no ranking in {source}" + (f" ({reasons})" if reasons else "")
        )
    return rankings, skipped


def _rankings(
    source: Path, format_name: str, columns: dict[str, str], skipped: Counter[str], mistakes: Mistakes
) -> Iterator[Ranking]:
    if source.is_dir():
        yield from map(from_comparison, jsonl.read(source / "comparisons.jsonl", Comparison))
        return
    name = known.detect(source, columns) if format_name == "auto" else format_name
    if name is None:
        raise UserError(f"comparisons: not a row of {source} can be read")
    for where, row in known.read(source, name, Fields(kind="comparisons"), columns):
        if isinstance(row, Skipped):
            skipped[row.reason] += 1
        elif isinstance(row, str | list):
            mistakes.add(f"{where}: {line}" for line in ([row] if isinstance(row, str) else row))
        elif isinstance(row, Comparison):
            yield from_comparison(row)
        elif not isinstance(row, Label) or row.ranks is None:
            skipped["no ranking"] += 1
        elif reason := rank_error(row.ranks):
            mistakes.add([f"{where}: {reason}"])
        else:
            yield from_label(row)


def from_comparison(row: Comparison) -> Ranking:
    subset = row.prompt.use_case or "not stated"
    return Ranking(row.prompt, row.answers, row.ranks, row.labeler, subset, row.simulated)


def from_label(label: Label) -> Ranking:
    """A ranking of somebody else's file. Equal dialogues are one prompt."""
    assert label.ranks is not None
    text = "\x1f".join(f"{turn.role}\x1e{turn.content}" for turn in label.turns)
    key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    messages = tuple(Message(role=turn.role, content=turn.content) for turn in label.turns)
    prompt = Prompt(id=key, messages=messages, user="imported", split=label.split or None)  # type: ignore[arg-type]
    answers = tuple(Answer(text=answer.text, model=answer.model) for answer in label.answers)
    subset = label.use_case or "not stated"
    return Ranking(prompt, answers, label.ranks, label.labeler or "imported", subset, label.simulated)
