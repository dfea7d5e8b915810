"""Logging in against people who try: many at once, one after another, easy passwords, names that look alike."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import argon2
import pytest

from biddable.run.config import UserError
from biddable.store import accounts as store_accounts
from biddable.store import sessions
from biddable.store.accounts import Accounts, check_login
from biddable.store.login_attempts import TooManyAttempts
from biddable.store.store import open_store

PASSWORD = "nine quiet horses"


class Hasher:
    """Counts how many passwords are hashed or checked, and how many at once."""

    def __init__(self) -> None:
        self.hasher, self.lock = argon2.PasswordHasher(1, 64, 1), threading.Lock()
        self.running = self.most = self.checked = 0
        self.together = threading.Barrier(store_accounts.MOST_HASHES)

    def hash(self, password: str) -> str:
        return self.hasher.hash(password)

    def verify(self, hashed: str, password: str) -> bool:
        with self.lock:
            self.running, self.checked = self.running + 1, self.checked + 1
            self.most = max(self.most, self.running)
        try:
            return self.hasher.verify(hashed, password)
        finally:
            with self.lock:
                self.running -= 1


@pytest.fixture
def accounts(where: str) -> Iterator[Accounts]:
    with open_store(where, durable=False) as store:
        accounts = Accounts(store)
        accounts._hasher = Hasher()  # type: ignore[assignment]
        accounts.add("ann", PASSWORD, "labeler")
        yield accounts


def test_of_thirty_wrong_passwords_at_once_five_are_checked(accounts: Accounts) -> None:
    def attempt(number: int) -> type[UserError]:
        with pytest.raises(UserError) as error:
            sessions.log_in(accounts, "ann", f"wrong {number}", "10.0.0.1", "x")
        return type(error.value)

    with ThreadPoolExecutor(30) as pool:
        kinds = list(pool.map(attempt, range(30)))
    assert kinds.count(TooManyAttempts) == 25
    assert accounts._hasher.checked == 5  # type: ignore[attr-defined]


def test_few_passwords_are_hashed_at_once(accounts: Accounts) -> None:
    """40 logins, right ones, of people behind 40 addresses."""
    with ThreadPoolExecutor(40) as pool:
        tokens = list(
            pool.map(lambda n: sessions.log_in(accounts, "ann", PASSWORD, f"10.0.0.{n}", "x"), range(20))
        )
    assert len(set(tokens)) == 20
    assert 1 <= accounts._hasher.most <= store_accounts.MOST_HASHES  # type: ignore[attr-defined]


def test_right_passwords_leave_no_attempts(accounts: Accounts) -> None:
    for _ in range(60):
        sessions.log_in(accounts, "ann", PASSWORD, "10.0.0.1", "x")


def test_the_page_that_changes_a_password_is_no_way_to_guess_it(accounts: Accounts) -> None:
    (ann,) = accounts.all()
    for _ in range(store_accounts.MOST_WRONG_PASSWORDS):
        with pytest.raises(UserError, match="present password is not right"):
            accounts.change_password(ann, "wrong", "seven loud geese fly")
    with pytest.raises(TooManyAttempts):
        accounts.change_password(ann, PASSWORD, "seven loud geese fly")
    assert accounts.password_matches("ann", PASSWORD)


@pytest.mark.parametrize(
    "password", ["password123", "1234567890", "qwertyuiop", "iloveyou12", "Passw0rd2024", "letmein12345"]
)
def test_common_passwords_are_refused(accounts: Accounts, password: str) -> None:
    with pytest.raises(UserError, match="a common one"):
        accounts.add("bob", password, "labeler")


@pytest.mark.parametrize("name", ["аnn", "ann.о", "αnn"])
def test_a_name_has_letters_of_one_alphabet(name: str) -> None:
    with pytest.raises(UserError, match="one alphabet"):
        check_login(name)


@pytest.mark.parametrize(
    ("first", "second"), [("ocean", "осеап"), ("renée", "renee"), ("bill0", "billo"), ("ada ross", "adaross")]
)
def test_names_that_look_alike_are_one(accounts: Accounts, first: str, second: str) -> None:
    accounts.add(first, PASSWORD, "labeler")
    with pytest.raises(UserError, match="looks like one that is taken"):
        accounts.add(second, PASSWORD, "labeler")


def test_names_of_other_alphabets_are_welcome() -> None:
    assert [check_login(name) for name in ("зоя", "Łukasz", "中村", "ada-2", " Ada  Ross ")] == [
        "зоя",
        "łukasz",
        "中村",
        "ada-2",
        "ada ross",
    ]
