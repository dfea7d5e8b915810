"""Model folders: what is merged and written equals the policy, also in transformers; who shares a trunk is
checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from biddable.model import checkpoints, random_model
from biddable.model.packing import Tree, pack
from biddable.model.trunk import Policy, Scorer
from biddable.run.config import UserError

pytestmark = pytest.mark.usefixtures("fp32")
PROMPT, ANSWER = tuple(range(10, 20)), (30, 31, 32, 7)


def start(folder: Path, trunk: int, tied: bool) -> Path:
    """A start model cut at `trunk`, as `learn.start` makes one."""
    tokenizer = random_model.tokenizer()
    source = folder / "source"
    random_model.build_model(vocabulary=len(tokenizer), tied=tied).save_pretrained(source)
    tokenizer.save_pretrained(source)
    checkpoints.import_model(str(source), folder / "start" / "model", trunk)
    return folder / "start"


def shift_everything_trainable(module: Policy | Scorer) -> None:
    """A different change for every weight, so that a swapped or forgotten one shows."""
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for parameter in module.branch.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        if isinstance(module, Policy) and module.weight.requires_grad and not is_tied(module):
            module.weight += 0.05 * torch.randn(module.weight.shape, generator=generator)


def is_tied(policy: Policy) -> bool:
    return any(policy.weight is parameter for parameter in policy.branch.parameters())


def transformers_logprobs(folder: Path) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        logp = model(torch.tensor([[*PROMPT, *ANSWER]])).logits.log_softmax(-1)[0, len(PROMPT) - 1 : -1]
    return logp.gather(1, torch.tensor(ANSWER)[:, None])[:, 0]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("trunk", [0, 1, 3])
def test_the_merged_folder_is_the_policy(tmp_path: Path, trunk: int, tied: bool) -> None:
    folder = start(tmp_path, trunk, tied)
    policy = checkpoints.load_policy(folder)
    assert policy.trunk.depth == trunk and is_tied(policy) == (tied and trunk == 0)
    assert policy.weight.requires_grad == (trunk == 0 or not tied)
    shift_everything_trainable(policy)
    checkpoints.save_policy(policy, tmp_path / "saved" / "model", folder)
    logp = policy.logp(pack([Tree(PROMPT, (ANSWER,))]))[0].detach()
    torch.testing.assert_close(transformers_logprobs(tmp_path / "saved" / "model"), logp, atol=3e-5, rtol=0)
    assert (transformers_logprobs(folder / "model") - logp).abs().max() > 0.01
    info = json.loads((tmp_path / "saved" / "model" / "biddable.json").read_text())
    assert info == {"kind": "policy", "trunk": trunk, "fingerprint": policy.trunk.fingerprint}
    config = json.loads((tmp_path / "saved" / "model" / "config.json").read_text())
    assert config["tie_word_embeddings"] == tied and config["num_hidden_layers"] == 4
    assert "biddable" not in json.dumps(config)
    assert not (tmp_path / "saved" / "model.part").exists()


@pytest.mark.parametrize("trunk", [0, 2])
def test_a_scorer_folder_holds_branch_and_head(tmp_path: Path, trunk: int) -> None:
    folder = start(tmp_path, trunk, True)
    policy = checkpoints.load_policy(folder)
    scorer = Scorer(policy.trunk, policy.branch, torch.linspace(-1, 1, 64), torch.tensor(0.75))
    shift_everything_trainable(scorer)
    checkpoints.save_scorer(scorer, tmp_path / "scorer" / "model", folder)
    packed = pack([Tree(PROMPT, (ANSWER,))])
    loaded = checkpoints.load_scorer(tmp_path / "scorer")
    assert loaded.bias.item() == 0.75 and torch.equal(loaded.weight, torch.linspace(-1, 1, 64))
    torch.testing.assert_close(loaded.scores(packed), scorer.scores(packed), atol=1e-6, rtol=0)
    assert checkpoints.model_info(tmp_path / "scorer")["kind"] == "scorer"
    with pytest.raises(UserError, match="is a scorer; expected a policy"):
        checkpoints.load_policy(tmp_path / "scorer")
    with pytest.raises(UserError, match="is a policy; expected a scorer"):
        checkpoints.load_scorer(folder)


def test_the_fingerprint_is_the_trunks_alone(tmp_path: Path) -> None:
    folder = start(tmp_path, 2, True)
    policy = checkpoints.load_policy(folder)
    shift_everything_trainable(policy)
    checkpoints.save_policy(policy, tmp_path / "saved" / "model", folder)
    shared = checkpoints.load_policy(tmp_path / "saved", shared=policy.trunk)
    assert shared.trunk is policy.trunk
    other_cut = checkpoints.load_policy(folder, trunk=1).trunk.fingerprint
    no_trunk = checkpoints.load_policy(folder, trunk=0).trunk.fingerprint
    assert len({policy.trunk.fingerprint, other_cut, no_trunk}) == 3


def test_end_tokens_are_the_tokenizers_and_the_generation_settings(tmp_path: Path) -> None:
    folder = start(tmp_path, 0, True)
    tokenizer = checkpoints.tokenizer(folder)
    (folder / "model" / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    assert checkpoints.eos_ids(folder, tokenizer) == {tokenizer.eos_token_id, 7, 9}
    (folder / "model" / "generation_config.json").write_text('{"eos_token_id": 5}')
    assert checkpoints.eos_ids(folder, tokenizer) == {tokenizer.eos_token_id, 5}
    (folder / "model" / "generation_config.json").write_text("{}")
    config = folder / "model" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "eos_token_id": 11}))
    assert checkpoints.eos_ids(folder, tokenizer) == {tokenizer.eos_token_id, 11}
    assert checkpoints.context_length(folder) == 512


def test_import_reports_sizes(tmp_path: Path) -> None:
    start(tmp_path, 0, False)
    facts = checkpoints.import_model(str(tmp_path / "source"), tmp_path / "again" / "model", 1)
    rows = len(random_model.tokenizer())
    block = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96 + 2 * 64
    assert facts["parameters"] == 2 * rows * 64 + 4 * block + 64
    assert (facts["blocks"], facts["hidden"], facts["tied"], facts["trunk"]) == (4, 64, False, 1)
    with pytest.raises(UserError, match="no model there"):
        checkpoints.import_model(str(tmp_path / "nothing"), tmp_path / "again" / "model", 1)
