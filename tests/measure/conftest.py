"""What tests of measurements share: a peer's Python, a random policy."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def harness() -> str:
    """A Python that has lm-eval: this one, or the environment `lmeval` among the peers'. Skips when there is
    none."""
    if importlib.util.find_spec("lm_eval"):
        return sys.executable
    other = Path(os.environ.get("BIDDABLE_PEERS", "build/peers")) / "lmeval" / "bin" / "python"
    if not other.exists():
        pytest.skip("lm-eval is not installed: pip install lm-eval, or bench/peers.sh and BIDDABLE_PEERS")
    return str(other)


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random policy folder as [learn.start] makes it, in fp32."""
    import torch

    from biddable.model import checkpoints, hardware, random_model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "compute_dtype", lambda: torch.float32)
        source = random_model.save_random_model(tmp_path_factory.mktemp("source"))
        folder = tmp_path_factory.mktemp("runs") / "learn.start"
        folder.mkdir()
        checkpoints.import_model(str(source), folder / "model", trunk=2)
    return folder
