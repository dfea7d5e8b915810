"""What the benches of the server share: servers in processes of their own, and HTTP by hand, as what is
hostile cannot be sent with a well-behaved client."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

QUESTIONS = (
    "Explain in a few sentences how a kettle works and why it gets louder before the water boils.",
    "Write a short letter to a neighbour who has watered the flowers while I was away on holiday.",
    "What should somebody pay attention to who buys a used bicycle for the first time? Give reasons.",
    "Tell a story of a lighthouse keeper who finds a message in a bottle on a stormy evening.",
)
ANSWER = 64


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


signal.signal(
    signal.SIGTERM, lambda *_: sys.exit(143)
)  # so that a bench that is stopped stops its servers too


class Server:
    """A server in a process of its own."""

    def __init__(self, command: list[str], port: int, ready: str, seconds: float = 180) -> None:
        self.port = port
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.log = Path(tempfile.mkstemp(prefix="serve-load-", suffix=".log")[1])
        self.process = subprocess.Popen(
            command, stdout=self.log.open("w"), stderr=subprocess.STDOUT, env=environment
        )
        until = time.monotonic() + seconds
        while not self.answers(ready):
            if self.process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError(f"{' '.join(command)} does not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.2)

    def answers(self, path: str) -> bool:
        """Whether this path says 200."""
        try:
            return bool(
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2).status == 200
            )
        except OSError:
            return False

    def rss(self) -> float:
        """Resident memory in MB."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def ours(model: str, folder: Path, **settings: Any) -> Server:
    """`biddable serve.api` on a policy folder."""
    port = free_port()
    values = {
        "policies": [model],
        "access": "open",
        "port": port,
        "requests_per_minute": 10_000_000,
        **settings,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    toml = folder / "serve.toml"
    toml.write_text("\n".join([f'runs = "{folder}"', "[serve.api]", *lines]), encoding="utf-8")
    return Server([sys.executable, "-m", "biddable.cli", "serve.api", str(toml)], port, "/health")


def request(body: bytes, path: str = "/v1/chat/completions", length: int | None = None) -> bytes:
    told = len(body) if length is None else length
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {told}\r\n\r\n"
    )
    return head.encode() + body


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and headers; status 0 when the server closed without a word."""
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").split("\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, {}
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
    }
    return int(lines[0].split()[1]), headers


def body_of(model: str, number: int, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}]
    return {"model": model, "messages": messages, "max_tokens": ANSWER, "temperature": 1.0, **more}
