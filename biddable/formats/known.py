"""Every format there is, by name, and which one a file looks like."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from biddable.formats import (
    argilla,
    demonstrations,
    label_studio,
    oasst,
    open_webui,
    own,
    potato,
    preferences,
    scored,
)
from biddable.formats.labels import (
    ANSWERS,
    PROMPTS,
    Fields,
    Result,
    by_row,
    first,
    is_spoken,
    number,
    unquoted,
)
from biddable.run.errors import UserError
from biddable.run.rows import Row, rows

LOOKED_AT = 20
"""Rows of a file that show what it is."""


class Format(NamedTuple):
    """How a format is known and read."""

    about: str
    looks: Callable[[Row], bool]
    read: Callable[[Any, Fields], Iterator[tuple[str, Any]]]


def _has(*names: str) -> Callable[[Row], bool]:
    return lambda row: all(name in row for name in names)


def _is_dialogue(row: Row) -> bool:
    turns = unquoted(first(row, ("messages", "conversations", "conversation")))
    return isinstance(turns, list) and first(row, ("chosen", "response", "responses", "completion")) is None


def _is_scored(row: Row) -> bool:
    return (
        first(row, PROMPTS) is not None
        and first(row, ANSWERS) is not None
        and any(number(row.get(name)) is not None for name in scored.SINGLE_SCORES)
    )


def _is_answer_list(row: Row) -> bool:
    return isinstance(unquoted(first(row, scored.LISTS)), list) and first(row, PROMPTS) is not None


FORMATS: dict[str, Format] = {
    "biddable": Format("this project's records", own.looks_own, own.read),
    "label_studio": Format(
        "Label Studio's JSON export", _has("data", "annotations"), by_row(label_studio.read)
    ),
    "argilla": Format(
        "Argilla's records",
        lambda row: _has("fields", "responses")(row) or any(name.endswith(argilla.RESPONSES) for name in row),
        by_row(argilla.read),
    ),
    "potato": Format("Potato's annotations", _has("id", "label_annotations"), potato.read),
    "open_webui": Format("Open WebUI's feedback", _has("data", "meta", "user_id", "type"), open_webui.read),
    "alpaca_eval": Format(
        "AlpacaEval's annotations",
        _has("output_1", "output_2", "preference"),
        by_row(preferences.alpaca_eval),
    ),
    "arena": Format(
        "arena battles", _has("conversation_a", "conversation_b", "winner"), by_row(preferences.arena)
    ),
    "helpsteer_pairs": Format(
        "HelpSteer's preferences",
        lambda row: (
            _has("response1", "response2", "overall_preference")(row)
            or _has("response_1", "response_2", "preference_strength")(row)
        ),
        by_row(preferences.preferred_side),
    ),
    "oasst_trees": Format(
        "Open-Assistant's trees",
        lambda row: isinstance(row.get("prompt"), dict) and "replies" in row["prompt"],
        oasst.trees,
    ),
    "oasst_messages": Format(
        "Open-Assistant's messages", _has("message_id", "parent_id", "text", "role"), oasst.messages
    ),
    "preference": Format("chosen and rejected", _has("chosen", "rejected"), by_row(preferences.preference)),
    "answer_list": Format("answers with ranks or scores", _is_answer_list, by_row(scored.answer_list)),
    "unpaired": Format("unpaired preferences", _has("prompt", "completion", "label"), scored.unpaired),
    "scored": Format("a score for each answer", _is_scored, scored.scored_answers),
    "messages": Format("dialogues", _is_dialogue, by_row(demonstrations.messages)),
    "alpaca": Format("alpaca's instructions", _has("instruction", "output"), by_row(demonstrations.alpaca)),
    "prompt_response": Format(
        "prompts with a response",
        lambda row: first(row, PROMPTS) is not None and first(row, ANSWERS) is not None,
        by_row(demonstrations.prompt_response),
    ),
    "human_assistant": Format(
        "Human: and Assistant: text",
        lambda row: is_spoken(str(row.get("text") or "")),
        by_row(demonstrations.messages),
    ),
}
"""Name -> format. A file is of the first that all its first rows look like: the special ones stand first."""


def detect(path: Path, columns: dict[str, str]) -> str | None:
    """The name of a file's format; None where no row can be read. Raises UserError when its rows look like nothing
    that is known."""
    samples = [
        renamed(row, columns) for _, row in itertools.islice(rows(path), LOOKED_AT) if isinstance(row, dict)
    ]
    if not samples:
        return None
    counts = {name: sum(known_format.looks(row) for row in samples) for name, known_format in FORMATS.items()}
    for least in (len(samples), len(samples) // 2 + 1):  # all rows; then most: the others are mistakes
        if name := next((name for name, count in counts.items() if count >= least), None):
            return name
    if mixed := [name for name, count in counts.items() if count]:
        raise UserError(f"{path}: its rows look like {' and '.join(mixed[:3])}; say with format what it is")
    keys = ", ".join(list(dict.fromkeys(key for row in samples for key in row))[:12])
    raise UserError(
        f"{path}: not a known format; its rows have {keys}. If only the names differ, say so: "
        'columns = {prompt = "NAME", chosen = "NAME", rejected = "NAME"}'
    )


def renamed(row: Row, columns: dict[str, str]) -> Row:
    """A row under the names that its format expects; `columns` says what they are in the file."""
    return row | {name: row[column] for name, column in columns.items() if column in row} if columns else row


def read(
    path: Path, name: str, fields: Fields, columns: dict[str, str]
) -> Iterator[tuple[str, Result | own.OwnRecord | list[str]]]:
    """Everything that a file says, each with where it stands. Broken rows come as what is wrong with them."""
    broken: list[tuple[str, str]] = []

    def good_rows() -> Iterator[tuple[str, Row]]:
        for where, row in rows(path):
            if isinstance(row, dict):
                yield where, renamed(row, columns)
            else:
                broken.append((where, row))

    for result in FORMATS[name].read(good_rows(), fields):
        yield from broken
        broken.clear()
        yield result
    yield from broken
