"""Nobody writes lines of their own into the log of a site, or learns an invitation from it."""

from __future__ import annotations

import io
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.responses import Response

from biddable.label.site import Config, application
from biddable.run.output import LogFormatter
from biddable.store import invitations
from biddable.store.accounts import Accounts
from biddable.store.store import open_store
from biddable.web import middleware

HOSTILE = "/a%0d%0aERROR%20all%20is%20lost%1b%5b2J%e2%80%a8%c2%85b"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What `biddable.web` logs, as the sites write it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LogFormatter("LOG %(message)s"))
    logger = logging.getLogger("biddable.web")
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """The labeling site, on which every invitation is a bug."""

    def fails(*_: object) -> None:
        raise RuntimeError("postgresql://ada:Hunter2@db/site\nERROR gone\r\x1b[2J")

    monkeypatch.setattr(invitations, "find_invitation", fails)
    return application(Config(), tmp_path / "store.db")


def test_a_bug_of_a_page_is_a_line_with_its_traceback_below(site: FastAPI, log: io.StringIO) -> None:
    client = TestClient(site, raise_server_exceptions=False)
    assert client.get("/invitation/Secret-token").status_code == 500
    text = log.getvalue()
    assert not {"\x1b", "\r", "\u2028", "\x85"} & set(text)
    assert "Secret-token" not in text and "Hunter2" not in text
    assert "postgresql://ada:***@db/site" in text
    lines = text.split("\n")
    assert [line for line in lines if not line.startswith("  ")] == [
        "LOG GET /invitation/{token}",
        "",
    ]


def test_a_path_without_a_route_is_one_line(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("a bug before any route")

    monkeypatch.setattr(middleware, "error_page", lambda *_: Response(status_code=500))
    client = TestClient(middleware.SecurityHeaders(fails, https=False))
    assert client.get(HOSTILE).status_code == 500
    first, *others = log.getvalue().split("\n")
    assert first == "LOG GET /a\\r\\nERROR all is lost\\x1b[2J\\u2028\\x85b"
    assert all(line.startswith("  ") for line in others if line)


def test_the_site_itself_logs_nothing_that_was_sent(tmp_path: Path) -> None:
    """A real server is sent paths and bytes that are no HTTP, and stopped."""
    (tmp_path / "my.toml").write_text("[label.site]\n", encoding="utf-8")
    with open_store(tmp_path / "runs/my/store.db") as store:
        Accounts(store).add("ada", "nine quiet horses", "admin")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "biddable.cli", "label.site", "my.toml", f"port={port}"]
    site = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "NO_COLOR": "1"},
    )
    try:
        for sent in (
            f"GET {HOSTILE} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode(),
            b"GET /\x1b[2J HTTP/1.1\r\nhost: a\r\n\r\n",
            b"\x1b[2J\r\nERROR all is lost\r\n\r\n",
        ):
            assert _exchange(port, sent, site).startswith(b"HTTP/1.1 4")
        site.send_signal(signal.SIGTERM)
        out, err = site.communicate(timeout=60)
    finally:
        site.kill()
        site.communicate()
    assert b"starting at" in out
    assert b"\x1b" not in out + err
    assert b"lost" not in out + err


def _exchange(port: int, sent: bytes, site: subprocess.Popen[bytes]) -> bytes:
    """Send bytes and read what comes; at first until the server listens."""
    while True:
        assert site.poll() is None
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                connection.sendall(sent)
                received = b""
                while part := connection.recv(4096):
                    received += part
                return received
        except ConnectionRefusedError:
            os.sched_yield()
