"""Labeling tools' records, written out by hand, and the labels that they hold: every field of what is read."""

from __future__ import annotations

from typing import Any

import pytest

from biddable.formats import argilla as argilla_format
from biddable.formats import label_studio, potato
from biddable.formats.labels import Fields, Label, Shown, Skipped, Turn, Unreadable

FIELDS = Fields("prompt", ("first", "second"), "order")
ASKED = (Turn("user", "Name a fruit."),)
TEXTS = (Shown("An apple.", "first"), Shown("Fruit.", "second"))


def argilla(*responses: Any, question: str = "order", **more: Any) -> list[Label | Skipped]:
    fields = {"prompt": "Name a fruit.", "first": "An apple.", "second": "Fruit."}
    row = {"id": 7, "fields": fields, "responses": {question: list(responses)}, **more}
    return list(argilla_format.read(row, FIELDS))


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
        Label(ASKED, TEXTS, (2, 1), labeler="u1", item="7"),
        Skipped("draft"),
        Skipped("discarded"),
        Label(ASKED, TEXTS, (1, 2), labeler="4", item="7"),
    ]


def test_argillas_ratings_and_texts() -> None:
    shown = {"prompt": "Name a fruit.", "response": "An apple."}
    for value, expected in (
        (3, Label(ASKED, (Shown("An apple.", "response"),), rating=3, scale=(1, 5), labeler="u")),
        (None, Skipped("empty")),
        ("", Skipped("empty")),
        ([], Skipped("empty")),
    ):
        row = {"fields": shown, "responses": {"q": [{"value": value, "user_id": "u"}], "unanswered": []}}
        assert list(argilla_format.read(row, Fields())) == [expected]
    row = {"fields": {"prompt": "Name a fruit."}, "responses": {"q": [{"value": "A pear.", "user_id": "u"}]}}
    assert list(argilla_format.read(row, Fields())) == [
        Label(ASKED, (Shown("A pear.", "people"),), labeler="u")
    ]


def test_argillas_flat_rows() -> None:
    """What `to_datasets` makes of the same records: a column a field, three columns a question."""
    row = {
        "id": "7",
        "status": "completed",
        "prompt": "Name a fruit.",
        "first": "An apple.",
        "second": "Fruit.",
        "order.responses": [["second", "first"], None, ["first", "second"]],
        "order.responses.users": ["u1", "u2", "u3"],
        "order.responses.status": ["submitted", "discarded", "draft"],
        "order.suggestion": ["first", "second"],
    }
    assert list(argilla_format.read(row, Fields())) == [
        Label(ASKED, TEXTS, (2, 1), labeler="u1", item="7"),
        Skipped("discarded"),
        Skipped("draft"),
    ]


def test_argilla_records_that_nobody_answered() -> None:
    assert list(argilla_format.read({"fields": {}, "responses": {}}, FIELDS)) == [
        Skipped("nobody has answered")
    ]
    assert argilla() == [Skipped("nobody has answered")]


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("x", "responses order: expected value and user_id, not x"),
        ({"user_id": "u"}, "responses order: expected value and user_id, not {'user_id': 'u'}"),
        ({"value": 1}, "responses order: expected value and user_id, not {'value': 1}"),
        (
            {"value": 1, "user_id": ""},
            "responses order: expected value and user_id, not {'value': 1, 'user_id': ''}",
        ),
        (
            {"value": [{"value": 1, "rank": 1}], "user_id": "u"},
            "a ranking's entry is a name, or value and rank, not " + "{'value': 1, 'rank': 1}",
        ),
        (
            {"value": [{"value": "first", "rank": "1"}], "user_id": "u"},
            "a ranking's entry is a name, or value and rank, not " + "{'value': 'first', 'rank': '1'}",
        ),
        (
            {"value": [{"value": "first", "rank": 0}, {"value": "second", "rank": 1}], "user_id": "u"},
            "ranks [0, 1]: they begin at 1, and none is above 2",
        ),
    ],
)
def test_argilla_responses_that_cannot_be_read(response: Any, reason: str) -> None:
    with pytest.raises(Unreadable) as error:
        argilla(response)
    assert str(error.value) == reason


