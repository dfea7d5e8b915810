"""No password or key of a URL, a variable or a header reaches a file, the terminal, a log or an error."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from biddable.cli import show
from biddable.measure import report
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.manifest import read_manifest
from biddable.run.outgoing import key_of, without_key
from biddable.run.plan import load_plan
from biddable.run.redaction import redact, redact_settings, redact_url
from biddable.run.run_file import shorten
from biddable.run.runner import run_stage
from biddable.run.states import stage_states
from biddable.store.store import open_store
from tests.cli.conftest import main

PASSWORD = "Hunter2-and-more"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ada:PW@db.example/site", "postgresql://ada:***@db.example/site"),
        ("postgresql://ada:PW@ss@db.example/site", "postgresql://ada:***@db.example/site"),
        ("postgresql://ada:PW/1#2?3@db.example/site", "postgresql://ada:***@db.example/site"),
        ("postgresql://ada:PW", "postgresql://ada:***"),  # its end was forgotten, or cut off
        ("postgresql://ada@db.example:5432/site", "postgresql://ada@db.example:5432/site"),
        ("postgresql:/ada:PW@db.example/site", "postgresql:/ada:***@db.example/site"),  # as a Path has it
        ("C:/a/b:c/d@e", "C:/a/b:c/d@e"),
        ("sqlite:///store.db?password=PW", "sqlite:///store.db?password=***"),
        (
            "https://ada:PW@a.example/v1?n=2&api_key=PW#top",
            "https://ada:***@a.example/v1?n=2&api_key=***#top",
        ),
        ("https://PW@a.example/v1", "https://***@a.example/v1"),
        ("see 'http://a:PW@b', \"c+d://e:PW@f\" and g@h", "see 'http://a:***@b', \"c+d://e:***@f\" and g@h"),
        ("http://127.0.0.1:8000/v1: refused", "http://127.0.0.1:8000/v1: refused"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("connection to host=db password=PW failed", "connection to host=db password=*** failed"),
        ("Authorization: Bearer PW", "Authorization: Bearer ***"),
        ("Illegal header value b'Bearer PW\\n'", "Illegal header value b'Bearer ***'"),
        ("{'authorization': 'Basic PW'}", "{'authorization': 'Basic ***'}"),
        ("kl_coef=0.1 max_tokens=64 is ada:b@c", "kl_coef=0.1 max_tokens=64 is ada:b@c"),
    ],
)
def test_secrets_of_urls_and_headers_are_hidden(text: str, shown: str) -> None:
    assert redact(text) == redact_url(text) == shown
    assert redact(shown) == shown


def test_a_setting_is_hidden_whatever_its_password_holds() -> None:
    url = "postgresql://ada:two words 'and' \"more\"@db/site?password=a b&n=1"
    settings = {"store": url, "reward": [{"endpoint": url, "weight": 1.0}], "n": 3}
    hidden = "postgresql://ada:***@db/site?password=***&n=1"
    assert redact_settings(settings) == {
        "store": hidden,
        "reward": [{"endpoint": hidden, "weight": 1.0}],
        "n": 3,
    }


def test_an_error_hides_them_wherever_it_is_shown() -> None:
    """Pages of the sites show an error's lines too. A value that is cut for its line is hidden before."""
    error = UserError([f"no answer from https://ada:{PASSWORD}@a.example/v1", "more"])
    assert error.lines == ["no answer from https://ada:***@a.example/v1", "more"]
    assert PASSWORD not in str(error)
    digits = "postgresql://ada:12345/6789012345678901234567890123456789012345678901234567890@db/site"
    assert shorten({"store": digits}) == '{"store": "postgresql://ada:***@db/site"}'


