"""Imports and exports: what goes in comes out, and whatever does not fit is told with file, line and reason
before anything is written."""

from __future__ import annotations

import collections
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biddable.label import exports, imports
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer, Comparison, Demonstration, Message, Prompt, Rating
from tests.label.test_agreement import DATA, RANKS


def context_in(folder: Path, key: str = "label.imports") -> StageContext:
    (folder / key).mkdir(parents=True, exist_ok=True)
    return StageContext(folder / key, key, 3, lambda step, steps, numbers: None)


def refused(cfg: imports.Config, folder: Path) -> list[str]:
    """The lines of the refusal; nothing was written."""
    context = context_in(folder / "refused")
    with pytest.raises(UserError) as caught:
        imports.run(cfg, context)
    assert list(context.folder.iterdir()) == []
    return [line.replace(f"{folder}/", "") for line in caught.value.lines]


def comparison(name: str, ranks: tuple[int, ...], labeler: str = "ada-1", text: str = "x") -> dict[str, Any]:
    answers = [{"text": f"{text} {i}", "model": "m"} for i in range(len(ranks))]
    prompt = {
        "id": f"p{name}",
        "messages": [{"role": "user", "content": text}],
        "user": "u",
        "split": "train",
    }
    who = {"labeler": labeler, "panel": "training", "simulated": False, "guideline": "g"}
    return {"id": name, "prompt": prompt, "answers": answers, "ranks": list(ranks), **who}


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_our_own_file_comes_out_as_it_went_in(tmp_path: Path) -> None:
    rows = [comparison("b", (1, 2, 2)), comparison("a", (2, 1), "bob-1")]
    path = lines(tmp_path / "mine.jsonl", rows)
    context = context_in(tmp_path)
    imports.run(imports.Config(files=(path,)), context)
    assert jsonl.read(context.path("comparisons.jsonl"), Comparison) == [Comparison(**row) for row in rows]
    assert [prompt.id for prompt in jsonl.read(context.path("prompts.jsonl"), Prompt)] == ["pb", "pa"]
    assert context.summary == {
        "comparisons": 2,
        "prompts": 2,
        "train": 2,
        "valid": 0,
        "test": 0,
        "split_by": "user",
        "formats": {"mine.jsonl": "biddable"},
        "skipped": {},
        "labelers": 2,
        "simulated": False,
        "guideline": "g",
    }


def test_everything_wrong_with_our_own_file_is_told(tmp_path: Path) -> None:
    rows = [
        comparison("a", (1, 2)),
        comparison("b", (1, 9)),
        comparison("c", (2, 2), "eve-1", "y"),
        {"id": "d", "prompt": "?"},
        comparison("a", (2, 1)),
    ]
    path = lines(tmp_path / "mine.jsonl", rows)
    found = refused(imports.Config(files=(path,)), tmp_path)
    assert any(line.startswith("mine.jsonl:4: Comparison prompt:") for line in found)
    assert any("answers: Field required" in one for one in found)
    del rows[3]
    path = lines(tmp_path / "mine.jsonl", rows)
    assert refused(imports.Config(files=(path,), labelers={"x": "ada-1"}), tmp_path) == [
        "mine.jsonl:2: ranks [1, 9]: the best of 2 answers has rank 1, and none is above 2",
        "mine.jsonl:3: ranks [2, 2]: the best of 2 answers has rank 1, and none is above 2",
        "mine.jsonl:4: ada-1 has labelled this in mine.jsonl:1 already (id a)",
    ]


def argilla(value: Any, user: str = "7c3e", **more: Any) -> dict[str, Any]:
    fields = {"prompt": "Name a fruit.", "first": "An apple.", "second": "Fruit.", "third": "A pear."}
    return {
        "id": "1",
        "fields": fields,
        "metadata": {},
        "responses": {"ranking": [{"value": value, "user_id": user, **more}]},
    }


ARGILLA = {"format": "argilla", "answers": ("first", "second", "third"), "question": "ranking"}


