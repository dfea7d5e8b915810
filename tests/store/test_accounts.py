"""Accounts, invitations, and the log of what was done with them."""

from __future__ import annotations

import pytest

from biddable.run.config import UserError
from biddable.store.accounts import Accounts
from biddable.store.audit import MOST_ABOUT, audit_log, log_action
from biddable.store.invitations import (
    accept_invitation,
    find_invitation,
    invite,
    list_invitations,
    withdraw_invitation,
)
from biddable.store.store import Store
from tests.conftest import Clock

PASSWORD = "quiet river lanterns"


def test_an_account_has_a_person_with_a_pseudonym_of_its_own(store: Store, accounts: Accounts) -> None:
    ann = accounts.add("Ann", PASSWORD, "labeler", "held_out")
    assert (ann.login, ann.role, ann.created, ann.closed) == ("ann", "labeler", 1000.0, None)
    assert (ann.person.panel, ann.person.simulated) == ("held_out", False)
    assert "ann" not in ann.person.pseudonym and ann.person in store.people()
    with pytest.raises(UserError, match="the name ann is taken"):
        accounts.add("ANN ", PASSWORD, "labeler")
    assert accounts.all() == [ann]


@pytest.mark.parametrize("login", ["a", "x" * 65, "zero\u200bwidth", "<b>"])
def test_names_that_can_not_be(accounts: Accounts, login: str) -> None:
    with pytest.raises(UserError, match="must have 2 to 64 letters"):
        accounts.add(login, PASSWORD, "labeler")
    assert accounts.all() == []


@pytest.mark.parametrize(
    ("password", "error"),
    [
        ("nine char", "at least 10 characters"),
        ("lanterns " * 56, "at least 10 characters"),  # 504
        ("my Ann lanterns", "easy to guess"),
        ("abcdabcdabcd", "easy to guess"),  # four different characters
    ],
)
def test_passwords_that_can_not_be(accounts: Accounts, password: str, error: str) -> None:
    with pytest.raises(UserError, match=error):
        accounts.add("ann", password, "labeler")


def test_an_open_accounts_password_matches_and_no_other(accounts: Accounts) -> None:
    ann = accounts.add("ann", PASSWORD, "labeler")
    assert accounts.password_matches("ann", PASSWORD)
    assert not accounts.password_matches("ann", PASSWORD[:-1])
    assert not accounts.password_matches("ann", PASSWORD * 26)  # 520 characters are not even hashed
    assert not accounts.password_matches("zoe", PASSWORD)
    accounts.close(ann.id, ann.id)
    assert not accounts.password_matches("ann", PASSWORD)
    with pytest.raises(UserError, match="no such open account"):
        accounts.close(ann.id, ann.id)
    accounts.reopen(ann.id, ann.id)
    assert accounts.password_matches("ann", PASSWORD)


def test_the_cookie_secret_is_made_once(store: Store, accounts: Accounts) -> None:
    secret = accounts.cookie_secret()
    assert len(secret) == 32 and secret == accounts.cookie_secret() == Accounts(store).cookie_secret()


def test_an_invitation_makes_one_account(store: Store, accounts: Accounts, clock: Clock) -> None:
    boss = accounts.add("boss", PASSWORD, "admin")
    token = invite(store, boss.id, "labeler", "held_out", "for Ann")
    (invitation,) = list_invitations(store)
    assert invitation == find_invitation(store, token)
    assert (invitation.note, invitation.expires_at, invitation.used) == ("for Ann", 1000.0 + 7 * 86400, False)
    with pytest.raises(UserError, match="at least 10 characters"):
        accept_invitation(accounts, token, "ann", "short")
    ann = accept_invitation(accounts, token, "ann", PASSWORD)
    assert (ann.role, ann.person.panel) == ("labeler", "held_out")
    assert find_invitation(store, token) is None and list_invitations(store)[0].used
    with pytest.raises(UserError, match="was used, taken back, or is too old"):
        accept_invitation(accounts, token, "ben", PASSWORD)
    assert sorted(account.login for account in accounts.all()) == ["ann", "boss"]


def test_an_invitation_ends_to_the_second_or_when_it_is_withdrawn(
    store: Store, accounts: Accounts, clock: Clock
) -> None:
    boss = accounts.add("boss", PASSWORD, "admin")
    old, withdrawn = (invite(store, boss.id, "labeler", "training", days=1.0) for _ in range(2))
    invitation = find_invitation(store, withdrawn)
    assert invitation is not None
    withdraw_invitation(store, invitation.id, boss.id)
    clock.now = 1000.0 + 86399
    assert find_invitation(store, withdrawn) is None and find_invitation(store, old) is not None
    clock.now = 1000.0 + 86400
    assert find_invitation(store, old) is None
    for token in (old, withdrawn, "no such token"):
        with pytest.raises(UserError, match="too old"):
            accept_invitation(accounts, token, "ann", PASSWORD)
    assert [account.login for account in accounts.all()] == ["boss"]


def test_a_used_invitation_can_not_be_withdrawn(store: Store, accounts: Accounts) -> None:
    boss = accounts.add("boss", PASSWORD, "admin")
    token = invite(store, boss.id, "labeler", "training")
    accept_invitation(accounts, token, "ann", PASSWORD)
    (before,) = list_invitations(store)
    withdraw_invitation(store, before.id, boss.id)
    assert list_invitations(store) == [before]


def test_two_who_follow_one_link_at_once_get_one_account(
    store: Store, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has read the invitation before the first used it: the transaction finds out, and leaves no
    account."""
    boss = accounts.add("boss", PASSWORD, "admin")
    token = invite(store, boss.id, "labeler", "training")
    invitation = find_invitation(store, token)
    accept_invitation(accounts, token, "ann", PASSWORD)
    monkeypatch.setattr("biddable.store.invitations.find_invitation", lambda *_: invitation)
    people = store.people()
    with pytest.raises(UserError, match="was used"):
        accept_invitation(accounts, token, "ben", PASSWORD)
    assert sorted(account.login for account in accounts.all()) == ["ann", "boss"] and store.people() == people


def test_the_audit_log_says_who_did_what(store: Store, accounts: Accounts, clock: Clock) -> None:
    boss = accounts.add("boss", PASSWORD, "admin")
    clock.now += 1
    invite(store, boss.id, "labeler", "training", "for Ann")
    clock.now += 1
    log_action(store, boss.id, "guideline in force", "v" * (MOST_ABOUT + 1))
    lines = audit_log(store)
    assert [(line.at, line.login, line.action) for line in lines] == [
        (1002.0, "boss", "guideline in force"),
        (1001.0, "boss", "invited"),
        (1000.0, None, "account added"),
    ]
    assert [line.about for line in lines[1:]] == ["labeler, training: for Ann", boss.id]
    assert lines[0].about == "v" * MOST_ABOUT and audit_log(store, limit=1) == lines[:1]
