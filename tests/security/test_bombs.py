"""Small files and texts that would become large, slow or deep: each is refused in one line, or read within
bounds."""

from __future__ import annotations

import gzip
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from biddable.cli import check, stage
from biddable.label.views import markup
from biddable.measure.benchmarks import published
from biddable.run import jsonl, parse, rules, run_file
from biddable.run import rows as formats
from biddable.run.config import UserError
from biddable.run.records import Prompt

DEEP = "[" * 100_000
DEEP_WITHIN = '{"a": ' + "[" * 500 + "]" * 500 + "}"
"""Deep enough for a traceback later, not for the parser."""
DIGITS = '{"a": ' + "1" * 5000 + "}"


def bomb(path: Path, megabytes: int, letter: bytes = b"a") -> Path:
    with gzip.open(path, "wb") as file:
        for _ in range(megabytes):
            file.write(letter * 2**20)
    return path


def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    """284 KB that unpack to 300 MB, as one line and as lines: read in a process whose memory is limited."""
    for letter in ("a", "\\n"):
        path = bomb(tmp_path / "prompts.jsonl.gz", 300, letter.encode().decode("unicode_escape").encode())
        assert path.stat().st_size < 320_000
        code = (
            "import resource, sys; from pathlib import Path\n"
            "from biddable.run import jsonl; from biddable.run.records import Prompt\n"
            "limit = 700 * 2**20; resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
            "try: jsonl.read(Path(sys.argv[1]), Prompt)\n"
            "except jsonl.UserError as error: print(error.lines)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-500:]
        assert "a line of more than" in done.stdout or "the rest of the file was not read" in done.stdout


@pytest.mark.parametrize("name", ["a.csv.gz", "a.parquet.gz", "a.jsonl.gz"])
def test_a_bomb_of_any_format_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(parse, "FREE_BYTES", 2**20)
    with pytest.raises(UserError, match=r"unpacks to more than 100 times its size") as error:
        list(formats.rows(bomb(tmp_path / name, 4)))
    assert len(error.value.lines) == 1


def test_published_samples_may_be_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "FREE_BYTES", 2**20)
    with pytest.raises(UserError, match="unpacks to more than"):
        published.read_samples(bomb(tmp_path / "a.csv.gz", 4, b"a\n"), "tldr")


def test_what_packs_well_is_no_bomb(tmp_path: Path) -> None:
    """Fifty times smaller than its content, as no text is, and a small file of any ratio."""
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": "' + b"x" * 100_000 + b'"}\n', 9))
    assert path.stat().st_size * 100 < 100_000
    assert len(list(formats.rows(path))) == 1
    assert parse.unpacked_bytes(10 * 2**20) == 1000 * 2**20


