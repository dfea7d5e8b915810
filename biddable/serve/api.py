"""The site that serves a run's policy: a chat page for people, the OpenAI protocol for programs.

What is kept of it, with the users' consent, lies in the run's folder of turns, from where `collect.served` brings it into the next round.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from fastapi import FastAPI
from pydantic import Field, field_validator
from starlette.types import ASGIApp, Receive, Scope, Send

from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.manifest import content_hash, read_manifest
from biddable.run.records import Policy as Answerer
from biddable.serve.chat import routes as chat
from biddable.serve.engine.backend import ServedModel
from biddable.serve.exchange import ServerState
from biddable.serve.metrics import Metrics
from biddable.serve.openai import routes
from biddable.serve.openai.http import REFUSALS, error_response
from biddable.serve.rate_limit import RateLimiter
from biddable.serve.recorder import TurnRecorder
from biddable.store.accounts import Accounts
from biddable.store.api_keys import Keys
from biddable.store.store import Store, open_store
from biddable.web.app import create_app

KERNELS = "256"
"""Compiled matrix products that torch keeps on a CPU, one for each shape. Its own 1024 fill up over hours, as lengths keep changing."""


class Config(Settings):
    policies: tuple[Input, ...] = Field(default=(Path("learn.ppo"),), min_length=1)
    """The policies that answer. With two the chat page can put them side by side."""
    reward: Input | None = None
    """The reward model that chooses among several answers, such as "learn.reward"; none: no choosing."""
    best_of: int = Field(default=1, ge=1, le=64)
    """How many answers are sampled for one that is given out, where a request does not say; needs `reward`. More is better and slower;
    past some tens the reward model's mistakes win (Gao et al. 2023)."""
    engine: str = "biddable"
    """What computes: "biddable", our own engine; or the address of a server that speaks the OpenAI protocol and has the policies loaded, such
    as vLLM at "http://localhost:8000". Its key, if it wants one, is read from the environment variable BIDDABLE_ENGINE_KEY."""
    engine_models: tuple[str, ...] = ()
    """What that server calls the policies, in their order; none: by the policies' own names, or the only model that it has."""
    slots: int = Field(default=16, ge=1)
    """Answers under way at once, a policy; more wait."""
    queue: int = Field(default=64, ge=1)
    """Prompts that may wait; further ones are refused with status 503 and a time to come again."""
    context: int = Field(default=2048, ge=16)
    """Tokens of a dialogue and its answer together; less when the model was made for less."""
    max_tokens: int = Field(default=512, ge=1)
    """Tokens of one answer at most."""
    max_answers: int = Field(default=16, ge=1)
    """Answers of one request at most (`n`, `best_of`, several prompts)."""
    seconds: float = Field(default=120.0, gt=0)
    """So long an answer may take, waiting included; then it is cut off, or refused if it has not begun."""
    max_request_kb: int = Field(default=1024, ge=1)
    """Size of a request at most, in KB."""
    requests_per_minute: int = Field(default=120, ge=1)
    """How often the owner of one key, or one visitor's address, may ask."""
    access: Literal["key", "open"] = "key"
    """Who may ask: "key", those who have a key (`biddable serve.keys FILE add NAME`); or "open", whoever reaches the port."""
    page: bool = True
    """Whether there is a chat page beside the API."""
    side_by_side: float = Field(default=0.0, ge=0, le=1)
    """Share of the questions on the page that are answered twice, blind and side by side: by two policies, or twice by the only one."""
    keep: bool = True
    """Whether turns of users who agree to it are kept for the next round. Nothing is ever kept of others."""
    title: str = Field(default="biddable", min_length=1)
    """What the page calls itself."""
    host: str = "127.0.0.1"
    """Where it listens: 127.0.0.1 is reached from this machine only; 0.0.0.0 from everywhere."""
    port: int = Field(default=8200, ge=1, le=65535)
    """The port it listens on."""
    address: str | None = None
    """How browsers reach it, e.g. "https://chat.example.org"; none: by host and port. With https a proxy in front does the encryption."""
    proxies: str = "127.0.0.1"
    """Addresses of the proxies that are believed about a client's address, with commas between."""
    grace: int = Field(default=30, ge=0)
    """Seconds that answers under way may still take when the server is stopped."""
    store: str | None = None
    """The store's path or SQLAlchemy URL; none: store.db in the run's folder."""

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and (
            urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname
        ):
            raise ValueError("an address such as https://chat.example.org was expected")
        return value.rstrip("/") if value else value

    @field_validator("engine")
    @classmethod
    def _is_an_engine(cls, value: str) -> str:
        if value != "biddable" and (
            urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname
        ):
            raise ValueError('"biddable" or an address such as http://localhost:8000 was expected')
        return value


def names(policies: tuple[Path, ...]) -> list[str]:
    """What the models are called: by their stage, and by their run too where two stages have one name."""
    short = [path.resolve().name for path in policies]
    return [
        name if short.count(name) == 1 else f"{path.resolve().parent.name}/{name}"
        for name, path in zip(short, policies, strict=True)
    ]


