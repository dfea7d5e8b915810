"""The one reader of what others wrote: every container gives the same rows, wherever a piece of a file ends, and
nothing that is broken or a bomb takes memory or a traceback."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from biddable.run import rows as module
from biddable.run.errors import Mistakes, UserError
from biddable.run.rows import rows

pyarrow = pytest.importorskip("pyarrow")
ROWS: list[dict[str, Any]] = [
    {"prompt": "Zwei Äpfel?", "response": 'Say "a, b"\nand more; 😀'},
    {"prompt": "[1, 2]", "response": "line\r\nends\u2028here"},
]


def read(path: Path) -> list[Any]:
    return [row for _, row in rows(path)]


def as_csv(sign: str = ",") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(ROWS[0]), delimiter=sign)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


def as_arrow(file: bool) -> bytes:
    table, sink = pyarrow.Table.from_pylist(ROWS), pyarrow.BufferOutputStream()
    with (pyarrow.ipc.new_file if file else pyarrow.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def as_parquet() -> bytes:
    from pyarrow import parquet

    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), sink)
    return bytes(sink.getvalue())


def contents() -> Iterator[tuple[str, bytes]]:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    yield "lines.jsonl", lines.encode()
    yield "mark.jsonl", lines.encode("utf-8-sig")
    yield "windows.jsonl", lines.replace("\n", "\r\n").encode()
    yield "utf16.jsonl", lines.encode("utf-16")
    yield "utf16-be.jsonl", lines.encode("utf-16-be")
    yield "list.json", json.dumps(ROWS).encode()
    yield "pretty.json", json.dumps(ROWS, indent=2, ensure_ascii=False).encode("utf-8-sig")
    yield "pretty16.json", json.dumps(ROWS, indent=2, ensure_ascii=False).encode("utf-16")
    yield "objects.json", "\n".join(json.dumps(row, indent=1) for row in ROWS).encode()
    yield "lines.json", lines.encode()
    yield "comma.csv", as_csv()
    yield "excel.csv", "\ufeff".encode() + as_csv(";")
    yield "unicode-text.tsv", as_csv("\t").decode().encode("utf-16")
    yield "file.arrow", as_arrow(True)
    yield "data-00000-of-00001.arrow", as_arrow(False)
    yield "table.parquet", as_parquet()
    yield "parquet-by-look", as_parquet()


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize(("name", "content"), list(contents()), ids=[name for name, _ in contents()])
def test_every_container_gives_the_same_rows(name: str, content: bytes, packing: str, tmp_path: Path) -> None:
    path = tmp_path / (name + packing)
    packed = {
        "": lambda: content,
        ".gz": lambda: gzip.compress(content),
        ".zst": lambda: pyarrow.compress(content, "zstd", asbytes=True),
    }
    path.write_bytes(packed[packing]())
    assert read(path) == ROWS


@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_longer_than_a_piece_of_the_file_keeps_its_lines(indent: int | None, tmp_path: Path) -> None:
    """Objects of 1 to 300,000 characters: pieces of the file end in the middle of most, and some are longer."""
    made = [
        {"n": n, "text": ("é\n" * (n * n % 701) + "x" * (n * 2999 % 30_011) * (10 if n % 7 == 0 else 1))}
        for n in range(100)
    ]
    path = tmp_path / "list.json"
    path.write_text(json.dumps(made, indent=indent), encoding="utf-8")
    result = list(rows(path))
    assert [row for _, row in result] == made
    # every object takes its brackets and two lines of content, the list's bracket one line
    assert [where.rsplit(":", 1)[1] for where, _ in result] == [
        str(2 + 4 * n if indent else 1) for n in range(100)
    ]


def test_nested_structs_keep_their_nulls_and_moments_become_text(tmp_path: Path) -> None:
    from pyarrow import parquet

    day = datetime.datetime(2026, 11, 21, 10, 15)
    turns = [
        {"role": "user", "content": "Hi", "name": None},
        {"role": "assistant", "content": None, "name": "x"},
    ]
    path = tmp_path / "turns.parquet"
    parquet.write_table(
        pyarrow.Table.from_pylist([{"messages": turns, "meta": {"at": day, "raw": b"ab"}}]), path
    )
    assert read(path) == [{"messages": turns, "meta": {"at": "2026-11-21T10:15:00", "raw": "ab"}}]


def test_a_folder_that_datasets_saved(tmp_path: Path) -> None:
    names = [f"data-0000{i}-of-00002.arrow" for i in range(2)]
    for name in names:
        (tmp_path / name).write_bytes(as_arrow(False))
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    assert read(tmp_path) == ROWS + ROWS
    (tmp_path / "whole").mkdir()
    (tmp_path / "state.json").rename(tmp_path / "whole" / "state.json")
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["whole"]}')
    with pytest.raises(UserError, match="holds the splits whole; name one"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("cut.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-20], "the gzip file is broken"),
        ("no.jsonl.zst", b"\x28\xb5\x2f\xfd no", "the zstandard file is broken"),
        (
            "bomb.jsonl.gz",
            gzip.compress((b'{"a": "' + b" " * 2**20 + b'"}\n') * 80, mtime=0),
            "more than 100 times its size",
        ),
        (
            "bomb.json.zst",
            pyarrow.compress(b'[{"a": 1}' + b" " * 80_000_000, "zstd", asbytes=True),
            "more than 100 times",
        ),
        ("none.parquet", b"PAR1 not really", "not a Parquet file"),
        ("none.arrow", b"ARROW1 not really", "row 1 cannot be read"),
        ("open.json", b'[{"a": 1}, {"a": 2}', "the list does not end"),
        ("comma.json", b'[{"a": 1},\n{"b" 2}]', r"comma.json:2: not JSON: Expecting ':' delimiter"),
        ("latin.json", '[{"a": "ü"}]'.encode("latin-1"), "not UTF-8"),
        ("deep.json", b"[" + b'{"a":' * 500 + b"1" + b"}" * 500 + b"]", "nested too deeply"),
    ],
)
def test_what_is_broken_is_told_in_a_line(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        read(path)
    assert len(caught.value.lines) == 1 and str(path) in caught.value.lines[0]


def test_an_object_that_never_ends_is_not_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OBJECT_CHARACTERS", 2**18)
    path = tmp_path / "endless.json"
    path.write_text('[{"a": "' + "x" * 2**21)
    with pytest.raises(UserError, match="Unterminated string"):
        read(path)


def test_rows_that_are_no_objects_stand_in_their_places(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_text('{"a": 1}\n[2]\n\n{"a" 3}\n{"a": 4}\n')
    assert [(where.rsplit(":", 1)[1], row) for where, row in rows(path)] == [
        ("1", {"a": 1}),
        ("2", "[2]: expected a JSON object"),
        ("4", "not JSON: Expecting ':' delimiter at character 6"),
        ("5", {"a": 4}),
    ]


def test_of_each_kind_of_mistake_three_are_told_and_how_many_more() -> None:
    mistakes = Mistakes()
    assert not mistakes
    mistakes.add(f"f:{n}: text is {n}, not 'x{n}' (got {n})" for n in range(60))
    mistakes.add(["f:61: there is no user", "g: row 2: there is no user"])
    assert mistakes.lines() == [
        "f:0: text is 0, not 'x0' (got 0)",
        "f:1: text is 1, not 'x1' (got 1)",
        "f:2: text is 2, not 'x2' (got 2)",
        "f:61: there is no user",
        "g: row 2: there is no user",
        "and 57 more like: text is 0, not 'x0' (got 0)",
    ]
