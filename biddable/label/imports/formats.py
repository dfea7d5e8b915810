"""Other tools' files of labels, read into one plain shape: who said what about which prompt and answers. Nothing is guessed: what does not fit is told.

- Argilla 2: the JSON list that `dataset.records.to_json` writes; `fields`, and `responses` by question with `value` and `user_id`.
- Label Studio: the JSON export; `data`, and `annotations` with `completed_by` and a `result` by control (`from_name`): ranker, pairwise, rating,
  textarea.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from biddable.run.config import UserError
from biddable.run.records import Message


class Wrong(Exception):
    """Why a record cannot be read."""


class Said(NamedTuple):
    """One person's answer in another tool's file."""

    place: str  # file:line
    item: str  # what the tool calls the record; questions that read alike may be several
    messages: tuple[Message, ...]
    answers: tuple[tuple[str, str], ...]  # name and text of each answer shown
    labeler: str
    value: Any  # names of answers by rank (list of lists), a number, or a text


@dataclass(frozen=True)
class Columns:
    """Where things are in a record."""

    prompt: str
    answers: tuple[
        str, ...
    ]  # fields with one answer each; for Label Studio also one field with a list of {"id", "body"}
    question: str  # the question (Argilla) or control (Label Studio) that holds what people said


def items(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object of a JSON list, or of a file with one JSON object a line, with its file:line.

    Raises UserError when the file is neither.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    decoder = json.JSONDecoder()
    skip = re.compile(r"[\s,]*")
    at = skip.match(text).end()  # type: ignore[union-attr]
    listed = text[at : at + 1] == "["
    at = skip.match(text, at + listed).end()  # type: ignore[union-attr]
    number, counted = 1, 0
    while at < len(text) and not (listed and text[at] == "]"):
        number, counted = number + text.count("\n", counted, at), at
        try:
            value, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
        if not isinstance(value, dict):
            raise UserError(f"{path}:{number}: an object was expected, not {json.dumps(value)[:60]}")
        yield f"{path}:{number}", value
        at = skip.match(text, end).end()  # type: ignore[union-attr]


def argilla(place: str, row: dict[str, Any], columns: Columns) -> Iterator[Said]:
    """What people said of one Argilla record. Raises Wrong with the reason."""
    fields, responses = _table(row, "fields"), _table(row, "responses")
    if columns.question not in responses:
        if responses:
            raise Wrong(
                f"responses: there is no question {columns.question!r}, but {', '.join(sorted(responses))}"
            )
        return  # nobody has answered it
    answers = tuple((name, _string(fields, name)) for name in columns.answers)
    for response in responses[columns.question]:
        if not isinstance(response, dict) or "value" not in response or not response.get("user_id"):
            raise Wrong(
                f"responses {columns.question}: value and user_id were expected, not {json.dumps(response)[:60]}"
            )
        if response.get("status", "submitted") != "submitted":
            continue  # a draft, or discarded
        value = response["value"]
        ranked = isinstance(value, list) and [_step(one) for one in value]
        yield Said(
            place,
            str(row.get("id", "")),
            _messages(fields, columns.prompt),
            answers,
            str(response["user_id"]),
            _groups(ranked) if ranked else value,
        )


def _step(one: Any) -> tuple[int | None, str]:
    """One entry of a ranking: with its rank, or, in a plain list, by its place."""
    if isinstance(one, str):
        return None, one
    if isinstance(one, dict) and isinstance(one.get("value"), str) and isinstance(one.get("rank"), int):
        return one["rank"], one["value"]
    raise Wrong(f"a ranking's entry is a name, or value and rank, not {json.dumps(one)[:60]}")


def _groups(steps: list[tuple[int | None, str]]) -> list[list[str]]:
    """Names by rank, the best first; without ranks the order of the list counts and nothing is tied."""
    if all(rank is None for rank, _ in steps):
        return [[name] for _, name in steps]
    if any(rank is None for rank, _ in steps):
        raise Wrong("some entries of the ranking have a rank, others have none")
    ranks = sorted({rank for rank, _ in steps if rank is not None})
    if ranks[0] != 1 or ranks[-1] > len(steps):
        raise Wrong(f"ranks {[rank for rank, _ in steps]}: they begin at 1, and none is above {len(steps)}")
    return [[name for rank, name in steps if rank == wanted] for wanted in ranks]


def label_studio(place: str, row: dict[str, Any], columns: Columns) -> Iterator[Said]:
    """What people said of one Label Studio task. Raises Wrong with the reason."""
    data = _table(row, "data")
    answers = _listed(data, columns)
    found = row.get("annotations")
    if not isinstance(found, list):
        raise Wrong("annotations: a list was expected; export as JSON, not JSON-MIN")
    for annotation in found:
        if annotation.get("was_cancelled"):
            continue  # skipped
        who = annotation.get("completed_by")
        labeler = who.get("email") or who.get("id") if isinstance(who, dict) else who
        if labeler is None:
            raise Wrong("completed_by: nobody is named")
        values = [
            one.get("value", {})
            for one in annotation.get("result", ())
            if one.get("from_name") == columns.question
        ]
        if len(values) != 1:
            named = sorted({str(one.get("from_name")) for one in annotation.get("result", ())})
            raise Wrong(
                f"result: one answer of control {columns.question!r} was expected, there are {len(values)}; controls: {named}"
            )
        yield Said(
            place,
            str(row.get("id", "")),
            _messages(data, columns.prompt),
            answers,
            str(labeler),
            _value(values[0], answers),
        )


def _listed(data: dict[str, Any], columns: Columns) -> tuple[tuple[str, str], ...]:
    """The answers of a Label Studio task: a list of items, or a field each."""
    if len(columns.answers) == 1 and isinstance(data.get(columns.answers[0]), list):
        rows = data[columns.answers[0]]
        if not all(
            isinstance(one, dict) and "id" in one and isinstance(one.get("body", one.get("title")), str)
            for one in rows
        ):
            raise Wrong(f"data {columns.answers[0]}: a list of items with id and body was expected")
        return tuple((str(one["id"]), one.get("body", one.get("title"))) for one in rows)
    return tuple((name, _string(data, name)) for name in columns.answers)


def _value(value: dict[str, Any], answers: tuple[tuple[str, str], ...]) -> Any:
    """What a control of Label Studio holds."""
    if "ranker" in value:
        return _ranker(value["ranker"])
    if "selected" in value:
        sides = {"left": 0, "right": 1}
        if value["selected"] not in sides or len(answers) != 2:
            raise Wrong(
                f"pairwise: left or right of two answers was expected, not {value['selected']!r} of {len(answers)}"
            )
        better = sides[value["selected"]]
        return [[answers[better][0]], [answers[1 - better][0]]]
    if "rating" in value:
        return value["rating"]
    if "text" in value:
        return "\n".join(value["text"]) if isinstance(value["text"], list) else value["text"]
    raise Wrong(f"value: a ranker, pairwise, rating or textarea was expected, not {sorted(value)}")


def _ranker(found: Any) -> list[list[str]]:
    """A ranker's order; buckets whose names end in a number ("rank 2") are ranks with ties."""
    if isinstance(found, dict) and len(found) == 1:
        found = next(iter(found.values()))
    if isinstance(found, list):
        return [[str(one)] for one in found]
    if isinstance(found, dict):
        numbered = {name: re.search(r"(\d+)\D*$", name) for name in found}
        if all(numbered.values()):
            order = sorted(found, key=lambda name: int(numbered[name][1]))  # type: ignore[index]
            return [[str(one) for one in found[name]] for name in order if found[name]]
        raise Wrong(
            f"ranker: buckets {sorted(found)}: names that end in their rank were expected, such as 'rank 1'"
        )
    raise Wrong(f"ranker: a list of items was expected, not {json.dumps(found)[:60]}")


def _table(row: dict[str, Any], name: str) -> dict[str, Any]:
    found = row.get(name)
    if not isinstance(found, dict):
        raise Wrong(f"{name}: an object was expected; the record has {', '.join(sorted(row)) or 'nothing'}")
    return found


def _string(fields: dict[str, Any], name: str) -> str:
    if not isinstance(fields.get(name), str):
        raise Wrong(f"there is no text {name!r}; the record has {', '.join(sorted(fields)) or 'nothing'}")
    return str(fields[name])


def _messages(fields: dict[str, Any], name: str) -> tuple[Message, ...]:
    """A prompt: a text, or a dialogue of role and content."""
    if isinstance(fields.get(name), list):
        try:
            return tuple(Message.model_validate(one) for one in fields[name])
        except ValidationError as error:
            raise Wrong(
                f"{name}: a dialogue of role and content was expected ({error.error_count()} turns are not)"
            ) from error
    return (Message(role="user", content=_string(fields, name)),)