def test_argillas_rankings_with_and_without_ties(tmp_path: Path) -> None:
    tied = [{"value": "third", "rank": 1}, {"value": "second", "rank": 3}, {"value": "first", "rank": 1}]
    rows = [
        argilla(["third", "first", "second"]),
        argilla(tied, "other"),
        argilla(["?"], "draft", status="draft"),
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(rows, indent=2))
    context = context_in(tmp_path)
    imports.run(
        imports.Config(files=(path,), labelers={"7c3e": "ada-1", "other": "bob-1"}, **ARGILLA), context
    )  # type: ignore[arg-type]
    found = {row.labeler: row for row in jsonl.read(context.path("comparisons.jsonl"), Comparison)}
    assert found["ada-1"].ranks == (2, 3, 1) and found["bob-1"].ranks == (1, 2, 1)
    assert [one.text for one in found["ada-1"].answers] == ["An apple.", "Fruit.", "A pear."]
    assert found["ada-1"].prompt == found["bob-1"].prompt
    text = context.path("comparisons.jsonl").read_text()
    imports.run(imports.Config(files=(path,), **ARGILLA), context)  # type: ignore[arg-type]
    assert (
        "7c3e" not in (again := context.path("comparisons.jsonl").read_text()) and again != text
    )  # pseudonyms of our own


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (["third", "first"], "a ranking of 3 answers names 2; missing: ['second']"),
        (["third", "first", "fourth"], "a ranking of 3 answers names 3; unknown: ['fourth']"),
        (["third", "first", "second", "first"], "a ranking names 'first' twice"),
        (
            [{"value": n, "rank": r} for n, r in (("first", 2), ("second", 3), ("third", 3))],
            "ranks [2, 3, 3]: they begin at 1, and none is above 3",
        ),
        (
            [{"value": n, "rank": r} for n, r in (("first", 1), ("second", 2), ("third", 9))],
            "ranks [1, 2, 9]: they begin at 1, and none is above 3",
        ),
        (
            [{"value": "first", "rank": 1}, "second", "third"],
            "some entries of the ranking have a rank, others have none",
        ),
        ([1, 2, 3], "a ranking's entry is a name, or value and rank, not 1"),
        (5, "answers: one answer is rated at a time, not 3; say with answers which one"),
    ],
)
def test_ranks_that_are_none(value: Any, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps([argilla(["third", "first", "second"], "a"), argilla(value)], indent=1))
    (line,) = refused(imports.Config(files=(path,), **ARGILLA), tmp_path)  # type: ignore[arg-type]
    number = 2 + path.read_text().split("\n{", 1)[0].count("\n")
    second = path.read_text().split("\n").index(" {", 2) + 1
    assert line == f"export.json:{second}: {reason}" and number > 0


def test_wrong_columns_unknown_people_and_doubles(tmp_path: Path) -> None:
    rows = [
        argilla(["third", "first", "second"]),
        argilla(["third", "second", "first"]),
        argilla(["first", "second", "third"], "ava"),
    ]
    path = lines(tmp_path / "export.jsonl", rows)
    settings_ = {**ARGILLA, "answers": ("first", "2nd", "third")}
    found = refused(imports.Config(files=(path,), **settings_), tmp_path)  # type: ignore[arg-type]
    assert found == [
        f"export.jsonl:{n}: there is no text '2nd'; the record has first, prompt, second, third"
        for n in (1, 2, 3)
    ]
    found = refused(imports.Config(files=(path,), labelers={"7c3e": "ada-1"}, **ARGILLA), tmp_path)  # type: ignore[arg-type]
    assert found[1] == "export.jsonl:3: unknown labeler 'ava'; labelers names 1"
    assert len(found) == 2 and found[0].startswith(
        "export.jsonl:2: ada-1 has labelled this in export.jsonl:1 already"
    )
    found = refused(imports.Config(files=(path,), **{**ARGILLA, "question": "order"}), tmp_path)  # type: ignore[arg-type]
    assert found[0] == "export.jsonl:1: responses: there is no question 'order', but ranking"
    for text, reason in (
        ('[{"a": 1},\n{"b" 2}]', "export.jsonl:2: not JSON"),
        ("[1]", "[1]: expected a JSON object"),
        ("", "not one label in"),
    ):
        path.write_text(text)
        assert any(reason in line for line in refused(imports.Config(files=(path,), **ARGILLA), tmp_path))  # type: ignore[arg-type]
    path.write_bytes(b"\xff\xff")
    assert "UTF-8" in refused(imports.Config(files=(path,), **ARGILLA), tmp_path)[0]  # type: ignore[arg-type]


