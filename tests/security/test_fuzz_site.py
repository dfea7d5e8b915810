"""Hostile values in every field, path and query of every page of the labeling site, on SQLite and PostgreSQL: no
status 500, no traceback in the log, and the site works afterwards."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import argon2
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biddable.label import site
from biddable.store.tables import accounts, login_attempts
from biddable.store.types import Account
from tests.label.views.test_tasks import SAID, put
from tests.web.conftest import Client

PASSWORD = "nine quiet horses"
HOSTILE = {
    "NUL": "a\x00b",
    "NUL alone": "\x00",
    "half a pair": "a\ud800b",
    "separators": "a\u2028b\u2029c\x85d",
    "right to left": "\u202egnp.exe\u2066\u200b",
    "escapes": "\x1b[2J\r\nset-cookie: x=y",
    "combining": "a" + "\u0301" * 5000,
    "deep list": "[" * 20_000,
    "deep object": '{"a":' * 20_000,
    "long": "x" * 300_000,
    "table": "|a" * 300 + "|\n" + "|-" * 300 + "|\n" + "|x\n" * 9000,
    "digits": "9" * 5000,
    "large number": "9" * 30,
    "negative": "-1",
    "not a number": "nan",
    "endless": "1e999",
    "wide digit": "２",
    "template": "{{ 7*7 }}${x}%s%n<script>alert(1)</script>",
    "quote": "'; DROP TABLE accounts; --",
    "path": "../../../../etc/passwd",
    "nothing": "",
    "blank": " \t\n",
}
ROUTES = sorted(
    (method, route.path)  # type: ignore[attr-defined]
    for router in site.ROUTERS
    for route in router.routes
    for method in route.methods & {"GET", "POST"}  # type: ignore[attr-defined]
)
VIEWS = Path(site.__file__).parent
NAMES = sorted(
    {
        name
        for path in (*VIEWS.rglob("*.py"), *VIEWS.rglob("*.html"))
        for name in re.findall(
            r'(?:form\.get|form\.getlist|fields\.\w+|form\.\w+)\("([a-z_]+)"|name="([a-z_]+)"',
            path.read_text("utf-8"),
        )
        for name in name
        if name and name != "token"
    }
    | {
        "rank-0",
        "overall-0",
        "overall-1",
        "yes-1",
        "hallucination-0",
        "page",
        "set",
        "person",
        "kind",
        "token",
    }
)
"""Every field that a view reads or a template has."""
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Fuzzed:
    """A site with an admin, a labeler and open tasks of every kind."""

    def __init__(self, where: str) -> None:
        self.app: FastAPI = site.application(site.Config(), where)
        self.accounts = self.app.state.accounts
        self.accounts._hasher = argon2.PasswordHasher(1, 64, 1)
        self.boss: Account = self.accounts.add("boss", PASSWORD, "admin")
        self.accounts.add("ann", PASSWORD, "labeler")
        self.password = self.accounts.hash_password(PASSWORD)
        self.sets = [put(self.accounts, kind, count=3) for kind in SAID]

    @contextmanager
    def enter(self, name: str) -> Iterator[Client]:
        """A browser that is logged in, whatever was done to the account meanwhile."""
        account = self.accounts.find(name)
        self.accounts.reopen(account.id, self.boss.id)
        role = "admin" if name == "boss" else "labeler"
        values = {"password": self.password, "totp": None, "role": role}
        changed = sa.update(accounts).where(accounts.c.id == account.id).values(values)
        self.accounts.store.write(lambda connection: connection.execute(changed))
        self.accounts.store.write(lambda connection: connection.execute(login_attempts.delete()))
        with Client(self.app, name) as client:
            yield client


@pytest.fixture
def fuzzed(where: str) -> Iterator[Fuzzed]:
    made = Fuzzed(where)
    yield made
    made.accounts.store.close()


class Lines(logging.Handler):
    """What the site writes into its log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(logging.Formatter("%(levelname)s %(message)s").format(record))


@contextmanager
def quiet_log() -> Iterator[None]:
    """Nothing but printable lines may come into the log, and no traceback."""
    handler = Lines()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
    lines = [line for line in handler.lines if not line.startswith(("DEBUG", "INFO"))]
    assert not [line for line in lines if "Traceback" in line or not line.isprintable()], lines[0][-3000:]


