"""Model folders: what is merged and written equals the policy, also in transformers; who shares a trunk is
checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from biddable.model import checkpoints, random_model
from biddable.model.packing import Tree, pack
from biddable.model.trunk import Policy, Scorer, scorer_from
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


def test_what_a_start_model_says_of_itself(tmp_path: Path) -> None:
    """The facts of learn.start's summary against a count by hand: 4 blocks of a llama with d = 64, d_ff = 96, 4 heads, 2 key heads."""
    tokenizer = random_model.tokenizer()
    vocabulary = len(tokenizer)
    source = random_model.save_random_model(tmp_path / "source")
    facts = checkpoints.import_model(str(source), tmp_path / "start" / "model", 1)
    block = 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96 + 2 * 64  # q and o, k and v, the MLP, two norms
    assert (
        facts["parameters"] == vocabulary * 64 + 4 * block + 64
    )  # tied embeddings, the blocks, the last norm
    expected = {
        "kind": "policy",
        "trunk": 1,
        "blocks": 4,
        "hidden": 64,
        "vocabulary": vocabulary,
        "tied": True,
    }
    assert facts.items() >= expected.items()
    info = json.loads((tmp_path / "start" / "model" / "biddable.json").read_text(encoding="utf-8"))
    assert info == {"kind": "policy", "trunk": 1, "fingerprint": facts["fingerprint"]}


def test_context_length_is_the_models_own_and_endless_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = random_model.save_random_model(tmp_path / "source")
    assert checkpoints.context_length(source) == 512  # random_model.SHAPE
    import transformers

    class NoLimit:
        max_position_embeddings = None

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", lambda folder, **_: NoLimit())
    assert checkpoints.context_length(source) == 2147483648


def test_a_saved_scorer_is_the_bare_decoder_with_its_head(tmp_path: Path) -> None:
    """In transformers' own eyes: no language-model head, and final state · weight + bias at the answer's last token is the score."""
    from safetensors.torch import load_file
    from transformers import AutoModel

    policy = checkpoints.load_policy(start(tmp_path, 2, True))
    scorer = scorer_from(policy, torch.Generator().manual_seed(3), deviation=0.5)
    with torch.no_grad():
        scorer.bias.fill_(0.25)
    checkpoints.save_scorer(scorer, tmp_path / "scorer" / "model", tmp_path / "start")
    folder = tmp_path / "scorer" / "model"
    assert "LlamaModel" in json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"]
    head = load_file(folder / "head.safetensors")
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        states = model(torch.tensor([[*PROMPT, *ANSWER]])).last_hidden_state[0, -1]
        expected = states @ head["weight"] + head["bias"]
        scores = scorer.scores(pack([Tree(PROMPT, (ANSWER,))]))
    torch.testing.assert_close(scores[0], expected, atol=2e-5, rtol=0)
    info = checkpoints.model_info(tmp_path / "scorer")
    assert info == {"kind": "scorer", "trunk": 2, "fingerprint": policy.trunk.fingerprint}


def test_a_new_scorers_head_has_the_deviation_asked_for_and_no_bias(tmp_path: Path) -> None:
    policy = checkpoints.load_policy(start(tmp_path, 0, True))
    draws = torch.randn(64, generator=torch.Generator().manual_seed(5))
    for deviation, scale in ((0.5, 0.5), (None, 65**-0.5)):
        scorer = scorer_from(policy, torch.Generator().manual_seed(5), deviation)
        torch.testing.assert_close(scorer.weight.detach(), draws * scale)
        assert scorer.bias.item() == 0.0
    branch = next(scorer.branch.parameters())
    with torch.no_grad():
        branch += 1.0  # a copy: the policy it came from stays as it was
    assert not torch.equal(branch, next(policy.branch.parameters()))


def test_a_branch_that_does_not_cover_every_block_above_the_cut_is_no_merge(tmp_path: Path) -> None:
    """A branch of the blocks 2 and 3 saved as if it stood on one block leaves block 3 without weights; on
    three blocks it has one too many."""
    folder = start(tmp_path, 2, True)
    branch = checkpoints.load_policy(folder).branch
    with pytest.raises(RuntimeError, match=r"merge of llama: unexpected \[\], missing \['layers\.3\..*'\]"):
        checkpoints._merged(folder, branch, 1, causal=True)
    with pytest.raises(RuntimeError, match=r"merge of llama: unexpected \['layers\.4\..*'\], missing \[\]"):
        checkpoints._merged(folder, branch, 3, causal=False)
    keys = ("layers.1.mlp.w", "layers.2.mlp.w", "layers.10.mlp.w", "norm.3")
    assert [checkpoints._is_above(key, "layers", 2) for key in keys] == [False, True, True, False]