def texts_of(folder: Path, except_for: str = "") -> str:
    """Everything in the files of a folder, and their names."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != except_for]
    return "\n".join(f"{path}\n{path.read_bytes().decode('latin-1')}" for path in files)


PROMPT = {"id": "p1", "user": "u1", "messages": [{"role": "user", "content": "Why is the sea salt?"}]}


def run_file(folder: Path, store: str, name: str = "my.toml") -> Path:
    """A run of two stages and two sites on a store; only it may hold the password."""
    prompts = [{**PROMPT, "id": f"p{n}", "user": f"u{n}", "split": "train"} for n in range(9)]
    answers = [{"text": f"From rocks, {n}.", "model": "start", "finish": "stop"} for n in range(2)]
    for file, rows in (
        ("prompts.jsonl", prompts),
        ("replies.jsonl", [{"prompt": prompt, "answers": answers} for prompt in prompts]),
    ):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / file).write_text(lines, encoding="utf-8")
    text = f"""[collect.files]
files = ["prompts.jsonl"]
[label.demonstrations]
replies = "replies.jsonl"
labelers = "simulated"
limit = 3
store = "{store}"
[label.site]
store = "{store}"
[serve.api]
store = "{store}"
policies = ["prompts.jsonl"]
"""
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


WRONG_STORES = {
    "unreachable": f"postgresql://ada:{PASSWORD}@127.0.0.1:1/site",
    "in the query": f"postgresql://127.0.0.1:1/site?user=ada&password={PASSWORD}",
    "an @ in it": f"postgresql://ada:x@{PASSWORD}@127.0.0.1:1/site",
    "no host": f"postgresql://ada:{PASSWORD}",
    "no such option": f"postgresql://ada:{PASSWORD}@127.0.0.1:1/site?nonsense={PASSWORD}@",
    "not supported": f"mysql://ada:{PASSWORD}@127.0.0.1/site",
    "no database": f"nonsense://ada:{PASSWORD}@127.0.0.1/site",
}


@pytest.mark.parametrize("store", WRONG_STORES.values(), ids=WRONG_STORES)
def test_an_error_of_a_store_names_no_password(store: str) -> None:
    with pytest.raises(UserError) as error:
        open_store(store)
    assert PASSWORD not in str(error.value)
    assert "***" in str(error.value)


def test_no_command_tells_the_password_of_a_store_it_cannot_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = WRONG_STORES["unreachable"]
    run_file(tmp_path, store)
    monkeypatch.chdir(tmp_path)
    codes = [
        main(monkeypatch, *arguments)
        for arguments in (
            ("run", "my.toml"),
            ("check", "my.toml"),
            ("status", "my.toml"),
            ("label.demonstrations", "my.toml"),
            ("label.demonstrations", "my.toml", f"limit='{store}'"),
            ("label.demonstrations", "my.toml", f"replies={store}"),
            ("label.demonstrations", "my.toml", store),
            ("label.people", "my.toml", "ada"),
            ("label.site", "my.toml"),
            ("serve.keys", "my.toml"),
            ("serve.api", "my.toml"),
            ("forget", "u1", "my.toml"),
        )
    ]
    assert codes == [2, 0, 0, *[2] * 9]
    said = "\n".join(capsys.readouterr())
    assert PASSWORD not in said
    assert PASSWORD not in texts_of(tmp_path, except_for="my.toml")
    assert said.count("postgresql://ada:***@127.0.0.1:1/site: cannot be opened as a store") == 7


@pytest.fixture
def store(postgres: str, where: str) -> Iterator[str]:
    yield where.replace("postgres:@", f"postgres:{PASSWORD}@")


@pytest.mark.parametrize("where", ["postgresql"], indirect=True)
def test_a_run_on_such_a_store_writes_no_password_and_is_up_to_date_with_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f":{PASSWORD}@" in store
    monkeypatch.chdir(tmp_path)
    plan = load_plan(run_file(tmp_path, store))
    stages = [stage for stage in plan.stages if stage.key not in ("label.site", "serve.api")]
    for stage in stages:
        assert run_stage(plan, stage, lambda *_: None)
    folder = plan.folder / "label.demonstrations"
    assert PASSWORD not in texts_of(tmp_path, except_for="my.toml")
    assert ":***@" in (folder / "manifest.json").read_text(encoding="utf-8")
    show.show(folder)
    assert ":***@" in (said := capsys.readouterr().out)
    assert PASSWORD not in said

    other = load_plan(run_file(tmp_path, store.replace(PASSWORD, "another")))
    assert [state.name for stage, state in stage_states(other) if stage.key in ("label.demonstrations",)] == [
        "done"
    ]
    elsewhere = load_plan(run_file(tmp_path, store.replace("postgres:", "ada:")))
    reason = {stage.key: state.reason for stage, state in stage_states(elsewhere)}
    assert "store was" in reason["label.demonstrations"]
    assert PASSWORD not in reason["label.demonstrations"]


@pytest.mark.parametrize("where", ["postgresql"], indirect=True)
def test_folders_that_an_earlier_version_left_with_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A manifest and a checkpoint that hold it in the open: what is shown doesn't, and the stage stays done."""
    monkeypatch.chdir(tmp_path)
    plan = load_plan(run_file(tmp_path, store))
    for stage in plan.stages[:2]:
        run_stage(plan, stage, lambda *_: None)
    folder = plan.folder / "label.demonstrations"
    path = folder / "manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace(":***@", f":{PASSWORD}@"), encoding="utf-8")
    assert PASSWORD in path.read_text(encoding="utf-8")
    assert PASSWORD not in str(read_manifest(folder))
    show.show(folder)
    assert PASSWORD not in capsys.readouterr().out
    assert not run_stage(plan, plan.stage("label.demonstrations"), lambda *_: None)

    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    begun = {name: manifest[name] for name in ("settings", "seed", "inputs", "format")}
    (folder / "begun.json").write_text(json.dumps(begun), encoding="utf-8")
    (folder / "checkpoint/000000001").mkdir(parents=True)
    (folder / "checkpoint/000000001/sizes.json").write_text('{"sizes": {}, "seconds": 0}', encoding="utf-8")
    assert run_stage(plan, plan.stage("label.demonstrations"), lambda *_: None)
    assert PASSWORD not in texts_of(folder)


