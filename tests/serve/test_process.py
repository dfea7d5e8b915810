"""The whole server as a process: how it starts, how it stops, and what is left when it is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from biddable.run import turn_log
from biddable.run.config import UserError
from biddable.serve import api

TIMEOUT_SECONDS = 600.0
"""Everything is awaited as an event; a wait that takes so long has failed, however busy the machine is."""
ASK = {"model": "learn.ppo", "messages": [{"role": "user", "content": "Name a fruit."}]}


@contextmanager
def process(run: Path, policy: Path, **settings: Any) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`biddable serve.api` on a free port; its run's folder is `run`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    values = {
        "policies": [str(policy)],
        "access": "open",
        "port": port,
        "requests_per_minute": 1_000_000,
        **settings,
    }
    file = run.parent / f"{run.name}.toml"
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    file.write_text("\n".join([f'runs = "{run.parent}"', "[serve.api]", *lines]), encoding="utf-8")
    made = subprocess.Popen(
        [sys.executable, "-m", "biddable.cli", "serve.api", str(file)], stderr=subprocess.PIPE
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            try:
                httpx2.get(url + "/health", timeout=TIMEOUT_SECONDS)
                break
            except httpx2.ConnectError:
                assert made.poll() is None, made.stderr and made.stderr.read().decode()
                assert time.monotonic() < deadline, "the server does not listen"
                time.sleep(0.1)
        yield made, url
    finally:
        made.kill()
        made.wait()
        if made.stderr:
            made.stderr.close()


def test_killed_under_load_every_acknowledged_turn_is_on_the_disk(tiny_stages: Path, tmp_path: Path) -> None:
    told: list[str] = []

    def ask(url: str, seed: int) -> None:
        with httpx2.Client(base_url=url, timeout=TIMEOUT_SECONDS) as client:
            try:
                for number in range(10_000):
                    body = {**ASK, "store": True, "user": "ada", "max_tokens": 4, "seed": seed + number}
                    told.append(client.post("/v1/chat/completions", json=body).json()["choices"][0]["turn"])
            except (httpx2.HTTPError, KeyError, ValueError):
                return  # the server is dead

    with process(tmp_path / "run", tiny_stages / "learn.ppo") as (made, url):
        clients = [threading.Thread(target=ask, args=(url, 100_000 * n)) for n in range(8)]
        for client in clients:
            client.start()
        while len(told) < 100:
            assert made.poll() is None and any(client.is_alive() for client in clients)
            time.sleep(0.01)
        os.kill(made.pid, signal.SIGKILL)
        for client in clients:
            client.join()
    kept = {turn.id for turn in turn_log.read(tmp_path / "run" / "turns")[0]}
    assert len(told) >= 100 and set(told) <= kept and len(kept) <= len(told) + 8


def test_stopping_lets_answers_under_way_finish(tiny_stages: Path, tmp_path: Path) -> None:
    body = {**ASK, "max_tokens": 300, "stream": True, "seed": 1}
    with process(tmp_path / "run", tiny_stages / "learn.ppo") as (made, url):
        with httpx2.stream(
            "POST", url + "/v1/chat/completions", json=body, timeout=TIMEOUT_SECONDS
        ) as answer:
            pieces = answer.iter_text()
            text = next(pieces)
            made.send_signal(signal.SIGTERM)
            text += "".join(pieces)
        assert text.rstrip().endswith("[DONE]") and '"finish_reason":"' in text
        assert made.wait(TIMEOUT_SECONDS) == 0
        assert made.stderr and b"Traceback" not in made.stderr.read()


def test_what_cannot_be_served_is_refused(tiny_stages: Path, tmp_path: Path) -> None:
    from biddable.run.context import StageContext

    context = StageContext(tmp_path / "run" / "serve.api", "serve.api", 1, lambda step, steps, numbers: None)
    with pytest.raises(UserError, match=r"serve\.keys FILE add NAME"):
        api.serve(api.Config(policies=(tiny_stages / "learn.ppo",)), context)
    with pytest.raises(UserError, match=r"best_of = 4: needs \[serve.api\] reward"):
        api.load_models(api.Config(policies=(tiny_stages / "learn.ppo",), best_of=4))
    with pytest.raises(UserError, match=r"rule_model: needs reward"):
        api.load_models(
            api.Config(policies=(tiny_stages / "learn.ppo",), rule_model=tiny_stages / "learn.start")
        )
    with pytest.raises(UserError, match="each policy can be named once"):
        api.load_models(api.Config(policies=(tiny_stages / "learn.ppo", tiny_stages / "learn.ppo")))
    with pytest.raises(UserError, match="is a scorer"):
        api.load_models(api.Config(policies=(tiny_stages / "learn.reward",)))
    (tmp_path / "learn.ppo").mkdir()
    (tmp_path / "learn.ppo" / "begun.json").write_text("{}")
    with pytest.raises(UserError, match="is not done"):
        api.load_models(api.Config(policies=(tmp_path / "learn.ppo",)))
    for wrong in ({"engine": "vllm"}, {"address": "chat.example.org"}, {"policies": ()}, {"best_of": 0}):
        with pytest.raises(ValueError):
            api.Config(**wrong)


def test_models_are_named_by_stage_and_by_run_where_two_are_alike() -> None:
    paths = (Path("/runs/one/learn.ppo"), Path("/runs/two/learn.ppo"), Path("/runs/two/learn.sft"))
    assert api.model_names(paths) == ["one/learn.ppo", "two/learn.ppo", "learn.sft"]
