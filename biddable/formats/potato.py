"""Potato's annotations: `annotation_output/PERSON/annotated_instances.jsonl`, with the instances beside them.

A line names an instance and holds each scheme's answer: a ranking's order ("B,D=A,C", with = for ties), a pairwise
choice (A, B or tie) or scale (negative: A is better), a rating, a text. The prompt and the answers stand in the
project's data files, which are named in the same setting. Who answered is the folder's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from biddable.formats.choices import Named, label_of, named_answers, the_question
from biddable.formats.labels import (
    MALFORMED,
    Fields,
    Result,
    Rows,
    Skip,
    Skipped,
    Unreadable,
    first,
    name_of,
    number,
    reason_of,
)
from biddable.run.rows import Row


def read(rows: Rows, fields: Fields) -> Iterator[tuple[str, Result]]:
    """One person's annotations."""
    for where, row in rows:
        instance = name_of(row.get("id"))
        person = (
            name_of(first(row, ("user_id", "user", "annotator"))) or Path(where.rsplit(":", 1)[0]).parent.name
        )
        try:
            yield where, _label(row, instance, person, fields)
        except Skip as reason:
            yield where, Skipped(str(reason))
        except MALFORMED as error:
            yield where, f"instance {instance}: {reason_of(error)}"


def _label(row: Row, instance: str, person: str, fields: Fields) -> Result:
    schemes = {
        name: labels
        for name, labels in (row.get("label_annotations") or {}).items()
        if labels and any(labels.values())
    }
    if not schemes:
        raise Skip("empty")
    scheme = the_question(sorted(schemes), fields.question, "label_annotations")
    if instance not in fields.items:
        raise Unreadable("its text is in none of the files; name the project's data file in files too")
    shown = {name: value for name, value in fields.items[instance].items() if name != "id"}
    turns, answers = named_answers(shown, fields)
    value = _value(schemes[scheme], answers)
    return label_of(value, turns, answers, fields, (1, 5), labeler=person, item=instance)


def _value(labels: dict[str, Any], answers: Named) -> Any:
    """A scheme's answer, as `label_of` takes it."""
    if "rank_order" in labels:
        return _order(str(labels["rank_order"]), [name for name, _ in answers])
    if "selection" in labels:
        return str(labels["selection"])
    if "scale_value" in labels:
        strength = number(labels["scale_value"])
        if strength is None:
            raise Unreadable(f"scale_value: expected a number, not {labels['scale_value']!r}")
        return "tie" if strength == 0 else "A" if strength < 0 else "B"
    (label, value), *more = labels.items()
    if more:
        raise Unreadable(f"expected one answer, there are {', '.join(labels)}")
    if label == "text_box":
        return str(value)
    # a likert scale holds {"scale_4": "4"}, a radio button {"A": "A"} or {"A": "true"}
    return number(value) if number(value) is not None else label if str(value).lower() == "true" else value


def _order(order: str, names: list[str]) -> dict[str, int]:
    """Ranks by name of "B,D=A,C": B first, D and A tied behind it. Labels such as "Response B" mean the answer whose
    name, letter or number they end in."""
    ranks: dict[str, int] = {}
    place = 1
    for group in order.split(","):
        tied = [_named(label.strip(), names) for label in group.split("=")]
        for name in tied:
            if name in ranks:
                raise Unreadable(f"a ranking names {name!r} twice")
            ranks[name] = place
        place += len(tied)
    return ranks


def _named(label: str, names: list[str]) -> str:
    if label in names:
        return label
    end = re.search(r"(?:^|[ _.-])([A-Za-z]|\d+)$", label)
    place = -1 if not end else int(end[1]) - 1 if end[1].isdigit() else ord(end[1].upper()) - ord("A")
    return names[place] if 0 <= place < len(names) else label
