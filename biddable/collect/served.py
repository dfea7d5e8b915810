"""prompts.jsonl and comparisons.jsonl: what users of a served policy asked, and which answers they preferred.
Here the loop closes.

The turn log holds only turns that their users agreed to share. Two answers of which a user said that one is
better, or that both are equally good, become a comparison by that user; the latest verdict counts. What users
reported goes to reports.jsonl, for people to read. The comparisons hold prompts as they were asked:
`curate.comparisons` replaces them by the curated ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field

from biddable.run import jsonl, turn_log
from biddable.run.config import Input, Settings, UserError, Waiting
from biddable.run.context import StageContext
from biddable.run.records import Comparison, Feedback, Message, Prompt, Turn


class Config(Settings):
    """Settings of collect.served."""

    turns: Input | None = None
    """The folder of turns, such as "runs/demo/turns"; its content is recorded as an input, so later turns
    need another round. None: `turns/` in this run's folder, as it is when the stage runs."""
    consents: tuple[str, ...] = ()
    """Versions of the consent text that allow this use; empty: all."""
    source: str = Field("served", min_length=1)
    """The prompts' source."""


Pair = tuple[str, str]
"""Ids of two turns, the smaller first."""


def run(cfg: Config, context: StageContext) -> None:
    """Read the turn log, write prompts, comparisons and reports. Raises Waiting while there are no turns."""
    folder = cfg.turns or context.folder.parent / "turns"
    logged, feedback = turn_log.read(folder) if folder.is_dir() else ([], [])
    if not logged:
        raise Waiting(f"{folder}: no turns yet: they come from users of serve.api who agree to share them")
    turns = [turn for turn in logged if not cfg.consents or turn.consent in cfg.consents]
    if not turns:
        versions = ", ".join(sorted({turn.consent for turn in logged}))
        raise UserError(
            f"[{context.key}] consents: none of {len(logged)} turns has such a consent; there are {versions}"
        )
    by_id = turns_by_id(turns, folder)
    # Feedback counts from the user whose turn it is, and only with that turn's consent.
    feedback = [row for row in feedback if row.turn in by_id and row.user == by_id[row.turn].user]
    prompts = {prompt.id: prompt for prompt in (to_prompt(turn, cfg.source) for turn in by_id.values())}
    comparisons = to_comparisons(by_id, feedback, cfg.source)
    reports = [row for row in feedback if row.report]
    jsonl.write(context.path("prompts.jsonl"), prompts.values())
    jsonl.write(context.path("comparisons.jsonl"), comparisons)
    with jsonl.LineWriter(context.path("reports.jsonl")) as out:
        out.add(format_report(by_id[row.turn], row) for row in reports)
    thumbs = {row.turn: row.thumbs for row in sorted(feedback, key=lambda row: row.time) if row.thumbs}
    context.summary |= {
        "turns": len(by_id),
        "without_consent": len(logged) - len(turns),
        "prompts": len(prompts),
        "users": len({turn.user for turn in by_id.values()}),
        "comparisons": len(comparisons),
        "reports": len(reports),
        "thumbs_up": sum(thumb == "up" for thumb in thumbs.values()),
        "thumbs_down": sum(thumb == "down" for thumb in thumbs.values()),
        "simulated": any(turn.simulated for turn in by_id.values()),
    }


def turns_by_id(turns: Sequence[Turn], folder: Path) -> dict[str, Turn]:
    """Turns by id; the same turn may be logged twice. Raises UserError when one id has two contents."""
    by_id: dict[str, Turn] = {}
    errors = []
    for turn in turns:
        if by_id.setdefault(turn.id, turn) != turn:
            errors.append(f"{folder / turn_log.TURNS}: Turn id = {turn.id!r}: there twice with other content")
    if errors:
        raise UserError(errors)
    return by_id


def to_prompt(turn: Turn, source: str) -> Prompt:
    """What was asked. Answers to the same messages of the same user share it."""
    return Prompt(
        id=prompt_id(turn.user, turn.messages),
        messages=turn.messages,
        user=turn.user,
        source=source,
        consent=turn.consent,
        time=turn.time,
    )


def prompt_id(user: str, messages: Sequence[Message]) -> str:
    """A hash of the user and the messages."""
    content = json.dumps([user, [[turn.role, turn.content] for turn in messages]], ensure_ascii=False)
    return "served-" + hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def to_comparisons(by_id: dict[str, Turn], feedback: Sequence[Feedback], source: str) -> list[Comparison]:
    """A comparison for every pair of answers that a user compared, with the user's latest verdict."""
    verdicts: dict[Pair, tuple[int, int]] = {}
    for row in sorted(feedback, key=lambda row: row.time):
        for second_id, ranks in verdicts_of(row):
            first, second = by_id[row.turn], by_id.get(second_id)
            # Only two answers of one user to the same messages can be compared.
            if second is None or first.id == second.id:
                continue
            if (first.user, first.messages) != (second.user, second.messages):
                continue
            pair = (min(first.id, second.id), max(first.id, second.id))
            verdicts.pop(
                pair, None
            )  # the pair moves to the end: comparisons are in the order of their last verdicts
            verdicts[pair] = ranks if pair[0] == first.id else (ranks[1], ranks[0])
    return [to_comparison(by_id[a], by_id[b], ranks, source) for (a, b), ranks in verdicts.items()]


def verdicts_of(row: Feedback) -> Iterator[tuple[str, tuple[int, int]]]:
    """(id of the other turn, ranks of this one's answer and of that one's): 1 is better than 2, equal ranks
    are a tie."""
    yield from ((turn, (1, 2)) for turn in row.preferred_over)
    yield from ((turn, (1, 1)) for turn in row.same_as)


def to_comparison(first: Turn, second: Turn, ranks: tuple[int, int], source: str) -> Comparison:
    """A user's verdict as a record, on the prompt as it was asked."""
    return Comparison(
        id=f"served-{first.id}-{second.id}",
        prompt=to_prompt(first, source),
        answers=(first.answer, second.answer),
        ranks=ranks,
        labeler=first.user,
        panel="training",
        simulated=first.simulated or second.simulated,
        guideline=f"none-{first.consent}",
    )


def format_report(turn: Turn, feedback: Feedback) -> str:
    """A line of reports.jsonl: who reported what, with the dialogue."""
    report = {
        "turn": turn.id,
        "user": turn.user,
        "time": feedback.time,
        "report": feedback.report,
        "messages": [message.model_dump() for message in turn.messages],
        "answer": turn.answer.text,
    }
    return json.dumps(report, ensure_ascii=False) + "\n"
