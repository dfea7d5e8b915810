"""Running text from files and packages: splits by document, no repetition, refusals, and that it reads as
prose."""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path

import pytest

from biddable.collect import text as stage
from biddable.collect.text import docstrings
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Text

SENTENCE = "It was the {}th day of the journey, and the wind had turned to the north again. "


def context(folder: Path) -> StageContext:
    folder.mkdir(exist_ok=True)
    return StageContext(folder, "collect.text", 1, lambda step, steps, numbers: None)


def made(cfg: stage.Config, folder: Path) -> tuple[list[Text], StageContext]:
    out = context(folder)
    stage.run(cfg, out)
    return jsonl.read(out.path("text.jsonl"), Text), out


def book(tmp_path: Path, lines: int = 60, name: str = "book.jsonl") -> Path:
    path = tmp_path / name
    rows = [
        {
            "text": "".join(SENTENCE.format(100 * n + k) for k in range(10)),
            "source": "a diary",
            "license": "CC0-1.0",
        }
        for n in range(lines)
    ]
    body = "".join(json.dumps(one) + "\n" for one in rows).encode()
    path.write_bytes(gzip.compress(body) if name.endswith(".gz") else body)
    return path


def test_a_file_s_lines_are_documents(tmp_path: Path) -> None:
    rows, out = made(
        stage.Config(files=(book(tmp_path),), packages=(), piece_characters=300, valid_share=0.3),
        tmp_path / "out",
    )
    splits: dict[str, set[str]] = {}
    for one in rows:
        splits.setdefault(one.id.split("#")[0], set()).add(one.split)
    assert len(splits) == 60 and all(len(found) == 1 for found in splits.values())
    assert {one.source for one in rows} == {"a diary"}
    assert out.summary["licences"] == "a diary: CC0-1.0"
    assert out.summary["documents"] == 60
    assert out.summary["pieces_train"] + out.summary["pieces_valid"] == len(rows)
    assert out.summary["characters_valid"] == sum(len(one.text) for one in rows if one.split == "valid") > 0
    assert all(150 <= len(one.text) <= 375 for one in rows)


def test_no_document_moves_when_others_come(tmp_path: Path) -> None:
    cfg = stage.Config(files=(book(tmp_path, 40),), packages=(), piece_characters=300, valid_share=0.3)
    before, _ = made(cfg, tmp_path / "a")
    book(tmp_path, 70)
    after, _ = made(cfg, tmp_path / "b")
    now = {one.id: one.split for one in after}
    assert all(now[one.id] == one.split for one in before) and len(now) > len(before)


def test_the_same_file_twice_adds_nothing_and_gzip_is_read(tmp_path: Path) -> None:
    once, _ = made(stage.Config(files=(book(tmp_path),), packages=()), tmp_path / "a")
    twice, _ = made(
        stage.Config(files=(book(tmp_path), book(tmp_path, 30, "again.jsonl.gz")), packages=()),
        tmp_path / "b",
    )
    assert [one.text for one in once] == [one.text for one in twice]
    assert len({one.id for one in twice}) == len(twice)


def test_a_limit_draws_from_everywhere(tmp_path: Path) -> None:
    cfg = stage.Config(files=(book(tmp_path, 200),), packages=(), piece_characters=300, valid_share=0.3)
    rows, _ = made(cfg, tmp_path / "a")
    some, _ = made(cfg.model_copy(update={"limit": 100}), tmp_path / "b")
    assert len(some) == 100 and {one.id for one in some} <= {one.id for one in rows}
    places = [next(n for n, row in enumerate(rows) if row.id == one.id) for one in some]
    assert places == sorted(places) and places[0] < len(rows) / 4 and places[-1] > 3 * len(rows) / 4


