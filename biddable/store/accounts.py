"""Who may enter a site: accounts, invitations, sessions, attempts to log in, and the log of what people with power did.

Secrets are never kept as they are: passwords by Argon2id, the tokens of sessions and invitations by SHA-256. A token is 256 random bits,
so a fast hash is right for it. Records know nobody from here: they carry the pseudonym of the account's person.
"""

from __future__ import annotations

import hashlib
import secrets as random
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.pseudonyms import new_pseudonym
from biddable.store.store import Store
from biddable.store.tables import accounts, attempts, audit, invitations, people, secrets, sessions
from biddable.store.types import Person

Role = Literal["admin", "labeler"]
Panel = Literal["training", "held_out"]

LEAST_PASSWORD = 10
MOST_PASSWORD = 500
IDLE_SECONDS = 12 * 3600.0
"""A session ends when nobody used it for so long,"""
SESSION_SECONDS = 30 * 86400.0
"""and at the latest after this."""
SEEN_SECONDS = 60.0
"""How often the time of last use is written down: not at every request."""
WINDOW_SECONDS = 900.0
"""How long a failed attempt to log in counts."""
MOST_ATTEMPTS = {"pair": 5, "login": 30, "address": 50}
"""Failed attempts allowed in that time: with one name from one address, with one name, from one address. Somebody who guesses at a name
from elsewhere thus does not lock its owner out at once."""


@dataclass(frozen=True)
class Account:
    """Somebody who may log in. `person` is what the store and the records know them by."""

    id: str
    login: str
    role: Role
    person: Person
    created: float
    closed: float | None = None


@dataclass(frozen=True)
class Invitation:
    """A link that lets one person make an account. The token itself is shown once and kept nowhere."""

    id: str
    role: Role
    panel: Panel
    note: str
    created: float
    until: float
    used: bool


@dataclass(frozen=True)
class Session:
    """A browser in which an account is logged in."""

    id: str
    agent: str
    created: float
    seen: float


class TooManyAttempts(UserError):
    """Too many failed attempts to log in."""


