"""Prompts from files: once each, all mistakes at once, other people's columns, real data when at hand."""

from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from biddable.collect import files as stage
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.plan import load_plan
from biddable.run.records import Prompt
from biddable.run.runner import run_stage


def context(folder: Path) -> StageContext:
    folder.mkdir(exist_ok=True)
    return StageContext(folder, "collect.files", 1, lambda step, steps, numbers: None)


def row(name: str, text: str = "Why?", user: str = "amber-otter", **more: Any) -> dict[str, Any]:
    return {"id": name, "messages": [{"role": "user", "content": text}], "user": user, **more}


def put(path: Path, *rows: Any) -> Path:
    text = "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def refused(cfg: stage.Config, folder: Path) -> list[str]:
    out = context(folder)
    with pytest.raises(UserError) as refusal:
        stage.run(cfg, out)
    assert not [p for p in out.folder.iterdir() if p.name != "progress.json"], (
        "nothing is written by a refused stage"
    )
    return refusal.value.lines


def test_the_same_content_twice_is_added_once(tmp_path: Path) -> None:
    one = put(tmp_path / "one.jsonl", row("a"), row("b", source="letters"), row("a"))
    other = put(
        tmp_path / "other.jsonl.gz",
        row("b", source="letters"),
        row("c", user="jade-newt", wishes=[{"kind": "sentences", "count": 1}]),
    )
    out = context(tmp_path / "out")
    stage.run(stage.Config(files=(one, other, one)), out)
    found = jsonl.read(out.path("prompts.jsonl"), Prompt)
    assert [prompt.id for prompt in found] == ["a", "b", "c"]
    assert found[2].wishes[0].count == 1
    # one.jsonl has a, b, a; other has b, c; one.jsonl again a, b, a: 8 lines, 3 prompts.
    assert out.summary == {"prompts": 3, "users": 2, "sources": 2, "repeated": 5, "too_long": 0}


def test_every_mistake_of_every_file_at_once(tmp_path: Path) -> None:
    one = put(tmp_path / "one.jsonl", row("a"), "{broken", row("b", text="  "), row("", text="x"))
    two = put(tmp_path / "two.jsonl", row("a"), row("c"))
    three = put(
        tmp_path / "three.jsonl", row("c", text="Something else?"), row("d", user="jade-newt", mood="glad")
    )
    empty = put(tmp_path / "empty.jsonl")
    lines = refused(stage.Config(files=(one, two, three, empty, tmp_path / "none.jsonl")), tmp_path / "out")
    assert [line.split(": ")[0] for line in lines] == [
        f"{one}:2",
        f"{one}:3",
        f"{one}:4",
        f"{three}:1",
        f"{three}:2",
        f"{empty}",
        f"{tmp_path / 'none.jsonl'}",
    ]
    assert "the file is empty" in lines[5] and "no such file" in lines[6]
    put(one, row("a"), row("b", text=" \n"))
    put(three, row("c", text="Something else?"))
    lines = refused(stage.Config(files=(one, two, three)), tmp_path / "out")
    assert lines == [
        f"{one}:2: Prompt b: the last message is blank; expected the user's question",
        f"{three}:1: Prompt id = 'c': {two}:2 has other content; give it another id",
    ]


def test_columns_of_other_people(tmp_path: Path) -> None:
    path = put(
        tmp_path / "q.jsonl",
        {
            "id": "q1",
            "prompt": "Why?",
            "user_id": "u1",
            "category": "Poet",
            "meta": {"x": 1},
            "licence": "CC0",
        },
    )
    out = context(tmp_path / "out")
    stage.run(
        stage.Config(files=(path,), columns={"text": "prompt", "user": "user_id", "use_case": "category"}),
        out,
    )
    (found,) = jsonl.read(out.path("prompts.jsonl"), Prompt)
    assert found == Prompt.model_validate(row("q1", user="u1", use_case="Poet", licence="CC0", source=""))


def test_mistakes_in_columns_name_the_file_s_own_fields(tmp_path: Path) -> None:
    path = put(
        tmp_path / "q.jsonl",
        {"id": "q1", "prompt": "Why?", "user_id": None},
        {"id": "q2", "prompt": 7, "user_id": "u"},
        ["no object"],
        "{",
        {"id": 3, "prompt": "\ud800", "user_id": "u"},
        {"prompt": "Why?", "user_id": "u"},
    )
    columns = {"text": "prompt", "user": "user_id"}
    lines = refused(stage.Config(files=(path,), columns=columns), tmp_path / "out")
    assert [line.split(": ")[0].rsplit(":", 1)[1] for line in lines[:4]] == ["1", "2", "3", "4"]
    assert lines[0] == f"{path}:1: user_id: Input should be a valid string (got null)"
    assert "prompt: Input should be a valid string (got 7)" in lines[1]
    assert any(line.startswith(f"{path}:5:") for line in lines)
    assert lines[-1].startswith(f"{path}:5: ")  # line 6 has no id and gets one
    lines = refused(stage.Config(files=(path,), columns={**columns, "id": "id"}), tmp_path / "out")
    assert lines[-1] == f'{path}:6: id: Input should be a valid string (got "nothing")'


def test_unknown_column_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    source = put(tmp_path / "q.jsonl", row("a"))
    path.write_text(f'[collect.files]\nfiles = ["{source}"]\ncolumns = {{txt = "prompt"}}\n')
    with pytest.raises(UserError, match=r"columns\.txt"):
        load_plan(path)


