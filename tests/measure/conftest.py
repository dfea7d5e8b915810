"""The made-up run of fixture.py, made once."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def fixture() -> ModuleType:
    """tests/measure/fixture.py as a module."""
    place = Path(__file__).with_name("fixture.py")
    spec = importlib.util.spec_from_file_location("measure_fixture", place)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def harness() -> str:
    """A Python that has lm-eval: this one, or the environment `lmeval` among the peers'. Skips when there is none."""
    if importlib.util.find_spec("lm_eval"):
        return sys.executable
    other = Path(os.environ.get("BIDDABLE_PEERS", "build/peers")) / "lmeval" / "bin" / "python"
    if not other.exists():
        pytest.skip("lm-eval is not installed: pip install lm-eval, or bench/peers.sh and BIDDABLE_PEERS")
    return str(other)


@pytest.fixture(scope="session")
def whole(fixture: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every optional part. Tests must not write into it."""
    return Path(fixture.make(tmp_path_factory.mktemp("whole")))


@pytest.fixture(scope="session")
def bare(fixture: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without plain PPO, ratings and text measurement, and without the pretraining mix."""
    return Path(fixture.make(tmp_path_factory.mktemp("bare"), steps=3, prompts=8, optional=False, ptx=False))


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
