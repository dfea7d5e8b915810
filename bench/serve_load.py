"""Serving under hostile load, and killed under load. The model is random and tiny: the engine is not the
point.

python bench/serve_load.py load [--connections 1000] [--requests 10000]
python bench/serve_load.py kill [--rounds 3]      acknowledged turns after SIGKILL
python bench/serve_load.py forget [--turns 20000] [--rounds 3]    how long a deletion keeps others' turns waiting
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import common
from serving import ANSWER, QUESTIONS, Server, body_of, ours, read_head, request

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
    data = body_of(
        model,
        number,
        max_tokens=8,
        stream=kind in ("good, streamed", "hangs up in the stream", "slow reader"),
    )
    body = json.dumps(data).encode()
    if kind == "bad JSON":
        body = body[:-3]
    elif kind == "invalid UTF-8":
        body = (
            body.replace(b"kettle", b"k\xff\xfe")
            .replace(b"letter", b"\xc3(")
            .replace(b"bicycle", b"\x80")
            .replace(b"story", b"\xed\xa0\x80")
        )
    elif kind == "negative numbers":
        name = random.Random(number).choice(("max_tokens", "temperature", "n", "top_p", "top_logprobs"))
        body = json.dumps({**data, name: -number - 1}).encode()
    elif kind == "huge body":
        body = b"[" + b" " * 3_000_000 + b"]"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        if kind == "huge body in chunks":
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
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


def _stay(
    server: Server, connections: int, requests: int, parts: int
) -> tuple[dict[str, Counter[str]], list[float]]:
    """The storm in parts: what came of each kind, and the server's memory after each part."""
    came: dict[str, Counter[str]] = {kind: Counter() for kind in MIX}
    memory = []
    for part in range(parts):
        began = time.perf_counter()
        for kind, what in asyncio.run(
            storm(server.port, "tiny", connections, requests // parts, part)
        ).items():
            came[kind] += what
        memory.append(server.rss())
        said = (
            f"  {(part + 1) * (requests // parts)} of {requests}: {time.perf_counter() - began:.0f} s, "
            f"{memory[-1]:.0f} MB"
        )
        print(said, file=sys.stderr, flush=True)
    return came, memory


def load(connections: int, requests: int) -> None:
    from biddable.model import checkpoints, random_model

    parts = max(1, min(10, requests // connections))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoints.import_model(str(random_model.save_random_model(folder / "source")), folder / "tiny", 2)
        server = ours(str(folder / "tiny"), folder, slots=32, queue=512, max_request_kb=1024)
        try:
            print(
                "warming up until buffers, caches and threads are all there: half of the requests once",
                file=sys.stderr,
                flush=True,
            )
            _stay(server, connections, max(2 * connections, requests // 2), max(2, parts // 2))
            before, began = server.rss(), time.perf_counter()
            print("the storm", file=sys.stderr, flush=True)
            came, memory = _stay(server, connections, requests, parts)
            seconds = time.perf_counter() - began
            alive = server.process.poll() is None and server.answers("/health")
        finally:
            server.stop()
    print(f"\n{time.strftime('%Y-%m-%d %H:%M')}, {common.processor()}, `{' '.join(sys.argv)}`\n")
    print("| kind | sent | what came |\n| --- | --- | --- |")
    for kind, what in came.items():
        print(
            f"| {kind} | {sum(what.values())} | {', '.join(f'{n} {said}' for said, n in what.most_common())} "
            "|"
        )
    print(
        f"\n{connections} connections, {requests} requests in {seconds:.0f} s; alive and healthy afterwards: "
        f"{alive}."
    )
    after = memory[-1]
    print(
        f"Memory {before:.0f} MB before, {after:.0f} MB after ({(after / before - 1) * 100:+.1f} %); on the "
        f"way {' '.join(f'{m:.0f}' for m in memory)}."
    )


def kill(rounds: int) -> None:
    from biddable.model import checkpoints, random_model
    from biddable.run import turn_log

    lost = kept = acknowledged = 0
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            checkpoints.import_model(
                str(random_model.save_random_model(folder / "source")), folder / "tiny", 2
            )
            server = ours(str(folder / "tiny"), folder, slots=16, queue=512)
            told: list[str] = []

            async def client(seed: int, port: int = server.port, told: list[str] = told) -> None:
                with suppress(OSError, ValueError, KeyError, asyncio.IncompleteReadError):
                    for n in range(10_000):
                        reader, writer = await asyncio.open_connection("127.0.0.1", port)
                        with closing(writer):
                            body = body_of("tiny", n, max_tokens=8, store=True, user="ada", seed=seed)
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
            found = {turn.id for turn in turn_log.read(folder / "serve" / "turns")[0]}
            acknowledged, kept = acknowledged + len(told), kept + len(found)
            lost += len(set(told) - found)
    print(f"\n{time.strftime('%Y-%m-%d %H:%M')}, {common.processor()}, `{' '.join(sys.argv)}`\n")
    print(
        f"{rounds} servers killed with SIGKILL under load: {acknowledged} turns acknowledged, {kept} on the "
        f"disk, {lost} lost."
    )


def forget(turns: int, rounds: int) -> None:
    """While another process deletes one user's turns, we append others' and look at the longest wait."""
    from biddable.run import turn_log
    from biddable.run.records import Answer, Message, Policy, Sampling, Turn

    def turn(number: int, user: str) -> Turn:
        text = QUESTIONS[number % len(QUESTIONS)]
        return Turn(
            id=f"turn-{number:024x}-0",
            conversation="conv",
            user=user,
            time="2026-11-26T00:00:00Z",
            messages=(Message(role="user", content=text),) * 3,
            answer=Answer(text=text * 4, model="learn.ppo", tokens=tuple(range(100, 100 + ANSWER))),
            policy=Policy(folder="runs/demo/learn.ppo", content="9f" * 32),
            sampling=Sampling(max_tokens=ANSWER),
            consent="consent-1",
        )

    code = "import sys, time; from pathlib import Path; from biddable.run import turn_log; began = time.monotonic()"
    code += "; turn_log.forget(Path(sys.argv[1]), 'user-0'); print(time.monotonic() - began)"
    waits: list[float] = []
    usual: list[float] = []
    seconds: list[float] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "turns"
            turn_log.append(folder, *(turn(n, f"user-{n % 10}") for n in range(turns)))
            size = (folder / turn_log.TURNS).stat().st_size / 1e6
            command = [sys.executable, "-c", code, str(folder)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            during: list[float] = []
            while process.poll() is None:
                began = time.monotonic()
                turn_log.append(folder, turn(turns + len(during), "user-1"))
                during.append(time.monotonic() - began)
            seconds.append(float(process.communicate()[0]))
            waits.append(max(during))
            usual.append(sorted(during)[len(during) // 2])
            left = turn_log.read(folder)[0]
            if len(left) != turns - turns // 10 + len(during) or any(row.user == "user-0" for row in left):
                raise RuntimeError("turns were lost, or are still there")
    print(f"\n{time.strftime('%Y-%m-%d %H:%M')}, {common.processor()}, `{' '.join(sys.argv)}`\n")
    print(
        f"{turns} turns ({size:.0f} MB), a tenth of them deleted in {min(seconds):.2f} to {max(seconds):.2f} s. The "
        f"longest that another turn waited meanwhile: {' '.join(f'{w * 1000:.0f}' for w in waits)} ms (usually "
        f"{' '.join(f'{w * 1000:.1f}' for w in usual)})."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("load", "kill", "forget"))
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument(
        "--rounds", type=int, default=3, help="how many servers are killed, or deletions made"
    )
    parser.add_argument("--turns", type=int, default=20_000)
    args = parser.parse_args()
    if args.what == "load":
        load(args.connections, args.requests)
    elif args.what == "kill":
        kill(args.rounds)
    else:
        forget(args.turns, args.rounds)


if __name__ == "__main__":
    main()
