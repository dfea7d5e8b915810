"""Open-Assistant's message trees: as nested replies, a tree a line, or as a table with a message a row.

Every message of a prompter with ranked replies is a comparison (rank 0 is best), and its best reply, or its only one,
a demonstration. Deleted messages and those that reviewers refused are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
    ranks_of,
    reason_of,
    text_of,
)
from biddable.run.rows import Row

ROLES = {"prompter": "user", "assistant": "assistant"}


def trees(rows: Rows, fields: Fields) -> Iterator[tuple[str, Result]]:
    """Files with a tree a line."""
    for where, row in rows:
        yield from _walk(where, row.get("prompt"), (), fields)


def messages(rows: Rows, fields: Fields) -> Iterator[tuple[str, Result]]:
    """Files with a message a row; they are read to their end before the first label comes out."""
    roots: list[tuple[str, Row]] = []
    by_id: dict[str, Row] = {}
    rest: list[tuple[str, Row]] = []
    for where, row in rows:
        node = {**row, "replies": []}
        by_id[str(row.get("message_id"))] = node
        (roots if row.get("parent_id") is None else rest).append((where, node))
    for where, node in rest:
        parent = by_id.get(str(node["parent_id"]))
        if parent is None:
            yield where, Skipped("the message it answers is not in the file")
        else:
            parent["replies"].append(node)
    for where, node in roots:
        yield from _walk(where, node, (), fields)


def _walk(where: str, node: Any, before: tuple[Turn, ...], fields: Fields) -> Iterator[tuple[str, Result]]:
    """Labels of a message and of all below it. A reply's reply is a loop, not a call: threads get long."""
    waiting: list[tuple[Any, tuple[Turn, ...]]] = [(node, before)]
    while waiting:
        node, before = waiting.pop()
        try:
            turns = (*before, _turn(node))
            replies = [reply for reply in node.get("replies") or () if not _is_refused(reply)]
            if turns[-1].role == "user":
                for result in _labels(node, turns, replies, fields):
                    yield where, result
            waiting += [(reply, turns) for reply in reversed(replies)]
        except Skip as reason:
            yield where, Skipped(str(reason))
        except MALFORMED as error:
            name = node.get("message_id") if isinstance(node, dict) else None
            yield where, f"message {name}: {reason_of(error)}"


def _turn(node: Any) -> Turn:
    if not isinstance(node, dict) or node.get("role") not in ROLES:
        raise Unreadable("expected a message with the role prompter or assistant")
    role: Any = ROLES[node["role"]]
    return Turn(role, text_of(node.get("text"), "text"))


def _is_refused(node: Row) -> bool:
    return bool(node.get("deleted")) or node.get("review_result") is False


def _labels(
    node: Row, turns: tuple[Turn, ...], replies: list[Row], fields: Fields
) -> Iterator[Label | Skipped]:
    user = name_of(node.get("user_id"))
    answers = [reply for reply in replies if reply.get("role") == "assistant"]
    ranked = [reply for reply in answers if isinstance(reply.get("rank"), int)]
    if len(ranked) > 1 and fields.kind != "demonstrations":
        shown = [Shown(text_of(reply.get("text"), "text"), "people") for reply in ranked]
        yield comparison(turns, shown, ranks_of([-reply["rank"] for reply in ranked]), user=user)
    best = min(
        ranked, key=lambda reply: int(reply["rank"]), default=answers[0] if len(answers) == 1 else None
    )
    if best is not None and fields.kind in (None, "demonstrations"):
        yield demonstration(
            turns, text_of(best.get("text"), "text"), labeler=name_of(best.get("user_id")), user=user
        )