def studio(
    value: dict[str, Any], by: Any = 3, data: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    listed = {
        "prompt": "Name a fruit.",
        "items": [{"id": i, "body": t} for i, t in (("x", "An apple."), ("y", "Fruit."), ("z", "A pear."))],
    }
    one = {
        "completed_by": by,
        "was_cancelled": False,
        "result": [{"from_name": "rank", "type": "ranker", "value": value}],
        **more,
    }
    return {"id": 1, "data": data or listed, "annotations": [one]}


STUDIO = {"format": "label_studio", "answers": ("items",), "question": "rank"}


def test_label_studios_rankings(tmp_path: Path) -> None:
    rows = [
        studio({"ranker": ["z", "x", "y"]}, 1),
        studio({"ranker": {"rank": ["x", "y", "z"]}}, {"id": 2, "email": "bo@example.org"}),
        studio({"ranker": {"rank 2": ["x", "z"], "rank 1": ["y"], "rank 3": []}}, 3),
        studio({}, 4, was_cancelled=True),
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(rows))
    context = context_in(tmp_path)
    names = {"1": "ada-1", "bo@example.org": "bob-1", "3": "cy-1"}
    imports.run(imports.Config(files=(path,), labelers=names, **STUDIO), context)  # type: ignore[arg-type]
    found = {row.labeler: row.ranks for row in jsonl.read(context.path("comparisons.jsonl"), Comparison)}
    assert found == {"ada-1": (2, 3, 1), "bob-1": (1, 2, 3), "cy-1": (2, 1, 2)}
    path.write_text(json.dumps([studio({"ranker": {"best": ["x"], "rest": ["y", "z"]}})]))
    (line,) = refused(imports.Config(files=(path,), **STUDIO), tmp_path)  # type: ignore[arg-type]
    assert (
        line
        == "export.json:1: task 1: ranker: buckets ['best', 'rest']: expected names that end in their rank, such as "
        "'rank 1'"
    )
    path.write_text(
        json.dumps(
            [{**studio({}), "annotations": None}, studio({"choices": ["a"]}), studio({"ranker": ["x"]}, None)]
        )
    )
    found_lines = refused(imports.Config(files=(path,), **STUDIO), tmp_path)  # type: ignore[arg-type]
    assert [line.split(": ", 2)[1:] for line in found_lines] == [
        ["task 1", "annotations: expected a list, beside data; export as JSON, not JSON-MIN"],
        ["task 1", "choice 'a': expected one of x, y, z"],
        ["task 1", "completed_by: nobody is named"],
    ]


def test_label_studios_pairs_ratings_and_texts(tmp_path: Path) -> None:
    data = {"prompt": [{"role": "user", "content": "Name a fruit."}], "left": "An apple.", "right": "Fruit."}
    path = tmp_path / "export.json"
    path.write_text(json.dumps([studio({"selected": "right"}, data=data)]))
    context = context_in(tmp_path)
    imports.run(imports.Config(files=(path,), **{**STUDIO, "answers": ("left", "right")}), context)  # type: ignore[arg-type]
    assert jsonl.read(context.path("comparisons.jsonl"), Comparison)[0].ranks == (2, 1)
    path.write_text(json.dumps([studio({"rating": 3}, data=data)]))
    rating = {**STUDIO, "kind": "ratings", "answers": ("left",)}
    imports.run(imports.Config(files=(path,), scale=4, **rating), context)  # type: ignore[arg-type]
    assert jsonl.read(context.path("ratings.jsonl"), Rating)[0].overall == 5  # 1 + 6 * (3 - 1) / (4 - 1)
    with pytest.raises(
        UserError, match="a rating is a number from 1 to 2, not 3; say with scale what is best"
    ):
        imports.run(imports.Config(files=(path,), scale=2, **rating), context)  # type: ignore[arg-type]
    path.write_text(json.dumps([studio({"text": ["An apple,", "or a pear."]}, data=data)]))
    imports.run(imports.Config(files=(path,), **{**STUDIO, "kind": "demonstrations", "answers": ()}), context)  # type: ignore[arg-type]
    assert (
        jsonl.read(context.path("demonstrations.jsonl"), Demonstration)[0].answer.text
        == "An apple,\nor a pear."
    )


def test_settings_that_cannot_work(tmp_path: Path) -> None:
    found = refused(imports.Config(format="argilla", labelers={"a": "x", "b": "x"}), tmp_path)
    assert [line.split(": ")[0] for line in found] == [f"[label.imports] {w}" for w in ("files", "labelers")]


def test_real_labels_of_three_annotators(tmp_path: Path) -> None:
    """PandaLM's test set, as Argilla would export it: every choice comes through."""
    source = DATA / "prefs_pandalm_3annotators.jsonl.gz"
    if not source.is_file():
        pytest.skip(f"{source} is not there (BIDDABLE_DATA names the folder)")
    rows: list[Any] = []
    expected: dict[tuple[str, str], list[tuple[int, ...]]] = collections.defaultdict(list)
    for row in map(json.loads, gzip.decompress(source.read_bytes()).splitlines()):
        ranked = {"first": ["first", "second"], "second": ["second", "first"]}
        said = []
        for one in row["annotations"]:
            tie = [{"value": name, "rank": 1} for name in ("first", "second")]
            said.append({"user_id": one["annotator"], "value": ranked.get(one["choice"], tie)})
            expected[row["messages"][-1]["content"], one["annotator"]].append(RANKS[one["choice"]])
        fields = {
            "prompt": row["messages"],
            "first": row["responses"][0]["text"],
            "second": row["responses"][1]["text"],
        }
        rows.append({"id": row["id"], "fields": fields, "responses": {"choice": said}})
    path = lines(tmp_path / "export.jsonl", rows)
    names = {name: name for name in ("pandalm-a1", "pandalm-a2", "pandalm-a3")}
    context = context_in(tmp_path)
    imports.run(
        imports.Config(
            files=(path,), format="argilla", answers=("first", "second"), question="choice", labelers=names
        ),
        context,
    )
    found = jsonl.read(context.path("comparisons.jsonl"), Comparison)
    got = collections.defaultdict(list)
    for label in found:
        got[label.prompt.messages[-1].content, label.labeler].append(label.ranks)
    assert {key: sorted(value) for key, value in got.items()} == {
        key: sorted(value) for key, value in expected.items()
    }
    assert len(found) == 2022


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6).flatmap(lambda k: st.lists(st.integers(1, k), min_size=k, max_size=k)))
def test_preference_pairs_say_what_the_ranks_say(ranks: list[int]) -> None:
    row = Comparison.model_validate(comparison("a", tuple(ranks)))
    found = list(exports.to_preferences(row))
    told = {(one["chosen"][0]["content"], one["rejected"][0]["content"]) for one in found}
    assert told == {
        (f"x {i}", f"x {j}") for i in range(len(ranks)) for j in range(len(ranks)) if ranks[i] < ranks[j]
    }
    assert len(found) == len(told)
    extreme = list(exports.to_preferences(row, "extremes"))
    assert len(extreme) == (len(set(ranks)) > 1) and all(one in found for one in extreme)