def test_argilla_records_that_cannot_be_read() -> None:
    said = [{"value": 1, "user_id": "u"}]
    for row, reason in (
        ({"fields": [], "responses": {}}, "fields: expected an object; the record has fields, responses"),
        (
            {"fields": {}, "responses": {"b": said, "a": said}},
            "responses: there is no question 'order', but a, b",
        ),
        (
            {"fields": {"z": "", "first": 3, "prompt": "x"}, "responses": {"order": said}},
            "there is no text 'first'; the record has first, prompt, z",
        ),
        (
            {"fields": {"promt": "x"}, "responses": {"order": said}},
            "there is no 'prompt'; did you mean 'promt'?; the record has promt",
        ),
        (
            {"q.responses": [1], "q.responses.users": ["a", "b"]},
            "q.responses: 1 values, but 2 users and 1 statuses",
        ),
    ):
        with pytest.raises(Unreadable) as error:
            list(argilla_format.read(row, FIELDS))
        assert str(error.value) == reason
    with pytest.raises(
        Unreadable, match="several questions were answered; say with question which one counts: a, b"
    ):
        list(argilla_format.read({"fields": {}, "responses": {"b": said, "a": said}}, Fields()))


def test_a_prompt_may_be_a_dialogue() -> None:
    dialogue: list[dict[str, Any]] = [
        {"role": "user", "content": "Hi.", "name": None},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Bye."},
    ]
    shown = {"prompt": dialogue, "first": "a", "second": "b"}
    row = {"fields": shown, "responses": {"order": [{"value": "first", "user_id": "u"}]}}
    (label,) = argilla_format.read(row, FIELDS)
    assert isinstance(label, Label) and label.ranks == (1, 2)
    assert label.turns == (Turn("user", "Hi."), Turn("assistant", "Hello."), Turn("user", "Bye."))
    for turn, reason in (
        ("x", 'expected turns with role and content, not "x"'),
        ({"role": "nobody"}, 'unknown role "nobody"'),
    ):
        shown["prompt"] = [turn]
        with pytest.raises(Unreadable, match=reason):
            list(argilla_format.read(row, FIELDS))


def studio(*annotations: Any, **data: Any) -> list[Label | Skipped]:
    listed = [{"id": 1, "body": "An apple."}, {"id": "y", "title": "Fruit."}]
    row = {
        "id": 9,
        "data": {"prompt": "Name a fruit.", "items": listed, **data},
        "annotations": list(annotations),
    }
    return list(label_studio.read(row, Fields("prompt", ("items",), "rank")))


def annotation(value: Any, by: Any = 5, **more: Any) -> dict[str, Any]:
    return {"completed_by": by, "result": [{"from_name": "rank", "value": value}], **more}


