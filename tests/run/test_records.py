"""Records: every wrong line named with file and line, all at once; files whole or absent."""

from __future__ import annotations

import errno
import gzip
import os
from pathlib import Path

import pytest

from biddable.run import jsonl, records
from biddable.run.config import UserError
from biddable.run.records import Answer, Comparison, Message, Prompt, Text

GOOD = '{"id":"a","messages":[{"role":"user","content":"Why?"}],"user":"u"}'


def prompt(name: str = "a") -> Prompt:
    return Prompt(id=name, messages=(Message(role="user", content="Why?"),), user="u")


def refused(path: Path, kind: type[records.Record] = Prompt) -> list[str]:
    with pytest.raises(UserError) as refusal:
        jsonl.read(path, kind)
    return refusal.value.lines


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rows = [prompt("a"), prompt("ö\n\u2028")]
    assert jsonl.write(tmp_path / "p.jsonl", rows) == 2
    assert jsonl.read(tmp_path / "p.jsonl", Prompt) == rows
    assert [p.name for p in tmp_path.iterdir()] == ["p.jsonl"]


def test_every_wrong_line_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    bad = [
        "{not json",
        "",
        GOOD.replace('"id"', '"idd"'),
        GOOD.replace('"user","content"', '"assistant","content"'),
    ]
    path.write_text("\n".join([GOOD, *bad, GOOD]) + "\n", encoding="utf-8")
    lines = refused(path)
    assert [line.split(": ")[0] for line in lines] == [
        f"{path}:2",
        f"{path}:3",
        f"{path}:4",  # id is missing
        f"{path}:4",  # idd is not known
        f"{path}:5",
    ]
    assert "Invalid JSON" in lines[0]
    assert "empty line" in lines[1]
    assert "Prompt id: Field required" in lines[2]
    assert "Prompt idd: Extra inputs are not permitted" in lines[3]
    assert "the last message must be the user's" in lines[4]


def test_empty_missing_and_other_kinds_of_file(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    assert refused(tmp_path / "empty.jsonl") == [
        f"{tmp_path / 'empty.jsonl'}: the file is empty; expected at least one Prompt record"
    ]
    assert "no such file; expected one Prompt record a line" in refused(tmp_path / "none.jsonl")[0]
    jsonl.write(tmp_path / "text.jsonl", [Text(id="t", text="words")])
    assert any("Prompt messages: Field required" in line for line in refused(tmp_path / "text.jsonl"))


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes(GOOD.encode() + b"\n\xff\n")
    assert refused(tmp_path / "p.jsonl") == [
        f"{tmp_path / 'p.jsonl'}:2: not UTF-8 at byte 0; save the file as UTF-8"
    ]
    whole = gzip.compress((GOOD + "\n").encode() * 200)
    (tmp_path / "p.jsonl.gz").write_bytes(whole)
    assert len(jsonl.read(tmp_path / "p.jsonl.gz", Prompt)) == 200
    (tmp_path / "p.jsonl.gz").write_bytes(whole[:-12])
    assert "the gzip file is broken" in refused(tmp_path / "p.jsonl.gz")[0]


def test_ranks_belong_to_answers() -> None:
    answers = (Answer(text="x", model="m"), Answer(text="y", model="m"))
    fields = {
        "labeler": "l",
        "panel": "training",
        "simulated": True,
        "guideline": "g",
        "id": "c",
        "prompt": prompt(),
    }
    assert Comparison(answers=answers, ranks=(1, 1), **fields).ranks == (1, 1)
    for ranks, word in (((1,), "2 answers but 1 ranks"), ((0, 1), "ranks start at 1")):
        with pytest.raises(ValueError, match=word):
            Comparison(answers=answers, ranks=ranks, **fields)


def test_a_full_disk_leaves_the_old_file_and_no_half_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.jsonl"
    jsonl.write(path, [prompt("old")])

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        jsonl.write(path, [prompt("new")])
    assert [p.name for p in tmp_path.iterdir()] == ["p.jsonl"]
    assert jsonl.read(path, Prompt) == [prompt("old")]


def test_a_fraction_depends_on_its_words_alone() -> None:
    assert records.hash_fraction("a", 1) == records.hash_fraction("a", 1)
    assert records.hash_fraction("a", 1) != records.hash_fraction("a", 2)
    assert records.hash_fraction("ab", "c") != records.hash_fraction("a", "bc")
    found = [records.hash_fraction("x", i) for i in range(2000)]
    assert all(0 <= one < 1 for one in found)
    assert abs(sum(found) / 2000 - 0.5) < 0.03  # standard error 0.2887 / sqrt(2000) = 0.0065
