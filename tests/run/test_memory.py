"""The memory plan: arithmetic by hand, and what it is told from."""

from __future__ import annotations

from pathlib import Path

import pytest

from biddable.run import memory
from biddable.run.plan import load_plan


def test_parameters_of_smollm2_135m() -> None:
    # embeddings 49152 * 576; a block: q and o 576*576 each, k and v 576*192 each, three matrices of 576*1536
    # in the MLP
    embedding, block = memory.parameters(576, 30, 1536, 49152, 9, 3)
    assert embedding == 28_311_552
    assert block == 2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536 == 3_538_944
    assert embedding + 30 * block == 134_479_872  # "135M": norms are left out


def test_a_cut_needs_less_than_full_training(tmp_path: Path) -> None:
    def peak(trunk: int) -> dict[str, float | None]:
        file = tmp_path / f"t{trunk}.toml"
        text = Path("configs/demo.toml").read_text(encoding="utf-8").replace("trunk = 24", f"trunk = {trunk}")
        file.write_text(text, encoding="utf-8")
        plan = load_plan(file)
        return {stage.key: memory.estimate(plan, stage) for stage in plan.stages}

    cut, whole = peak(24), peak(0)
    assert cut["label.comparisons"] is None  # no model
    for key in ("learn.sft", "learn.reward", "learn.ppo"):
        small, large = cut[key], whole[key]
        assert small is not None and large is not None
        assert memory.PROGRAM_GB < small < large < 24
    # sft at 24 of 30 by hand: 6 trained blocks at 18 bytes, 24 frozen ones and the embeddings at 2, the
    # branch once more at 4, and 1024 tokens of activations in 6 blocks: 16 * 576 + 6 * 1536 numbers of 2
    # bytes each
    branch = 6 * 3_538_944
    weights = branch * 18 + (24 * 3_538_944 + 28_311_552) * 2
    hand = 0.9 + (weights + 1024 * 6 * (16 * 576 + 6 * 1536) * 2 + 4 * branch) / 1e9
    assert cut["learn.sft"] == pytest.approx(hand)


def test_this_machine_has_some_memory() -> None:
    assert 0.05 < memory.available() < 100_000


def test_advice_names_a_setting() -> None:
    plan = load_plan(Path("configs/tiny.toml"))
    assert "microbatch_tokens" in memory.advice(plan.stage("learn.sft"))
    assert "trunk" in memory.advice(plan.stage("learn.replies"))


def test_peak_is_measured_from_when_it_was_forgotten() -> None:
    block = bytearray(200_000_000)
    block[::4096] = b"x" * len(block[::4096])
    high = memory.peak_gb()
    del block
    memory.reset_peak()
    assert memory.peak_gb() < high - 0.1


def test_sizes_are_read_under_each_familys_names() -> None:
    """GPT-2's config.json (124M) names everything in its own way and leaves out the MLP's width, 4 * 768."""
    gpt2 = {
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "vocab_size": 50257,
        "n_positions": 1024,
        "n_inner": None,
    }
    assert memory.Shape.of(gpt2) == (768, 12, 3072, 50257, 12, 12)
    llama = {
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "intermediate_size": 96,
        "vocab_size": 384,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    assert memory.Shape.of(llama) == (64, 4, 96, 384, 4, 2)
    assert memory.Shape.of({"vocab_size": 384, "d_inner": 3}) is None  # unknown names: no estimate, no error
