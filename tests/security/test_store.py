"""What the store promises against people who try: spent invitations, the last admin, private files, gold,
clocks that jump, and what errors and logs say."""

from __future__ import annotations

import stat
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import argon2
import pytest
import sqlalchemy as sa

from biddable.run import turn_log
from biddable.run.config import UserError
from biddable.run.output import printable
from biddable.run.records import Answer, Message, Policy, Sampling, Turn
from biddable.store import drafts, erase, gold, sessions
from biddable.store.accounts import Accounts
from biddable.store.invitations import accept_invitation, find_invitation, invite
from biddable.store.store import Store, open_store
from biddable.store.tables import leases, people
from biddable.store.types import Counts, Person, Task, TaskSet
from tests.conftest import Clock

PASSWORD = "nine quiet horses"


@pytest.fixture
def store(where: str, clock: Clock) -> Iterator[Store]:
    with open_store(where, clock, durable=False) as opened:
        yield opened


@pytest.fixture
def accounts(store: Store) -> Accounts:
    accounts = Accounts(store)
    accounts._hasher = argon2.PasswordHasher(1, 64, 1)
    return accounts


def test_an_invitation_stays_spent_when_its_account_is_erased(store: Store, accounts: Accounts) -> None:
    boss = accounts.add("boss", PASSWORD, "admin")
    token = invite(store, boss.id, "admin", "training")
    eve = accept_invitation(accounts, token, "eve", PASSWORD)
    erase.erase_person(store, eve.person.pseudonym, really=True)
    assert find_invitation(store, token) is None
    with pytest.raises(UserError, match="was used"):
        accept_invitation(accounts, token, "eve", PASSWORD)


def test_a_closed_admins_invitations_die_and_stay_dead(store: Store, accounts: Accounts) -> None:
    boss, eve = accounts.add("boss", PASSWORD, "admin"), accounts.add("eve", PASSWORD, "admin")
    dead, alive = (invite(store, account.id, "admin", "training") for account in (eve, boss))
    accounts.close(eve.id, boss.id)
    assert find_invitation(store, dead) is None
    with pytest.raises(UserError, match="ask for another one"):
        accept_invitation(accounts, dead, "mallory", PASSWORD)
    accounts.reopen(eve.id, boss.id)
    assert find_invitation(store, dead) is None
    assert find_invitation(store, alive) is not None


def test_the_last_admin_cannot_be_closed(store: Store, accounts: Accounts) -> None:
    boss, eve = accounts.add("boss", PASSWORD, "admin"), accounts.add("eve", PASSWORD, "admin")
    ada = accounts.add("ada", PASSWORD, "labeler")
    accounts.close(ada.id, boss.id)
    accounts.close(eve.id, boss.id)
    with pytest.raises(UserError, match="the last admin"):
        accounts.close(boss.id, eve.id)
    accounts.reopen(eve.id, boss.id)
    accounts.close(boss.id, eve.id)
    assert [account.login for account in accounts.all() if account.closed is None] == ["eve"]


