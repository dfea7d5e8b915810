"""Forgetting a person: labels and tasks go on both databases, what points at them lets go, others stay,
folders are listed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from biddable.cli import forget as forgetting
from biddable.run.config import UserError
from biddable.run.plan import load_plan
from biddable.store import erase
from biddable.store.store import Store, open_store
from biddable.store.types import Person, Task, TaskSet

ANN, BOB = Person("ann-id", "ann", "training", False), Person("bob-id", "bob", "training", False)


def question(user: str) -> str:
    return json.dumps(
        {"prompt": {"id": "p", "user": user, "messages": []}, "answers": []}, ensure_ascii=False
    )


def filled(where: str | Path) -> Store:
    opened = open_store(where)
    opened.add_people([ANN, BOB])
    guideline = opened.add_guideline("training", "Be helpful.")
    wanted = [
        Task("t1", question("jade-newt"), 2),
        Task("t2", question('o"dd %_ü'), 2),
        Task("t3", question("ann"), 1),
    ]
    opened.put_tasks(TaskSet("s", "kind", "training", False), wanted)
    for person in (ANN, BOB):
        while leased := opened.lease("s", person.id, 60):
            opened.add_label(leased[0], person.id, f"said by {person.id}", guideline)
    label = next(one for one in opened.labels("s") if one.person == ANN and one.task == "t1")
    opened.add_label("t1", ANN.id, "ann corrects", guideline, replaces=label.id)
    return opened


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with filled(tmp_path / "store.db") as opened:
        yield opened


@pytest.mark.parametrize("where", ["postgresql"], indirect=True)
def test_postgresql_forgets_too(where: str) -> None:
    with filled(where) as store:
        erase.erase_person(store, 'o"dd %_ü', really=True)
        assert {task for task, _ in left(store)} == {"t1", "t3"}
        assert (
            erase.erase_person(store, "ann", really=False)["labels"] == 3
        )  # hers on t1 with its correction, and hers on t3
        erase.erase_person(store, "ann", really=True)
        assert left(store) == {("t1", "bob-id")}, "t3 showed a prompt of a user called ann"
        with pytest.raises(sa.exc.DBAPIError, match="append only"), store.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM labels")


def left(store: Store) -> set[tuple[str, str]]:
    return {(one.task, one.person.id) for one in store.labels("s")}


def test_a_labeler_goes_with_labels_and_the_seats_are_free_again(store: Store) -> None:
    before = left(store)
    assert erase.erase_person(store, "bob", really=False)["labels"] == sum(
        who == "bob-id" for _, who in before
    )
    assert left(store) == before and len(store.people()) == 2
    erase.erase_person(store, "bob", really=True)
    assert left(store) == {pair for pair in before if pair[1] == "ann-id"}
    assert [one.pseudonym for one in store.people()] == ["ann"]
    assert store.counts("s").open == sum(who == "bob-id" for _, who in before)
    assert erase.erase_person(store, "bob", really=True) == {}


def test_a_user_goes_with_the_tasks_that_show_their_prompts(store: Store) -> None:
    gone = erase.erase_person(store, 'o"dd %_ü', really=True)
    assert gone["tasks"] == 1 and {task for task, _ in left(store)} == {"t1", "t3"}
    assert len(store.people()) == 2


def test_labels_cannot_be_changed_afterwards_either(store: Store) -> None:
    erase.erase_person(store, "jade-newt", really=True)
    for statement in ("DELETE FROM labels", "UPDATE labels SET answer = 'x'"):
        with pytest.raises(sa.exc.DBAPIError, match="append only"), store.engine.begin() as connection:
            connection.exec_driver_sql(statement)


def test_nothing_of_the_person_is_left_in_the_file(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db") as store:
        store.put_tasks(TaskSet("s", "kind", "training", False), [Task("t", question("jade-newt-of-old"))])
        erase.erase_person(store, "jade-newt-of-old", really=True)
    assert all(b"jade-newt-of-old" not in path.read_bytes() for path in tmp_path.iterdir())


def test_folders_and_sources_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    row = {"id": "p1", "user": "jade-newt", "messages": [{"role": "user", "content": "Mail a@b.org"}]}
    others = [
        {**row, "id": f"q{n}", "user": f"user-{n}", "messages": [{"role": "user", "content": f"Why {n}?"}]}
        for n in range(30)
    ]
    (tmp_path / "mine.jsonl").write_text(
        "".join(json.dumps(one) + "\n" for one in [row, *others]), encoding="utf-8"
    )
    (tmp_path / "r.toml").write_text(
        '[collect.files]\nfiles = ["mine.jsonl"]\n[curate.prompts]\n', encoding="utf-8"
    )
    plan = load_plan(Path("r.toml"))
    from biddable.run.runner import run_stage

    for stage in plan.stages:
        run_stage(plan, stage, lambda *_: None)
    vault = Path("runs/r/personal/curate.prompts.jsonl")
    assert "a@b.org" in vault.read_text(encoding="utf-8") and vault.stat().st_mode & 0o077 == 0
    looked = list(forgetting.describe(forgetting.forget_person(plan, "jade-newt", really=False), False))
    assert (
        looked[0].startswith("would be removed: 1 ")
        and "nothing was changed" in looked[-1]
        and vault.exists()
    )
    found = forgetting.forget_person(plan, "jade-newt", really=True)
    assert [(place.name, place.rows) for place in found.removed] == [(str(vault), 1)]
    assert not vault.exists()
    assert [Path(place.name).name for place in found.holding] == ["collect.files", "curate.prompts"]
    assert [place.name for place in found.sources] == ["mine.jsonl"]
    with pytest.raises(UserError, match="nothing of such a person"):
        forgetting.forget_person(plan, "nobody", really=True)
