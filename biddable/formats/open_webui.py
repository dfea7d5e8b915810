"""Open WebUI's feedback export: thumbs, with a snapshot of the whole chat each.

Every thumb is a rating: the 1 to 10 that its user gave in the details, else 7 for up and 1 for down. Where the same
question had several answers (an arena, several models, or asked again), what one user thumbed up stands above answers
without a thumb, and these above what was thumbed down: so the program's own leaderboard reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from biddable.formats.labels import (
    MALFORMED,
    Fields,
    Label,
    Result,
    Rows,
    Shown,
    Skip,
    Skipped,
    Turn,
    Unreadable,
    comparison,
    demonstration,
    name_of,
    number,
    ranks_of,
    reason_of,
    text_of,
)
from biddable.run.rows import Row

REASONING = re.compile(r"<details type=\"reasoning\".*?</details>\s*", re.S)
"""What a model thought before it answered; the chat folds it away."""


class _Thumb(NamedTuple):
    where: str
    user: str
    message: str
    history: dict[str, Any]
    turns: tuple[Turn, ...]
    up: bool
    updated: float


def read(rows: Rows, fields: Fields) -> Iterator[tuple[str, Result]]:
    """All labels of an export; comparisons come last, as several thumbs may be about one question."""
    thumbs: dict[tuple[str, str], list[_Thumb]] = {}
    for where, row in rows:
        try:
            thumb, labels = _feedback(where, row, fields)
        except Skip as reason:
            yield where, Skipped(str(reason))
            continue
        except MALFORMED as error:
            yield where, f"feedback {row.get('id')}: {reason_of(error)}"
            continue
        thumbs.setdefault((thumb.user, str(thumb.history[thumb.message].get("parentId"))), []).append(thumb)
        for label in labels:
            yield where, label
    for group in thumbs.values() if fields.kind in (None, "comparisons") else ():
        if (result := _siblings(group)) is not None:
            yield group[0].where, result


def _feedback(where: str, row: Row, fields: Fields) -> tuple[_Thumb, list[Label | Skipped]]:
    data = row.get("data") or {}
    rating = number(data.get("rating"))
    if rating not in (1, -1):
        raise Skip("no thumb")
    chat = ((row.get("snapshot") or {}).get("chat")) or {}
    chat = chat.get("chat") or chat
    history = (chat.get("history") or {}).get("messages") or {}
    message = str((row.get("meta") or {}).get("message_id"))
    if message not in history:
        raise Skip("no conversation in the export")
    turns = _before(history, message)
    system = (chat.get("params") or {}).get("system") or chat.get("system")
    if isinstance(system, str) and system.strip() and turns[0].role != "system":
        turns = (Turn("system", system), *turns)
    user = name_of(row.get("user_id"))
    text, model = _content(history[message]), _model(history[message], data.get("model_id"))
    up = rating == 1
    thumb = _Thumb(where, user, message, history, turns, up, number(row.get("updated_at")) or 0.0)
    if fields.kind == "demonstrations":
        return thumb, [
            demonstration(turns, text, model, user=user, labeler=user) if up else Skipped("thumb down")
        ]
    detail = number((data.get("details") or {}).get("rating"))
    value, scale = (detail, (1, 10)) if detail is not None else (float(rating), (-1, 1))
    return thumb, [Label(turns, (Shown(text, model),), None, value, scale, user, user, message)]


def _before(history: dict[str, Any], message: str) -> tuple[Turn, ...]:
    """The dialogue that a message answers, from its parents."""
    turns: list[Turn] = []
    ancestors = {message}
    while (parent := history[message].get("parentId")) is not None:
        if parent in ancestors or parent not in history:
            raise Unreadable(f"message {message}: its parent {parent} is not in the chat")
        message = parent
        ancestors.add(message)
        role = history[message].get("role")
        turns.append(Turn("assistant" if role == "assistant" else "user", _content(history[message])))
    if not turns or turns[0].role != "user":
        raise Skip("no question before the answer")
    return tuple(reversed(turns))


def _content(message: Row) -> str:
    text = REASONING.sub("", text_of(message.get("content"), "answer"))
    if not text.strip():
        raise Skip("no answer")
    return text


def _model(message: Row, model: Any = None) -> str:
    return name_of(model) or name_of(message.get("model")) or "unknown"


def _siblings(thumbs: list[_Thumb]) -> Label | Skipped | None:
    """One user's thumbs about the answers to one question, in the newest snapshot, as a comparison; None where the
    question had one answer."""
    newest = max(thumbs, key=lambda thumb: thumb.updated)
    up = {thumb.message: thumb.up for thumb in sorted(thumbs, key=lambda thumb: thumb.updated)}
    parent = newest.history[newest.message].get("parentId")
    answers: list[Shown] = []
    scores: list[float] = []
    for name, message in newest.history.items():
        if (
            not isinstance(message, dict)
            or message.get("parentId") != parent
            or message.get("role") != "assistant"
            or message.get("error")
        ):
            continue
        try:
            answers.append(Shown(_content(message), _model(message)))
        except (Skip, Unreadable):
            continue
        scores.append(0.0 if name not in up else 1.0 if up[name] else -1.0)
    if len(answers) < 2 or len(set(scores)) < 2:
        return None
    return comparison(
        newest.turns, answers, ranks_of(scores), user=newest.user, labeler=newest.user, item=str(parent)
    )