def test_two_admins_who_close_each_other_at_once(store: Store, accounts: Accounts) -> None:
    boss, eve = accounts.add("boss", PASSWORD, "admin"), accounts.add("eve", PASSWORD, "admin")
    for _ in range(10):
        start, errors = threading.Barrier(2), []

        def close(account: str, by: str, start: threading.Barrier, errors: list[UserError]) -> None:
            start.wait()
            try:
                accounts.close(account, by)
            except UserError as error:
                errors.append(error)

        threads = [
            threading.Thread(target=close, args=(*pair, start, errors))
            for pair in ((boss.id, eve.id), (eve.id, boss.id))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        open_admins = [account.id for account in accounts.all() if account.closed is None]
        assert len(open_admins) == 1 and len(errors) == 1
        for account in (boss, eve):
            accounts.reopen(account.id, open_admins[0])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_stores_files_are_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with open_store(path) as store:
        Accounts(store).cookie_secret()
        files = sorted(tmp_path.glob("store.db*"))
        assert {file.name: mode(file) for file in files} == dict.fromkeys(
            ("store.db", "store.db-shm", "store.db-wal"), 384
        )
    path.chmod(0o644)  # as earlier versions left it
    open_store(path).close()
    assert mode(path) == 0o600


def turn_of(user: str) -> Turn:
    return Turn(
        id=user,
        conversation="k",
        user=user,
        time="2026-11-21T10:15:00Z",
        messages=(Message(role="user", content="Name a fruit."),),
        answer=Answer(text="An apple.", model="learn.ppo"),
        policy=Policy(folder="runs/demo/learn.ppo", content="9f86"),
        sampling=Sampling(max_tokens=8),
        consent="consent-1",
    )


def test_turns_stay_private_after_a_deletion(tmp_path: Path) -> None:
    turns = tmp_path / turn_log.TURNS
    for user in ("ann", "bob"):
        turn_log.append(tmp_path, turn_of(user))
    assert turn_log.forget(tmp_path, "ann")[0] == 1
    assert mode(turns) == 0o600
    turns.chmod(0o644)
    turn_log.append(tmp_path, turn_of("cy"))
    assert mode(turns) == 0o600


def with_gold(store: Store) -> None:
    store.add_people([Person("ada", "ada-1", "training", False)])
    golden = TaskSet("s/gold", "label.any", "training", False)
    gold.put_gold(store, golden, [(Task(f"s#g{n}", '{"answers": []}'), "{}") for n in range(3)])
    main = TaskSet("s", "label.any", "training", False, gold="s/gold", gold_share=0.5)
    store.put_tasks(main, [Task(f"s#t{n}", '{"answers": []}') for n in range(3)])


def test_nobody_can_ask_for_gold(store: Store) -> None:
    """By the name of the gold's set nothing comes; mixed in it still does."""
    with_gold(store)
    assert store.lease("s/gold", "ada", 60) is None
    tasks = []
    while lease := store.lease("s", "ada", 60):
        store.add_label(lease[0], "ada", "{}", store.add_guideline("training", "x"))
        tasks.append(lease[0])
    assert {"s#t0", "s#t1", "s#t2"} <= set(tasks)


def test_a_skipped_task_for_everybody_leaves_no_place(store: Store) -> None:
    store.add_people([Person("ada", "ada-1", "training", False)])
    store.put_tasks(
        TaskSet("s", "label.any", "training", False, everybody=True), [Task("t0", "{}"), Task("t1", "{}")]
    )
    lease = store.lease("s", "ada", 60)
    assert lease is not None and lease[0] == "t0"
    drafts.skip_task(store, "t0", "ada", False, "")
    assert store.counts("s") == Counts(0, 0, 0)
    lease = store.lease("s", "ada", 60)
    assert lease is not None and lease[0] == "t1"


def test_a_clock_that_jumped_blocks_no_task_for_longer_than_a_day(store: Store, clock: Clock) -> None:
    """A lease of half an hour, taken while the clock stood ten years ahead, is free when it is right again;
    one that is live by the right clock is not."""
    store.add_people([Person(name, f"{name}-1", "training", False) for name in ("ada", "bob", "cy")])
    store.put_tasks(TaskSet("s", "label.any", "training", False), [Task("t0", "{}"), Task("t1", "{}")])
    right = clock.now
    clock.now = right + 10 * 365 * 86400
    assert store.lease("s", "ada", 1800) is not None
    clock.now = right
    leased = [lease and lease[0] for lease in (store.lease("s", person, 1800) for person in ("bob", "cy"))]
    assert leased == ["t0", "t1"]
    store.add_people([Person("dan", "dan-1", "training", False)])
    assert store.lease("s", "dan", 1800) is None


def test_a_clock_that_jumped_blocks_no_login(accounts: Accounts, store: Store, clock: Clock) -> None:
    accounts.add("ann", PASSWORD, "labeler")
    right = clock.now
    clock.now = right + 10 * 365 * 86400
    for _ in range(5):
        with pytest.raises(UserError):
            sessions.log_in(accounts, "ann", "wrong", "10.0.0.1", "x")
    clock.now = right
    assert sessions.log_in(accounts, "ann", PASSWORD, "10.0.0.1", "x")


def test_a_database_error_names_no_values(store: Store) -> None:
    """In none of the errors of its chain: neither as parameters, nor as PostgreSQL's DETAIL or in its complaint
    about a value."""
    row = {"id": "ada", "pseudonym": "secret-heron", "panel": "training", "simulated": False, "created": 1.0}
    logged = ""
    for rows in ([row, {**row, "id": "bob"}], {**row, "panel": None}):
        with pytest.raises(sa.exc.IntegrityError) as error:
            store.write(lambda connection, rows=rows: connection.execute(sa.insert(people), rows))  # type: ignore[misc]
        logged += "".join(traceback.format_exception(error.value))
    if store.engine.dialect.name == "postgresql":
        query = sa.select(sa.cast(sa.literal("secret-heron"), sa.Integer))
        with pytest.raises(sa.exc.DBAPIError, match="SQLSTATE 22P02") as error, store.read() as connection:
            connection.execute(query)
        logged += "".join(traceback.format_exception(error.value))
        assert "violates unique constraint" in logged
    assert "hidden" in logged
    assert "secret-heron" not in logged.replace('"pseudonym": "secret-heron"', "")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/task", "/task"),
        ("/a\r\nERROR all is lost", "/a\\r\\nERROR all is lost"),
        ("/\x1b[2Jgone\u2028\x85\u202e", "/\\x1b[2Jgone\\u2028\\x85\\u202e"),
        ("/café/\\n", "/café/\\\\n"),
    ],
)
def test_a_path_writes_one_line_into_the_log(path: str, line: str) -> None:
    assert printable(path) == line


def test_a_place_made_for_somebody_goes_with_them(store: Store) -> None:
    """At a task for everybody: the row's id holds the pseudonym, and nobody else could take it."""
    store.add_people([Person("ada", "ada-1", "training", False)])
    store.put_tasks(TaskSet("s", "label.any", "training", False, everybody=True), [Task("t0", "{}")])
    assert store.lease("s", "ada", 60) is not None
    erase.erase_person(store, "ada-1", really=True)
    with store.read() as connection:
        assert connection.execute(sa.select(leases.c.id)).scalars().all() == []


def test_a_forgotten_persons_names_are_nowhere(store: Store, accounts: Accounts) -> None:
    """The note of the invitation, the log's lines and the name as a reviewer go; others' lines stay."""
    boss = accounts.add("boss", PASSWORD, "admin")
    token = invite(store, boss.id, "admin", "training", "Eve Example, eve@example.org")
    invite(store, boss.id, "labeler", "training", "Bob Example")
    eve = accept_invitation(accounts, token, "eve", PASSWORD)
    erase.erase_person(store, eve.person.pseudonym, really=True)
    with store.read() as connection:
        tables = sa.MetaData()
        tables.reflect(connection)
        text = "\n".join(
            str(row) for table in tables.sorted_tables for row in connection.execute(sa.select(table))
        )
    assert "Eve Example" not in text and "eve@" not in text and eve.person.pseudonym not in text
    assert "'eve'" not in text and "admin, training: (forgotten)" in text
    assert text.count("Bob Example") == 2  # the note, and the line in the log