class Accounts:
    """The accounts of a store. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        from argon2 import PasswordHasher

        self.store = store
        self._hasher = PasswordHasher()

    def secret(self) -> bytes:
        """The key that signs cookies and form tokens: made once for a store, so that several web processes agree."""

        def step(connection: sa.Connection) -> bytes:
            kept = connection.execute(sa.select(secrets.c.value).where(secrets.c.name == "cookies")).scalar()
            if kept is None:
                kept = random.token_hex(32)
                connection.execute(sa.insert(secrets), {"name": "cookies", "value": kept})
            return bytes.fromhex(kept)

        return self.store.write(step)

    def add(
        self, login: str, password: str, role: Role, panel: Panel = "training", by: str | None = None
    ) -> Account:
        """Make an account with a new pseudonym. Raises UserError for a name that is taken or a password that is too easy."""
        return self._add(
            login,
            password,
            role,
            panel,
            lambda connection, account: _note(connection, self._now(), by, "account added", account.id),
        )

    def _add(
        self,
        login: str,
        password: str,
        role: Role,
        panel: Panel,
        also: Callable[[sa.Connection, Account], None],
    ) -> Account:
        login = _login(login)
        hashed = self._hasher.hash(_password(login, password))

        def step(connection: sa.Connection) -> Account:
            now = self._now()
            if connection.execute(sa.select(accounts.c.id).where(accounts.c.login == login)).first():
                raise UserError(f"the name {login} is taken; choose another one")
            name = new_pseudonym(connection)
            account = Account(random.token_hex(8), login, role, Person(name, name, panel, False), now)
            connection.execute(sa.insert(people), {**vars(account.person), "created": now})
            row = {
                "id": account.id,
                "login": login,
                "password": hashed,
                "role": role,
                "person": name,
                "created": now,
            }
            connection.execute(sa.insert(accounts), row)
            also(connection, account)
            return account

        return self.store.write(step)

    def all(self) -> list[Account]:
        """Every account, the oldest first."""
        query = _whole().order_by(accounts.c.created, accounts.c.id)
        with self.store.read() as connection:
            return [_account(row) for row in connection.execute(query)]

    def close(self, account: str, by: str) -> None:
        """Nobody can log in with it any more, and all its sessions end. What its person said stays."""

        def step(connection: sa.Connection) -> None:
            found = sa.update(accounts).where(accounts.c.id == account, accounts.c.closed.is_(None))
            if connection.execute(found.values(closed=self._now()).returning(accounts.c.id)).first() is None:
                raise UserError("there is no such open account")
            connection.execute(sa.delete(sessions).where(sessions.c.account == account))
            _note(connection, self._now(), by, "account closed", account)

        self.store.write(step)

    def reopen(self, account: str, by: str) -> None:
        """A closed account may log in again."""

        def step(connection: sa.Connection) -> None:
            connection.execute(sa.update(accounts).where(accounts.c.id == account).values(closed=None))
            _note(connection, self._now(), by, "account opened again", account)

        self.store.write(step)

    def change_password(self, account: Account, old: str, new: str) -> None:
        """Set another password and end all sessions. Raises UserError when the old one is wrong or the new one too easy."""
        if not self._fits(self._kept_password(account.login), old):
            raise UserError("the present password is not right")
        hashed = self._hasher.hash(_password(account.login, new))

        def step(connection: sa.Connection) -> None:
            connection.execute(sa.update(accounts).where(accounts.c.id == account.id).values(password=hashed))
            connection.execute(sa.delete(sessions).where(sessions.c.account == account.id))
            _note(connection, self._now(), account.id, "password changed", account.id)

        self.store.write(step)

    def invite(self, by: str, role: Role, panel: Panel, note: str = "", days: float = 7.0) -> str:
        """Make an invitation for one person; returns its token, which is part of the link and kept nowhere."""
        token, now = random.token_urlsafe(32), self._now()
        row = {"id": _hash(token), "role": role, "panel": panel, "note": note[:200], "inviter": by}

        def step(connection: sa.Connection) -> None:
            connection.execute(sa.insert(invitations), {**row, "created": now, "until": now + days * 86400})
            _note(connection, now, by, "invited", f"{role}, {panel}: {note[:200]}")

        self.store.write(step)
        return token

    def invitations(self) -> list[Invitation]:
        """Every invitation, the newest first."""
        with self.store.read() as connection:
            rows = connection.execute(sa.select(invitations).order_by(invitations.c.created.desc()))
            return [_invitation(row) for row in rows]

    def invitation(self, token: str) -> Invitation | None:
        """The open invitation behind a link; None when it was used, taken back, or is too old."""
        query = sa.select(invitations).where(invitations.c.id == _hash(token))
        with self.store.read() as connection:
            row = connection.execute(query).first()
        return _invitation(row) if row and row.account is None and row.until > self._now() else None

    def withdraw(self, invitation: str, by: str) -> None:
        """Take an unused invitation back."""

        def step(connection: sa.Connection) -> None:
            unused = (invitations.c.id == invitation) & invitations.c.account.is_(None)
            connection.execute(sa.update(invitations).where(unused).values(until=0.0))
            _note(connection, self._now(), by, "invitation taken back", invitation[:12])

        self.store.write(step)

    def accept(self, token: str, login: str, password: str) -> Account:
        """Make the account that an invitation promises. Raises UserError when the invitation is not open any more."""
        gone = UserError("this invitation was used, taken back, or is too old; ask for another one")
        if (invitation := self.invitation(token)) is None:
            raise gone

        def use(connection: sa.Connection, account: Account) -> None:
            open_ = (invitations.c.id == invitation.id) & invitations.c.account.is_(None)
            used = (
                sa.update(invitations)
                .where(open_, invitations.c.until > self._now())
                .values(account=account.id)
            )
            if connection.execute(used.returning(invitations.c.id)).first() is None:
                raise gone
            _note(connection, self._now(), account.id, "invitation accepted", invitation.id[:12])

        return self._add(login, password, invitation.role, invitation.panel, use)

    def login(self, login: str, password: str, address: str, agent: str) -> str:
        """Check name and password; returns the token of a new session.

        Raises Throttled after too many failed attempts, and UserError (the same for an unknown name and a wrong password).
        """
        login = _fold(login)
        keys = {
            "pair": f"pair {_hash(login + address)}",
            "login": f"login {_hash(login)}",
            "address": f"address {address}",
        }
        since = self._now() - WINDOW_SECONDS
        counted = sa.select(attempts.c.what, sa.func.count()).where(
            attempts.c.what.in_(keys.values()), attempts.c.at > since
        )
        with self.store.read() as connection:
            failed = {row[0]: row[1] for row in connection.execute(counted.group_by(attempts.c.what))}
        if any(failed.get(keys[kind], 0) >= most for kind, most in MOST_ATTEMPTS.items()):
            raise TooManyAttempts("too many attempts; wait a quarter of an hour and try again")
        if not self._fits(self._kept_password(login), password):
            self._count_attempt(keys, since)
            raise UserError("name or password is not right")
        return self._start(login, agent, keys["pair"])

    def _kept_password(self, login: str) -> str:
        query = sa.select(accounts.c.password).where(accounts.c.login == login, accounts.c.closed.is_(None))
        with self.store.read() as connection:
            return str(connection.execute(query).scalar() or self._nobody)

    @cached_property
    def _nobody(self) -> str:
        """A password that nobody has: an unknown name takes as long to refuse as a known one."""
        return self._hasher.hash(random.token_hex(16))

    def _fits(self, kept: str, password: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        try:
            return len(password) <= MOST_PASSWORD and self._hasher.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return False

    def _count_attempt(self, keys: dict[str, str], since: float) -> None:
        rows = [{"id": random.token_hex(12), "what": what, "at": self._now()} for what in keys.values()]

        def step(connection: sa.Connection) -> None:
            connection.execute(sa.delete(attempts).where(attempts.c.at <= since))
            connection.execute(sa.insert(attempts), rows)

        self.store.write(step)

    def _start(self, login: str, agent: str, pair: str) -> str:
        token, now = random.token_urlsafe(32), self._now()

        def step(connection: sa.Connection) -> None:
            account = connection.execute(
                sa.select(accounts.c.id).where(accounts.c.login == login)
            ).scalar_one()
            row = {"id": _hash(token), "account": account, "agent": agent[:200], "created": now, "seen": now}
            connection.execute(sa.insert(sessions), {**row, "until": now + SESSION_SECONDS})
            connection.execute(sa.delete(attempts).where(attempts.c.what == pair))
            connection.execute(
                sa.delete(sessions).where((sessions.c.until <= now) | (sessions.c.seen <= now - IDLE_SECONDS))
            )

        self.store.write(step)
        return token

    def enter(self, token: str) -> Account | None:
        """The account of a session's token; None when the session has ended or never was."""
        now, session = self._now(), _hash(token)
        with self.store.read() as connection:
            row = connection.execute(
                _entering(), {"session": session, "now": now, "used": now - IDLE_SECONDS}
            ).first()
        if row is None:
            return None
        if now - row.seen > SEEN_SECONDS:
            mine = sessions.c.id == session
            self.store.write(
                lambda connection: connection.execute(sa.update(sessions).where(mine).values(seen=now))
            )
        return _account(row)

    def sessions(self, account: str) -> list[Session]:
        """The browsers in which somebody is logged in, the one last used first."""
        alive = (sessions.c.until > self._now()) & (sessions.c.seen > self._now() - IDLE_SECONDS)
        query = (
            sa.select(sessions).where(sessions.c.account == account, alive).order_by(sessions.c.seen.desc())
        )
        with self.store.read() as connection:
            return [Session(row.id, row.agent, row.created, row.seen) for row in connection.execute(query)]

    def leave(self, token: str) -> None:
        """End the session of this token."""
        self.store.write(
            lambda connection: connection.execute(sa.delete(sessions).where(sessions.c.id == _hash(token)))
        )

    def revoke(self, account: str, session: str | None, by: str) -> None:
        """End one session of an account by its id, or all of them."""
        which = sessions.c.account == account
        if session is not None:
            which &= sessions.c.id == session

        def step(connection: sa.Connection) -> None:
            connection.execute(sa.delete(sessions).where(which))
            _note(connection, self._now(), by, "sessions ended", account)

        self.store.write(step)

    def note(self, by: str | None, action: str, about: str = "") -> None:
        """A line in the audit log, which can only grow."""
        self.store.write(lambda connection: _note(connection, self._now(), by, action, about))

    def log(self, limit: int = 200) -> list[dict[str, Any]]:
        """The newest lines of the audit log: at, login (or none), action, about."""
        whole = audit.outerjoin(accounts, accounts.c.id == audit.c.account)
        query = sa.select(audit.c.at, accounts.c.login, audit.c.action, audit.c.about).select_from(whole)
        with self.store.read() as connection:
            return [
                dict(row._mapping)
                for row in connection.execute(query.order_by(audit.c.at.desc()).limit(limit))
            ]

    def _now(self) -> float:
        return self.store.clock()


