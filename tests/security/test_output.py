"""Texts of people and of other servers reach the terminal and the log as text: no escape sequence, no forged
line."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest

from biddable.cli import main as cli
from biddable.run.output import LogFormatter, plain, print_lines, screen, visible
from biddable.run.stage_folder import PROGRESS
from tests.cli.conftest import folder, main

__all__ = ["folder"]

HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31mred\rgone\x08\u202eevil\u2028next\x85\ud800\x00"
CONTROL = set(HOSTILE) - set("[2J]0;title31mredgonevilnxt")


def assert_plain(text: str) -> None:
    assert not CONTROL & set(text)
    assert "\\x1b[2J" in text


def test_control_characters_are_written_as_escapes() -> None:
    assert visible("\x1b[2J\x9b31m\u202e\u2028\ud800\x00") == "\\x1b[2J\\x9b31m\\u202e\\u2028\\ud800\\x00"
    assert visible("a\n\tb – c\u202fs \u3000é中\U0001f642") == "a\n\tb – c\u202fs \u3000é中\U0001f642"
    assert visible("a\nb\tc", keep="") == "a\\nb\\tc"
    stream = io.StringIO()
    print_lines(["a\nb", "c"], plain(stream))
    assert stream.getvalue() == "a\\nb\nc\n"


def test_nothing_of_a_data_file_moves_the_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In an error, a sample, a summary, a log of metrics, a note of progress, and a labeler's name."""
    monkeypatch.chdir(folder)
    assert main(monkeypatch, "run", "my.toml") == 0
    capsys.readouterr()
    stage = folder / "runs/my/curate.prompts"
    hostile_row = json.dumps({"step": 1, HOSTILE: HOSTILE})
    for name in ("samples.jsonl", "metrics.jsonl"):
        (stage / name).write_text(hostile_row + "\n", encoding="utf-8")
    (stage / "summary.json").write_text(hostile_row, encoding="utf-8")
    assert main(monkeypatch, "show", str(stage)) == 0
    assert_plain(capsys.readouterr().out)

    manifest = json.loads((stage / "manifest.json").read_text(encoding="utf-8"))
    manifest["run"] = manifest["finished"] = HOSTILE
    (stage / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    for verb in ("show", "lineage"):
        assert main(monkeypatch, verb, str(stage)) == 0
        assert_plain(capsys.readouterr().out)

    (stage / "manifest.json").unlink()
    (stage / PROGRESS).write_text(json.dumps({"waiting": HOSTILE}), encoding="utf-8")
    assert main(monkeypatch, "status", "my.toml") == 0
    out = capsys.readouterr().out
    assert not CONTROL & set(out)
    assert main(monkeypatch, "check", "my.toml") == 0
    assert not CONTROL & set(capsys.readouterr().out)

    row = json.dumps({"id": HOSTILE, "user": HOSTILE, "messages": HOSTILE}, ensure_ascii=True)
    (folder / "prompts.jsonl").write_text(row + "\n" + "\x1b[2J not JSON\n", encoding="utf-8")
    for arguments in (("check", "my.toml"), ("collect.files", "my.toml", "name=other")):
        assert main(monkeypatch, *arguments) == 2
        assert_plain(capsys.readouterr().err)
    assert main(monkeypatch, HOSTILE.replace("\x00", "")) == 2
    assert_plain(capsys.readouterr().err)


def test_a_bugs_traceback_is_plain_and_holds_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(arguments: list[str]) -> None:
        raise RuntimeError(f"https://ada:Hunter2-and-more@a.example/ {HOSTILE}")

    monkeypatch.setattr(cli, "dispatch", fails)
    assert main(monkeypatch, "check", "my.toml") == 1
    err = capsys.readouterr().err
    assert "Traceback" in err and "https://ada:***@a.example/" in err
    assert "Hunter2" not in err
    assert_plain(err)


def test_what_draws_on_the_terminal_gets_it_unfiltered(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdout", plain(stream))
    assert screen() is stream
    assert not plain(stream).isatty()


def test_a_record_is_one_line_of_the_log() -> None:
    record = logging.LogRecord("x", logging.WARNING, "x", 1, "%s", (f"a\nERROR b{HOSTILE}",), None)
    line = LogFormatter("%(message)s").format(record)
    assert "\n" not in line
    assert_plain(line)
