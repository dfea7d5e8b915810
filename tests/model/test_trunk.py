"""Trunk and branches: every family splits exactly, saves merged, and scores alone as in company."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from biddable.model import checkpoints, encoding, random_model
from biddable.model import trunk as lm
from biddable.model.packing import Tree, pack
from biddable.model.sampler import Request, sample
from biddable.run.config import UserError

SPLIT = [family for family in random_model.FAMILIES if family != "gpt2"]
TREES = [Tree(tuple(range(10, 25)), (tuple(range(30, 50)), tuple(range(60, 70)))), Tree((5, 6, 7), ((8, 9),))]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {
        family: random_model.save_random_model(root / family, family=family)
        for family in random_model.FAMILIES
    }


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("family", SPLIT)
@pytest.mark.parametrize("trunk", [0, 2])
def test_packed_split_model_equals_transformers(folders: dict[str, Path], family: str, trunk: int) -> None:
    from transformers import AutoModelForCausalLM

    whole = AutoModelForCausalLM.from_pretrained(
        folders[family], dtype=torch.float32, attn_implementation="eager"
    )
    policy = checkpoints.load_policy(folders[family], trunk=trunk)
    packed = pack(TREES, 64)
    logp, _ = policy.logp(packed)
    answers = [(tree.prompt, answer) for tree in TREES for answer in tree.answers]
    for number, (prompt, answer) in enumerate(answers):
        with torch.no_grad():
            logits = whole(torch.tensor([[*prompt, *answer]])).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
        expected = logits.gather(1, torch.tensor(answer)[:, None])[:, 0]
        torch.testing.assert_close(logp[packed.answer == number], expected, atol=3e-5, rtol=0)
    assert logp.std() > 0.05  # else the comparison would say nothing


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("family", SPLIT)
def test_greedy_decode_equals_generate(folders: dict[str, Path], family: str) -> None:
    from transformers import AutoModelForCausalLM

    whole = AutoModelForCausalLM.from_pretrained(
        folders[family], dtype=torch.float32, attn_implementation="eager"
    )
    policy = checkpoints.load_policy(folders[family], trunk=2).freeze()
    prompts = [tuple(range(10, 30)), tuple(range(40, 47)), tuple(range(3, 20))]
    got = sample(policy, [Request(p, 1, 16, 0.0) for p in prompts], frozenset(), slots=2)
    for prompt, one in zip(prompts, got, strict=True):
        ids = torch.tensor([prompt])
        out = whole.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=16,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert tuple(out[0, len(prompt) :].tolist()) == one.tokens


def test_family_that_does_not_split_is_refused_by_name(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="gpt2 does not split exactly at block 2"):
        checkpoints.load_policy(folders["gpt2"], trunk=2)
    assert checkpoints.load_policy(folders["gpt2"], trunk=0).trunk.depth == 0


def test_trunk_out_of_range_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="trunk = 4: this model has 4 blocks; choose 0 to 3"):
        checkpoints.load_policy(folders["llama"], trunk=4)


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("trunk", [0, 2])
def test_training_leaves_the_trunk_alone_and_the_merged_folder_reloads(
    tmp_path: Path, tiny_folder: Path, trunk: int
) -> None:
    from transformers import AutoModelForCausalLM

    from biddable.learn.optimizer import Optimizer

    checkpoints.import_model(str(tiny_folder), tmp_path / "start" / "model", trunk)
    policy = checkpoints.load_policy(tmp_path / "start")
    before = (
        None
        if policy.trunk.blocks is None
        else {k: v.clone() for k, v in policy.trunk.blocks.state_dict().items()}
    )
    optimizer = Optimizer(policy.parameters())
    for _ in range(3):
        (-policy.logp(pack(TREES))[0].mean()).backward()
        optimizer.step(1e-2, 1.0)
    if before is not None:
        assert all(torch.equal(before[k], v) for k, v in policy.trunk.blocks.state_dict().items())
        assert all(p.grad is None for p in policy.trunk.blocks.parameters())
    checkpoints.save_policy(policy, tmp_path / "after" / "model", tmp_path / "start")
    logp, _ = policy.logp(pack(TREES))
    assert torch.equal(checkpoints.load_policy(tmp_path / "after").logp(pack(TREES))[0], logp)
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "after" / "model", dtype=torch.float32)
    start = AutoModelForCausalLM.from_pretrained(tmp_path / "start" / "model", dtype=torch.float32)
    ids = torch.tensor([[*TREES[1].prompt, *TREES[1].answers[0]]])
    with torch.no_grad():
        expected = whole(ids).logits.log_softmax(-1)[0, 2:4].gather(1, torch.tensor([[8], [9]]))[:, 0]
        assert (start(ids).logits - whole(ids).logits).abs().max() > 0.01
    torch.testing.assert_close(logp[-2:], expected, atol=3e-5, rtol=0)


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("trunk", [0, 2])
def test_scorer_survives_its_folder_and_is_read_alone_as_in_company(
    tmp_path: Path, tiny_folder: Path, trunk: int
) -> None:
    checkpoints.import_model(str(tiny_folder), tmp_path / "start" / "model", trunk)
    scorer = lm.scorer_from(checkpoints.load_policy(tmp_path / "start"), torch.Generator().manual_seed(3))
    with torch.no_grad():
        scorer.bias.fill_(0.25)
        together = scorer.scores(pack(TREES, 64))
        alone = [scorer.scores(pack([Tree(t.prompt, (a,))])) for t in TREES for a in t.answers]
        padded = scorer.scores(pack(TREES, 256))
        frozen = scorer.freeze().scores(pack(TREES, 64))
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)
    torch.testing.assert_close(together, padded, atol=1e-5, rtol=0)
    torch.testing.assert_close(together, frozen, atol=1e-6, rtol=0)
    checkpoints.save_scorer(scorer, tmp_path / "scorer" / "model", tmp_path / "start")
    with torch.no_grad():
        assert torch.equal(checkpoints.load_scorer(tmp_path / "scorer").scores(pack(TREES, 64)), together)
    (tmp_path / "scorer" / "model" / "head.safetensors").unlink()
    with pytest.raises(UserError, match="its head is missing"):
        checkpoints.load_scorer(tmp_path / "scorer")


def test_branches_on_different_trunks_are_refused(tmp_path: Path) -> None:
    for seed in (1, 2):
        checkpoints.import_model(
            str(random_model.save_random_model(tmp_path / f"t{seed}", seed=seed)),
            tmp_path / f"start{seed}" / "model",
            2,
        )
    first = checkpoints.load_policy(tmp_path / "start1")
    with pytest.raises(UserError, match="its trunk is not the one the other models stand on"):
        checkpoints.load_policy(tmp_path / "start2", shared=first.trunk)


def test_model_without_chat_template_or_end_token_is_refused(tmp_path: Path) -> None:
    folder = random_model.save_random_model(tmp_path / "plain")
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(UserError, match="its tokenizer has no chat template"):
        checkpoints.import_model(str(folder), tmp_path / "start" / "model", 2)
    assert not (tmp_path / "start" / "model").exists()


def test_chat_template_adds_nothing_of_its_own(tiny_folder: Path) -> None:
    """Golden ids: one beginning-of-sequence token a turn, no default system prompt, nothing added by the
    tokenizer."""
    from biddable.run.records import Message

    words = checkpoints.tokenizer(tiny_folder)
    ids = encoding.encode_chat(words, [Message(role="user", content="Hi")])
    assert words.decode(ids) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert list(ids).count(words.convert_tokens_to_ids("<|im_start|>")) == 2


@pytest.mark.usefixtures("fp32")
def test_trunk_cut_changes_nothing_of_the_forward(folders: dict[str, Path]) -> None:
    packed = pack(TREES, 64)
    with torch.no_grad():
        whole, cut = (checkpoints.load_policy(folders["qwen3"], trunk=t).logp(packed)[0] for t in (0, 2))
        assert torch.equal(whole, cut)  # both run the family's own code
        whole, cut = (checkpoints.load_policy(folders["llama"], trunk=t).logp(packed)[0] for t in (0, 2))
    torch.testing.assert_close(whole, cut, atol=2e-6, rtol=0)  # below the cut fused blocks run


def test_no_folder_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no model"):
        checkpoints.load_policy(tmp_path)
    with pytest.raises(UserError, match="this package is not installed"):
        checkpoints.import_model("package:no_such_package", tmp_path / "model", 0)


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("trunk", [0, 2])
def test_scores_and_values_are_read_where_transformers_says(folders: dict[str, Path], trunk: int) -> None:
    """The decoder's own final states of each unpacked sequence: the score is the head at its last token, a
    token's value the head at the token before it."""
    from transformers import AutoModel

    decoder = AutoModel.from_pretrained(folders["llama"], dtype=torch.float32, attn_implementation="eager")
    policy = checkpoints.load_policy(folders["llama"], trunk=trunk)
    weight = torch.linspace(-1, 1, 64)
    scorer = lm.Scorer(policy.trunk, policy.branch, weight, torch.tensor(0.5))
    scores, values = [], []
    with torch.no_grad():
        for tree in TREES:
            for answer in tree.answers:
                states = decoder(torch.tensor([[*tree.prompt, *answer]])).last_hidden_state[0] @ weight + 0.5
                scores.append(states[-1])
                values.append(states[len(tree.prompt) - 1 : -1])
        packed = pack(TREES, 64)
        torch.testing.assert_close(scorer.scores(packed), torch.stack(scores), atol=3e-5, rtol=0)
        torch.testing.assert_close(scorer.values(packed), torch.cat(values), atol=3e-5, rtol=0)
    assert torch.stack(scores).std() > 0.05


