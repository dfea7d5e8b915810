"""The site that serves a run's policy: a chat page for people, the OpenAI protocol for programs.

What is kept, with the users' consent, lies in the run's folder `turns`, from where `collect.served` brings it
into the next round.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Literal

from fastapi import FastAPI
from pydantic import Field, field_validator
from starlette.types import ASGIApp, Receive, Scope, Send

from biddable.run import rules
from biddable.run.config import Input, UserError
from biddable.run.context import StageContext
from biddable.run.manifest import content_hash, read_manifest
from biddable.run.outgoing import key_of
from biddable.run.output import start_log
from biddable.run.records import Policy as Answerer
from biddable.run.redaction import redact_url
from biddable.serve.chat import routes as chat
from biddable.serve.engine.backend import ServedModel
from biddable.serve.exchange import ServerState
from biddable.serve.metrics import Metrics
from biddable.serve.openai import routes
from biddable.serve.openai.http import REFUSALS, error_response
from biddable.serve.rate_limit import RateLimiter
from biddable.serve.recorder import API_CONSENT, TurnRecorder
from biddable.store.accounts import Accounts
from biddable.store.api_keys import Keys
from biddable.store.consents import Consents
from biddable.store.store import Store, open_store
from biddable.web.app import create_app
from biddable.web.gate import LOOPBACK_NAMES
from biddable.web.settings import SiteSettings, is_http_url

ONEDNN_KERNELS = "256"
"""How many compiled matrix products torch caches on a CPU, one for each shape. Its default of 1024 fills up
over hours, as lengths keep changing."""


class Config(SiteSettings):
    policies: tuple[Input, ...] = Field(default=(Path("learn.ppo"),), min_length=1)
    """The policies that answer. With two, the chat page can put them side by side."""
    reward: Input | None = None
    """The reward model that chooses among several answers, such as "learn.reward"; none: no choosing."""
    rule_model: Input | None = None
    """The rule model that has a say in the choice beside `reward`, such as "learn.rules"; none: preference
    alone chooses."""
    rules: Input | None = None
    """A TOML file of the rules that `rule_model` reads; none: ours. Fewer rules are faster: each is read for each
    answer."""
    rule_reduction: Literal["geometric_mean", "product", "minimum"] = "geometric_mean"
    """How the probabilities that rules are kept become one factor of the choice: "geometric_mean" is lenient,
    "minimum" sees the worst rule only (docs/serving.md)."""
    admins: tuple[str, ...] = ()
    """Names of the keys whose owners see below an answer which rules it came near to."""
    best_of: int = Field(default=1, ge=1, le=64)
    """How many answers are sampled for each one returned, unless the request says; needs `reward`. More is
    better and slower; beyond a few dozen the reward model's mistakes win (Gao et al. 2023)."""
    engine: str = "biddable"
    """What computes: "biddable", our own engine; or the address of a server that speaks the OpenAI protocol
    and has the policies loaded, such as vLLM at "http://localhost:8000". Its key, if it needs one, is read
    from the environment variable BIDDABLE_ENGINE_KEY."""
    engine_models: tuple[str, ...] = ()
    """What that server calls the policies, in their order; none: the policies' own names, or the only model
    that it has."""
    slots: int = Field(default=16, ge=1)
    """Answers that each policy generates at once; further ones wait."""
    queue: int = Field(default=64, ge=1)
    """Prompts that may wait; further ones are refused with status 503 and a time after which to try again."""
    context: int = Field(default=2048, ge=16)
    """Tokens of a dialogue and its answer together, at most; fewer if the model was made for fewer."""
    max_tokens: int = Field(default=512, ge=1)
    """Tokens of one answer, at most."""
    max_answers: int = Field(default=16, ge=1)
    """Answers of one request, at most (`n`, `best_of`, several prompts)."""
    seconds: float = Field(default=120.0, gt=0)
    """How long an answer may take, waiting included; then it is cut off, or refused if it has not begun."""
    max_request_kb: int = Field(default=1024, ge=1)
    """Size of a request, at most, in KB."""
    requests_per_minute: int = Field(default=120, ge=1)
    """How many requests a minute one key, or one visitor's address, may send."""
    access: Literal["key", "open"] = "key"
    """Who may send requests: "key", whoever has a key (`biddable serve.keys FILE add NAME`); or "open",
    whoever reaches the port."""
    page: bool = True
    """Whether there is a chat page beside the API."""
    side_by_side: float = Field(default=0.0, ge=0, le=1)
    """Share of the questions on the page that are answered twice, blind and side by side: by two policies, or
    twice by the only one."""
    keep: bool = True
    """Whether turns of users who agree to it are kept for the next round. Nothing of anybody else is ever
    kept."""
    port: int = Field(default=8200, ge=1, le=65535)
    """The port it listens on."""
    grace: int = Field(default=30, ge=0)
    """Seconds that answers under way may still take once the server is told to stop."""

    @field_validator("engine")
    @classmethod
    def _check_engine(cls, engine: str) -> str:
        if engine != "biddable" and not is_http_url(engine):
            raise ValueError('must be "biddable" or an address such as http://localhost:8000')
        return engine