def _whole() -> Any:
    person = [people.c.pseudonym, people.c.panel, people.c.simulated]
    return sa.select(accounts, *person).join(people, people.c.id == accounts.c.person)


@cache
def _entering() -> sa.Select[Any]:
    """The account of a live session: asked at every request, so made once."""
    now, used = sa.bindparam("now", type_=sa.Double), sa.bindparam("used", type_=sa.Double)
    alive = (sessions.c.until > now) & (sessions.c.seen > used) & accounts.c.closed.is_(None)
    query = _whole().add_columns(sessions.c.seen).join(sessions, sessions.c.account == accounts.c.id)
    found: sa.Select[Any] = query.where(sessions.c.id == sa.bindparam("session"), alive)
    return found


def _account(row: Any) -> Account:
    person = Person(row.person, row.pseudonym, row.panel, bool(row.simulated))
    return Account(row.id, row.login, row.role, person, row.created, row.closed)


def _invitation(row: Any) -> Invitation:
    return Invitation(row.id, row.role, row.panel, row.note, row.created, row.until, row.account is not None)


def _note(connection: sa.Connection, at: float, account: str | None, action: str, about: str) -> None:
    row = {
        "id": f"{time.time_ns():020d}{random.token_hex(4)}",
        "at": at,
        "account": account,
        "action": action,
    }
    connection.execute(sa.insert(audit), {**row, "about": about[:2000]})


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _fold(login: str) -> str:
    return unicodedata.normalize("NFKC", login).strip().casefold()


def _login(login: str) -> str:
    """The name as it is kept. One that could be taken for another's, or that hides characters, is refused."""
    folded = _fold(login)
    if not 2 <= len(folded) <= 64 or not all(c.isalnum() or c in "._-@+" for c in folded):
        raise UserError("a name of 2 to 64 letters, digits and . _ - @ + was expected")
    return folded


def _password(login: str, password: str) -> str:
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        raise UserError(
            f"a password of at least {LEAST_PASSWORD} characters was expected; several words are easy to keep in mind"
        )
    if login in password.casefold() or len(set(password)) < 5:
        raise UserError(
            "this password is easy to guess; choose several words that have nothing to do with your name"
        )
    return password
