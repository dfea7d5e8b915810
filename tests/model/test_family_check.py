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
from biddable.model.packing import Tree, pack
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
        ("mixtral", "4 experts a layer, and their router needs a load-balancing loss"),
        ("gpt_oss", "experts a layer"),
        ("deepseek_v3", "8 experts a layer"),
        ("gptj", "its attention is written out"),
        ("bloom", "is refused"),
        ("falcon", "is refused"),
        ("falcon_h1", "is refused"),
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


# codegen's attention adds its mask to the logits: a mask of yes and no let it see the future
@pytest.mark.parametrize("name", ["mistral", "smollm3", "gemma3", "gpt2", "codegen"])
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


def test_a_heads_bias_trains_and_is_saved(tmp_path: Path, families: ModuleType) -> None:
    """Phi's head has a bias. It moves in training, also above a trunk, and comes back from its folder in
    transformers' own eyes."""
    from transformers import AutoModelForCausalLM

    source = families.save("phi", tmp_path / "source")
    checkpoints.import_model(str(source), tmp_path / "start" / "model", 2)
    policy = checkpoints.load_policy(tmp_path / "start")
    before = policy.bias.detach().clone()
    first = policy.copy()
    packed = pack([Tree((5, 6, 7), ((8, 9, 10),))])
    optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
    (-policy.logp(packed)[0].sum()).backward()
    optimizer.step()
    assert not torch.equal(policy.bias, before) and torch.equal(first.bias, before)
    checkpoints.save_policy(policy, tmp_path / "saved" / "model", tmp_path / "start")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "saved" / "model", dtype=torch.float32)
    assert torch.equal(plain.lm_head.bias, policy.bias)
    with torch.no_grad():
        logits = plain(torch.tensor([[5, 6, 7, 8, 9, 10]])).logits[0].log_softmax(-1)
        expected = logits[[2, 3, 4], [8, 9, 10]]
        for loaded in (policy.freeze(), checkpoints.load_policy(tmp_path / "saved")):
            torch.testing.assert_close(loaded.logp(packed)[0], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("ways", [("packed", "cached"), ("cached",)])
def test_not_a_number_is_infinitely_far_off(tmp_path: Path, ways: tuple[str, ...]) -> None:
    """One NaN among right numbers, before or after them: never hidden by a maximum."""
    plain = random_model.build_model()
    ids = (5, 6, 7, 8)
    with torch.no_grad():
        logits = plain(torch.tensor([ids])).logits[0].log_softmax(-1)
    right = logits[[1, 2], [7, 8]]
    spoilt = torch.stack([right[0], torch.tensor(float("nan"))])
    observations = [
        family_check.Observation(way, ids, 2, logp)
        for way in ("packed", "cached")
        for logp in ((spoilt, right) if way in ways else (right,))
    ]
    worst = family_check.largest_differences(plain, observations)
    assert {way for way, value in worst.items() if value == float("inf")} == set(ways)
    assert all(value < 1e-5 for way, value in worst.items() if way not in ways)
    with pytest.raises(UserError, match=r"nats: .*inf"):
        family_check.refuse_differences("llama", worst, "m")


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


def test_ids_that_the_tokenizer_skips_are_never_drawn(tmp_path: Path) -> None:
    """A tokenizer without the ids 40 to 139: their rows were never trained, and have no text."""
    words = random_model.tokenizer()
    source = with_rows(tmp_path / "source", len(words))
    path = source / "tokenizer.json"
    content = json.loads(path.read_text())
    gaps = set(range(40, 140))
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {text: id for text, id in vocabulary.items() if id not in gaps}
    present = content["model"]["vocab"]
    merges = content["model"]["merges"]
    content["model"]["merges"] = [m for m in merges if {*m, "".join(m)} <= set(present)]
    path.write_text(json.dumps(content))
    facts = checkpoints.import_model(str(source), tmp_path / "start" / "model", 0)
    assert facts["gaps"] == sorted(gaps) and "tokens" not in facts
    policy = checkpoints.load_policy(tmp_path / "start")
    checkpoints.save_policy(policy, tmp_path / "saved" / "model", tmp_path / "start")
    policy = checkpoints.load_policy(tmp_path / "saved").freeze()
    requests = [
        sampler.Request((5, 6), seed, 16, temperature, top_p)
        for seed in range(20)
        for temperature, top_p in ((0.0, 1.0), (1.0, 1.0), (0.7, 1.0), (1.0, 0.9))
    ]
    ids = {token for answer in sampler.sample(policy, requests, frozenset()) for token in answer.tokens}
    assert len(ids) > 50 and not ids & gaps


def test_a_draw_beside_a_gap_by_hand() -> None:
    """Weights 1, 4, 3 and a gap at 1: u = 0.2 falls on the first, 0.3 on the third; their log-probabilities
    are 1/8's and 3/8's, as training counts them."""
    logits = torch.tensor([[1.0, 4.0, 3.0]]).log()
    for uniform, temperature, token, share in ((0.2, 1.0, 0, 1), (0.3, 1.0, 2, 3), (0.2, 0.0, 2, 3)):
        drawn, logp = draw.draw(
            logits.clone(),
            torch.tensor([uniform]),
            torch.tensor([temperature]),
            torch.tensor([1.0]),
            gaps=(1,),
        )
        assert drawn.item() == token
        assert logp.exp().item() == pytest.approx(share / 8, abs=1e-6)
    ((first, second),) = draw.likeliest(logits, [2], gaps=(1,))
    assert (first[0], second[0]) == (2, 0)


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