Close = Callable[[], Awaitable[None]]
"""Stops what answers: waits for the inference thread, or closes the connections to another server."""


def model_names(policies: tuple[Path, ...]) -> list[str]:
    """What the models are called: by their stage, and by their run as well where two stages have the same
    name."""
    stages = [path.resolve().name for path in policies]
    return [
        stage if stages.count(stage) == 1 else f"{path.resolve().parent.name}/{stage}"
        for stage, path in zip(stages, policies, strict=True)
    ]


def load_models(cfg: Config) -> tuple[dict[str, ServedModel], Close]:
    """The served models by name, and how to stop them. Raises UserError for policies that do not load and for
    an engine out of reach."""
    names = model_names(cfg.policies)
    _check_models(cfg, names)
    answerers = [Answerer(folder=str(path), content=content_hash(path)) for path in cfg.policies]
    if cfg.engine != "biddable":
        return _load_remote(cfg, names, answerers)
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", ONEDNN_KERNELS)  # read when torch is loaded
    from biddable.serve.engine import local

    limits = local.Limits(cfg.slots, cfg.queue, cfg.context, cfg.max_tokens, cfg.seconds)
    policies = dict(zip(names, cfg.policies, strict=True))
    choice = None
    if cfg.rule_model is not None:
        choice = local.RuleChoice(cfg.rule_model, rules.load(cfg.rules), cfg.rule_reduction)
    models, engine = local.load(policies, answerers, cfg.reward, limits, choice)

    async def close() -> None:
        await asyncio.to_thread(engine.close)

    return dict(models), close


def _check_models(cfg: Config, names: list[str]) -> None:
    """Raises UserError for settings that contradict each other and for policies that are not done."""
    if cfg.best_of > 1 and (cfg.reward is None or cfg.engine != "biddable"):
        raise UserError(
            f'[serve.api] best_of = {cfg.best_of}: needs [serve.api] reward = "learn.reward" and engine = '
            '"biddable"'
        )
    if cfg.rule_model is not None and (cfg.reward is None or cfg.engine != "biddable"):
        raise UserError(
            '[serve.api] rule_model: needs reward = "learn.reward" and engine = "biddable"; rules choose among '
            "answers together with preference"
        )
    if len(set(names)) < len(names):
        policies = ", ".join(map(str, cfg.policies))
        raise UserError(f"[serve.api] policies: {policies}: each policy can be named once")
    unfinished = [p for p in cfg.policies if (p / "begun.json").exists() and read_manifest(p) is None]
    if unfinished:
        raise UserError(
            [f"[serve.api] policies: {path} is not done; run it to its end first" for path in unfinished]
        )