def test_a_parquet_bomb_takes_little_memory(tmp_path: Path) -> None:
    """688 bytes: one text of 478 KB in a thousand rows. Every row is read, some at a time."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    rows = pyarrow.table({"text": ["a" * 478_000] * 1000, "user": ["u"] * 1000})
    parquet.write_table(rows, path, compression="zstd")
    assert path.stat().st_size < 1024
    del rows
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(len(row["text"]) for _, row in formats.rows(path)) == 478_000_000  # type: ignore[index]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB


@pytest.mark.parametrize("kind", ["many cells", "a long list", "a large text", "a large row"])
def test_other_parquet_bombs_are_one_line(kind: str, tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    text: list[object] = {
        "many cells": ["a"] * 2_000_000,
        "a long list": [["a"] * 1000] * 2000,
        "a large text": ["a" * 70_000_000],
        "a large row": [["a" * 100_000] * 500],
    }[kind]
    path = tmp_path / "a.parquet"
    parquet.write_table(
        pyarrow.table({"text": text}),
        path,
        compression="zstd",
        use_dictionary=kind != "a large text",
    )
    assert path.stat().st_size < 20_000
    with pytest.raises(UserError, match=r"cells in|unpacks to more|come to more than"):
        list(formats.rows(path))


def test_columns_of_any_kind_are_read_as_before(tmp_path: Path) -> None:
    """Nested, missing, empty, binary and fixed-size cells; a map's column is left out."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table(
        {
            "text": ["hello", None],
            "turns": [[{"role": "user", "content": "hi"}], []],
            "bytes": [b"xx", None],
            "large": pyarrow.array(["x", "y"], pyarrow.large_string()),
            "fixed": pyarrow.array([b"ab", b"cd"], pyarrow.binary(2)),
            "number": [1, 2],
            "map": pyarrow.array([[("k", "v")], None], pyarrow.map_(pyarrow.string(), pyarrow.string())),
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    common = {"large": "x", "fixed": "ab", "number": 1}
    first, second = (row for _, row in formats.rows(tmp_path / "a.parquet"))
    assert first == {"text": "hello", "turns": [{"role": "user", "content": "hi"}], "bytes": "xx", **common}
    assert second == {"text": None, "turns": [], "bytes": None, "large": "y", "fixed": "cd", "number": 2}
    assert formats.columns(tmp_path / "a.parquet") == list(first)


@pytest.mark.parametrize("text", [DEEP, DEEP_WITHIN, DIGITS, '{"a": ' * 50_000])
def test_deep_json_is_one_line_wherever_a_file_is_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"^not JSON: (nested too deeply|a number of thousands of digits)$"):
        parse.parse_json(text)
    assert [str(row)[:9] for _, row in formats.rows(path)] == ["not JSON:"]
    assert len(list(check.find_unreadable_lines(path))) == 1
    for read in (
        lambda: jsonl.read_objects(path),
        lambda: jsonl.read(path, Prompt),
        lambda: published.read_outputs(path, ["a"]),
    ):
        with pytest.raises(UserError) as error:
            read()  # type: ignore[no-untyped-call]
        assert all(len(line) < 300 for line in error.value.lines)


@pytest.mark.parametrize("value", ["[" * 5000, "{a=" * 5000, "1" * 5000, "[" * 400 + "]" * 400])
def test_deep_toml_is_one_line(value: str, tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(f"seed = {value}\n", encoding="utf-8")
    for read in (run_file.read_run_file, rules.load):
        with pytest.raises(UserError) as error:
            read(path)
        assert len(error.value.lines) == 1 and "TOML" in error.value.lines[0]
    assert stage.parse_settings("learn.ppo", [f"x={value}"]) == {"x": value}


def test_a_file_full_of_mistakes_is_told_in_few_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n" * 5000, encoding="utf-8")
    with pytest.raises(UserError) as error:
        jsonl.read(path, Prompt)
    assert error.value.lines[3:] == [
        f"{path}: the rest of the file was not read",
        f"and {parse.MAX_ERRORS - 3} more like: empty line; expected one JSON record a line",
    ]


SIZE = 39_000
TABLES = {
    "rows of one cell": "|a" * 300 + "|\n" + "|-" * 300 + "|\n" + "|x\n" * 12_000,
    "wide and long": "|a" * 100 + "|\n" + "|-" * 100 + "|\n" + ("|x" * 100 + "|\n") * 190,
    "in a quotation": "> " + "|a" * 300 + "|\n> " + "|-" * 300 + "|\n" + "> |x\n" * 7000,
    "in a list": "1. " + "|a" * 300 + "|\n   " + "|-" * 300 + "|\n" + "   |x\n" * 6000,
    "bare rows": "a|b\n-|-\n" + "x\n" * 19_000,
    "windows lines": "|a" * 300 + "|\r\n" + "|-" * 300 + "|\r\n" + "|x\r\n" * 9000,
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_take_no_more_cells_than_a_text_has_room_for(kind: str) -> None:
    """What made 65,536 cells of 39 KB is shown as it was typed."""
    text = TABLES[kind][:SIZE]
    html = str(markup.rich(text))
    assert html.count("<td") <= markup.MAX_CELLS
    assert len(html) < 20 * SIZE


def test_a_table_that_somebody_means_is_one() -> None:
    html = str(markup.rich("| fruit | taste |\n|---|---|\n" + "| apple | sweet |\n" * 100))
    assert html.count("<td>") == 200


def test_a_line_of_dashes_is_searched_once() -> None:
    """No backtracking: a million characters that almost divide a table."""
    assert markup._most_cells("-" * 500_000 + "|" * 500_000 + "x") == 0