def test_folders_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: holds no model \(no config\.json\); name a stage"):
        checkpoints.model_folder(tmp_path / "empty")
    folder = start(tmp_path, 1, True)
    other = random_model.save_random_model(tmp_path / "other", seed=2)
    with pytest.raises(UserError, match=r"other: has no biddable\.json; bring the model in with"):
        checkpoints.load_policy(other)
    shared = checkpoints.load_policy(other, trunk=1).trunk
    with pytest.raises(UserError, match=r"start: its trunk is not the one the other models stand on"):
        checkpoints.load_policy(folder, shared=shared)
    policy = checkpoints.load_policy(folder)
    scorer = Scorer(policy.trunk, policy.branch, torch.zeros(64), torch.tensor(0.0))
    checkpoints.save_scorer(scorer, tmp_path / "scorer" / "model", folder)
    (tmp_path / "scorer" / "model" / "head.safetensors").unlink()
    with pytest.raises(UserError, match=r"its head is missing \(no head\.safetensors\); train it again"):
        checkpoints.load_scorer(tmp_path / "scorer")
    (folder / "model" / "config.json").write_text('{"model_type": "no-such-family"}')
    with pytest.raises(UserError, match=r"does not load as a language model: "):
        checkpoints.load_policy(folder)


def test_a_tokenizer_that_cannot_be_used_is_refused_with_all_that_is_missing(tmp_path: Path) -> None:
    folder = random_model.save_random_model(tmp_path / "model")
    backend = random_model.tokenizer()
    backend.chat_template, backend.eos_token = None, None
    backend.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError) as error:
        checkpoints.tokenizer(folder)
    assert [line.split(" has no ")[1].split(";")[0] for line in error.value.lines] == [
        "chat template",
        "end-of-sequence token",
    ]
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"model: its tokenizer does not load: "):
        checkpoints.tokenizer(folder)


def test_a_models_own_dropout_is_off_and_its_config_keeps_it(tmp_path: Path) -> None:
    """GPT-2's three kinds of dropout: modules, and numbers that attention reads."""
    source = random_model.save_random_model(tmp_path / "source", family="gpt2")
    config = json.loads((source / "config.json").read_text())
    config |= {"attn_pdrop": 0.3, "resid_pdrop": 0.4, "embd_pdrop": 0.5}
    (source / "config.json").write_text(json.dumps(config))
    policy = checkpoints.load_policy(source, trunk=0)
    rates = [module.p for module in policy.modules() if isinstance(module, torch.nn.Dropout)]
    assert len(rates) == 1 + 4 * 3 and set(rates) == {0.0}
    assert not any(module.training for module in policy.branch.model.modules())
    checkpoints.import_model(str(source), tmp_path / "start" / "model", 0)
    assert json.loads((tmp_path / "start" / "model" / "config.json").read_text())["resid_pdrop"] == 0.4


def test_a_rule_models_facts_come_back(tmp_path: Path) -> None:
    from biddable.model.rule_model import RuleModel, TrainedRule

    folder = start(tmp_path, 1, True)
    policy = checkpoints.load_policy(folder)
    scorer = Scorer(policy.trunk, policy.branch, torch.ones(64), torch.tensor(0.5))
    rules = (TrainedRule("a", "Be kind.", "Unkind?"), TrainedRule("b", "Be brief.", "Long?"))
    model = RuleModel(scorer, checkpoints.tokenizer(folder), 512, "{question}", rules, 77)
    checkpoints.save_rule_model(model, tmp_path / "rules" / "model", folder)
    loaded = checkpoints.load_rule_model(tmp_path / "rules")
    assert (loaded.template, loaded.rules, loaded.max_tokens) == ("{question}", rules, 77)
    assert loaded.context_length == 512
    assert checkpoints.model_info(tmp_path / "rules") == {
        "kind": "rule_model",
        "template": "{question}",
        "max_tokens": 77,
        "rules": [["a", "Be kind.", "Unkind?"], ["b", "Be brief.", "Long?"]],
        "trunk": 1,
        "fingerprint": policy.trunk.fingerprint,
    }
