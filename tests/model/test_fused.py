"""Blocks with few operations: which families take them, and that they give what the family's own code
gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from biddable.model import checkpoints, fused, random_model
from biddable.model import trunk as lm
from biddable.model.packing import Tree, pack

TREES = [Tree(tuple(range(10, 25)), (tuple(range(30, 50)), tuple(range(60, 70)))), Tree((5, 6, 7), ((8, 9),))]
LEAN = {"llama", "mistral", "qwen2"}


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("family", [f for f in random_model.FAMILIES if f != "gpt2"])
@pytest.mark.parametrize("trunk", [0, 2])
def test_frozen_gives_what_the_family_gives(tmp_path: Path, family: str, trunk: int) -> None:
    policy = checkpoints.load_policy(
        random_model.save_random_model(tmp_path / family, family=family), trunk=trunk
    )
    still = policy.freeze()
    assert (still.branch.fused is not None) == (family in LEAN), (
        "who is lean is decided by shape and comparison"
    )
    packed = pack(TREES, 64)
    with torch.no_grad():
        wanted, found = policy.logp(packed), still.logp(packed)
    torch.testing.assert_close(found[0], wanted[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1], wanted[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("trunk", [0, 2])
def test_later_updates_do_not_reach_the_frozen_copy_and_the_trained_one_still_trains(
    tiny_folder: Path, trunk: int
) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=trunk)
    still = policy.freeze()
    packed = pack(TREES, 64)
    with torch.no_grad():
        before = still.logp(packed)[0]
    assert not any(p.requires_grad for p in still.parameters())
    names = [n for n, p in policy.branch.named_parameters() if p.requires_grad]
    assert any("layers" in n for n in names) and any(n.endswith("model.norm.weight") for n in names)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.5)
        assert torch.equal(still.logp(packed)[0], before)
        assert not torch.equal(policy.freeze().logp(packed)[0], before)


@pytest.mark.usefixtures("fp32")
def test_a_model_that_only_looks_alike_runs_through_its_own_code(tiny_folder: Path) -> None:
    """Same children, another forward: the residual stream of each block is halved."""
    policy = checkpoints.load_policy(tiny_folder, trunk=2)
    for block in policy.branch.model.layers:  # type: ignore[union-attr]
        block.register_forward_hook(lambda module, given, out: out * 0.5)  # type: ignore[operator]
    assert policy.branch.freeze().fused is None


def test_lean_blocks_in_the_compute_dtype_agree_within_rounding(tiny_folder: Path) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=2)
    assert isinstance(policy.trunk.blocks, lm.DecoderBlocks) and policy.trunk.blocks.fused is not None
    packed = pack(TREES, 64)
    with torch.no_grad():
        difference = (policy.freeze().logp(packed)[0] - policy.logp(packed)[0]).abs().max()
    assert difference < 0.05


def test_layers_side_by_side_give_what_each_gives() -> None:
    generator = torch.Generator().manual_seed(4)
    layers = [torch.nn.Linear(5, size) for size in (4, 2, 3)]
    x = torch.randn(7, 5, generator=generator)
    with torch.no_grad():
        together = fused.frozen_linear(*layers)(x)
        torch.testing.assert_close(together, torch.cat([layer(x) for layer in layers], dim=-1))
        alone = fused.frozen_linear(layers[0])
        before = alone(x)
        layers[0].weight.mul_(2)
        assert torch.equal(alone(x), before), "the frozen layer has a copy"


@pytest.mark.parametrize("biased", [True, False])
def test_a_prepacked_layer_is_the_same_product(biased: bool) -> None:
    weight = torch.randn(48, 32, generator=torch.Generator().manual_seed(1)).bfloat16()
    bias = torch.arange(48).bfloat16() if biased else None
    assert not fused.packable(weight.float())
    if not fused.packable(weight):
        pytest.skip("no oneDNN here")
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(2)).bfloat16()
    expected = torch.nn.functional.linear(x.float(), weight.float(), None if bias is None else bias.float())
    torch.testing.assert_close(fused.PrepackedLinear(weight, bias)(x).float(), expected, atol=0.3, rtol=0.02)


@pytest.mark.usefixtures("fp32")
def test_another_part_in_a_block_is_no_fusable_shape(tiny_folder: Path) -> None:
    blocks = list(checkpoints.load_policy(tiny_folder, trunk=0).branch.model.layers)  # type: ignore[union-attr, arg-type]
    assert fused.has_fusable_shape(blocks)
    blocks[-1].self_attn.q_norm = torch.nn.Identity()
    assert not fused.has_fusable_shape(blocks)


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("changed", ["norm", "last block"])
def test_every_block_and_the_final_norm_are_compared(tiny_folder: Path, changed: str) -> None:
    """A final norm that computes something else (of the same class and weight), and a last block that scales
    its output, which the final norm would hide."""
    model = checkpoints.load_policy(tiny_folder, trunk=0).branch
    part = model.model.norm if changed == "norm" else list(model.model.layers)[-1]  # type: ignore[union-attr, arg-type]
    part.register_forward_hook(lambda module, given, out: out * 1.5)  # type: ignore[operator, union-attr]
    assert model.freeze().fused is None
    assert model.not_fused == "block 3 computes something else"


@pytest.mark.usefixtures("fp32")
def test_why_blocks_are_not_fused(tiny_folder: Path) -> None:
    model = checkpoints.load_policy(tiny_folder, trunk=0).branch
    assert model.freeze().fused is not None and model.not_fused is None
    list(model.model.layers)[1].register_forward_hook(lambda module, given, out: out * 0.5)  # type: ignore[union-attr, arg-type]
    model.fusable = None
    assert model.freeze().fused is None and model.not_fused == "block 1 computes something else"
    list(model.model.layers)[2].mlp.extra = torch.nn.Identity()  # type: ignore[union-attr, arg-type]
    model.fusable = None
    assert model.freeze().fused is None and model.not_fused == "its blocks have another shape"


def test_the_tolerance_of_the_comparison() -> None:
    """The tolerance is 1e-4 of the norm: outputs that are 2e-4 off differ, 5e-5 are rounding."""
    states: list[torch.Tensor] = []

    class Fused:
        off = 0.0

        def __call__(self, x: torch.Tensor, positions: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
            states.append(x)
            assert positions.tolist() == [[0, 1, 2, 3, 4, 5], [40, 41, 42, 43, 44, 45]]
            return x * (1 + self.off)

    def masks(mask: object) -> torch.Tensor:
        seen, near = mask(None), mask(2)  # type: ignore[operator]
        order = torch.arange(6)
        assert torch.equal(seen[1, 0], order[:, None] >= order)
        assert torch.equal(near[0, 0], (order[:, None] >= order) & (order[:, None] - order < 2))
        return seen  # type: ignore[no-any-return]

    for Fused.off, same in ((2e-4, False), (5e-5, True), (0.0, True)):
        assert fused.matches_reference(Fused(), lambda x, *_: x, 8, torch.float32, masks) is same  # type: ignore[arg-type]
    assert states[0].shape == (2, 6, 8) and states[0].std() > 0.5
