"""Other tools' files, written out by hand, and the labels that they hold: every field of what is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from biddable.label.imports import formats
from biddable.label.imports.formats import Columns, ExternalLabel, UnreadableRecord
from biddable.run.config import UserError
from biddable.run.records import Message

COLUMNS = Columns("prompt", ("first", "second"), "order")
ASKED = (Message(role="user", content="Name a fruit."),)
TEXTS = (("first", "An apple."), ("second", "Fruit."))


def objects(path: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    path.write_text(text, encoding="utf-8")
    return [(place.rsplit("/", 1)[-1], row) for place, row in formats.read_objects(path)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n[ \n]\n", []),
        ('{"a": 1}\n{"a": 2}\n', [("f.json:1", {"a": 1}), ("f.json:2", {"a": 2})]),
        ('[{"a": 1}, {"a": 2}]', [("f.json:1", {"a": 1}), ("f.json:1", {"a": 2})]),
        (
            '\n\n[\n {"a": "é",\n  "b": [1]},\n\n {"a": {}}\n]\nafter the list',
            [("f.json:4", {"a": "é", "b": [1]}), ("f.json:7", {"a": {}})],
        ),
    ],
)
def test_lists_and_lines(text: str, expected: list[Any], tmp_path: Path) -> None:
    """A place is the line on which an object begins. A list ends with its bracket."""
    assert objects(tmp_path / "f.json", text) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"a": 1}\n\n5\n', "f.json:3: expected an object, not 5"),
        ('[{"a": 1},\n["x", "' + "y" * 90 + '"]]', 'f.json:2: expected an object, not ["x", "' + "y" * 53),
        ('[{"a": 1},\n{"a"}]', "f.json:2: not JSON: Expecting ':' delimiter at character 16"),
    ],
)
def test_what_is_no_list_of_objects(text: str, line: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        objects(tmp_path / "f.json", text)
    assert [text.replace(f"{tmp_path}/", "") for text in error.value.lines] == [line]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing.json: cannot be read as UTF-8 text: .*No such file"):
        list(formats.read_objects(tmp_path / "missing.json"))


def argilla(*responses: Any, question: str = "order", **more: Any) -> list[ExternalLabel]:
    fields = {"prompt": "Name a fruit.", "first": "An apple.", "second": "Fruit."}
    row = {"id": 7, "fields": fields, "responses": {question: list(responses)}, **more}
    return list(formats.argilla("f.json:3", row, COLUMNS))


def test_argilla_record() -> None:
    """Two people's rankings, the second with ranks out of order in the list; a draft and a discarded response
    say nothing; a record without `status` is one that was submitted."""
    labels = argilla(
        {"value": ["second", "first"], "user_id": "u1", "status": "submitted"},
        {"value": ["first", "second"], "user_id": "u2", "status": "draft"},
        {"value": ["first", "second"], "user_id": "u3", "status": "discarded"},
        {
            "value": [{"value": "second", "rank": 2}, {"value": "first", "rank": 1}],
            "user_id": 4,
        },
    )
    assert labels == [
        ExternalLabel("f.json:3", "7", ASKED, TEXTS, "u1", [["second"], ["first"]]),
        ExternalLabel("f.json:3", "7", ASKED, TEXTS, "4", [["first"], ["second"]]),
    ]


def test_argillas_other_values_stay_as_they_are() -> None:
    for value in (3, "A pear.", []):
        (label,) = argilla({"value": value, "user_id": "u"})
        assert label.value == value
    (label,) = formats.argilla(
        "p",
        {
            "fields": {"prompt": "a", "first": "b", "second": "c"},
            "responses": {"order": [{"value": 1, "user_id": "u"}]},
        },
        COLUMNS,
    )
    assert label.item == ""  # a record without an id


def test_argilla_records_that_nobody_answered() -> None:
    assert list(formats.argilla("p", {"fields": {}, "responses": {}}, COLUMNS)) == []
    assert argilla() == []


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("x", 'responses order: expected value and user_id, not "x"'),
        ({"user_id": "u"}, 'responses order: expected value and user_id, not {"user_id": "u"}'),
        ({"value": 1}, 'responses order: expected value and user_id, not {"value": 1}'),
        (
            {"value": 1, "user_id": ""},
            'responses order: expected value and user_id, not {"value": 1, "user_id": ""}',
        ),
        (
            {"value": [{"value": 1, "rank": 1}], "user_id": "u"},
            "a ranking's entry is a name, or value and rank, not " + '{"value": 1, "rank": 1}',
        ),
        (
            {"value": [{"value": "first", "rank": "1"}], "user_id": "u"},
            "a ranking's entry is a name, or value and rank, not " + '{"value": "first", "rank": "1"}',
        ),
        (
            {"value": [{"value": "first", "rank": 0}, {"value": "second", "rank": 1}], "user_id": "u"},
            "ranks [0, 1]: they begin at 1, and none is above 2",
        ),
    ],
)
def test_argilla_responses_that_cannot_be_read(response: Any, reason: str) -> None:
    with pytest.raises(UnreadableRecord) as error:
        argilla(response)
    assert str(error.value) == reason


def test_argilla_records_that_cannot_be_read() -> None:
    for row, reason in (
        ({"fields": {}}, "responses: expected an object; the record has fields"),
        ({}, "fields: expected an object; the record has nothing"),
        (
            {"fields": {}, "responses": {"b": [], "a": []}},
            "responses: there is no question 'order', but a, b",
        ),
        (
            {"fields": {"z": "", "first": 3}, "responses": {"order": []}},
            "there is no text 'first'; the record has first, z",
        ),
        ({"fields": {}, "responses": {"order": []}}, "there is no text 'first'; the record has nothing"),
    ):
        with pytest.raises(UnreadableRecord) as error:
            list(formats.argilla("p", row, COLUMNS))
        assert str(error.value) == reason


def test_a_prompt_may_be_a_dialogue() -> None:
    dialogue = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    fields = {"prompt": dialogue, "first": "a", "second": "b"}
    row = {"fields": fields, "responses": {"order": [{"value": 1, "user_id": "u"}]}}
    (label,) = formats.argilla("p", row, COLUMNS)
    assert label.messages == (
        Message(role="user", content="Hi."),
        Message(role="assistant", content="Hello."),
    )
    for turns, count in (([{"role": "user"}], 1), ([{"role": "nobody", "content": "x", "more": 1}], 2)):
        fields["prompt"] = turns
        with pytest.raises(UnreadableRecord) as error:
            list(formats.argilla("p", row, COLUMNS))
        assert str(error.value) == f"prompt: expected a dialogue of role and content ({count} turns are not)"


def studio(*annotations: Any, **data: Any) -> list[ExternalLabel]:
    listed = [{"id": 1, "body": "An apple."}, {"id": "y", "title": "Fruit."}]
    row = {
        "id": 9,
        "data": {"prompt": "Name a fruit.", "items": listed, **data},
        "annotations": list(annotations),
    }
    return list(formats.label_studio("f.json:2", row, Columns("prompt", ("items",), "rank")))


def annotation(value: Any, by: Any = 5, **more: Any) -> dict[str, Any]:
    return {"completed_by": by, "result": [{"from_name": "rank", "value": value}], **more}


def test_label_studio_task() -> None:
    """A person is known by mail, else by number. Items have numbers or texts as ids, a body or a title.
    Cancelled annotations say nothing, other controls neither."""
    texts = (("1", "An apple."), ("y", "Fruit."))
    ranked = annotation({"ranker": ["y", 1]}, {"id": 2, "email": "bo@example.org"})
    ranked["result"].insert(0, {"from_name": "note", "value": {"text": ["no ranking"]}})
    labels = studio(
        ranked,
        annotation({"ranker": [1, "y"]}, {"id": 3, "email": ""}),
        annotation({"ranker": [1, "y"]}, was_cancelled=True),
        annotation({"ranker": {"anything": [1, "y"]}}),
    )
    assert labels == [
        ExternalLabel("f.json:2", "9", ASKED, texts, "bo@example.org", [["y"], ["1"]]),
        ExternalLabel("f.json:2", "9", ASKED, texts, "3", [["1"], ["y"]]),
        ExternalLabel("f.json:2", "9", ASKED, texts, "5", [["1"], ["y"]]),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"ranker": {"rank 10": ["a"], "rank 9": ["b", 3], "rank 2": []}}, [["b", "3"], ["a"]]),
        ({"ranker": {"1st": ["a"], "2nd": ["b"]}}, [["a"], ["b"]]),
        ({"ranker": {"only": ["a"]}}, [["a"]]),
        ({"selected": "left"}, [["first"], ["second"]]),
        ({"selected": "right"}, [["second"], ["first"]]),
        ({"rating": 4}, 4),
        ({"text": ["One.", "Two."]}, "One.\nTwo."),
        ({"text": "One."}, "One."),
    ],
)
def test_controls_of_label_studio(value: dict[str, Any], expected: Any) -> None:
    """Buckets by the number at the end of their names: 9 before 10, empty ones no rank."""
    data = {"prompt": "Name a fruit.", "first": "An apple.", "second": "Fruit."}
    row = {"data": data, "annotations": [annotation(value)]}
    columns = Columns("prompt", ("first", "second"), "rank")
    assert list(formats.label_studio("p", row, columns)) == [
        ExternalLabel("p", "", ASKED, TEXTS, "5", expected)
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"selected": "both"}, "pairwise: expected left or right of two answers, not 'both' of 2"),
        (
            {"choices": [], "a": 1},
            "value: expected a ranker, pairwise, rating or textarea, not ['a', 'choices']",
        ),
        ({"ranker": "x"}, 'ranker: expected a list of items, not "x"'),
        (
            {"ranker": {"rank 1": ["a"], "rest": ["b"]}},
            "ranker: buckets ['rank 1', 'rest']: expected names that end in their rank, such as 'rank 1'",
        ),
    ],
)
def test_controls_that_cannot_be_read(value: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnreadableRecord) as error:
        studio(annotation(value))
    assert str(error.value) == reason


def test_label_studio_tasks_that_cannot_be_read() -> None:
    twice = annotation({"rating": 1})
    twice["result"] = twice["result"] * 2 + [{"from_name": "note"}]
    cases: tuple[tuple[list[Any], dict[str, Any], str], ...] = (
        ([annotation({}, None)], {}, "completed_by: nobody is named"),
        ([annotation({}, {})], {}, "completed_by: nobody is named"),
        (
            [twice],
            {},
            "result: expected one answer of control 'rank', there are 2; controls: ['note', 'rank']",
        ),
        (
            [{"completed_by": 1}],
            {},
            "result: expected one answer of control 'rank', there are 0; controls: []",
        ),
        ([], {"items": [{"id": 1}]}, "data items: expected a list of items with id and body"),
        ([], {"items": [{"body": "x"}]}, "data items: expected a list of items with id and body"),
        ([], {"items": ["x"]}, "data items: expected a list of items with id and body"),
        ([], {"items": "x", "prompt": 1}, ""),  # a text is one answer: nobody has looked at the prompt yet
        ([annotation({})], {"prompt": 1}, "there is no text 'prompt'; the record has items, prompt"),
    )
    for rows, data, reason in cases:
        if not reason:
            assert studio(*rows, **data) == []
            continue
        with pytest.raises(UnreadableRecord) as error:
            studio(*rows, **data)
        assert str(error.value) == reason
    with pytest.raises(UnreadableRecord, match="annotations: expected a list; export as JSON, not JSON-MIN"):
        list(formats.label_studio("p", {"data": {"items": []}}, Columns("prompt", ("items",), "rank")))


def test_a_control_without_a_value_says_so() -> None:
    with pytest.raises(UnreadableRecord, match=r"value: expected a ranker.*not \[\]"):
        studio({"completed_by": 1, "result": [{"from_name": "rank"}]})
    with pytest.raises(UnreadableRecord, match="of two answers, not 'left' of 3"):
        studio(annotation({"selected": "left"}), items=[{"id": i, "body": "x"} for i in range(3)])
