"""Argilla 2's records: the JSON list that `records.to_json` writes, and the flat rows of `records.to_datasets`, where a
question's answers are in `NAME.responses`, `NAME.responses.users` and `NAME.responses.status`.

Drafts, discarded and empty responses are counted and left out. A ranking may have ties where its entries have ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from biddable.formats.choices import label_of, named_answers, the_question
from biddable.formats.labels import Fields, Label, Skipped, Unreadable, groups_by_rank, name_of, unquoted
from biddable.run.rows import Row

RESPONSES = ".responses"


class _Response(NamedTuple):
    value: Any
    user: str
    status: str


def read(row: Row, fields: Fields) -> Iterator[Label | Skipped]:
    """What people said of one record."""
    shown, responses = (_nested if isinstance(row.get("responses"), dict) else _flat)(row)
    item = name_of(row.get("id"))
    if not any(responses.values()):
        yield Skipped("nobody has answered")
        return
    question = the_question(
        [name for name, entries in responses.items() if entries], fields.question, "responses"
    )
    turns, answers = named_answers(shown, fields)
    for response in responses.get(question) or ():
        if response.status not in ("submitted", "None", ""):
            yield Skipped(response.status)
        elif response.value is None or response.value == "" or response.value == []:
            yield Skipped("empty")
        else:
            value = response.value
            if isinstance(value, list):
                value = groups_by_rank([_entry(entry) for entry in value])
            yield label_of(value, turns, answers, fields, (1, 5), labeler=response.user, item=item)


def _nested(row: Row) -> tuple[Row, dict[str, list[_Response]]]:
    shown = row.get("fields")
    if not isinstance(shown, dict):
        raise Unreadable(f"fields: expected an object; the record has {', '.join(sorted(row)) or 'nothing'}")
    responses: dict[str, list[_Response]] = {}
    for question, entries in row["responses"].items():
        responses[question] = []
        for response in entries or ():
            if not isinstance(response, dict) or "value" not in response or not response.get("user_id"):
                raise Unreadable(
                    f"responses {question}: expected value and user_id, not {str(response)[:60]}"
                )
            status = str(response.get("status") or "submitted")
            responses[question].append(_Response(response["value"], str(response["user_id"]), status))
    return shown, responses


def _flat(row: Row) -> tuple[Row, dict[str, list[_Response]]]:
    responses: dict[str, list[_Response]] = {}
    for name, entries in row.items():
        if name.endswith(RESPONSES):
            values = entries or []
            users = row.get(f"{name}.users") or [""] * len(values)
            statuses = row.get(f"{name}.status") or ["submitted"] * len(values)
            if not len(values) == len(users) == len(statuses):
                raise Unreadable(
                    f"{name}: {len(values)} values, but {len(users)} users and {len(statuses)} statuses"
                )
            responses[name.removesuffix(RESPONSES)] = [
                _Response(value, str(user), str(status))
                for value, user, status in zip(values, users, statuses, strict=True)
            ]
    shown = {
        name: value
        for name, value in row.items()
        if "." not in name and name not in ("id", "_server_id", "status")
    }
    return shown, responses


def _entry(entry: Any) -> tuple[int | None, str]:
    """One entry of a ranking: with its rank, or, in a plain list, by its place."""
    entry = unquoted(entry)
    if isinstance(entry, str):
        return None, entry
    if isinstance(entry, dict) and isinstance(entry.get("value"), str) and isinstance(entry.get("rank"), int):
        return entry["rank"], entry["value"]
    raise Unreadable(f"a ranking's entry is a name, or value and rank, not {str(entry)[:60]}")
