"""Label Studio's JSON export: a task's data, and annotations whose results are ordered by control: Ranker, Pairwise,
Rating, TextArea, Choices.

Cancelled, empty and unfinished annotations are counted and left out; predictions are no labels. A Ranker whose buckets
end in their rank ("rank 1") has ties.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from biddable.formats.choices import Named, label_of, named_answers, the_question
from biddable.formats.labels import MALFORMED, Fields, Label, Skipped, Unreadable, name_of, reason_of
from biddable.run.rows import Row

CONTROLS = ("ranker", "selected", "rating", "text", "choices")
"""The keys of a result's value that say something of answers."""


def read(row: Row, fields: Fields) -> Iterator[Label | Skipped]:
    """What people said of one task."""
    task = name_of(row.get("id"))
    try:
        yield from _read(row, task, fields)
    except MALFORMED as error:
        raise Unreadable(f"task {task or '?'}: {reason_of(error)}") from None


def _read(row: Row, task: str, fields: Fields) -> Iterator[Label | Skipped]:
    annotations, data = row.get("annotations"), row.get("data")
    if not isinstance(annotations, list) or not isinstance(data, dict):
        raise Unreadable("annotations: expected a list, beside data; export as JSON, not JSON-MIN")
    yield from (Skipped("draft") for draft in row.get("drafts") or () if isinstance(draft, dict))
    if not annotations:
        yield Skipped("nobody has answered")
        return
    turns, answers = named_answers(data, fields)
    for annotation in annotations:
        if annotation.get("was_cancelled"):
            yield Skipped("cancelled")
            continue
        values = _values(annotation)
        if not values:
            yield Skipped("empty")
            continue
        question = the_question(sorted(values), fields.question, "result")
        if len(values[question]) > 1:
            raise Unreadable(f"result: control {question!r} was answered {len(values[question])} times")
        if (labeler := _labeler(annotation.get("completed_by"))) == "":
            raise Unreadable("completed_by: nobody is named")
        value = _control(values[question][0], answers)
        if value is None or value == "" or value == {}:
            yield Skipped("empty")
        else:
            yield label_of(value, turns, answers, fields, (1, 5), labeler=labeler, item=task)


def _values(annotation: Row) -> dict[str, list[Row]]:
    """What was answered, by the control's name."""
    values: dict[str, list[Row]] = {}
    for control in annotation.get("result") or ():
        if isinstance(value := control.get("value"), dict) and value:
            values.setdefault(str(control.get("from_name")), []).append(value)
    return values


def _labeler(completed_by: Any) -> str:
    if isinstance(completed_by, dict):
        completed_by = completed_by.get("email") or completed_by.get("id")
    return name_of(completed_by)


def _control(value: Row, answers: Named) -> Any:
    """What a control holds, as `label_of` takes it."""
    if "ranker" in value:
        return _ranker(value["ranker"])
    if "selected" in value:
        if value["selected"] not in ("left", "right") or len(answers) != 2:
            raise Unreadable(
                f"pairwise: expected left or right of two answers, not {value['selected']!r} of {len(answers)}"
            )
        return value["selected"]
    if "rating" in value:
        return value["rating"]
    if "text" in value:
        return "\n".join(value["text"]) if isinstance(value["text"], list) else value["text"]
    if "choices" in value:
        if len(value["choices"] or ()) > 1:
            raise Unreadable(f"choices: expected one, not {len(value['choices'])}")
        return value["choices"][0] if value["choices"] else None
    raise Unreadable(f"value: expected one of {', '.join(CONTROLS)}, not {', '.join(sorted(value))}")


def _ranker(ranking: Any) -> dict[str, int] | None:
    """A ranker's order as ranks by name; buckets whose names end in a number are ranks with ties."""
    if isinstance(ranking, dict) and len(ranking) == 1:
        ranking = next(iter(ranking.values()))
    if isinstance(ranking, list):
        if len(set(map(str, ranking))) < len(ranking):
            raise Unreadable("ranker: an item is there twice")
        return {str(item): place for place, item in enumerate(ranking, 1)}
    if not isinstance(ranking, dict):
        raise Unreadable(f"ranker: expected a list of items, not {str(ranking)[:60]}")
    numbered = {name: re.search(r"(\d+)\D*$", name) for name in ranking}
    if not all(numbered.values()):
        raise Unreadable(
            f"ranker: buckets {sorted(ranking)}: expected names that end in their rank, such as 'rank 1'"
        )
    order = sorted(ranking, key=lambda name: int(numbered[name][1]))  # type: ignore[index]
    filled = [name for name in order if ranking[name]]
    return {str(item): place for place, name in enumerate(filled, 1) for item in ranking[name]}
