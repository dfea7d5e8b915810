"""A server of the chat page and the API without a model: what answers is a parrot that can be interrupted."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.types import ASGIApp

from biddable.run import turn_log
from biddable.run.records import Feedback, Policy, Turn
from biddable.serve import api
from biddable.serve.engine.backend import GenerationRequest
from biddable.serve.engine.requests import Piece, Token
from biddable.store.api_keys import Keys
from biddable.store.store import Store, open_store

ASK = {"messages": [{"role": "user", "content": "Name a fruit."}]}
Hook = Callable[[], Awaitable[Any]]


async def nothing() -> None:
    """What usually happens while an answer is under way."""


@dataclass
class Parrot:
    """A served model whose answers are two pieces; `meanwhile` happens between them."""

    meanwhile: Hook = nothing
    name: str = "learn.ppo"
    answerer: Policy = field(default_factory=lambda: Policy(folder="runs/x/learn.ppo", content="9f86"))
    scores: bool = False

    async def open(self, request: GenerationRequest) -> ParrotStream:
        return ParrotStream(self, request.n * max(1, len(request.prompts)))

    async def alive(self) -> bool:
        return True

    def load(self) -> tuple[int, int]:
        return 0, 0


@dataclass
class ParrotStream:
    model: Parrot
    answers: int
    prompt_tokens: int = 3
    completion_tokens: int | None = None
    max_tokens: int = 2
    seed: int | None = 1

    async def __aiter__(self) -> AsyncIterator[Piece]:
        for number in range(self.answers):
            yield Piece(number, "An ", (Token(5, -1.0),))
            await self.model.meanwhile()
            yield Piece(number, "apple.", (Token(6, -1.0),), "stop")

    def close(self) -> None:
        pass


@dataclass
class Site:
    """A server in this process: requests go to `app` without a socket."""

    app: ASGIApp
    run: Path
    store: Store
    model: Parrot
    key: str

    def turns(self) -> tuple[list[Turn], list[Feedback]]:
        """What is kept."""
        return turn_log.read(self.run / "turns")

    def client(self, **headers: str) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(self.app)
        return httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)

    def program(self) -> httpx2.AsyncClient:
        """A program with the key, if there is one."""
        return self.client(**({"authorization": f"Bearer {self.key}"} if self.key else {}))

    async def guest(self, key: str = "") -> Guest:
        """A browser on the chat page, for which `key` was entered."""
        guest = Guest(self.client())
        await guest.load()
        if key:
            await guest.form("/enter", key=key)
            await guest.load()
        return guest


class Guest:
    """A browser without script that calls what the page's script would call."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    async def load(self) -> None:
        self.page = (await self.http.get("/")).text
        found = re.search(r'name="form-token" content="(\w+)"', self.page)
        assert found
        self.token = found[1]

    async def form(self, path: str, **fields: str) -> httpx2.Response:
        return await self.http.post(path, data={"token": self.token, **fields})

    async def post(self, path: str, data: Any) -> httpx2.Response:
        return await self.http.post(
            path, json=data, headers={"x-form-token": self.token, "accept": "application/json"}
        )

    async def turn(self) -> str | None:
        """Ask; the handle of the answer's turn if it was kept."""
        answer = await self.post("/chat/answer", ASK)
        assert answer.status_code == 200, answer.text
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
        assert events[-1] == {"done": True}
        (handle,) = [event["turn"] for event in events if "finish" in event]
        assert handle is None or isinstance(handle, str)
        return handle

    async def agree(self, given: bool = True) -> httpx2.Response:
        version = re.search(r'data-version="([\w-]+)"', self.page)
        assert version
        return await self.post("/chat/consent", {"given": given, "version": version[1]})


@pytest.fixture
def make_site(where: str, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """make_site(**settings) -> a server; on SQLite and on PostgreSQL."""
    with ExitStack() as opened:

        def make(**settings: Any) -> Site:
            run = tmp_path / "run"
            store = opened.enter_context(open_store(where))
            cfg = api.Config(**{"requests_per_minute": 100_000, **settings})
            key = Keys(store).add("tests") if cfg.access == "key" else ""
            model = Parrot()
            return Site(api.application(cfg, run, {model.name: model}, store), run, store, model, key)

        yield make


def play(scene: Coroutine[Any, Any, None]) -> None:
    """Run what a test does."""
    asyncio.run(scene)
