"""Accounts: who may log in to a site, with which password and role.

Passwords are stored as Argon2id hashes. Records know nobody from here: they carry the pseudonym of the
account's person. How somebody logs in is in `sessions`, how an account comes about in `invitations`, what
admins did in `audit`.
"""

from __future__ import annotations

import secrets as random
import threading
import unicodedata
from collections.abc import Callable
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.audit import add_audit_line
from biddable.store.login_attempts import begin_attempt, forget_attempt
from biddable.store.names import scripts, skeleton
from biddable.store.pseudonyms import new_pseudonym
from biddable.store.store import Store
from biddable.store.tables import accounts, invitations, labels, leases, people, secrets, sessions
from biddable.store.types import Account, Panel, Person, Role

LEAST_PASSWORD = 10
MOST_PASSWORD = 500
"""Characters of a password. The upper limit keeps a request from making the server hash a megabyte."""
MOST_HASHES = 4
"""Passwords that a process hashes at once: each takes 64 MiB, and others wait."""
MOST_WRONG_PASSWORDS = 5
"""Wrong present passwords within a quarter of an hour on the page that changes it."""
LEAST_GUESSES = 7.0
"""A password that is guessed within ten to this power of attempts is refused. Online, 50 attempts a quarter of
an hour take six years for a tenth of that."""
LEAST_DISTINCT = 5
"""A password of fewer different characters is too easy to guess."""