def test_label_studio_task() -> None:
    """A person is known by mail, else by number. Items have numbers or texts as ids, a body or a title.
    Cancelled annotations say nothing, other controls neither."""
    texts = (Shown("An apple.", "1"), Shown("Fruit.", "y"))
    ranked = annotation({"ranker": ["y", 1]}, {"id": 2, "email": "bo@example.org"})
    ranked["result"].insert(0, {"from_name": "note", "value": {"text": ["no ranking"]}})
    labels = studio(
        ranked,
        annotation({"ranker": [1, "y"]}, {"id": 3, "email": ""}),
        annotation({"ranker": [1, "y"]}, was_cancelled=True),
        annotation({"ranker": {"anything": [1, "y"]}}),
    )
    assert labels == [
        Label(ASKED, texts, (2, 1), labeler="bo@example.org", item="9"),
        Label(ASKED, texts, (1, 2), labeler="3", item="9"),
        Skipped("cancelled"),
        Label(ASKED, texts, (1, 2), labeler="5", item="9"),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"ranker": {"rank 10": ["first"], "rank 9": ["second"], "rank 2": []}}, (2, 1)),
        ({"ranker": {"1st": ["first"], "2nd": ["second"]}}, (1, 2)),
        ({"ranker": {"rank 1": ["first", "second"], "rank 2": []}}, (1, 1)),
        ({"selected": "left"}, (1, 2)),
        ({"selected": "right"}, (2, 1)),
        ({"choices": ["Second"]}, (2, 1)),
        ({"choices": ["Response A"]}, (1, 2)),
        ({"choices": ["Both are equal"]}, (1, 1)),
    ],
)
def test_controls_that_rank(value: dict[str, Any], expected: tuple[int, ...]) -> None:
    """Buckets by the number at the end of their names: 9 before 10, empty ones no rank."""
    data = {"prompt": "Name a fruit.", "first": "An apple.", "second": "Fruit."}
    row = {"id": 9, "data": data, "annotations": [annotation(value)]}
    assert list(label_studio.read(row, Fields())) == [Label(ASKED, TEXTS, expected, labeler="5", item="9")]


def test_stars_and_texts() -> None:
    row = {
        "data": {"prompt": "Name a fruit.", "answer": "An apple."},
        "annotations": [annotation({"rating": 4})],
    }
    said = (Shown("An apple.", "answer"),)
    assert list(label_studio.read(row, Fields())) == [Label(ASKED, said, rating=4, scale=(1, 5), labeler="5")]
    assert list(label_studio.read(row, Fields(scale=(0, 10)))) == [
        Label(ASKED, said, rating=4, scale=(0, 10), labeler="5")
    ]
    row = {"data": {"prompt": "Name a fruit."}, "annotations": [annotation({"text": ["One.", "Two."]})]}
    assert list(label_studio.read(row, Fields())) == [
        Label(ASKED, (Shown("One.\nTwo.", "people"),), labeler="5")
    ]


def test_what_says_nothing_is_counted() -> None:
    row = {
        "id": 9,
        "data": {"prompt": "Name a fruit.", "first": "An apple.", "second": "Fruit."},
        "annotations": [
            annotation({}, None),
            annotation({"ranker": []}),
            annotation({"choices": []}),
            {"completed_by": 1, "result": []},
            {"completed_by": 1, "result": [{"from_name": "rank"}]},
            {"completed_by": 1, "result": [], "was_cancelled": True},
        ],
        "drafts": [{"result": []}],
        "predictions": [{"result": [{"from_name": "rank", "value": {"selected": "left"}}]}],
    }
    assert list(label_studio.read(row, Fields())) == [
        Skipped("draft"),
        *[Skipped("empty")] * 5,
        Skipped("cancelled"),
    ]
    assert list(label_studio.read({**row, "annotations": [], "drafts": []}, Fields())) == [
        Skipped("nobody has answered")
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"selected": "both"}, "pairwise: expected left or right of two answers, not 'both' of 2"),
        ({"a": 1}, "value: expected one of ranker, selected, rating, text, choices, not a"),
        ({"choices": ["A", "B"]}, "choices: expected one, not 2"),
        ({"choices": ["the better"]}, "choice 'the better': expected one of 1, y"),
        ({"ranker": "x"}, "ranker: expected a list of items, not x"),
        ({"ranker": [1, "y", 1]}, "ranker: an item is there twice"),
        ({"ranker": [1]}, "a ranking of 2 answers names 1; missing: ['y']"),
        ({"ranker": [1, 2]}, "a ranking of 2 answers names 2; unknown: ['2']"),
        (
            {"ranker": {"rank 1": ["a"], "rest": ["b"]}},
            "ranker: buckets ['rank 1', 'rest']: expected names that end in their rank, such as 'rank 1'",
        ),
    ],
)
def test_controls_that_cannot_be_read(value: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unreadable) as error:
        studio(annotation(value))
    assert str(error.value) == f"task 9: {reason}"