def test_long_prompts_are_left_out_and_counted(tmp_path: Path) -> None:
    path = put(tmp_path / "one.jsonl", row("short", text="x" * 30), row("long", text="x" * 31))
    out = context(tmp_path / "out")
    stage.run(stage.Config(files=(path,), max_prompt_characters=30), out)
    assert [one.id for one in jsonl.read(out.path("prompts.jsonl"), Prompt)] == ["short"]
    assert out.summary["too_long"] == 1
    lines = refused(stage.Config(files=(path,), max_prompt_characters=9), tmp_path / "again")
    assert lines == ["max_prompt_characters = 9: all 2 prompts are longer; the shortest has 30 characters"]


def test_broken_gzip_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(gzip.compress(json.dumps(row("a")).encode() * 50)[:-20])
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(json.dumps(row("b")).encode() + b"\n" + '{"id": "ü"}'.encode("latin-1") + b"\n")
    lines = refused(stage.Config(files=(broken, latin)), tmp_path / "out")
    assert "the gzip file is broken" in lines[0] and f"{latin}:2: not UTF-8 at byte 8" in lines[1]


CELLS = [("u1", 'Say "a, b"\nand more', "2022-03-04"), ("u2", "Zwei Äpfel?", "2022-03-05")]


def tables(folder: Path) -> list[Path]:
    """The same two rows as JSONL, CSV and Parquet, plain and gzipped."""
    folder.mkdir()
    names = ("user_id", "prompt", "asked")
    rows = [dict(zip(names, cells, strict=True)) for cells in CELLS]
    with (folder / "q.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    put(folder / "q.jsonl", *rows)
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "q.parquet")
    for path in list(folder.iterdir()):
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    return sorted(folder.iterdir())


def test_every_format_gives_the_same_prompts(tmp_path: Path) -> None:
    made = tables(tmp_path / "in")
    assert len(made) == 6
    columns = {"text": "prompt", "user": "user_id", "time": "asked"}
    out = context(tmp_path / "out")
    stage.run(stage.Config(files=tuple(made), columns=columns, source="a shop", consent="terms-3"), out)
    found = jsonl.read(out.path("prompts.jsonl"), Prompt)
    assert [(one.user, one.messages[0].content, one.time) for one in found] == CELLS
    assert {(one.source, one.consent, one.licence) for one in found} == {("a shop", "terms-3", None)}
    assert out.summary["repeated"] == 10, "ids made from user and text are the same in every format"


def test_mistakes_in_tables_are_told_by_line_and_column(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text('user,text\nu1,"two\nlines"\nu2\n,why?\nu4,why?\n', encoding="utf-8")
    (tmp_path / "quote.csv").write_text('user,text\nu1,"never closed\n', encoding="utf-8")
    (tmp_path / "twice.csv").write_text("user,user\na,b\n", encoding="utf-8")
    (tmp_path / "none.parquet").write_bytes(b"PAR1 not really")
    names = ("bad.csv", "quote.csv", "twice.csv", "none.parquet")
    lines = refused(stage.Config(files=tuple(tmp_path / name for name in names)), tmp_path / "out")
    assert lines[0] == f"{bad}:4: 1 cells, but the first row names 2 columns"
    assert lines[1].startswith(f"{bad}:5: user: ")
    assert "quote.csv" in lines[2] and "not CSV" in lines[2]
    assert "two columns are called 'user'" in lines[3]
    assert "not a Parquet file" in lines[4]
    (line,) = refused(stage.Config(files=(bad,), columns={"text": "txt"}), tmp_path / "out")
    assert line == f"{bad}: there is no column 'txt'; did you mean 'text'?; it has user, text"


def test_numbers_name_users_and_dialogues_are_taken_over(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Why?"},
    ]
    path = put(tmp_path / "q.jsonl", {"who": 7, "talk": turns, "licence": "CC0"})
    out = context(tmp_path / "out")
    stage.run(stage.Config(files=(path,), columns={"messages": "talk", "user": "who"}), out)
    (found,) = jsonl.read(out.path("prompts.jsonl"), Prompt)
    assert found.user == "7" and len(found.messages) == 3 and found.licence == "CC0"


def test_a_file_that_changed_is_noticed(tmp_path: Path) -> None:
    """Files are arrows like folders: their content is hashed, so that an edited file does not count as
    done."""
    source = put(tmp_path / "q.jsonl", row("a"))
    path = tmp_path / "run.toml"
    path.write_text(f'runs = "{tmp_path / "runs"}"\n[collect.files]\nfiles = ["{source}"]\n')
    plan = load_plan(path)
    assert run_stage(plan, plan.stages[0], lambda *_: None) is True
    assert run_stage(plan, plan.stages[0], lambda *_: None) is False
    put(source, row("a"), row("b"))
    with pytest.raises(UserError, match=r"its input files .* has changed since"):
        run_stage(plan, plan.stages[0], lambda *_: None)


def test_a_missing_file_is_refused_with_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[collect.files]\nfiles = ["no/such/file.jsonl"]\n')
    with pytest.raises(UserError, match="neither a table of this file nor a folder or file"):
        load_plan(path)


def test_real_prompts_load(tmp_path: Path) -> None:
    data = os.environ.get("BIDDABLE_DATA")
    if not data:
        pytest.skip("set BIDDABLE_DATA to the folder with prompts_with_users.jsonl.gz")
    columns = {"text": "prompt", "user": "user_id", "use_case": "category"}
    out = context(tmp_path / "out")
    stage.run(stage.Config(files=(Path(data) / "prompts_with_users.jsonl.gz",), columns=columns), out)
    assert out.summary["prompts"] == 799 and out.summary["users"] == 457
    lines = refused(
        stage.Config(files=(Path(data) / "prompts_misc.jsonl.gz",), columns=columns), tmp_path / "no"
    )
    assert len(lines) == 761 and "user_id" in lines[0]