def encoded(fields: list[tuple[str, str]]) -> bytes:
    """A form's body, with whatever bytes the values have."""
    return "&".join(
        f"{name}={quote(value, safe='', errors='surrogatepass')}" for name, value in fields
    ).encode()


def send(client: Client, method: str, path: str, fields: list[tuple[str, str]]) -> Any:
    """A request with the form's token; of a GET the fields are the query, as far as servers take one."""
    if method == "GET":
        return client.get(f"{path}?{encoded(fields).decode()[:30_000]}")
    headers = {"content-type": "application/x-www-form-urlencoded", "x-form-token": client.form_token}
    return client.post(path, content=encoded(fields), headers=headers)


def with_value(path: str, value: str) -> str:
    return re.sub(r"\{\w+(:\w+)?\}", quote(value[:2000], safe="", errors="surrogatepass"), path)


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_value_everywhere(kind: str, fuzzed: Fuzzed) -> None:
    """In every field of every page at once, for an admin; and without a login."""
    value = HOSTILE[kind]
    fields = [(name, value if len(value) < 2000 else value[: 300_000 // len(NAMES)]) for name in NAMES]
    with quiet_log():
        for number, (method, path) in enumerate(ROUTES):
            with fuzzed.enter("boss") if number % 4 else Client(fuzzed.app) as client:
                answer = send(client, method, with_value(path, value), fields)
            assert answer.status_code < 500, (method, path, answer.text[:500])
    with fuzzed.enter("boss") as client:
        assert client.get("/admin").status_code == 200


VALUES = st.one_of(
    st.sampled_from(sorted(HOSTILE.values())),
    st.text(st.characters(codec=None), max_size=30),
    st.sampled_from(
        ["close", "reopen", "training", "held_out", "1", "7", "0", "accept", "yes", "no", "labeler"]
    ),
)
CHANGES = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=6)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(route=st.sampled_from(ROUTES), changes=CHANGES, value=VALUES, who=st.sampled_from(["boss", "ann"]))
def fuzz_pages(
    fuzzed: Fuzzed, route: tuple[str, str], changes: list[tuple[str, str]], value: str, who: str
) -> None:
    method, path = route
    with quiet_log(), fuzzed.enter(who) as client:
        answer = send(client, method, with_value(path, value), changes)
    assert answer.status_code < 500, (who, method, path, changes, answer.text[:500])


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    kind=st.sampled_from(sorted(SAID)),
    path=st.sampled_from(["/answer", "/draft", "/skip"]),
    changes=CHANGES,
    data=st.data(),
)
def fuzz_answers(fuzzed: Fuzzed, kind: str, path: str, changes: list[tuple[str, str]], data: Any) -> None:
    """A right answer to a task that is really held, in which some fields are hostile."""
    right = dict(SAID[kind][0]) | {"seconds": "3", "seen": "1"}
    with quiet_log(), fuzzed.enter("ann") as client:
        leased = send(client, "POST", "/next", [("set", f"demo/label.{kind}/abc")]).headers.get(
            "location", "/"
        )
        page = client.get(leased).text
        for name in ("id", "guideline"):
            if match := re.search(rf'name="{name}" value="([^"]*)"', page):
                right[name] = unescape(match[1])
        for name in data.draw(st.lists(st.sampled_from(sorted(right)), max_size=2)):
            right[name] = data.draw(VALUES)
        fields = [
            (name, text)
            for name, texts in right.items()
            for text in (texts if isinstance(texts, list) else [texts])
        ]
        answer = send(client, "POST", path, [*fields, *changes])
        shown, mine = client.get(leased), client.get("/mine")
    for page in (answer, shown, mine):
        assert page.status_code < 500, (path, right, changes, page.text[:500])


@pytest.mark.parametrize("fuzz", [fuzz_pages, fuzz_answers])
def test_drawn_requests(fuzz: Any, fuzzed: Fuzzed) -> None:
    fuzz(fuzzed)


def test_every_route_is_played() -> None:
    """What the site serves is what is fuzzed: a router that is not named in ROUTERS would be missed."""
    assert ("POST", "/answer") in ROUTES and ("POST", "/second-factor/enrol") in ROUTES
    assert len(ROUTES) > 40 and {"note", "action", "text", "code"} <= set(NAMES)