def test_label_studio_tasks_that_cannot_be_read() -> None:
    twice = annotation({"rating": 1})
    twice["result"] = twice["result"] * 2 + [{"from_name": "note", "value": {"text": "x"}}]
    ranked = annotation({"ranker": [1, "y"]}, None)
    cases: tuple[tuple[list[Any], dict[str, Any], str], ...] = (
        ([ranked], {}, "completed_by: nobody is named"),
        ([{**ranked, "completed_by": {}}], {}, "completed_by: nobody is named"),
        ([twice], {}, "result: control 'rank' was answered 2 times"),
        ([ranked], {"items": [{"id": 1}]}, "there is no text 'items'; the record has items, prompt"),
        (
            [ranked],
            {"prompt": None},
            "there is no 'prompt'; did you mean 'prompt'?; the record has items, prompt",
        ),
    )
    for rows, data, reason in cases:
        with pytest.raises(Unreadable) as error:
            studio(*rows, **data)
        assert str(error.value) == f"task 9: {reason}"
    with pytest.raises(Unreadable, match="export as JSON, not JSON-MIN"):
        list(label_studio.read({"data": {"items": []}}, Fields("prompt", ("items",), "rank")))


def potato_labels(labels: dict[str, Any], **more: Any) -> list[Any]:
    answers = ["An apple.", "Fruit.", "A pear.", "A plum."][: more.pop("count", 2)]
    items = {"t1": {"id": "t1", "prompt": "Name a fruit.", "responses": answers}}
    row = {"id": "t1", "displayed_text": "...", "label_annotations": labels, "span_annotations": {}}
    fields = Fields(items=items, **more)
    return [result for _, result in potato.read([("out/ada/annotated_instances.jsonl:1", row)], fields)]


@pytest.mark.parametrize(
    ("labels", "ranks"),
    [
        ({"order": {"rank_order": "B,D,A,C"}}, (3, 1, 4, 2)),
        ({"order": {"rank_order": "B,D=A,C"}}, (2, 1, 4, 2)),
        ({"order": {"rank_order": "Response 4,Response 3,Response 2,Response 1"}}, (4, 3, 2, 1)),
        ({"choice": {"selection": "B"}}, (2, 1)),
        ({"choice": {"selection": "tie"}}, (1, 1)),
        ({"choice": {"scale_value": "-2"}}, (1, 2)),
        ({"choice": {"scale_value": "0"}}, (1, 1)),
        ({"choice": {"Response B": "true"}}, (2, 1)),
    ],
)
def test_potatos_rankings(labels: dict[str, Any], ranks: tuple[int, ...]) -> None:
    (label,) = potato_labels(labels, count=len(ranks))
    assert label.ranks == ranks and label.labeler == "ada" and label.item == "t1" and label.turns == ASKED


def test_potatos_other_answers() -> None:
    assert potato_labels({}) == [Skipped("empty")]
    assert potato_labels({"order": {"rank_order": ""}}) == [Skipped("empty")]
    assert potato_labels({"order": {"rank_order": "A,A"}}) == ["instance t1: a ranking names 'A' twice"]
    assert potato_labels({"order": {"rank_order": "A"}}) == [
        "instance t1: a ranking of 2 answers names 1; missing: ['B']"
    ]
    items = {"t1": {"prompt": "Name a fruit.", "answer": "An apple."}}
    row = {"id": "t1", "label_annotations": {"quality": {"scale_4": "4"}}, "user_id": "bo"}
    ((_, label),) = potato.read([("x.jsonl:1", row)], Fields(items=items))
    assert label == Label(
        ASKED, (Shown("An apple.", "answer"),), rating=4, scale=(1, 5), labeler="bo", item="t1"
    )
    ((_, line),) = potato.read([("x.jsonl:1", row)], Fields())
    assert line == "instance t1: its text is in none of the files; name the project's data file in files too"
