"""The memory plan against real stages: what `biddable check` says, and the peak that the stage's manifest
tells.

    python bench/memory.py [--shape small] [--stages sft,reward,ppo] [--set KEY=VALUE ...]

A random llama of the named shape, random tokens of the named lengths, one or two steps of `learn.sft`,
`learn.reward` and `learn.ppo`, each in a process of its own. One row a stage.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, int]] = {
    # hidden, blocks, MLP, vocabulary, heads, key heads; trunk, tokens of a prompt and of an answer
    "tiny": {"h": 256, "n": 8, "f": 768, "v": 4096, "a": 4, "g": 2, "trunk": 4, "prompt": 60, "answer": 60},
    "135M": {"h": 576, "n": 30, "f": 1536, "v": 49152, "a": 9, "g": 3, "trunk": 0, "prompt": 40, "answer": 48},
    "135M-24": {
        "h": 576, "n": 30, "f": 1536, "v": 49152, "a": 9, "g": 3, "trunk": 24, "prompt": 200, "answer": 200
    },
    "360M": {"h": 960, "n": 32, "f": 2560, "v": 49152, "a": 15, "g": 5, "trunk": 16, "prompt": 100, "answer": 100},
    "1.5B": {
        "h": 1536, "n": 28, "f": 8960, "v": 151936, "a": 12, "g": 2, "trunk": 22, "prompt": 448, "answer": 64
    },
}  # fmt: skip


def make_model(folder: Path, shape: dict[str, int]) -> None:
    """A random bf16 llama as `learn.start` leaves it, without the comparison with transformers."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from biddable.model import checkpoints, random_model

    tokenizer = random_model.tokenizer()
    config = LlamaConfig(
        hidden_size=shape["h"], num_hidden_layers=shape["n"], intermediate_size=shape["f"],
        vocab_size=shape["v"], num_attention_heads=shape["a"], num_key_value_heads=shape["g"],
        max_position_embeddings=4096, tie_word_embeddings=True, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    torch.set_default_dtype(torch.bfloat16)
    model = AutoModelForCausalLM.from_config(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    del model
    policy = checkpoints.load_policy(folder, trunk=shape["trunk"])
    facts = {
        "kind": "policy",
        "trunk": shape["trunk"],
        "fingerprint": policy.trunk.fingerprint,
        "tokens": 300,
    }
    (folder / "model" / "biddable.json").write_text(json.dumps(facts))


def make_data(folder: Path, shape: dict[str, int], rows: int) -> None:
    """Demonstrations, rankings of four answers, and prompts."""
    draw = random.Random(1)
    folder.mkdir(parents=True)
    files: dict[str, list[dict[str, Any]]] = {"demonstrations": [], "comparisons": [], "prompts": []}
    for number in range(rows):
        split = "valid" if number % 4 == 3 else "train"
        # one letter and a space are about a token each for the random tokenizer
        words = " ".join(draw.choice("abcdefgh") for _ in range(shape["prompt"] // 2))
        prompt = {
            "id": f"p{number}", "messages": [{"role": "user", "content": words}], "user": "u", "split": split
        }  # fmt: skip
        replies = [
            {"text": "x", "model": "m", "tokens": [draw.randrange(5, 300) for _ in range(shape["answer"])]}
            for _ in range(4)
        ]
        who = {"labeler": "l", "simulated": True, "guideline": "g"}
        files["prompts"].append(prompt)
        files["demonstrations"].append({"id": f"d{number}", "prompt": prompt, "answer": replies[0], **who})
        files["comparisons"].append(
            {"id": f"c{number}", "prompt": prompt, "answers": replies, "ranks": [1, 2, 3, 4],
             "panel": "training", **who}
        )  # fmt: skip
    for name, records in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in records))
    (folder / "summary.json").write_text("{}")


def run_file(folder: Path, shape: dict[str, int], settings: list[str]) -> Path:
    """The TOML file of the three stages. `settings`: lines like `learn.sft.master_weights="split"`, or without
    a stage for all three."""
    common = {line for line in settings if not line.startswith("learn.")}
    lines = ['name = "memory"', "seed = 1"]
    tables = {
        "learn.sft": [
            'start = "base"', 'demonstrations = "data"', "epochs = 1", "batch = 4", "learning_rate = 1e-5"
        ],
        "learn.reward": ['policy = "base"', 'comparisons = "data"', 'demonstrations = "none"', "batch = 2"],
        "learn.ppo": [
            'policy = "base"', 'prompts = "data"', 'text = "none"', "ptx_coef = 0.0", "episodes = 32",
            "batch = 16", "minibatch = 16", f"max_tokens = {shape['answer']}", "eval_prompts = 2", "slots = 16",
        ],
    }  # fmt: skip
    for table, values in tables.items():
        table_settings = [line[len(table) + 1 :] for line in settings if line.startswith(table)]
        replaced = {line.split("=")[0].strip() for line in table_settings}
        values = [line for line in values if line.split("=")[0].strip() not in replaced]
        lines += ["", f"[{table}]", *values, *sorted(common), *table_settings]
    path = folder / "memory.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="tiny", choices=SHAPES)
    parser.add_argument("--stages", default="sft,reward,ppo")
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--folder", help="where to keep model and run; default: a temporary folder")
    parser.add_argument("--set", nargs="*", default=[], help='such as master_weights="split"')
    args = parser.parse_args()
    shape = SHAPES[args.shape]
    folder = Path(args.folder or tempfile.mkdtemp(prefix="biddable-memory-"))
    if not (folder / "base" / "model" / "biddable.json").exists():
        make_model(folder / "base", shape)
        make_data(folder / "data", shape, args.rows)
    file = run_file(folder, shape, args.set)
    from biddable.run import memory
    from biddable.run.plan import load_plan

    program = [sys.executable, "-m", "biddable.cli"]
    for name in args.stages.split(","):
        os.chdir(folder)
        stage = load_plan(Path(file.name)).stage(f"learn.{name}")
        plan = load_plan(Path(file.name))
        expected, parts = memory.estimate(plan, stage), memory.breakdown(plan, stage)
        assert expected is not None and parts is not None
        shutil.rmtree(folder / "runs" / "memory" / f"learn.{name}", ignore_errors=True)
        process = subprocess.run(
            [*program, f"learn.{name}", file.name], capture_output=True, text=True, check=False
        )
        if process.returncode:
            sys.exit(process.stdout[-1500:] + process.stderr[-3000:])
        manifest = json.loads((folder / "runs" / "memory" / f"learn.{name}" / "manifest.json").read_text())
        peak = manifest["peak_memory_gb"]
        print(f"| {args.shape} | {name} | {' '.join(args.set)} | {expected:.2f} | {peak:.2f} | "
              f"{100 * (expected / peak - 1):+.0f} % |", flush=True)  # fmt: skip
        print({k: round(v / 1e9, 2) for k, v in parts.items()}, file=sys.stderr)


if __name__ == "__main__":
    main()
