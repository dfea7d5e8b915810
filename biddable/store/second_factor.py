"""The second factor: codes that an app makes of a shared secret and the time (TOTP, RFC 6238), and recovery codes
for when the phone is gone. The secret is in the account's row, of recovery codes there are hashes."""

from __future__ import annotations

import json
import secrets as random
from typing import Any

import sqlalchemy as sa

from biddable.run.config import UserError
from biddable.store.audit import add_audit_line
from biddable.store.login_attempts import begin_attempt, forget_attempt
from biddable.store.store import Store
from biddable.store.tables import accounts, sessions
from biddable.store.tokens import hash_token

STEP_SECONDS = 30
DRIFT_STEPS = 1
"""Steps that a phone's clock may be early or late."""
RECOVERY_CODES = 10
RECOVERY_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""None that looks like another. Sixteen of them are 79 random bits, so a fast hash is right for them."""
MOST_ATTEMPTS = {"pair": 5, "account": 10}
"""Wrong codes within a quarter of an hour: for one account from one address, and for one account. Whoever tries
them knows the password already."""


def new_secret() -> str:
    """160 random bits in base32, as apps read them."""
    import pyotp

    return pyotp.random_base32()


def secret_address(secret: str, login: str, site: str) -> str:
    """What the QR code holds: otpauth://totp/SITE:LOGIN?secret=..."""
    import pyotp

    return pyotp.TOTP(secret, interval=STEP_SECONDS).provisioning_uri(name=login, issuer_name=site)


def enrol(store: Store, account: str, secret: str, code: str, session: str) -> list[str]:
    """Ask for codes of this secret from now on, and end the account's other sessions. Returns the recovery codes,
    which are stored nowhere. Raises UserError when the code is not one of the secret's."""
    step = _matching_step(secret, code, store.clock(), 0)
    if step is None:
        raise UserError("this code is not right; type the one that the app shows now")
    codes = _new_recovery_codes()

    def enrol_step(connection: sa.Connection) -> None:
        content = json.dumps({"secret": secret, "recovery": [hash_token(code) for code in codes]})
        values = {"totp": content, "totp_step": step}
        connection.execute(sa.update(accounts).where(accounts.c.id == account).values(values))
        others = (sessions.c.account == account) & (sessions.c.id != hash_token(session))
        connection.execute(sa.delete(sessions).where(others))
        add_audit_line(connection, store.clock(), account, "second factor added", account)

    store.write(enrol_step)
    return codes


def check_code(store: Store, account: str, code: str, address: str) -> None:
    """Use up a code of the app, or a recovery code. Raises TooManyAttempts after too many wrong ones, and
    UserError for a wrong one, which a right one is when it was used before."""
    keys = {"pair": f"code {account} {address}", "account": f"code {account}"}
    attempt = begin_attempt(store, {key: MOST_ATTEMPTS[kind] for kind, key in keys.items()})

    def step(connection: sa.Connection) -> bool:
        row = _row(connection, account)
        if row is None or row.totp is None:
            return False
        now, content = store.clock(), json.loads(row.totp)
        if (used := _matching_step(content["secret"], code, now, row.totp_step)) is not None:
            values: dict[str, Any] = {"totp_step": used}
        elif (hashed := hash_token(_normalised(code))) in content["recovery"]:
            content["recovery"].remove(hashed)
            values = {"totp": json.dumps(content)}
            add_audit_line(connection, now, account, "recovery code used", account)
        else:
            return False
        connection.execute(sa.update(accounts).where(accounts.c.id == account).values(values))
        forget_attempt(connection, attempt, keys["pair"])
        return True

    if not store.write(step):
        raise UserError("this code is not right, or was used before; wait for the app's next one")


def renew_recovery_codes(store: Store, account: str) -> list[str]:
    """Other recovery codes; those before work no more. Raises UserError without a second factor."""
    codes = _new_recovery_codes()

    def step(connection: sa.Connection) -> None:
        row = _row(connection, account)
        if row is None or row.totp is None:
            raise UserError("there is no second factor yet")
        content = json.loads(row.totp) | {"recovery": [hash_token(code) for code in codes]}
        changed = sa.update(accounts).where(accounts.c.id == account)
        connection.execute(changed.values(totp=json.dumps(content)))
        add_audit_line(connection, store.clock(), account, "recovery codes made", account)

    store.write(step)
    return codes


def recovery_codes_left(store: Store, account: str) -> int:
    """How many recovery codes have not been used."""
    with store.read() as connection:
        row = _row(connection, account)
    return 0 if row is None or row.totp is None else len(json.loads(row.totp)["recovery"])


def remove(store: Store, account: str, by: str | None) -> None:
    """Ask for no code any more, and end all sessions: the phone is lost, or its owner wants none. Raises
    UserError for an account without a second factor."""

    def step(connection: sa.Connection) -> None:
        has_one = (accounts.c.id == account) & accounts.c.totp.is_not(None)
        removed = sa.update(accounts).where(has_one).values(totp=None, totp_step=0)
        if connection.execute(removed.returning(accounts.c.id)).first() is None:
            raise UserError("this account has no second factor")
        connection.execute(sa.delete(sessions).where(sessions.c.account == account))
        add_audit_line(connection, store.clock(), by, "second factor removed", account)

    store.write(step)


def _row(connection: sa.Connection, account: str) -> Any:
    """The account's row, locked: two requests with the same code come one after the other."""
    columns = sa.select(accounts.c.totp, accounts.c.totp_step)
    return connection.execute(columns.where(accounts.c.id == account).with_for_update()).first()


def _matching_step(secret: str, code: str, now: float, used: int) -> int | None:
    """The step of time whose code this is; None for a wrong code and for one of the step `used` or before."""
    import pyotp

    present, app = int(now // STEP_SECONDS), pyotp.TOTP(secret, interval=STEP_SECONDS)
    if used > present + DRIFT_STEPS:  # a clock that was wrong: no code would be right until then
        used = 0
    digits = _normalised(code)
    for step in range(present - DRIFT_STEPS, present + DRIFT_STEPS + 1):
        expected = app.generate_otp(step)
        if step > used and random.compare_digest(expected.encode(), digits.encode("utf-8", "replace")):
            return step
    return None


def _normalised(code: str) -> str:
    """A code without the blanks and dashes that people type."""
    return "".join(letter for letter in code[:100].casefold() if letter.isalnum())


def _new_recovery_codes() -> list[str]:
    """Sixteen letters each."""
    return ["".join(random.choice(RECOVERY_LETTERS) for _ in range(16)) for _ in range(RECOVERY_CODES)]