def _load_remote(
    cfg: Config, names: list[str], answerers: list[Answerer]
) -> tuple[dict[str, ServedModel], Close]:
    """The policies on another server, by what it calls them."""
    from biddable.serve.engine import remote

    key = key_of("BIDDABLE_ENGINE_KEY")
    available = remote.names(cfg.engine, key)
    only_choice = len(names) == 1 == len(available)
    engine_models = list(cfg.engine_models) or (available if only_choice else names)
    missing = [name for name in engine_models if name not in available]
    if missing or len(engine_models) != len(names):
        raise UserError(
            f"[serve.api] engine_models = {engine_models}: must name one of the engine's models "
            f"({', '.join(available)}) for each of the policies ({', '.join(names)})"
        )
    client = remote.client(cfg.engine, key, cfg.seconds)
    models: dict[str, ServedModel] = {
        name: remote.RemoteModel(name, answerer, client, model, cfg.max_tokens)
        for name, answerer, model in zip(names, answerers, engine_models, strict=True)
    }
    return models, client.aclose


def application(cfg: Config, run: Path, models: Mapping[str, ServedModel], store: Store) -> ASGIApp:
    """Page and API for the run in this folder, to be served by uvicorn or by a test."""
    accounts = Accounts(store)
    max_request_bytes = cfg.max_request_kb * 1024
    # an open server has no key that guards it from a page whose name is made to point at this machine
    hosts = LOOPBACK_NAMES if cfg.address is None and cfg.host in LOOPBACK_NAMES else cfg.hosts
    consents = (Consents(store, chat.CONSENT), Consents(store, API_CONSENT))
    server = ServerState(
        models,
        TurnRecorder(run / "turns", accounts.cookie_secret(), *consents) if cfg.keep else None,
        Keys(store) if cfg.access == "key" else None,
        RateLimiter(cfg.requests_per_minute),
        Metrics(),
        max_request_bytes=max_request_bytes,
        max_answers=cfg.max_answers,
        best_of=cfg.best_of,
    )
    api = routes.application(server, cfg.address, hosts)
    if not cfg.page:
        return api
    folder = Path(__file__).with_name("chat")
    site = create_app(cfg.title, folder, accounts, cfg.address, hosts, {"/chat/": max_request_bytes})
    site.state.server = server
    site.state.chat = chat.ChatState(store, cfg.side_by_side, frozenset(cfg.admins))
    site.include_router(chat.router)
    for kind in REFUSALS:
        site.add_exception_handler(kind, error_response)
    return _split_by_path(api, site)


def _split_by_path(api: ASGIApp, site: FastAPI) -> ASGIApp:
    """Programs' paths go to the API, all others to the pages: the two share nothing but the models."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        is_api = path.startswith("/v1/") or path in ("/v1", "/health", "/metrics")
        await (api if is_api or scope["type"] != "http" else site)(scope, receive, send)

    return app


def serve(cfg: Config, context: StageContext) -> None:
    """Serve until stopped. Raises UserError when nobody has a key, and when a policy cannot be loaded."""
    address = cfg.store_address(context.folder.parent)
    with open_store(address) as store:
        if cfg.access == "key" and not any(key.closed is None for key in Keys(store).all()):
            raise UserError(
                f"{redact_url(address)}: nobody has a key yet; make one with `biddable serve.keys FILE add NAME`, or set "
                '[serve.api] access = "open" for a server that only you can reach'
            )
        models, close = load_models(cfg)
        app = application(cfg, context.folder.parent, models, store)
        # The models stay for good: taken out of the garbage collector's sight, they do not slow down its
        # rounds.
        gc.collect()
        gc.freeze()
        _raise_file_limit()
        start_log()
        _run_server(cfg, app, close)


def _run_server(cfg: Config, app: ASGIApp, close: Close) -> None:
    """Serve until a signal comes; answers under way may finish within `grace` seconds."""
    import uvicorn

    settings = uvicorn.Config(
        app,
        access_log=False,
        timeout_graceful_shutdown=cfg.grace,
        lifespan="off",
        **cfg.uvicorn_settings(),
    )

    async def run() -> None:
        try:
            await uvicorn.Server(settings).serve()
        finally:
            await close()

    # uvicorn handles these signals while it serves, and raises them again when it is done: then nothing is
    # left to stop.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    asyncio.run(run())


def _raise_file_limit() -> None:
    """Every connection is an open file: raise this process's limit to what the system allows."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
