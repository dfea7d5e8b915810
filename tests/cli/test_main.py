"""The command line in real processes: exit codes, one line a mistake, no traceback for mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from biddable.cli import main as cli
from biddable.run import catalog
from biddable.run import stages as runs
from biddable.run.config import Waiting
from biddable.run.plan import Plan, Stage, load_plan

PROMPTS = "".join(
    json.dumps(
        {
            "id": f"p{i}",
            "messages": [{"role": "user", "content": f"{i}: why is the sea salt?"}],
            "user": f"u{i}",
        }
    )
    + "\n"
    for i in range(40)
)
TOML = '[collect.files]\nfiles = ["prompts.jsonl"]\n[curate.prompts]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prompts.jsonl").write_text(PROMPTS, encoding="utf-8")
    (tmp_path / "my.toml").write_text(TOML, encoding="utf-8")
    return tmp_path


def biddable(folder: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "biddable.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_run_status_show_and_exceptions(folder: Path) -> None:
    code, out, err = biddable(folder, "run", "my.toml")
    assert (code, err) == (0, "")
    assert "1/2 collect.files" in out
    assert "2/2 curate.prompts: done" in out
    code, out, _ = biddable(folder, "run", "my.toml")
    assert (code, out.count("done already, skipped")) == (0, 2)

    code, out, _ = biddable(folder, "show", "runs/my/curate.prompts")
    assert code == 0
    assert "curate.prompts of run my" in out

    code, out, err = biddable(
        folder, "curate.prompts", "my.toml", "user_cap=1", "valid_share=0.3", "name=other"
    )
    assert (code, err) == (0, "")
    manifest = json.loads((folder / "runs/other/curate.prompts/manifest.json").read_text())
    assert (manifest["run"], manifest["settings"]["user_cap"], manifest["settings"]["valid_share"]) == (
        "other",
        1,
        0.3,
    )
    assert manifest["inputs"]["prompts"][0]["path"] == "runs/my/collect.files"

    (folder / "my.toml").write_text(TOML + "valid_share = 0.3\n", encoding="utf-8")
    code, out, err = biddable(folder, "run", "my.toml")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "my.toml: [curate.prompts] valid_share was 0.12, is 0.3; to make it again: rm -r runs/my/curate.prompts; "
        'to keep it and run into another folder: name = "NAME" at the top of the file'
    ]
    code, out, _ = biddable(folder, "status", "my.toml")
    assert code == 0
    assert "changed" in out


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
            "biddable curate.prompts: user_cap: SETTING=VALUE was expected",
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


def test_check_fits_80_columns_and_counts_sites_apart(folder: Path) -> None:
    long = '[learn.start]\nmodel = "tiny"\n[learn.replies.with_a_rather_long_name]\npolicies = ["learn.start"]\n[label.site]\n'
    (folder / "my.toml").write_text(TOML + long, encoding="utf-8")
    code, out, err = biddable(folder, "check", "my.toml")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "learn.replies.with_a_rather_long_name" in out and "…" not in out and "GB" not in out
    assert "4 stages and 1 site into runs/my" in out


def test_check_reads_the_files_of_every_stage(folder: Path) -> None:
    (folder / "mine.jsonl").write_text('{"a": 1}\n{oops\n[1]\n', encoding="utf-8")
    (folder / "my.toml").write_text(
        TOML + '[learn.start]\nmodel = "tiny"\n[learn.classifier]\nfiles = ["mine.jsonl"]\n', encoding="utf-8"
    )
    code, out, err = biddable(folder, "check", "my.toml")
    assert (code, out) == (2, "")
    assert [line.split(": ")[1] for line in err.splitlines()] == [
        "[learn.classifier] mine.jsonl:2",
        "[learn.classifier] mine.jsonl:3",
    ]


def test_a_mistyped_table_is_one_line(folder: Path) -> None:
    for wrong in ("[collect.file]", "[colect.files]"):
        (folder / "my.toml").write_text(TOML.replace("[collect.files]", wrong), encoding="utf-8")
        code, _, err = biddable(folder, "check", "my.toml")
        assert code == 2 and len(err.splitlines()) == 1, err
        assert "did you mean" in err


def test_show_is_for_reading(folder: Path) -> None:
    assert biddable(folder, "run", "my.toml")[0] == 0
    code, out, _ = biddable(folder, "show", "runs/my/curate.prompts")
    assert code == 0
    assert not set("{}[]'") & set(out)
    assert max(map(len, out.splitlines())) <= 80
    assert all(f"\n{part}\n" in out for part in ("inputs", "settings", "final numbers"))
    assert "\n  prompts_read" in out


def main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["biddable", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


def test_waiting_exits_with_3_and_a_bug_is_a_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)

    def waits(cfg: object, context: object) -> None:
        raise Waiting("163 of 200 comparisons to go")

    monkeypatch.setattr(runs, "import_stage", lambda name: SimpleNamespace(run=waits))
    assert main(monkeypatch, "run", "my.toml") == 3
    assert "163 of 200 comparisons to go" in capsys.readouterr().out
    assert main(monkeypatch, "status", "my.toml") == 0
    assert "163 of 200" in capsys.readouterr().out

    def breaks(cfg: object, context: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(runs, "import_stage", lambda name: SimpleNamespace(run=breaks))
    monkeypatch.setattr(sys, "argv", ["biddable", "run", "my.toml"])
    with pytest.raises(ZeroDivisionError):  # Python prints the traceback and exits with 1
        cli.main()


def test_what_waits_for_people_holds_up_only_what_needs_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    text = (folder / "my.toml").read_text(encoding="utf-8")
    (folder / "my.toml").write_text(text + "[collect.text]\n", encoding="utf-8")
    ran: list[str] = []

    def one(plan: Plan, stage: Stage, mark: str = "") -> None:
        ran.append(stage.key)
        if stage.key == "collect.files":
            raise Waiting("163 of 200 prompts to go")

    monkeypatch.setattr(cli, "_run", one)
    assert main(monkeypatch, "run", "my.toml") == 3
    assert set(ran) == {"collect.files", "collect.text"}  # not curate.prompts, which needs the first
    assert capsys.readouterr().out.strip() == "163 of 200 prompts to go"


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


def test_new_writes_a_file_that_is_in_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "examples").symlink_to(
        Path(__file__).resolve().parents[2] / "examples"
    )  # what the defaults name
    assert main(monkeypatch, "new", "fresh.toml") == 0
    plan = load_plan(Path("fresh.toml"))
    assert {stage.name for stage in plan.stages} | set(cli.LATER) == set(catalog.stage_names())
    assert {stage.key for stage in plan.stages} > set(cli.TWICE)
    text = (folder / "fresh.toml").read_text(encoding="utf-8")
    assert text.count("\n# ") > 50  # commented


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
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "my.toml").is_file()