@pytest.mark.parametrize("family", ["llama", "qwen3"])  # fused blocks, and a family's own code
@pytest.mark.parametrize("trunk", [0, 2])
def test_what_is_frozen_is_packed_and_what_trains_is_not(
    folders: dict[str, Path], family: str, trunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prepacked layers change no number, so only their presence shows that sampling is fast: seven products a
    block of the family's own code, four of a fused block, and the head."""
    from biddable.model import hardware
    from biddable.model.fused import PrepackedLinear

    if not torch.backends.mkldnn.is_available():
        pytest.skip("oneDNN holds the packed weights")
    monkeypatch.setattr(hardware, "compute_dtype", lambda: torch.bfloat16)

    def packed_layers(blocks: lm.DecoderBlocks) -> int:
        fused = [] if blocks.fused is None else blocks.fused.blocks
        parts = [part for block in fused for part in block if isinstance(part, torch.nn.Module)]
        return sum(isinstance(module, PrepackedLinear) for module in [*parts, *blocks.modules()])

    policy = checkpoints.load_policy(folders[family], trunk=trunk)
    frozen = policy.freeze()
    per_block = 4 if family == "llama" else 7
    assert packed_layers(frozen.branch) == per_block * (4 - trunk)
    assert packed_layers(policy.branch) == 0
    assert (frozen.branch.fused is not None) == (family == "llama")
    assert frozen.packed is not None
    # tied to the trunk's embeddings the head never trains, and is packed for all copies; else it trains
    assert (policy.packed is None) == (trunk == 0)
    if policy.trunk.blocks is not None:
        assert packed_layers(policy.trunk.blocks) == per_block * trunk
        assert not any(parameter.requires_grad for parameter in policy.trunk.blocks.parameters())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(parameter.requires_grad for parameter in policy.branch.parameters())
