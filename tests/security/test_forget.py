"""A person who is forgotten is nowhere any more, in the stores and folders of every run; what remains and what
could not be searched is told with the reason."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import argon2
import pytest
import sqlalchemy as sa

from biddable.cli.forget import describe, forget_person
from biddable.run import traces, turn_log
from biddable.run.config import UserError
from biddable.run.plan import Plan, load_plan
from biddable.run.runner import run_stage
from biddable.store import erase, reviews, screening
from biddable.store.accounts import Accounts
from biddable.store.api_keys import Keys
from biddable.store.store import Store, open_store
from biddable.store.tables import leases
from biddable.store.types import Task, TaskSet
from tests.conftest import Clock
from tests.security.test_store import turn_of

PASSWORD = "nine quiet horses"
WHO = "jade-newt"


def everything(store: Store) -> str:
    """All rows of all tables, as text."""
    with store.read() as connection:
        tables = sa.MetaData()
        tables.reflect(connection)
        rows = (row for table in tables.sorted_tables for row in connection.execute(sa.select(table)))
        return "\n".join(map(str, rows))


@pytest.fixture
def store(where: str, clock: Clock) -> Iterator[Store]:
    with open_store(where, clock, durable=False) as opened:
        yield opened


def test_ids_of_places_and_admins_notes_name_nobody(store: Store) -> None:
    accounts = Accounts(store)
    accounts._hasher = argon2.PasswordHasher(1, 64, 1)
    boss, eve, bob = (
        accounts.add(name, PASSWORD, role)
        for name, role in (("boss", "admin"), ("eve", "admin"), ("bob", "labeler"))
    )
    who = eve.person.pseudonym
    guideline = store.add_guideline("training", "Be helpful.")
    everybody = TaskSet("all", "label.any", "training", False, everybody=True)
    store.put_tasks(everybody, [Task(f"all#{n}", "{}") for n in range(3)])
    store.put_tasks(TaskSet("s", "label.any", "training", False), [Task("s#0", "{}", 2)])
    labels = {}
    for account in (eve, bob):
        for name in ("all", "s"):
            task = store.lease(name, account.person.id, 60)
            assert task is not None
            labels[account.login, name] = store.add_label(task[0], account.person.id, "{}", guideline)
    assert store.lease("all", eve.person.id, 60)  # one answered, one not
    # a place that an earlier version freed without removing it
    orphan = {"id": f"all#2/{eve.person.id}", "task": "all#2", "task_set": "all", "priority": 0, "until": 0.0}
    store.write(lambda connection: connection.execute(sa.insert(leases), orphan))
    reviews.review(store, "s#0", "returned", labels["eve", "s"], boss.id, "Eve Example always does this")
    reviews.review(
        store, "s#0", "returned", labels["bob", "s"], boss.id, f"better as eve ({who}) has it, evening"
    )
    reviews.review(store, "s#0", "open", None, eve.id, f"{who} was right")
    screening.grade_label(store, labels["bob", "s"], 5, eve.id, "as good as eve's")
    before = everything(store)
    assert who in before and "'eve'" in before

    counted = erase.erase_person(store, who, really=False)
    assert everything(store) == before
    assert erase.erase_person(store, who, really=True) == counted
    after = everything(store)
    assert not [name for name in (who, eve.id, "Eve Example", "'eve'") if name in after]
    assert "better as (forgotten) ((forgotten)) has it, evening" in after
    assert "as good as (forgotten)'s" in after
    assert labels["bob", "s"] in after and bob.person.pseudonym in after


def write_lines(path: Path, *rows: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


PROMPTS = [
    {
        "id": f"p{n}",
        "user": WHO if n == 0 else f"user-{n}",
        "messages": [{"role": "user", "content": f"Why {n}?"}],
    }
    for n in range(4)
]


def make_run(name: str, extra: str = "") -> Plan:
    Path(f"{name}.toml").write_text(
        f'name = "{name}"\n[collect.files]\nfiles = ["{name}.jsonl"]\n{extra}', encoding="utf-8"
    )
    write_lines(Path(f"{name}.jsonl"), *PROMPTS)
    plan = load_plan(Path(f"{name}.toml"))
    run_stage(plan, plan.stage("collect.files"), lambda *_: None)
    return plan


def give_key(store_file: Path) -> str:
    """A store with the key of somebody who served themselves; returns their pseudonym."""
    with open_store(store_file) as store:
        Keys(store).add("Jade Example")
        return Keys(store).all()[0].pseudonym


def test_the_stores_of_runs_beside_this_one_forget_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their turns went before, while keys and consents stayed, untold."""
    monkeypatch.chdir(tmp_path)
    plan = make_run("mine")
    who = give_key(Path("runs/other/store.db"))
    turn_log.append(Path("runs/other/turns"), turn_of(who))
    turn_log.append(Path("runs/third/turns"), turn_of(who))  # whose store only its file names
    seen = forget_person(plan, who, really=False)
    done = forget_person(plan, who, really=True)
    assert done == seen
    assert [(place.name, place.rows, place.what) for place in done.removed] == [
        ("runs/other/store.db", 1, "rows of api_keys"),
        ("runs/other/turns", 1, "turns and feedback"),
        ("runs/third/turns", 1, "turns and feedback"),
    ]
    with open_store("runs/other/store.db") as store:
        assert "Jade Example" not in everything(store)
    ((reason, names),) = done.unsearched.items()
    assert names == ["runs/third"] and "keys and consents" in reason
    assert all(who.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_store_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this run: nothing is removed. Of another: all else is, and it is told which and why."""
    monkeypatch.chdir(tmp_path)
    plan = make_run("mine")
    other = make_run("other")
    manifest = Path("runs/other/collect.files/manifest.json")
    content = json.loads(manifest.read_text(encoding="utf-8"))
    content["settings"]["store"] = "postgresql://ada:***@127.0.0.1:1/site"
    manifest.write_text(json.dumps(content), encoding="utf-8")
    turns = Path("runs/other/turns")
    turn_log.append(turns, turn_of(WHO))
    done = forget_person(plan, WHO, really=True)
    (reason,) = (
        reason
        for reason, names in done.unsearched.items()
        if "postgresql://ada:***@127.0.0.1:1/site" in names
    )
    assert "the run other" in reason and "that run's file" in reason
    assert [place.name for place in done.removed] == ["runs/other/turns"]

    turn_log.append(turns, turn_of(WHO))
    store = "postgresql://ada:Hunter2@127.0.0.1:1/site"
    plan = make_run("mine", f'[label.site]\nstore = "{store}"\n')
    with pytest.raises(UserError, match="cannot be opened") as error:
        forget_person(plan, WHO, really=True)
    assert "Hunter2" not in str(error.value)
    assert traces.count_rows(turns / turn_log.TURNS, WHO) == 1
    assert other.name == "other"


def test_checkpoints_and_deeper_folders_are_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = make_run("mine")
    runs = Path("runs/other")
    learned = {"settings": {}, "seed": 1, "format": 1}
    arrow = {"name": "collect.files", "path": "runs/mine/collect.files", "content": "x"}
    write_lines(runs / "learn.sft/begun.json", {**learned, "inputs": {"prompts": [arrow]}})
    write_lines(runs / "learn.replies/begun.json", {**learned, "inputs": {}})
    write_lines(
        runs / "learn.replies/checkpoint/000000002/state/rows.jsonl", {"prompt": {"user": WHO}}, {"n": 1}
    )
    write_lines(runs / "label.x/begun.json", {**learned, "inputs": {}})
    (runs / "label.x/tables").mkdir()
    (runs / "label.x/tables/by_labeler.csv").write_text(f"labeler,n\n{WHO},3\n{WHO}s,4\n", encoding="utf-8")
    (runs / "label.x/summary.json").write_text(json.dumps({"labelers": {WHO: 3}}, indent=2), encoding="utf-8")
    (runs / "label.x/report.html").write_text(f"<td>{WHO}</td>\n<p>{WHO}er</p>", encoding="utf-8")
    with gzip.open(runs / "label.x/old.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps({"labeler": WHO}) + "\n")
    (runs / "notes.md").write_text(f"ask {WHO} again\n", encoding="utf-8")
    (runs / "state.bin").write_bytes(bytes(70000) + WHO.encode() + bytes(9))
    (runs / "model.safetensors").write_bytes(b"\0" * 64)
    (runs / "packed.parquet").write_bytes(b"PAR1" + WHO.encode())
    (runs / "broken.jsonl.gz").write_bytes(b"\x1f\x8b" + bytes(30))
    done = forget_person(plan, WHO, really=True)
    assert {place.name: place.rows for place in done.holding} == {
        "runs/mine/collect.files": 1,
        "runs/other/learn.replies": 1,
        "runs/other/label.x": 4,
        "runs/other/notes.md": 1,
        "runs/other/state.bin": 1,
    }
    assert [path.relative_to(tmp_path).as_posix() for path in done.made_from] == ["runs/other/learn.sft"]
    assert {place.name: place.rows for place in done.sources} == {"mine.jsonl": 1}
    reasons = {names[0]: reason for reason, names in done.unsearched.items()}
    assert set(reasons) == {
        "runs/other/model.safetensors",
        "runs/other/packed.parquet",
        "runs/other/broken.jsonl.gz",
    }
    assert "numbers only" in reasons["runs/other/model.safetensors"]
    lines = list(describe(done, True))
    assert f"not searched: runs/other/packed.parquet: {reasons['runs/other/packed.parquet']}" in lines
    assert any("runs/other/notes.md" in line and "by hand" in line for line in lines)
    assert any(line.endswith("rm -r runs/other/learn.replies") for line in lines)


@pytest.mark.parametrize("name", ["u1", "7", 'Zoë \u2028 "O\'Hara" <a&b>', "jade_newt"])
def test_names_of_any_form_are_found_where_they_stand_as_names(tmp_path: Path, name: str) -> None:
    rows = [{"user": name}, {"user": f"{name}x"}, {"x": [{"labeler": name}]}, {"text": f"said {name}"}]
    for ascii_only in (True, False):
        path = tmp_path / "rows.jsonl"
        lines = [json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows]
        path.write_text("".join(lines), encoding="utf-8")
        assert traces.count_rows(path, name) == 2
    assert traces.count_rows(path, "nobody") == 0


def test_a_short_name_in_a_text_is_told_and_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("<p>7 of 9</p>", encoding="utf-8")
    with pytest.raises(UserError, match="too short"):
        traces.count_rows(path, "7")
    assert traces.count_rows(path, "8") == 0