def test_exports_are_trls_conversational_formats(tmp_path: Path) -> None:
    path = lines(tmp_path / "comparisons.jsonl", [comparison("a", (1, 2, 1), "ada-1")])
    prompt = Prompt(
        id="p", messages=(Message(role="user", content="Name a fruit."),), user="u", split="train"
    )
    who = {"labeler": "ada-1", "simulated": False, "guideline": "g"}
    jsonl.write(
        tmp_path / "demonstrations.jsonl",
        [Demonstration(id="d", prompt=prompt, answer=Answer(text="A pear.", model="people"), **who)],
    )  # type: ignore[arg-type]
    context = context_in(tmp_path, "label.exports")
    exports.run(exports.Config(comparisons=path, demonstrations=tmp_path / "demonstrations.jsonl"), context)
    user, prompt_ = {"role": "user", "content": "Name a fruit."}, [{"role": "user", "content": "x"}]
    told = [json.loads(line) for line in context.path("preferences.jsonl").read_text().splitlines()]
    worse = [{"role": "assistant", "content": "x 1"}]
    assert told == [
        {"prompt": prompt_, "chosen": [{"role": "assistant", "content": f"x {i}"}], "rejected": worse}
        for i in (0, 2)
    ]
    assert json.loads(context.path("sft.jsonl").read_text()) == {
        "messages": [user, {"role": "assistant", "content": "A pear."}]
    }
    assert "ada" not in context.path("preferences.jsonl").read_text() + context.path("sft.jsonl").read_text()
    assert context.summary == {"pairs": 2, "rankings": 1, "dialogues": 1, "simulated": False}
    with pytest.raises(UserError, match="no label belongs to test"):
        exports.run(exports.Config(comparisons=path, demonstrations=None, splits=("test",)), context)
    with pytest.raises(UserError, match="at least one of them"):
        exports.run(exports.Config(comparisons=None, demonstrations=None), context)


@pytest.mark.parametrize(
    ("scale", "ratings"), [(2, [1, 7]), (3, [1, 4, 7]), (4, [1, 3, 5, 7]), (7, [1, 2, 3, 4, 5, 6, 7])]
)
def test_a_scale_is_stretched_from_1_to_7(scale: int, ratings: list[int], tmp_path: Path) -> None:
    """The worst value becomes 1, the best 7, the others stand at equal steps between."""
    rows = [
        {
            "id": str(value),
            "fields": {"prompt": f"question {value}", "first": "An apple."},
            "responses": {"stars": [{"value": value, "user_id": "u"}]},
        }
        for value in range(1, scale + 1)
    ]
    cfg = imports.Config(
        files=(lines(tmp_path / "export.jsonl", rows),),
        format="argilla",
        kind="ratings",
        answers=("first",),
        question="stars",
        scale=scale,
    )
    context = context_in(tmp_path)
    imports.run(cfg, context)
    records = jsonl.read(context.path("ratings.jsonl"), Rating)
    by_prompt = {row.prompt.messages[0].content: row.overall for row in records}
    assert [by_prompt[f"question {value}"] for value in range(1, scale + 1)] == ratings
