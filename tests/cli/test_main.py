"""Verbs are found, users' mistakes are lines with exit code 2, waiting is 3, a bug is a traceback; help is
quick."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from biddable.run import catalog, runner
from biddable.run.errors import Waiting

from .conftest import PROMPTS, TOML, biddable, main


def test_mistakes_exit_with_2_a_line_each_and_nothing_written(folder: Path) -> None:
    (folder / "my.toml").write_text(TOML + "valid_shar = 0.3\ntest_share = 7\n", encoding="utf-8")
    before = sorted(folder.iterdir())
    for command in ("check", "run", "status"):
        code, out, err = biddable(folder, command, "my.toml")
        assert (code, out) == (2, "")
        assert [line.startswith("my.toml: [curate.prompts] ") for line in err.splitlines()] == [True, True]
        assert "did you mean 'valid_share'?" in err
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("chek", "my.toml"), "biddable chek: there is no such command; did you mean 'check'?"),
        (("learn.pop", "my.toml"), "biddable learn.pop: there is no such stage; did you mean 'learn.ppo'?"),
        (
            ("curate.prompts", "my.toml", "user_cap"),
            "biddable curate.prompts: user_cap: expected SETTING=VALUE",
        ),
        (
            ("curate.prompts", "my.toml", "user_cap=x"),
            'my.toml: [curate.prompts] user_cap = "x": Input should be',
        ),
        (("curate.prompts", "my.toml"), "curate.prompts] prompts: runs/my/collect.files is not done"),
        (("show", "nowhere"), "nowhere: not a stage's folder"),
        (("new", "my.toml"), "my.toml: exists already"),
        (("new", "no/such/folder.toml"), "there is no folder no/such"),
        (("run", "none.toml"), "none.toml: no such file"),
    ],
)
def test_one_line_for_a_mistake(folder: Path, arguments: tuple[str, ...], line: str) -> None:
    code, _, err = biddable(folder, *arguments)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert line in err


def test_wrong_records_are_named_with_file_and_line(folder: Path) -> None:
    (folder / "prompts.jsonl").write_text(PROMPTS + '{"id": 3}\n{oops\n', encoding="utf-8")
    code, _, err = biddable(folder, "run", "my.toml")
    assert code == 2
    assert "Traceback" not in err
    assert all("prompts.jsonl:4" in line for line in err.splitlines())
    assert {line.split(":")[1] for line in err.splitlines()} == {"41", "42"}
    assert not (folder / "runs/my/collect.files/prompts.jsonl").exists()
    assert "line 1" not in err  # the parser's own, which would be a second number
    assert "columns = {text = " in err and err.count("columns = ") == 1
    assert [path.name for path in (folder / "runs/my/collect.files").iterdir()] == [
        ".lock"
    ]  # nothing half done
    code, out, _ = biddable(folder, "status", "my.toml")
    assert code == 0 and "begun" not in out and "ready" in out

    code, out, told = biddable(folder, "check", "my.toml")
    assert (code, out) == (2, "")
    assert told.splitlines() == [
        f"my.toml: [collect.files] {line}" for line in err.splitlines()
    ]  # known before anything runs
    (folder / "prompts.jsonl").write_text("", encoding="utf-8")
    code, _, err = biddable(folder, "run", "my.toml")
    assert code == 2
    assert len(err.splitlines()) == 1


def test_waiting_exits_with_3_and_a_bug_is_a_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)

    def waits(cfg: object, context: object) -> None:
        raise Waiting("163 of 200 comparisons to go")

    monkeypatch.setattr(runner, "import_stage", lambda name: SimpleNamespace(run=waits))
    assert main(monkeypatch, "run", "my.toml") == 3
    assert "163 of 200 comparisons to go" in capsys.readouterr().out
    assert main(monkeypatch, "status", "my.toml") == 0
    assert "163 of 200" in capsys.readouterr().out

    def breaks(cfg: object, context: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(runner, "import_stage", lambda name: SimpleNamespace(run=breaks))
    assert main(monkeypatch, "run", "my.toml") == 1
    err = capsys.readouterr().err
    assert "Traceback" in err and err.endswith("ZeroDivisionError: a bug\n")


def test_help_names_every_command_and_a_stage_names_its_settings(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(monkeypatch, "--help") == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("new", "check", "run", "status", "show"))
    assert main(monkeypatch, "curate.prompts", "--help") == 0
    out = capsys.readouterr().out
    for word in catalog.import_stage("curate.prompts").Config.model_fields:
        assert f"  {word} = " in out


def test_help_and_new_import_neither_torch_nor_a_stage(tmp_path: Path) -> None:
    """Half a second for help is only possible without torch, which alone takes longer."""
    for arguments in (["--help"], ["learn.ppo", "--help"], ["new", str(tmp_path / "my.toml")]):
        code = (
            "import sys; from biddable.cli import main as cli\n"
            f"sys.argv = ['biddable', *{arguments!r}]\n"
            "try: cli.main()\n"
            "except SystemExit as end: assert not end.code, end.code\n"
            "assert not {'torch', 'transformers', 'biddable.learn.ppo'} & set(sys.modules)"
        )
        # in a folder of its own: `new` writes example prompts where it is run
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "my.toml").is_file()
