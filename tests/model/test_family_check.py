"""Families: accepted by comparison with their own forward pass, refused in one line with the reason."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from biddable.model import checkpoints, draw, family_check, random_model, sampler
from biddable.run.config import UserError

pytestmark = pytest.mark.usefixtures("fp32")


@pytest.fixture(scope="module")
def families() -> ModuleType:
    """The script that makes the table of families: it knows a small configuration of each."""
    path = Path(__file__).resolve().parents[2] / "bench" / "families.py"
    spec = importlib.util.spec_from_file_location("families", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "name, reason",
    [
        ("codegen", "log-probabilities differ"),  # its attention sees the future through our mask
        ("mixtral", "4 experts a layer, and their router needs a load-balancing loss"),
        ("gpt_oss", "experts a layer"),
        ("deepseek_v3", "8 experts a layer"),
        ("gptj", "its attention is written out"),
        ("bloom", "is refused"),
        ("falcon", "is refused"),
        ("falcon_h1", "is refused"),
        ("phi", "its language-model head has a bias"),
    ],
)
def test_refused_in_one_line_and_nothing_is_left(
    tmp_path: Path, families: ModuleType, name: str, reason: str
) -> None:
    source = families.save(name, tmp_path / "source")
    with pytest.raises(UserError, match=reason) as refusal:
        checkpoints.import_model(str(source), tmp_path / "start" / "model", 0)
    (line,) = str(refusal.value).splitlines()
    assert f"the model family {name} is refused: " in line
    assert not (tmp_path / "start").exists() or not list((tmp_path / "start").iterdir())


@pytest.mark.parametrize("name", ["mistral", "smollm3", "gemma3", "gpt2"])
def test_accepted_with_the_largest_difference(tmp_path: Path, families: ModuleType, name: str) -> None:
    source = families.save(name, tmp_path / "source")
    facts = checkpoints.import_model(str(source), tmp_path / "model", 0)
    assert facts["largest_difference"] < 1e-4
    assert facts["fused_blocks"] == (name == "mistral")
    assert ("not_fused" in facts) == (name != "mistral")


def edit_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    "rope, reason",
    [
        ({"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}, "RoPE of type dynamic"),
        (
            {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "short_factor": [1.0] * 8,
                "long_factor": [2.0] * 8,
                "original_max_position_embeddings": 256,
            },
            "RoPE of type longrope",
        ),
    ],
)
def test_rope_that_depends_on_the_longest_neighbour_is_refused(
    tmp_path: Path, rope: dict[str, Any], reason: str
) -> None:
    source = random_model.save_random_model(tmp_path / "source")
    edit_config(source, rope_parameters=rope, rope_scaling=None)
    with pytest.raises(UserError, match=reason):
        checkpoints.import_model(str(source), tmp_path / "model", 0)


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    source = random_model.save_random_model(tmp_path / "source")
    edit_config(source, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(UserError, match=r"quantised \(gptq\)"):
        checkpoints.import_model(str(source), tmp_path / "model", 0)


@pytest.mark.parametrize("way, worst", [("packed", 0.5), ("cached", float("inf"))])
def test_a_difference_is_refused_by_its_way(way: str, worst: float) -> None:
    family_check.refuse_differences("llama", {"packed": 1e-5, "cached": 1e-5}, "m")
    with pytest.raises(UserError, match=f"nats: {way}"):
        family_check.refuse_differences("llama", {"padded": 1e-5, way: worst}, "m")


def test_the_context_length_comes_from_the_config_class(tmp_path: Path, families: ModuleType) -> None:
    assert checkpoints.context_length(families.save("gpt2", tmp_path / "gpt2")) == 512  # n_positions there


def with_rows(folder: Path, rows: int) -> Path:
    words = random_model.tokenizer()
    random_model.build_model(vocabulary=rows).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def test_embedding_rows_without_text_are_never_drawn(tmp_path: Path) -> None:
    words = len(random_model.tokenizer())
    facts = checkpoints.import_model(
        str(with_rows(tmp_path / "source", words + 300)), tmp_path / "start" / "model", 0
    )
    assert facts["tokens"] == words
    policy = checkpoints.load_policy(tmp_path / "start")
    checkpoints.save_policy(policy, tmp_path / "saved" / "model", tmp_path / "start")
    policy = checkpoints.load_policy(tmp_path / "saved").freeze()
    requests = [
        sampler.Request((5, 6), seed, 16, temperature) for seed in range(20) for temperature in (0.0, 1.0)
    ]
    answers = sampler.sample(policy, requests, frozenset())
    ids = [token for answer in answers for token in answer.tokens]
    assert len(ids) == 640 and max(ids) < words


def test_a_draw_among_the_first_ids_by_hand() -> None:
    """Weights 1, 1, 2: the third id is no word. u = 0.75 falls on the second of two; its log-probability is
    1/4's."""
    logits = torch.tensor([[0.0, 0.0, 2.0]]).where(torch.tensor([True, True, False]), torch.tensor(2.0).log())
    for temperature in (1.0, 0.0):
        token, logp = draw.draw(
            logits, torch.tensor([0.75]), torch.tensor([temperature]), torch.tensor([1.0]), 2
        )
        assert token.item() == (1 if temperature else 0)
        assert logp.item() == pytest.approx(torch.tensor(0.25).log().item(), abs=1e-6)
    ((top,),) = draw.likeliest(logits, [1], 2)
    assert top[0] in (0, 1)


def test_a_tokenizer_longer_than_the_embeddings_is_refused(tmp_path: Path) -> None:
    words = len(random_model.tokenizer())
    source = with_rows(tmp_path / "source", words - 10)
    with pytest.raises(UserError, match=f"its tokenizer has {words} ids, but the model has {words - 10}"):
        checkpoints.import_model(str(source), tmp_path / "model", 0)


def test_a_models_own_dropout_is_off_and_stays_in_its_config(tmp_path: Path, families: ModuleType) -> None:
    source = families.save("gpt2", tmp_path / "source")  # resid_pdrop, attn_pdrop and embd_pdrop are 0.1
    checkpoints.import_model(str(source), tmp_path / "start" / "model", 0)
    policy = checkpoints.load_policy(tmp_path / "start")
    policy.branch.train()
    states = policy.branch.embed(torch.arange(10)[None])
    positions = torch.arange(10)[None]
    mask = torch.ones(1, 1, 10, 10, dtype=torch.bool).tril()
    with torch.no_grad():
        twice = [policy.branch(states, positions, policy.branch.masks(lambda window: mask)) for _ in range(2)]
    assert torch.equal(*twice)
    assert json.loads((tmp_path / "start/model/config.json").read_text())["resid_pdrop"] == 0.1
