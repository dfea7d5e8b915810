"""What the store's tests share: a clock that stands still, and a store with a few people."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from biddable.store.accounts import Accounts
from biddable.store.store import Store, open_store
from biddable.store.types import Person
from tests.conftest import Clock

PEOPLE = [Person(name, f"{name}-1", "training", False) for name in ("ada", "bob", "cy", "dan")]


@pytest.fixture
def store(where: str, clock: Clock) -> Iterator[Store]:
    """Four people of the training panel, one held out, one simulated; no tasks."""
    with open_store(where, clock, durable=False) as opened:
        opened.add_people(PEOPLE)
        opened.add_people(
            [Person("eve", "eve-1", "held_out", False), Person("sim", "sim-1", "training", True)]
        )
        yield opened


@pytest.fixture
def accounts(store: Store) -> Accounts:
    """Accounts whose passwords are hashed as fast as argon2 allows: only tests may do that."""
    import argon2

    accounts = Accounts(store)
    accounts._hasher = argon2.PasswordHasher(1, 64, 1)
    return accounts