class Accounts:
    """The accounts of a store. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        from argon2 import PasswordHasher

        self.store = store
        self._hasher = PasswordHasher()
        self._hashing = threading.BoundedSemaphore(MOST_HASHES)

    def cookie_secret(self) -> bytes:
        """The key that signs cookies and form tokens: made once for a store, so that several web processes
        agree."""

        def step(connection: sa.Connection) -> bytes:
            query = sa.select(secrets.c.value).where(secrets.c.name == "cookies")
            secret = connection.execute(query).scalar()
            if secret is None:
                secret = random.token_hex(32)
                connection.execute(sa.insert(secrets), {"name": "cookies", "value": secret})
            return bytes.fromhex(secret)

        return self.store.write(step)

    def add(
        self, login: str, password: str, role: Role, panel: Panel = "training", by: str | None = None
    ) -> Account:
        """Make an account with a new pseudonym. Raises UserError for a name that is taken or a password that
        is too easy."""

        def note(connection: sa.Connection, account: Account) -> None:
            add_audit_line(connection, self.store.clock(), by, "account added", account.id)

        return self.add_with(login, password, role, panel, note)

    def add_with(
        self,
        login: str,
        password: str,
        role: Role,
        panel: Panel,
        then: Callable[[sa.Connection, Account], None],
    ) -> Account:
        """`add`, and `then` in the same transaction: when that raises, there is no account either."""
        login = check_login(login)
        hashed = self.hash_password(check_password(login, password))

        def step(connection: sa.Connection) -> Account:
            now = self.store.clock()
            if connection.execute(sa.select(accounts.c.id).where(accounts.c.login == login)).first():
                raise UserError(f"the name {login} is taken; choose another one")
            names = connection.execute(sa.select(accounts.c.login)).scalars()
            if skeleton(login) in {skeleton(name) for name in names}:
                raise UserError(f"the name {login} looks like one that is taken; choose another one")
            name = new_pseudonym(connection)
            account = Account(random.token_hex(8), login, role, Person(name, name, panel, False), now)
            connection.execute(sa.insert(people), {**vars(account.person), "created": now})
            row = {"id": account.id, "login": login, "role": role, "person": name, "created": now}
            connection.execute(sa.insert(accounts), {**row, "password": hashed})
            then(connection, account)
            return account

        return self.store.write(step)

    def all(self) -> list[Account]:
        """Every account, the oldest first."""
        query = accounts_with_people().order_by(accounts.c.created, accounts.c.id)
        with self.store.read() as connection:
            return [account_from_row(row) for row in connection.execute(query)]

    def find(self, login: str) -> Account:
        """The account with this name. Raises UserError when there is none."""
        query = accounts_with_people().where(accounts.c.login == fold_login(login))
        with self.store.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise UserError(f"there is no account called {login}")
        return account_from_row(row)

    def close(self, account: str, by: str) -> None:
        """Let nobody log in with an account any more, and end its sessions and its unused invitations. Its
        person's labels stay.

        Raises UserError for the last admin: nobody could open an account again.
        """

        def step(connection: sa.Connection) -> None:
            now = self.store.clock()
            # the rows are locked, so that two admins who close each other at once come one after the other
            is_admin = (accounts.c.role == "admin") & accounts.c.closed.is_(None)
            admins = sa.select(accounts.c.id).where(is_admin).order_by(accounts.c.id).with_for_update()
            if connection.execute(admins).scalars().all() == [account]:
                raise UserError("this is the last admin who can log in; make another one first")
            closed = sa.update(accounts).where(accounts.c.id == account, accounts.c.closed.is_(None))
            if connection.execute(closed.values(closed=now).returning(accounts.c.id)).first() is None:
                raise UserError("there is no such open account")
            connection.execute(sa.delete(sessions).where(sessions.c.account == account))
            unused = (invitations.c.inviter == account) & invitations.c.used.is_(None)
            connection.execute(sa.update(invitations).where(unused).values(until=0.0))
            add_audit_line(connection, now, by, "account closed", account)

        self.store.write(step)

    def reopen(self, account: str, by: str) -> None:
        """Let a closed account log in again."""

        def step(connection: sa.Connection) -> None:
            connection.execute(sa.update(accounts).where(accounts.c.id == account).values(closed=None))
            add_audit_line(connection, self.store.clock(), by, "account opened again", account)

        self.store.write(step)

    def change_role(self, account: str, role: Role, by: str) -> None:
        """Make a labeler an admin, or an admin a labeler. Raises UserError for the last admin: nobody could
        make another one."""

        def step(connection: sa.Connection) -> None:
            is_admin = (accounts.c.role == "admin") & accounts.c.closed.is_(None)
            admins = sa.select(accounts.c.id).where(is_admin).order_by(accounts.c.id).with_for_update()
            if role != "admin" and connection.execute(admins).scalars().all() == [account]:
                raise UserError("this is the last admin who can log in; make another one first")
            connection.execute(sa.update(accounts).where(accounts.c.id == account).values(role=role))
            add_audit_line(connection, self.store.clock(), by, f"role changed to {role}", account)

        self.store.write(step)

    def change_panel(self, account: str, panel: Panel, by: str) -> None:
        """Move somebody to the other panel. Raises UserError once they have answered anything: what they said
        would change sides with them, and who has trained models must not measure them."""

        def step(connection: sa.Connection) -> None:
            person = connection.execute(sa.select(accounts.c.person).where(accounts.c.id == account)).scalar()
            answers = sa.select(labels.c.id).where(labels.c.person == person).limit(1)
            leased = sa.select(leases.c.id).where(leases.c.person == person).limit(1)
            if connection.execute(answers).first() or connection.execute(leased).first():
                raise UserError(
                    "somebody who has begun to work stays on their panel; for the other one, invite them "
                    "again under another name"
                )
            connection.execute(sa.update(people).where(people.c.id == person).values(panel=panel))
            add_audit_line(connection, self.store.clock(), by, f"panel changed to {panel}", account)

        self.store.write(step)

    def change_password(self, account: Account, old: str, new: str) -> None:
        """Set another password and end all sessions. Raises UserError when the old one is wrong or the new
        one too easy, and TooManyAttempts after too many wrong ones."""
        self.confirm_password(account, old)
        hashed = self.hash_password(check_password(account.login, new))

        def step(connection: sa.Connection) -> None:
            connection.execute(sa.update(accounts).where(accounts.c.id == account.id).values(password=hashed))
            connection.execute(sa.delete(sessions).where(sessions.c.account == account.id))
            add_audit_line(connection, self.store.clock(), account.id, "password changed", account.id)

        self.store.write(step)

    def confirm_password(self, account: Account, password: str) -> None:
        """Ask somebody who is logged in for their password once more. Raises UserError when it is wrong, and
        TooManyAttempts after too many wrong ones."""
        key = f"password {account.id}"
        attempt = begin_attempt(self.store, {key: MOST_WRONG_PASSWORDS})
        if not self.password_matches(account.login, password):
            raise UserError("the present password is not right")
        self.store.write(lambda connection: forget_attempt(connection, attempt, key))

    def password_matches(self, login: str, password: str) -> bool:
        """Whether this is the password of an open account; False, after as long a time, for an unknown or
        closed one."""
        from argon2.exceptions import InvalidHashError, VerificationError

        query = sa.select(accounts.c.password).where(accounts.c.login == login, accounts.c.closed.is_(None))
        with self.store.read() as connection:
            hashed = str(connection.execute(query).scalar() or self._hash_of_nobody)
        try:
            with self._hashing:
                return len(password) <= MOST_PASSWORD and self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False

    @cached_property
    def _hash_of_nobody(self) -> str:
        """The hash of a password that nobody has: refusing an unknown name takes as long as refusing a known
        one."""
        return self.hash_password(random.token_hex(16))

    def hash_password(self, password: str) -> str:
        """Its Argon2id hash. At most MOST_HASHES are made at once."""
        with self._hashing:
            return self._hasher.hash(password)


def accounts_with_people() -> sa.Select[Any]:
    """Accounts with the columns that `account_from_row` reads."""
    columns = (people.c.pseudonym, people.c.panel, people.c.simulated)
    return sa.select(accounts, *columns).join(people, people.c.id == accounts.c.person)


def account_from_row(row: Any) -> Account:
    """A row of `accounts_with_people` as a value."""
    person = Person(row.person, row.pseudonym, row.panel, bool(row.simulated))
    return Account(row.id, row.login, row.role, person, row.created, row.closed, row.totp is not None)


def fold_login(login: str) -> str:
    """A name as it is compared: NFKC, without case and spaces around it; between words there is one."""
    return " ".join(unicodedata.normalize("NFKC", login).split()).casefold()


def check_login(login: str) -> str:
    """The name as it is stored. Raises UserError for one that could be mistaken for another, or that hides
    characters."""
    folded = fold_login(login)
    if not 2 <= len(folded) <= 64 or not all(c.isalnum() or c in " ._-@+" for c in folded):
        raise UserError("a name must have 2 to 64 letters, digits, spaces and . _ - @ +")
    if len(scripts(folded)) > 1:
        raise UserError("a name must have letters of one alphabet only")
    return folded


def check_password(login: str, password: str) -> str:
    """The password itself. Raises UserError for one that is too short or easy to guess."""
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        raise UserError(
            f"a password must have at least {LEAST_PASSWORD} characters; several words are easy to remember"
        )
    if login in password.casefold() or len(set(password)) < LEAST_DISTINCT:
        raise UserError(
            "this password is easy to guess; choose several words that have nothing to do with your name"
        )
    from zxcvbn import zxcvbn  # here: its word lists load slowly, and only a new password needs them

    if zxcvbn(password[:72], user_inputs=[login])["guesses_log10"] < LEAST_GUESSES:
        raise UserError("this password is a common one, or close to one; choose several words")
    return password
