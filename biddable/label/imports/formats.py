"""Other tools' files of labels, read into one plain shape: who said what about which prompt and answers.
Nothing is guessed: what does not fit is an error.

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
from biddable.run.parse import parse_json_at
from biddable.run.records import Message


class UnreadableRecord(Exception):
    """Why a record cannot be read."""


class ExternalLabel(NamedTuple):
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
    # fields with one answer each; for Label Studio also one field with a list of {"id", "body"}
    answers: tuple[str, ...]
    question: str  # the question (Argilla) or control (Label Studio) that holds what people said


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object of a JSON list, or of a file with one JSON object a line, with its file:line.

    Raises UserError when the file is neither.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    separators = re.compile(r"[\s,]*")
    position = separators.match(text).end()  # type: ignore[union-attr]
    is_list = text[position : position + 1] == "["
    position = separators.match(text, position + is_list).end()  # type: ignore[union-attr]
    line, counted_to = 1, 0
    while position < len(text) and not (is_list and text[position] == "]"):
        line, counted_to = line + text.count("\n", counted_to, position), position
        try:
            value, end = parse_json_at(text, position)
        except ValueError as error:
            raise UserError(f"{path}:{line}: {error}") from error
        if not isinstance(value, dict):
            raise UserError(f"{path}:{line}: expected an object, not {json.dumps(value)[:60]}")
        yield f"{path}:{line}", value
        position = separators.match(text, end).end()  # type: ignore[union-attr]


def argilla(place: str, row: dict[str, Any], columns: Columns) -> Iterator[ExternalLabel]:
    """What people said of one Argilla record. Raises UnreadableRecord with the reason."""
    fields, responses = _object_field(row, "fields"), _object_field(row, "responses")
    if columns.question not in responses:
        if responses:
            raise UnreadableRecord(
                f"responses: there is no question {columns.question!r}, but {', '.join(sorted(responses))}"
            )
        return  # nobody has answered it
    answers = tuple((name, _text_field(fields, name)) for name in columns.answers)
    for response in responses[columns.question]:
        if not isinstance(response, dict) or "value" not in response or not response.get("user_id"):
            raise UnreadableRecord(
                f"responses {columns.question}: expected value and user_id, not {json.dumps(response)[:60]}"
            )
        if response.get("status", "submitted") != "submitted":
            continue  # a draft, or discarded
        value = response["value"]
        ranked = isinstance(value, list) and [_ranking_entry(entry) for entry in value]
        yield ExternalLabel(
            place,
            str(row.get("id", "")),
            _messages(fields, columns.prompt),
            answers,
            str(response["user_id"]),
            _group_by_rank(ranked) if ranked else value,
        )


def _ranking_entry(entry: Any) -> tuple[int | None, str]:
    """One entry of a ranking: with its rank, or, in a plain list, by its place."""
    if isinstance(entry, str):
        return None, entry
    if isinstance(entry, dict) and isinstance(entry.get("value"), str) and isinstance(entry.get("rank"), int):
        return entry["rank"], entry["value"]
    raise UnreadableRecord(f"a ranking's entry is a name, or value and rank, not {json.dumps(entry)[:60]}")


def _group_by_rank(entries: list[tuple[int | None, str]]) -> list[list[str]]:
    """Names by rank, the best first; without ranks the order of the list counts and nothing is tied."""
    if all(rank is None for rank, _ in entries):
        return [[name] for _, name in entries]
    if any(rank is None for rank, _ in entries):
        raise UnreadableRecord("some entries of the ranking have a rank, others have none")
    ranks = sorted({rank for rank, _ in entries if rank is not None})
    if ranks[0] != 1 or ranks[-1] > len(entries):
        raise UnreadableRecord(
            f"ranks {[rank for rank, _ in entries]}: they begin at 1, and none is above {len(entries)}"
        )
    return [[name for rank, name in entries if rank == place] for place in ranks]


def label_studio(place: str, row: dict[str, Any], columns: Columns) -> Iterator[ExternalLabel]:
    """What people said of one Label Studio task. Raises UnreadableRecord with the reason."""
    data = _object_field(row, "data")
    answers = _label_studio_answers(data, columns)
    annotations = row.get("annotations")
    if not isinstance(annotations, list):
        raise UnreadableRecord("annotations: expected a list; export as JSON, not JSON-MIN")
    for annotation in annotations:
        if annotation.get("was_cancelled"):
            continue  # skipped
        annotator = annotation.get("completed_by")
        labeler = annotator.get("email") or annotator.get("id") if isinstance(annotator, dict) else annotator
        if labeler is None:
            raise UnreadableRecord("completed_by: nobody is named")
        values = [
            control.get("value", {})
            for control in annotation.get("result", ())
            if control.get("from_name") == columns.question
        ]
        if len(values) != 1:
            controls = sorted({str(control.get("from_name")) for control in annotation.get("result", ())})
            raise UnreadableRecord(
                f"result: expected one answer of control {columns.question!r}, there are {len(values)}; "
                f"controls: {controls}"
            )
        yield ExternalLabel(
            place,
            str(row.get("id", "")),
            _messages(data, columns.prompt),
            answers,
            str(labeler),
            _control_value(values[0], answers),
        )


def _label_studio_answers(data: dict[str, Any], columns: Columns) -> tuple[tuple[str, str], ...]:
    """The answers of a Label Studio task: a list of items, or a field each."""
    if len(columns.answers) == 1 and isinstance(data.get(columns.answers[0]), list):
        rows = data[columns.answers[0]]
        if not all(
            isinstance(item, dict) and "id" in item and isinstance(item.get("body", item.get("title")), str)
            for item in rows
        ):
            raise UnreadableRecord(f"data {columns.answers[0]}: expected a list of items with id and body")
        return tuple((str(item["id"]), item.get("body", item.get("title"))) for item in rows)
    return tuple((name, _text_field(data, name)) for name in columns.answers)


def _control_value(value: dict[str, Any], answers: tuple[tuple[str, str], ...]) -> Any:
    """What a control of Label Studio holds."""
    if "ranker" in value:
        return _ranker_groups(value["ranker"])
    if "selected" in value:
        sides = {"left": 0, "right": 1}
        if value["selected"] not in sides or len(answers) != 2:
            raise UnreadableRecord(
                f"pairwise: expected left or right of two answers, not {value['selected']!r} of "
                f"{len(answers)}"
            )
        better = sides[value["selected"]]
        return [[answers[better][0]], [answers[1 - better][0]]]
    if "rating" in value:
        return value["rating"]
    if "text" in value:
        return "\n".join(value["text"]) if isinstance(value["text"], list) else value["text"]
    raise UnreadableRecord(f"value: expected a ranker, pairwise, rating or textarea, not {sorted(value)}")


def _ranker_groups(ranking: Any) -> list[list[str]]:
    """A ranker's order; buckets whose names end in a number ("rank 2") are ranks with ties."""
    if isinstance(ranking, dict) and len(ranking) == 1:
        ranking = next(iter(ranking.values()))
    if isinstance(ranking, list):
        return [[str(item)] for item in ranking]
    if isinstance(ranking, dict):
        numbered = {name: re.search(r"(\d+)\D*$", name) for name in ranking}
        if all(numbered.values()):
            order = sorted(ranking, key=lambda name: int(numbered[name][1]))  # type: ignore[index]
            return [[str(item) for item in ranking[name]] for name in order if ranking[name]]
        raise UnreadableRecord(
            f"ranker: buckets {sorted(ranking)}: expected names that end in their rank, such as 'rank 1'"
        )
    raise UnreadableRecord(f"ranker: expected a list of items, not {json.dumps(ranking)[:60]}")


def _object_field(row: dict[str, Any], name: str) -> dict[str, Any]:
    value = row.get(name)
    if not isinstance(value, dict):
        raise UnreadableRecord(
            f"{name}: expected an object; the record has {', '.join(sorted(row)) or 'nothing'}"
        )
    return value


def _text_field(fields: dict[str, Any], name: str) -> str:
    if not isinstance(fields.get(name), str):
        raise UnreadableRecord(
            f"there is no text {name!r}; the record has {', '.join(sorted(fields)) or 'nothing'}"
        )
    return str(fields[name])


def _messages(fields: dict[str, Any], name: str) -> tuple[Message, ...]:
    """A prompt: a text, or a dialogue of role and content."""
    if isinstance(fields.get(name), list):
        try:
            return tuple(Message.model_validate(turn) for turn in fields[name])
        except ValidationError as error:
            raise UnreadableRecord(
                f"{name}: expected a dialogue of role and content ({error.error_count()} turns are not)"
            ) from error
    return (Message(role="user", content=_text_field(fields, name)),)
