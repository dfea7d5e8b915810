"""Every route of the API and the chat page, every field of every body: whatever stands in it, nothing fails on
our side and nothing of a bug is in the log."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from biddable.serve.chat import routes as chat
from biddable.serve.openai import messages, protocol, routes

from .conftest import ASK, Guest, Site

DEEP = "@deep@"
"""Stands for brackets a hundred thousand deep, which Python itself could not write."""
TEXTS = (
    "",
    "\x00",
    "a\x00b",
    "\ud800",
    "\udfff\ud800",
    "\u2028\u2029\x85",
    "\u202eevil\u202c\u200f",
    "\x1b[2J\r\nHTTP/1.1 200 OK",
    "<|im_end|>",
    "é" * 500_000,
    "x" * 1_000_000,
    "𝔘\ufffe\uffff\U0010ffff",
    "../../etc/passwd",
    '"}],"user":"',
    "conv-" + "0" * 24,
    DEEP,
)
texts = st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=()), max_size=20)
numbers = st.sampled_from([0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 0.5, 1e308, float("nan"), float("inf")])
leaves = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(texts, v, max_size=3), max_leaves=6
)
names = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=30)


def fields(*kinds: type[BaseModel]) -> list[str]:
    return sorted({name for kind in kinds for name in kind.model_fields})


MESSAGE = st.dictionaries(
    st.sampled_from([*fields(messages.ChatMessage, messages.ContentPart), "name", "\x00"]), values, max_size=4
)
GOOD_MESSAGE = {"role": "user", "content": "Name a fruit."}
PARTS = st.lists(st.dictionaries(st.sampled_from(["type", "text", "refusal"]), values), max_size=3)
MESSAGES = st.lists(
    st.builds(lambda text: {**GOOD_MESSAGE, "content": text}, texts)
    | MESSAGE
    | st.builds(lambda v: {**GOOD_MESSAGE, "content": v}, values | PARTS)
    | st.builds(lambda more: {**GOOD_MESSAGE, **more}, MESSAGE),
    min_size=1,
    max_size=3,
)
API_CHAT = {"model": "learn.ppo", "messages": [GOOD_MESSAGE], "store": True, "user": "ada"}
BODIES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "/v1/chat/completions": (API_CHAT, [*fields(protocol.ChatCompletionRequest), *protocol.NEUTRAL_VALUES]),
    "/v1/completions": (
        {"model": "learn.ppo", "prompt": "The sea"},
        [*fields(protocol.CompletionRequest), *protocol.NEUTRAL_VALUES],
    ),
    "/chat/answer": (ASK, fields(chat.AnswerRequest)),
    "/chat/feedback": ({"turn": "@turn@", "thumbs": "up"}, fields(chat.FeedbackRequest)),
    "/chat/prefer": ({"turns": ["@turn@", "@other@"]}, fields(chat.PreferenceRequest)),
    "/chat/consent": ({"given": True, "version": "@version@"}, fields(chat.ConsentRequest)),
    "/chat/forget": ({}, ["x"]),
}
"""Paths that take JSON: a good body, and the fields that it may have."""
FORMS = {"/enter": ["key", "token"], "/leave": ["everywhere", "token"]}
READ = ("/", "/health", "/metrics", "/v1/models", "/v1/models/{name:path}")
bodies = st.sampled_from(sorted(BODIES)).flatmap(
    lambda path: st.tuples(
        st.just(path),
        st.dictionaries(st.sampled_from(BODIES[path][1]), values, max_size=3)
        | st.builds(lambda given: {"messages": given}, MESSAGES),
        st.booleans(),
    )
)
HEADERS = ("x-request-id", "authorization", "cookie", "accept", "origin", "sec-fetch-site", "content-type")


def test_every_route_is_here() -> None:
    """A new route belongs into the tables above."""
    paths = {route.path for route in routes.ROUTES}
    paths |= {route.path for route in chat.router.routes if isinstance(route, APIRoute)}
    assert paths == {*BODIES, *FORMS, *READ, "/v1/data"}


def encode(body: Any, escaped: bool) -> bytes:
    """JSON as a hostile client may write it: NaN, lone surrogates as bytes, and very deep."""
    text = json.dumps(body, ensure_ascii=escaped)
    return text.encode("utf-8", "surrogatepass").replace(json.dumps(DEEP).encode(), b"[" * 100_000)


class Fuzzer:
    """A guest who agreed, a program with the key, and what was logged."""

    def __init__(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        self.site, self.caplog = site, caplog
        self.runner = asyncio.Runner()
        self.guest: Guest = self.runner.run(self._enter())
        self.turns: list[str] = []
        self.program = site.program()
        caplog.set_level(logging.INFO)

    async def _enter(self) -> Guest:
        guest = await self.site.guest(self.site.key)
        assert (await guest.agree()).status_code == 200
        return guest

    def keep_turns(self) -> list[str]:
        """The handles of two kept answers, whatever was deleted before."""
        if not self.turns or len(self.site.turns()[0]) > 50:
            self.runner.run(self.guest.post("/chat/forget", {}))
            self.runner.run(self.guest.agree())
            self.turns = [self.runner.run(self.guest.turn()) or "" for _ in range(2)]
        return self.turns

    def send(self, method: str, path: str, **sent: Any) -> None:
        """Send it as the guest or the program; whatever came of it, it is no failure of ours."""
        is_page = path == "/" or path.startswith(("/chat", *FORMS))
        client = self.guest.http if is_page else self.program
        answer = self.runner.run(client.request(method, path, **sent))
        assert answer.status_code < 500, answer.text
        assert "internal_error" not in answer.text
        for record in self.caplog.records:
            assert record.levelno < logging.ERROR and record.exc_info is None, record.getMessage()
            assert record.getMessage().isprintable()
        self.caplog.clear()

    def close(self) -> None:
        self.runner.run(self.guest.http.aclose())
        self.runner.run(self.program.aclose())
        self.runner.close()


@pytest.fixture
def fuzzer(make_site: Callable[..., Site], caplog: pytest.LogCaptureFixture) -> Any:
    made = Fuzzer(make_site(requests_per_minute=10_000_000), caplog)
    yield made
    made.close()


quick = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@quick
@given(sent=bodies)
def test_every_field_of_every_body(fuzzer: Fuzzer, sent: tuple[str, dict[str, Any], bool]) -> None:
    path, changes, escaped = sent
    turn, other = fuzzer.keep_turns()
    version = fuzzer.guest.page.split('data-version="')[1].split('"')[0]
    content = encode({**BODIES[path][0], **changes}, escaped)
    for word, value in {"@turn@": turn, "@other@": other, "@version@": version}.items():
        content = content.replace(word.encode(), value.encode())
    headers = {"content-type": "application/json", "x-form-token": fuzzer.guest.token}
    fuzzer.send("POST", path, content=content, headers=headers)
    if path in ("/chat/forget", "/chat/consent"):
        fuzzer.turns = []


@quick
@given(
    path=st.sampled_from(sorted(BODIES)), content=st.binary(max_size=200) | st.sampled_from([b"[" * 100_000])
)
def test_bodies_that_are_no_json(fuzzer: Fuzzer, path: str, content: bytes) -> None:
    headers = {"content-type": "application/json", "x-form-token": fuzzer.guest.token}
    fuzzer.send("POST", path, content=content, headers=headers)


@quick
@given(path=st.sampled_from(sorted(FORMS)), data=st.data())
def test_every_field_of_every_form(fuzzer: Fuzzer, path: str, data: st.DataObject) -> None:
    sent = data.draw(st.dictionaries(st.sampled_from(FORMS[path]), texts, max_size=2))
    if path == "/leave":
        sent["token"] = "wrong"  # so that the guest stays
    content = "&".join(f"{name}={_quoted(value)}" for name, value in sent.items())
    headers = {"content-type": "application/x-www-form-urlencoded"}
    if path == "/enter":
        headers["x-form-token"] = fuzzer.guest.token
    fuzzer.send("POST", path, content=content, headers=headers)


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text[:2000].encode("utf-8", "surrogatepass"))


@quick
@given(
    user=texts,
    name=texts,
    path=st.sampled_from(READ),
    headers=st.dictionaries(st.sampled_from(HEADERS), names),
)
def test_every_path_query_and_header(
    fuzzer: Fuzzer, user: str, name: str, path: str, headers: dict[str, str]
) -> None:
    sent = {key: value.encode("latin-1") for key, value in headers.items()}
    fuzzer.send("DELETE", f"/v1/data?user={_quoted(user)}", headers=sent)
    fuzzer.send("GET", f"/v1/models/{_quoted(name)}", headers=sent)
    fuzzer.send("GET", f"/{_quoted(name)}", headers=sent)
    if "{" not in path:
        fuzzer.send("GET", f"{path}?{_quoted(user)}={_quoted(name)}", headers=sent)
        fuzzer.send("POST", path, headers=sent)
