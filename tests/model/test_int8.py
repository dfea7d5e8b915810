"""A trunk in int8: what its numbers are, that neighbours don't change them, and that all branches stand on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from biddable.learn import start
from biddable.model import checkpoints, int8, random_model
from biddable.model.packing import Tree, pack
from biddable.run.config import UserError
from biddable.run.context import StageContext

TREES = [Tree(tuple(range(10, 25)), (tuple(range(30, 50)), tuple(range(60, 70)))), Tree((5, 6, 7), ((8, 9),))]


def test_a_product_by_hand() -> None:
    """Weights (4, -2) have scale 4/127 and integers 127, -64 (63.5 rounds to even); the input (1, 0.5) has 1/127 and 127, 64
    (63.5 again): (127 * 127 - 64 * 64) * 4 / 127^2 = (16129 - 4096) * 4 / 16129 = 2.98419..., plus the bias 1."""
    layer = int8.Int8Linear(torch.tensor([[4.0, -2.0]]), torch.tensor([1.0]))
    out = layer(torch.tensor([[1.0, 0.5]]))
    assert out.item() == pytest.approx(12033 * 4 / 16129 + 1, rel=1e-6)


def test_rows_of_zeros_and_the_largest_error() -> None:
    x = torch.randn(20, 64, generator=torch.Generator().manual_seed(1)) * torch.logspace(-3, 3, 20)[:, None]
    x[3] = 0
    integers, scale = int8.quantise_rows(x)
    assert integers.dtype == torch.int8 and integers[3].count_nonzero() == 0 and scale[3] == 0
    assert integers.abs().max() == 127
    assert ((integers * scale - x).abs() <= scale / 2 * 1.0001).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_does_not_depend_on_its_neighbours(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(2)
    layer = int8.Int8Linear(torch.randn(48, 96, generator=generator), None)
    x = torch.randn(3, 11, 96, generator=generator).to(dtype)
    together = layer(x)
    assert together.dtype == dtype and together.shape == (3, 11, 48)
    assert all(
        torch.equal(layer(x[i : i + 1, j : j + 1])[0, 0], together[i, j]) for i in range(3) for j in range(11)
    )
    expected = x.float() @ (layer.weight.t().float() * layer.scale[:, None]).t()
    assert (together.float() - expected).norm() < 0.02 * expected.norm()


def bring(tmp_path: Path, name: str, **settings: object) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    start.run(
        start.Config(model="tiny", trunk=2, **settings),
        StageContext(folder, "learn.start", 1, lambda *_: None),
    )  # type: ignore[arg-type]
    return folder


def test_every_branch_stands_on_the_trunk_that_learn_start_cut(tmp_path: Path) -> None:
    """A policy and a scorer that are saved and read again have the trunk in int8, and no other is taken for it. Its states differ
    from the plain trunk's by a little, and above trunk the branches are equal."""
    plain, folder = bring(tmp_path, "plain"), bring(tmp_path, "int8", int8_trunk=True)
    policy = checkpoints.load_policy(folder)
    checkpoints.save_policy(policy, tmp_path / "saved", folder)
    again = checkpoints.load_policy(tmp_path / "saved", shared=policy.trunk)
    assert (
        policy.trunk.int8
        and json.loads((tmp_path / "saved" / "biddable.json").read_text())["int8_trunk"] is True
    )
    checkpoints.save_scorer(
        checkpoints.rule_model_from(policy, checkpoints.tokenizer(folder), 64).scorer,
        tmp_path / "scorer",
        folder,
    )
    assert checkpoints.load_scorer(tmp_path / "scorer").trunk.int8
    with pytest.raises(UserError, match="its trunk is not the one the other models stand on"):
        checkpoints.load_policy(plain, shared=policy.trunk)
    packed = pack(TREES, 64)
    states, expected = policy.trunk(packed), checkpoints.load_policy(plain).trunk(packed)
    assert states is not None and expected is not None and not torch.equal(states, expected)
    assert (states - expected).float().norm() < 0.05 * expected.float().norm()
    assert torch.equal(policy.logp(packed)[0], again.logp(packed)[0])


def test_a_family_whose_own_code_runs_is_read_in_int8_too(tmp_path: Path) -> None:
    """gemma2's blocks are not fused: their linear layers are exchanged."""
    folder = random_model.save_random_model(tmp_path / "gemma2", family="gemma2")
    checkpoints.import_model(str(folder), tmp_path / "model", 2, int8=True)
    trunk = checkpoints.load_policy(tmp_path / "model").trunk
    assert trunk.blocks is not None and trunk.blocks.fused is None
    assert any(isinstance(module, int8.Int8Linear) for module in trunk.blocks.modules())


def test_what_cannot_be_read_in_int8_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="int8_trunk = true: there is no trunk"):
        start.run(
            start.Config(model="tiny", int8_trunk=True),
            StageContext(tmp_path, "learn.start", 1, lambda *_: None),
        )
    brought = bring(tmp_path, "int8", int8_trunk=True)
    monkeypatch.setattr(checkpoints.hardware, "device", lambda: torch.device("meta"))
    with pytest.raises(UserError, match="a trunk in int8, which is for CPUs"):
        checkpoints._check_trunk(brought, None, None, True)