def sources(cfg: Config) -> tuple[dict[str, ServedModel], Callable[[], Awaitable[None]]]:
    """What answers, by name, and how to stop it. Raises UserError for policies that do not load or an engine that is not there."""
    if cfg.best_of > 1 and (cfg.reward is None or cfg.engine != "biddable"):
        raise UserError(
            f'[serve.api] best_of = {cfg.best_of}: needs [serve.api] reward = "learn.reward" and engine = "biddable"'
        )
    called = names(cfg.policies)
    if len(set(called)) < len(called):
        raise UserError(
            f"[serve.api] policies: {', '.join(map(str, cfg.policies))}: each policy can be named once"
        )
    unfinished = [p for p in cfg.policies if (p / "begun.json").exists() and read_manifest(p) is None]
    if unfinished:
        raise UserError(
            [f"[serve.api] policies: {path} is not done; run it to its end first" for path in unfinished]
        )
    answerers = [Answerer(folder=str(path), content=content_hash(path)) for path in cfg.policies]
    if cfg.engine != "biddable":
        return _remote(cfg, called, answerers)
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", KERNELS)  # read when torch is loaded
    from biddable.serve.engine import local

    limits = local.Limits(cfg.slots, cfg.queue, cfg.context, cfg.max_tokens, cfg.seconds)
    found, engine = local.load(dict(zip(called, cfg.policies, strict=True)), answerers, cfg.reward, limits)

    async def stop() -> None:
        await asyncio.to_thread(engine.close)

    return dict(found), stop


def _remote(
    cfg: Config, called: list[str], answerers: list[Answerer]
) -> tuple[dict[str, ServedModel], Callable[[], Awaitable[None]]]:
    from biddable.serve.engine import remote

    key = os.environ.get("BIDDABLE_ENGINE_KEY")
    known = remote.names(cfg.engine, key)
    theirs = list(cfg.engine_models) or (known if len(called) == 1 == len(known) else called)
    missing = [name for name in theirs if name not in known]
    if missing or len(theirs) != len(called):
        raise UserError(
            f"[serve.api] engine_models = {theirs}: one of the engine's models ({', '.join(known)}) for each of the "
            f"policies ({', '.join(called)}) was expected"
        )
    client = remote.client(cfg.engine, key, cfg.seconds)
    found: dict[str, ServedModel] = {
        name: remote.Remote(name, answerer, client, model, cfg.max_tokens)
        for name, answerer, model in zip(called, answerers, theirs, strict=True)
    }
    return found, client.aclose


def application(cfg: Config, run: Path, answering: Mapping[str, ServedModel], store: Store) -> ASGIApp:
    """Page and API for the run in this folder, to be served by uvicorn or by a test."""
    https = (cfg.address or "").startswith("https:")
    accounts = Accounts(store)
    keys = Keys(store) if cfg.access == "key" else None
    server = ServerState(
        answering,
        TurnRecorder(run / "turns", accounts.secret()) if cfg.keep else None,
        keys,
        RateLimiter(cfg.requests_per_minute),
        Metrics(),
        max_request_bytes=cfg.max_request_kb * 1024,
        max_answers=cfg.max_answers,
        best_of=cfg.best_of,
    )
    api = routes.application(server)
    if not cfg.page:
        return api
    site = create_app(
        cfg.title, Path(__file__).with_name("chat"), accounts, https, {"/chat/": cfg.max_request_kb * 1024}
    )
    site.state.server, site.state.chat = server, chat.ChatState(store, cfg.side_by_side)
    site.include_router(chat.router)
    for kind in REFUSALS:
        site.add_exception_handler(kind, error_response)
    return _both(api, site)


def _both(api: ASGIApp, site: FastAPI) -> ASGIApp:
    """Programs' paths go to the API, all others to the pages: they share nothing but the models."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        programs = path.startswith("/v1/") or path in ("/v1", "/health", "/metrics")
        await (api if programs or scope["type"] != "http" else site)(scope, receive, send)

    return app


def serve(cfg: Config, context: StageContext) -> None:
    """Serve until stopped. Raises UserError when nobody has a key, or when a policy cannot be loaded."""
    import uvicorn

    from biddable.web.timeouts import Connection

    where = cfg.store or str(context.folder.parent / "store.db")
    with open_store(where) as store:
        if cfg.access == "key" and not any(key.closed is None for key in Keys(store).all()):
            raise UserError(
                f"{where}: nobody has a key yet; make one with `biddable serve.keys FILE add NAME`, or set "
                '[serve.api] access = "open" for a server that only you can reach'
            )
        answering, stop = sources(cfg)
        app = application(cfg, context.folder.parent, answering, store)
        gc.collect()
        gc.freeze()  # what is loaded stays: the collector then comes round for what requests leave behind, and soon enough
        _many_files()
        logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        settings = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            host=cfg.host,
            port=cfg.port,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=cfg.address is not None,
            forwarded_allow_ips=cfg.proxies,
            timeout_graceful_shutdown=cfg.grace,
            lifespan="off",
        )

        async def run() -> None:
            try:
                await uvicorn.Server(settings).serve()
            finally:
                await stop()

        for number in (
            signal.SIGINT,
            signal.SIGTERM,
        ):  # uvicorn hears them while it serves, and raises them again when it is done
            signal.signal(number, lambda *_: None)
        asyncio.run(run())


def _many_files() -> None:
    """Every connection is an open file: raise this process's limit to what the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
