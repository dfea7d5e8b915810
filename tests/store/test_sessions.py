"""Sessions: how they begin, end by themselves, are revoked; and how many wrong passwords are too many."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.accounts import Accounts
from biddable.store.audit import audit_log
from biddable.store.login_attempts import WINDOW_SECONDS, TooManyAttempts
from biddable.store.sessions import (
    IDLE_SECONDS,
    LAST_USED_SECONDS,
    MOST_ATTEMPTS,
    SESSION_SECONDS,
    list_sessions,
    log_in,
    log_out,
    revoke_sessions,
    session_account,
)
from biddable.store.store import Store
from biddable.store.tokens import hash_token
from biddable.store.types import Session
from tests.conftest import Clock

PASSWORD = "quiet river lanterns"


def enter(accounts: Accounts, login: str = "ann", agent: str = "Firefox") -> str:
    return log_in(accounts, login, PASSWORD, "10.0.0.1", agent)


def test_a_token_leads_to_its_account_and_only_its_hash_is_stored(store: Store, accounts: Accounts) -> None:
    ann, ben = (accounts.add(login, PASSWORD, "labeler") for login in ("ann", "ben"))
    token = enter(accounts, " ANN ")
    assert session_account(store, token) == ann
    assert session_account(store, enter(accounts, "ben")) == ben
    assert session_account(store, token[:-1]) is None and session_account(store, "\ud800") is None
    assert list_sessions(store, ann.id) == [Session(hash_token(token), "Firefox", 1000.0, 1000.0)]
    assert enter(accounts) != token


def test_an_unused_session_ends_to_the_second(store: Store, accounts: Accounts, clock: Clock) -> None:
    ann = accounts.add("ann", PASSWORD, "labeler")
    token = enter(accounts)
    clock.now = 1000.0 + IDLE_SECONDS - 1
    assert len(list_sessions(store, ann.id)) == 1 and session_account(store, token) is not None
    clock.now += IDLE_SECONDS - 1  # it was used a moment ago, which was written down
    assert session_account(store, token) is not None
    clock.now += IDLE_SECONDS
    assert list_sessions(store, ann.id) == [] and session_account(store, token) is None


def test_the_time_of_last_use_is_written_once_a_minute(
    store: Store, accounts: Accounts, clock: Clock
) -> None:
    ann = accounts.add("ann", PASSWORD, "labeler")
    token = enter(accounts)
    for seconds, last_used in ((LAST_USED_SECONDS, 1000.0), (LAST_USED_SECONDS + 1, 1061.0)):
        clock.now = 1000.0 + seconds
        session_account(store, token)
        assert [session.last_used for session in list_sessions(store, ann.id)] == [last_used]


def test_a_session_ends_after_a_month_however_often_it_is_used(
    store: Store, accounts: Accounts, clock: Clock
) -> None:
    ann = accounts.add("ann", PASSWORD, "labeler")
    token = enter(accounts)
    while clock.now < 1000.0 + SESSION_SECONDS - 3600:
        clock.now += 3600
        assert session_account(store, token) is not None
    clock.now = 1000.0 + SESSION_SECONDS - 1
    assert session_account(store, token) is not None
    clock.now = 1000.0 + SESSION_SECONDS
    assert session_account(store, token) is None and list_sessions(store, ann.id) == []
    enter(accounts)  # ended ones are deleted when somebody logs in
    with store.read() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM sessions")).scalar() == 1


def test_revoking_one_session_or_all(store: Store, accounts: Accounts, clock: Clock) -> None:
    ann, ben = (accounts.add(login, PASSWORD, "labeler") for login in ("ann", "ben"))
    first = enter(accounts, "ann", "Firefox")
    clock.now += 1
    second, other = enter(accounts, "ann", "Chrome"), enter(accounts, "ben")
    assert [session.agent for session in list_sessions(store, ann.id)] == ["Chrome", "Firefox"]
    revoke_sessions(store, ben.id, hash_token(first), ben.id)  # not his: nothing ends
    assert session_account(store, first) == ann
    revoke_sessions(store, ann.id, hash_token(first), ann.id)
    assert session_account(store, first) is None and session_account(store, second) == ann
    revoke_sessions(store, ann.id, None, ben.id)
    assert session_account(store, second) is None and session_account(store, other) == ben
    log_out(store, other)
    assert session_account(store, other) is None
    lines = [(line.login, line.about) for line in audit_log(store) if line.action == "sessions ended"]
    assert sorted(lines) == sorted([("ben", ben.id), ("ann", ann.id), ("ben", ann.id)])


def test_closing_an_account_and_a_new_password_end_its_sessions(store: Store, accounts: Accounts) -> None:
    ann, ben = (accounts.add(login, PASSWORD, "labeler") for login in ("ann", "ben"))
    token, other = enter(accounts), enter(accounts, "ben")
    accounts.close(ann.id, ben.id)
    accounts.reopen(ann.id, ben.id)
    assert session_account(store, token) is None
    token = enter(accounts)
    with pytest.raises(UserError, match="present password is not right"):
        accounts.change_password(ann, PASSWORD + "!", "seven yellow tulips")
    assert session_account(store, token) == ann
    accounts.change_password(ann, PASSWORD, "seven yellow tulips")
    assert session_account(store, token) is None and session_account(store, other) == ben
    with pytest.raises(UserError, match="name or password is not right"):
        enter(accounts)
    assert log_in(accounts, "ann", "seven yellow tulips", "10.0.0.1", "Firefox")


def fail(accounts: Accounts, login: str, address: str) -> None:
    with pytest.raises(UserError, match="name or password is not right"):
        log_in(accounts, login, "a wrong password", address, "Firefox")


def test_too_many_wrong_passwords_of_one_name_from_one_address(accounts: Accounts, clock: Clock) -> None:
    accounts.add("ann", PASSWORD, "labeler")
    for _ in range(MOST_ATTEMPTS["pair"]):
        fail(accounts, "ann", "10.0.0.1")
        clock.now += 1  # attempts at 1000, 1001, ... 1004
    with pytest.raises(TooManyAttempts):
        log_in(accounts, "Ann", PASSWORD, "10.0.0.1", "Firefox")  # the right password does not help
    assert log_in(accounts, "ann", PASSWORD, "10.0.0.2", "Firefox")  # its owner, from elsewhere
    clock.now = 1000.0 + WINDOW_SECONDS - 1
    with pytest.raises(TooManyAttempts):
        enter(accounts)
    clock.now = 1000.0 + WINDOW_SECONDS  # the first one counts no more
    assert enter(accounts)
    for _ in range(MOST_ATTEMPTS["pair"]):  # logging in has taken the others back
        fail(accounts, "ann", "10.0.0.1")


def test_too_many_wrong_passwords_of_one_name_or_from_one_address(accounts: Accounts) -> None:
    accounts.add("ann", PASSWORD, "labeler")
    for number in range(MOST_ATTEMPTS["login"]):
        fail(accounts, "ann", f"10.0.1.{number}")
    with pytest.raises(TooManyAttempts):
        log_in(accounts, "ann", PASSWORD, "10.0.2.1", "Firefox")
    for number in range(MOST_ATTEMPTS["address"]):
        fail(accounts, f"guess{number}", "10.0.3.1")
    with pytest.raises(TooManyAttempts):
        log_in(accounts, "somebody", PASSWORD, "10.0.3.1", "Firefox")
