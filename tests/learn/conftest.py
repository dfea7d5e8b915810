"""A small start model and a reward model on it, for all tests of the training stages."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from biddable.model import hardware
from tests.learn import plain


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a start model and of a reward model, both fp32 with two blocks, cut at block 1."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "compute_dtype", lambda: torch.float32)
        start = plain.make_start(folder)
        return start, plain.make_reward(folder, start)