def test_text_files_and_short_texts(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(f"Letter {number}.\n\nDear reader, nothing happened.\n")
    files = tuple(sorted(tmp_path.glob("*.txt")))
    rows, _ = made(stage.Config(files=files, packages=(), valid_share=0.3), tmp_path / "out")
    assert len(rows) == 30
    assert any(
        one.text == "Letter 7.\n\nDear reader, nothing happened." and one.source == "7.txt" for one in rows
    )


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "fine"}\n{"txt": "x"}\n[]\n{\n{"text": " "}\n{"text": "\\ud800"}\n')
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    cfg = stage.Config(files=(bad, empty, tmp_path / "none.jsonl"), packages=("numpy", "nunpy", "os.path"))
    out = context(tmp_path / "out")
    with pytest.raises(UserError) as refusal:
        stage.run(cfg, out)
    lines = refusal.value.lines
    assert [line.split(": ")[0] for line in lines[:7]] == [
        *(f"{bad}:{n}" for n in (2, 3, 4, 5, 6)),
        str(empty),
        str(tmp_path / "none.jsonl"),
    ]
    assert lines[7:] == [
        f'packages: "{name}" is not installed; install it or take it out' for name in ("nunpy", "os.path")
    ]
    assert not [p for p in out.folder.iterdir() if p.name != "progress.json"]


def test_nothing_asked_for_and_an_empty_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name at least one file or one package"):
        stage.run(stage.Config(packages=()), context(tmp_path / "a"))
    with pytest.raises(UserError, match="no text for the split 'valid' from 1 documents"):
        stage.run(
            stage.Config(files=(book(tmp_path, 1),), packages=(), valid_share=0.001), context(tmp_path / "b")
        )


def test_documentation_of_a_package_reads_as_prose(tmp_path: Path) -> None:
    rows, out = made(stage.Config(packages=("numpy",)), tmp_path / "a")
    again, _ = made(stage.Config(packages=("numpy",)), tmp_path / "b")
    assert rows == again, "the same packages give the same text"
    assert out.summary["characters_train"] > 50_000
    assert out.summary["licences"].startswith("numpy: BSD-3-Clause")
    assert all(one.source.startswith("numpy ") and 400 <= len(one.text) <= 1000 for one in rows)
    paragraphs = [paragraph for one in rows for paragraph in one.text.split("\n\n")]
    assert len(set(paragraphs)) == len(paragraphs)
    assert not any(sign in one.text for one in rows for sign in (">>>", "----", "::", "``", "array_like\n"))
    said = {
        split: {
            s
            for one in rows
            if one.split == split
            for p in one.text.split("\n\n")
            for s in docstrings.sentences(p)
        }
        for split in ("train", "valid")
    }
    assert said["valid"] and not said["train"] & said["valid"]


def test_packages_are_read_not_imported(tmp_path: Path) -> None:
    (tmp_path / "loud").mkdir()
    doc = "".join(SENTENCE.format(number) for number in range(20))
    for name in "abcdefgh":
        (tmp_path / "loud" / f"{name}.py").write_text(
            f'"""{doc.replace("th day", "th " + name * 3 + " day")}"""\nraise SystemExit("imported")\n'
        )
    (tmp_path / "loud" / "__init__.py").write_text('raise SystemExit("imported")\n')
    (tmp_path / "loud" / "template.py").write_text('"""Not Python."""\n{{ name }} =\n')
    sys.path.insert(0, str(tmp_path))
    try:
        rows, out = made(stage.Config(packages=("loud",), valid_share=0.4), tmp_path / "out")
    finally:
        sys.path.remove(str(tmp_path))
    assert "loud" not in sys.modules
    assert out.summary["documents"] == 8 and out.summary["licences"] == "loud: not stated"
    assert {one.source for one in rows} == {
        f"loud of unknown version, documentation in {name}.py" for name in "abcdefgh"
    }


def test_real_text_loads(tmp_path: Path) -> None:
    data = os.environ.get("BIDDABLE_DATA")
    if not data:
        pytest.skip("set BIDDABLE_DATA to the folder with pretrain_text.jsonl.gz")
    rows, out = made(
        stage.Config(files=(Path(data) / "pretrain_text.jsonl.gz",), packages=(), limit=500), tmp_path / "out"
    )
    assert len(rows) == 500 and out.summary["documents"] == 3170
    assert len({one.source for one in rows}) >= 6
