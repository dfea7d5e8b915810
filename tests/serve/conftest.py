"""A served run of tiny models on a port of this machine."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest


@pytest.fixture(scope="session")
def tiny_stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with two policies and a reward model on one trunk."""
    import torch

    from biddable.model import checkpoints, random_model
    from biddable.model.trunk import scorer_from

    run = tmp_path_factory.mktemp("served") / "tiny"
    run.mkdir()
    random_model.save_random_model(run / "source")
    checkpoints.import_model(str(run / "source"), run / "learn.start", 2)
    policy = checkpoints.load_policy(run / "learn.start")
    scorer = scorer_from(policy, torch.Generator().manual_seed(5))
    checkpoints.save_scorer(scorer, run / "learn.reward", run / "learn.start")
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in policy.branch.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
    checkpoints.save_policy(policy, run / "learn.ppo", run / "learn.start")
    return run


@dataclass
class Served:
    """A server under way."""

    url: str
    run: Path
    key: str
    models: Any
    stop: Callable[[], None] = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"} if self.key else {}

    def post(self, path: str, json: Any = None, **more: Any) -> httpx2.Response:
        """A request with the key."""
        headers = {**self.headers, **more.pop("headers", {})}
        return httpx2.post(self.url + path, json=json, headers=headers, timeout=60, **more)

    def get(self, path: str) -> httpx2.Response:
        return httpx2.get(self.url + path, headers=self.headers, timeout=60)


@pytest.fixture(scope="session")
def start(tiny_stages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """start(**settings) -> a server of its own run folder; all are stopped in the end."""
    import uvicorn

    from biddable.serve import api
    from biddable.store.api_keys import Keys
    from biddable.store.store import open_store

    running: list[Served] = []

    def begin(**settings: Any) -> Served:
        run = tmp_path_factory.mktemp("run")
        settings = {"policies": (tiny_stages / "learn.ppo",), "max_tokens": 400, "context": 480, **settings}
        cfg = api.Config.model_construct(**{**api.Config().model_dump(), **settings})
        store = open_store(run / "store.db")
        key = Keys(store).add("tests") if cfg.access == "key" else ""
        models, close = api.load_models(cfg)
        app = api.application(cfg, run, models, store)
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=2)
        )

        async def serve() -> None:
            await server.serve([listener])
            await close()

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()

        def stop() -> None:
            server.should_exit = True
            thread.join()
            store.close()
            listener.close()

        made = Served(f"http://127.0.0.1:{listener.getsockname()[1]}", run, key, models, stop)
        running.append(made)
        while not server.started:
            time.sleep(0.01)
        return made

    yield begin
    for one in running:
        one.stop()


@pytest.fixture(scope="session")
def served(start: Callable[..., Served], tiny_stages: Path) -> Served:
    """The policy with a reward model, with a key."""
    return start(reward=tiny_stages / "learn.reward", slots=8)
