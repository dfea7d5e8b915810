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
    # sft at 24 of 30 by hand, before there is data: 6 trained blocks of 2 bytes that compute, 4 of master and
    # 8 of moments; 24 frozen ones and the embeddings at 2, the embeddings once more as packed head; the best
    # epoch at 4; 250,000 tokens' trunk outputs; and a backward pass, which is more than a step and than
    # measuring: 4 bytes of gradient, 1,024 tokens in 6 blocks with 16 * 576 + 6 * 1536 numbers and two of each
    # of 9 heads for 128 keys, 2 bytes each; four copies of 128 tokens' logits in fp32
    branch, embedding = 6 * 3_538_944, 28_311_552
    always = branch * (2 + 4 + 8 + 4) + (24 * 3_538_944 + 2 * embedding) * 2 + 250_000 * 576 * 2
    inside = 16 * 576 + 6 * 1536 + 2 * 9 * 128
    backward = branch * 4 + 1024 * 6 * inside * 2 + 4 * 128 * 49152 * 4
    assert cut["learn.sft"] == pytest.approx(memory.PROGRAM_GB + (always + backward) / 1e9)


def stage_bytes(folder: Path, table: str, settings: str) -> tuple[dict[str, float], float | None]:
    """The parts of one stage of the demo at trunk = 24 with more settings, and the GB of its checkpoint."""
    text = Path("configs/demo.toml").read_text(encoding="utf-8")
    file = folder / "m.toml"
    file.write_text(text.replace(f"[{table}]\n", f"[{table}]\n{settings}\n"), encoding="utf-8")
    plan = load_plan(file)
    parts = memory.breakdown(plan, plan.stage(table))
    assert parts is not None
    return parts, memory.checkpoint_gb(plan, plan.stage(table))


def test_settings_that_save_memory_are_counted(tmp_path: Path) -> None:
    branch = 6 * 3_538_944
    plainly, checkpoint = stage_bytes(tmp_path, "learn.sft", "")
    assert plainly["masters"] == 4 * branch and plainly["moments"] == 8 * branch
    assert checkpoint == pytest.approx((4 + 8 + 4) * branch / 1e9)  # masters, moments, best epoch
    saving = 'master_weights = "split"\nadam_moments = "8bit"\ngradient_checkpointing = true\nmicrobatch_tokens = 8192'
    parts, checkpoint = stage_bytes(tmp_path, "learn.sft", saving)
    assert parts["masters"] == 2 * branch and parts["moments"] == pytest.approx(2.03 * branch)
    assert checkpoint == pytest.approx((2 + 2 + 2.03 + 4) * branch / 1e9)
    inside = 16 * 576 + 6 * 1536 + 2 * 9 * 128
    assert parts["activations"] == 8192 * 2 * (6 * 576 + inside)  # six blocks' inputs, the inside of one


def test_ppo_counts_all_its_networks(tmp_path: Path) -> None:
    """Policy and value train, reference and reward model do not; graphs of both are there at once when a
    minibatch is one microbatch."""
    branch = 6 * 3_538_944
    parts, checkpoint = stage_bytes(tmp_path, "learn.ppo", "")
    assert parts["trained"] == parts["frozen"] == 2 * branch * 2
    assert parts["average"] == 4 * branch
    assert checkpoint == pytest.approx((2 * (4 + 8) + 4) * branch / 1e9)
    # 16 episodes of twice 48 tokens
    inside = 16 * 576 + 6 * 1536 + 2 * 9 * 128
    assert parts["activations"] == 2 * 16 * 96 * 6 * inside * 2
    assert parts["trunk cache"] == 64 * 96 * 576 * 2  # a rollout's 64 episodes


def test_the_accelerators_memory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of the name nvidia-smi that answers as the real one does: two cards, the emptier has 40,000
    MiB free. Without it there is no accelerator."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert memory.device_available() is None
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '512\\n40000\\n'\n")
    program.chmod(0o755)
    assert memory.device_available() == pytest.approx(41.943_04)
    program.write_text("#!/bin/sh\nexit 9\n")  # a driver that does not answer
    assert memory.device_available() is None


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
