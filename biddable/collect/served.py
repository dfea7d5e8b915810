"""prompts.jsonl and comparisons.jsonl: what users of a served policy asked, and which answers they preferred. The loop closes here.

Only turns that their users agreed to are in a folder of turns at all. Two answers of which a user said which is better, or that both are as
good, become a comparison by that user; the newest word counts. What users reported is listed for people to read, in reports.jsonl.
The comparisons hold prompts as they were asked: `curate.comparisons` brings them together with what curation made of the prompts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from pydantic import Field

from biddable.run import jsonl, turn_log
from biddable.run.config import Input, Settings, UserError, Waiting
from biddable.run.context import StageContext
from biddable.run.records import Comparison, Feedback, Message, Prompt, Turn


class Config(Settings):
    turns: Input | None = None
    """The folder of turns, such as "runs/demo/turns"; its content is noted, so what comes later is another round. None: `turns/` in this
    run's folder, as it is at the time."""
    consents: tuple[str, ...] = ()
    """Versions of the consent text that allow this use; empty: all."""
    source: str = Field("served", min_length=1)
    """The prompts' source."""


Pair = tuple[str, str]


def run(cfg: Config, context: StageContext) -> None:
    folder = cfg.turns or context.folder.parent / "turns"
    every, said = turn_log.read(folder) if folder.is_dir() else ([], [])
    kept = [turn for turn in every if not cfg.consents or turn.consent in cfg.consents]
    if not every:
        raise Waiting(f"{folder}: no turns yet: users of serve.api who agree to it give them")
    if not kept:
        there = ", ".join(sorted({turn.consent for turn in every}))
        raise UserError(
            f"[{context.key}] consents: none of {len(every)} turns has such a consent; there are {there}"
        )
    by_id = _once(kept, folder)
    own = [one for one in said if one.turn in by_id and one.user == by_id[one.turn].user]
    prompts = {prompt.id: prompt for prompt in (_prompt(turn, cfg.source) for turn in by_id.values())}
    found = comparisons(by_id, own, cfg.source)
    jsonl.write(context.path("prompts.jsonl"), prompts.values())
    jsonl.write(context.path("comparisons.jsonl"), found)
    reported = [one for one in own if one.report]
    with jsonl.LineWriter(context.path("reports.jsonl")) as out:
        out.add(_report(by_id[one.turn], one) for one in reported)
    thumbs = {one.turn: one.thumbs for one in sorted(own, key=lambda one: one.time) if one.thumbs}
    context.summary |= {
        "turns": len(by_id),
        "without_consent": len(every) - len(kept),
        "prompts": len(prompts),
        "users": len({turn.user for turn in by_id.values()}),
        "comparisons": len(found),
        "reports": len(reported),
        "thumbs_up": sum(one == "up" for one in thumbs.values()),
        "thumbs_down": sum(one == "down" for one in thumbs.values()),
        "simulated": any(turn.simulated for turn in by_id.values()),
    }


def _once(rows: Sequence[Turn], folder: Path) -> dict[str, Turn]:
    """Turns by id. Raises UserError when one id has two contents."""
    found: dict[str, Turn] = {}
    wrong = []
    for turn in rows:
        if found.setdefault(turn.id, turn) != turn:
            wrong.append(f"{folder / turn_log.TURNS}: Turn id = {turn.id!r}: there twice with other content")
    if wrong:
        raise UserError(wrong)
    return found


def _prompt(turn: Turn, source: str) -> Prompt:
    """What was asked. Answers to the same messages of the same user share it."""
    return Prompt(
        id=_asked(turn.user, turn.messages),
        messages=turn.messages,
        user=turn.user,
        source=source,
        consent=turn.consent,
        time=turn.time,
    )


def _asked(user: str, messages: Sequence[Message]) -> str:
    said = json.dumps([user, [[one.role, one.content] for one in messages]], ensure_ascii=False)
    return "served-" + hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def comparisons(by_id: dict[str, Turn], said: Sequence[Feedback], source: str) -> list[Comparison]:
    """Every pair of answers that a user set in an order, once, as the newest word has it. Pairs over other messages are no pairs."""
    verdicts: dict[Pair, tuple[int, int]] = {}
    for one in sorted(said, key=lambda row: row.time):
        better = [(other, (1, 2)) for other in one.preferred_over]
        for other, ranks in chain(better, ((other, (1, 1)) for other in one.same_as)):
            first, second = by_id[one.turn], by_id.get(other)
            if (
                second
                and first.id != second.id
                and (first.user, first.messages) == (second.user, second.messages)
            ):
                pair = (min(one.turn, other), max(one.turn, other))
                verdicts.pop(pair, None)
                verdicts[pair] = ranks if pair[0] == one.turn else (ranks[1], ranks[0])
    return [
        Comparison(
            id=f"served-{a}-{b}",
            prompt=_prompt(by_id[a], source),
            answers=(by_id[a].answer, by_id[b].answer),
            ranks=ranks,
            labeler=by_id[a].user,
            panel="training",
            simulated=by_id[a].simulated or by_id[b].simulated,
            guideline=f"none-{by_id[a].consent}",
        )
        for (a, b), ranks in verdicts.items()
    ]


def _report(turn: Turn, said: Feedback) -> str:
    about = {"turn": turn.id, "user": turn.user, "time": said.time, "report": said.report}
    shown = {"messages": [one.model_dump() for one in turn.messages], "answer": turn.answer.text}
    return json.dumps({**about, **shown}, ensure_ascii=False) + "\n"
