"""Everybody's files in: each is taken for what it is, and every label in it comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from biddable.formats import known
from biddable.formats.labels import Fields, Label, Skipped
from biddable.label import imports
from biddable.run import jsonl
from biddable.run.context import StageContext
from biddable.run.errors import UserError
from biddable.run.records import Comparison, Demonstration, Prompt, Rating
from tests.formats.files import FILES, File, put

RECORDS: dict[str, Any] = {
    "comparisons": Comparison,
    "demonstrations": Demonstration,
    "ratings": Rating,
    "prompts": Prompt,
}


def run(folder: Path, **settings: Any) -> StageContext:
    (folder / "out").mkdir(exist_ok=True)
    context = StageContext(folder / "out", "label.imports", 3, lambda *_: None)
    imports.run(imports.Config(**settings), context)
    return context


def records(context: StageContext, kind: str) -> list[Any]:
    path = context.path(f"{kind}.jsonl")
    return jsonl.read(path, RECORDS[kind]) if path.is_file() else []


def said(record: Any) -> tuple[Any, ...]:
    """A record as `File.labels` writes it."""
    question = (record if isinstance(record, Prompt) else record.prompt).messages[-1].content
    if isinstance(record, Prompt):
        return "prompts", question, [], None
    if isinstance(record, Comparison):
        return "comparisons", question, [answer.text for answer in record.answers], record.ranks
    if isinstance(record, Rating):
        return "ratings", question, [record.answer.text], record.overall
    return "demonstrations", question, [record.answer.text], None


@pytest.mark.parametrize(
    "file", [f for f in FILES if f.name != "annotations.json"], ids=lambda file: file.name
)
def test_every_label_of_every_file(file: File, tmp_path: Path) -> None:
    paths = put(file, tmp_path)
    context = run(tmp_path, files=tuple(paths), **file.settings)
    assert context.summary["formats"] == {paths[0].name: file.format}
    assert context.summary["skipped"] == file.skipped
    result = [
        said(record)
        for kind in ("comparisons", "demonstrations", "ratings")
        for record in records(context, kind)
    ]
    labelled = [label for label in file.labels if label[0] != "prompts"]
    assert sorted(result, key=repr) == sorted(labelled, key=repr)
    prompts = records(context, "prompts")
    assert {prompt.messages[-1].content for prompt in prompts} == {label[1] for label in file.labels}
    assert (
        context.summary["prompts"]
        == len(prompts)
        == sum(context.summary[s] for s in ("train", "valid", "test"))
    )


def test_there_are_forty_of_them() -> None:
    assert len(FILES) >= 40 and len({file.name for file in FILES}) == len(FILES)
    assert {file.format for file in FILES} == set(known.FORMATS) - {"biddable"}


def test_a_judge_s_two_words_on_the_same_pair_are_not_both_taken(tmp_path: Path) -> None:
    """Five annotations of one pair by one judge: the first counts, equal ones are repetitions, another is refused."""
    (file,) = [file for file in FILES if file.name == "annotations.json"]
    with pytest.raises(UserError) as error:
        run(tmp_path, files=tuple(put(file, tmp_path)))
    assert len(error.value.lines) == 3 and all("has labelled this in" in line for line in error.value.lines)


def test_whole_dialogues_come_through(tmp_path: Path) -> None:
    by_name = {file.name: file for file in FILES}
    context = run(tmp_path, files=tuple(put(by_name["harmless-base.jsonl"], tmp_path)))
    (row,) = records(context, "comparisons")
    assert [(turn.role, turn.content) for turn in row.prompt.messages] == [
        ("user", "Hi there."),
        ("assistant", "Hello."),
        ("user", "Name a fruit."),
    ]
    context = run(tmp_path, files=tuple(put(by_name["datasets-nulls.parquet"], tmp_path)))
    (demonstration,) = records(context, "demonstrations")
    assert demonstration.prompt.messages[0].role == "system"
    context = run(tmp_path, files=tuple(put(by_name["feedback-history-export.json"], tmp_path)))
    (row,) = records(context, "comparisons")
    assert [turn.content for turn in row.prompt.messages] == ["Hi there.", "Hello.", "Name a fruit."]
    assert [answer.model for answer in row.answers] == ["m1", "m2"]


def test_names_of_people_and_models(tmp_path: Path) -> None:
    by_name = {file.name: file for file in FILES}
    context = run(tmp_path, files=tuple(put(by_name["alpaca-eval-two.json"], tmp_path)))
    rows = records(context, "comparisons")
    assert {answer.model for row in rows for answer in row.answers} == {"reference", "mine"}
    assert context.summary["simulated"] is True and all(row.simulated for row in rows)
    context = run(tmp_path, files=tuple(put(by_name["messages.parquet"], tmp_path)))
    text = context.path("demonstrations.jsonl").read_text()
    assert "u-c" not in text and "u-a" not in text, "who wrote is not told"
    assert context.summary["labelers"] == 3  # of the comparison nobody, u-c, u-e
    context = run(tmp_path, files=tuple(put(by_name["rl.jsonl"], tmp_path)))
    (row,) = records(context, "comparisons")
    assert [answer.score for answer in row.answers] == [0.7, 0.8]


def test_good_completions_and_thumbs_as_demonstrations(tmp_path: Path) -> None:
    by_name = {file.name: file for file in FILES}
    for name, skipped in (
        ("unpaired.jsonl", {"not good": 1}),
        (
            "feedback-history-export.json",
            {"thumb down": 1, "no thumb": 1, "no conversation in the export": 1},
        ),
    ):
        folder = tmp_path / name
        folder.mkdir()
        context = run(folder, files=tuple(put(by_name[name], folder)), kind="demonstrations")
        (row,) = records(context, "demonstrations")
        assert row.answer.text == "An apple." and context.summary["skipped"] == skipped
        assert not context.path("comparisons.jsonl").exists()


def test_a_file_of_nothing_known_says_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("frage,gut\na,b\n")
    with pytest.raises(UserError) as error:
        run(tmp_path, files=(path,))
    assert error.value.lines == [
        f"{path}: not a known format; its rows have frage, gut. If only the names differ, say so: "
        'columns = {prompt = "NAME", chosen = "NAME", rejected = "NAME"}'
    ]
    path.write_text("prompt,chosen,rejected\n" + "a,,c\n" * 152)
    with pytest.raises(UserError) as error:
        run(tmp_path, files=(path,))
    assert error.value.lines == [
        f"{path}: not a known format; its rows have prompt, rejected. If only the names differ, say so: "
        'columns = {prompt = "NAME", chosen = "NAME", rejected = "NAME"}'
    ]


def test_a_wrong_file_is_told_in_few_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"prompt": "a", "chosen": 1, "rejected": "c"}\n' * 152 + '{"prompt": "a", "chosen": "b"}\n{"a":\n'
    )
    with pytest.raises(UserError) as error:
        run(tmp_path, files=(path,))
    assert len(error.value.lines) == 6
    assert error.value.lines[0] == f"{path}:1: chosen: expected a text, not 1"
    assert error.value.lines[-1] == "and 149 more like: chosen: expected a text, not 1"
    assert imports.mistakes(imports.Config(files=(path,))) == error.value.lines


def test_check_says_what_each_file_is_taken_for(tmp_path: Path) -> None:
    by_name = {file.name: file for file in FILES}
    paths = [path for name in ("trl-text.jsonl", "sft.jsonl") for path in put(by_name[name], tmp_path)]
    assert imports.notes(imports.Config(files=tuple(paths))) == [
        f"{paths[0]} is read as preference: chosen and rejected",
        f"{paths[1]} is read as prompt_response: prompts with a response",
    ]


@pytest.mark.parametrize("name", known.FORMATS)
def test_rows_of_any_shape_are_told_not_a_traceback(name: str) -> None:
    """Every value of every row in turn replaced by something that it should not be."""
    hostile = (None, 1, "x", [], [1], {"a": 1}, [[]])
    rows: list[Any] = [dict.fromkeys(KEYS, value) for value in hostile]
    for row in rows:
        assert all(isinstance(format_.looks(row), bool) for format_ in known.FORMATS.values())
        results = list(known.FORMATS[name].read(iter([("f:1", row)]), Fields()))
        assert all(isinstance(result, str | list | Skipped | Label) for _, result in results)


KEYS = (
    *(
        "prompt",
        "response",
        "chosen",
        "rejected",
        "messages",
        "instruction",
        "output",
        "completions",
        "data",
        "meta",
    ),
    *(
        "annotations",
        "fields",
        "responses",
        "q.responses",
        "label_annotations",
        "id",
        "message_id",
        "parent_id",
        "role",
    ),
    *(
        "text",
        "conversation_a",
        "conversation_b",
        "winner",
        "preference",
        "output_1",
        "output_2",
        "history",
        "label",
    ),
)