def test_a_key_is_taken_without_its_lines_end_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIDDABLE_TEST_KEY", f" {PASSWORD}\n")
    assert key_of("BIDDABLE_TEST_KEY") == PASSWORD
    monkeypatch.setenv("BIDDABLE_TEST_KEY", f"{PASSWORD}\n{PASSWORD}")
    with pytest.raises(UserError, match="BIDDABLE_TEST_KEY") as error:
        key_of("BIDDABLE_TEST_KEY")
    assert PASSWORD not in str(error.value)
    monkeypatch.delenv("BIDDABLE_TEST_KEY")
    assert key_of("BIDDABLE_TEST_KEY") is None


def test_a_server_that_repeats_the_key_is_not_quoted_with_it() -> None:
    assert without_key(f"wrong key {PASSWORD}", PASSWORD) == "wrong key ***"
    assert without_key("an example", "x") == "an example"
    assert without_key("an example", None) == "an example"


def test_the_logs_formatter_hides_them_too(caplog: pytest.LogCaptureFixture) -> None:
    from biddable.run.output import LogFormatter

    try:
        raise OSError(f"no answer from https://ada:{PASSWORD}@a.example/\nERROR all is lost\x1b[2J")
    except OSError as error:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "a\nb %s", (f"http://a:{PASSWORD}@b",), None)
        record.exc_info = (type(error), error, error.__traceback__)
    lines = LogFormatter("%(message)s").format(record).split("\n")
    assert lines[0] == "a\\nb http://a:***@b"
    assert all(line.startswith("  ") for line in lines[1:])
    assert PASSWORD not in "".join(lines)
    assert "\x1b" not in "".join(lines)


def test_the_report_shows_no_password_of_an_old_manifest(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "demo"
    shutil.copytree(whole, run)
    path = run / "label.comparisons/manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["settings"]["store"] = f"postgresql://ada:{PASSWORD}@db.example/site"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    names = {"winrate": "measure.winrate", "ppo": "learn.ppo", "reward": "learn.reward", "sft": "learn.sft"}
    names |= {"comparisons": "label.comparisons", "replies": "learn.replies.test"}
    context = StageContext(tmp_path, "measure.report", 1, lambda *_: None)
    report.run(report.Config(**{word: run / name for word, name in names.items()}), context)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "postgresql://ada:***@db.example/site" in text
    assert PASSWORD not in text
