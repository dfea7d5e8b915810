"""The random small model: the same for a seed, and made without disturbing anybody's random numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers

from biddable.model import random_model


def test_a_seed_decides_the_weights_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    models = [random_model.build_model(layers=1, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(3), expected)
    first, same, other = (model.lm_head.weight for model in models)
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert 0.08 < first.std().item() < 0.12


def test_tied_and_untied_heads() -> None:
    tied, untied = (random_model.build_model(layers=1, tied=tied) for tied in (True, False))
    assert tied.lm_head.weight is tied.model.embed_tokens.weight
    assert untied.lm_head.weight is not untied.model.embed_tokens.weight


def test_the_tokenizer_spells_any_text_and_its_pad_token_is_a_choice() -> None:
    shared, apart = random_model.tokenizer(), random_model.tokenizer(pad_is_eos=False)
    text = "Grüße, 日本! <odd>"
    assert shared.decode(shared(text).input_ids) == text
    assert shared.pad_token_id == shared.eos_token_id == shared.convert_tokens_to_ids("<|im_end|>")
    assert apart.pad_token_id == apart.convert_tokens_to_ids("<|pad|>") != apart.eos_token_id
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    assert shared.apply_chat_template(chat, tokenize=False) == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n"
    )


@pytest.mark.parametrize("family", list(random_model.FAMILIES))
def test_a_saved_model_ends_where_its_tokenizer_does(family: str, tmp_path: Path) -> None:
    """Of every family: the configuration, the generation settings and the tokenizer name one end token, and
    depth and vocabulary are those asked for."""
    folder = random_model.save_random_model(tmp_path / "model", layers=2, family=family)
    config = transformers.AutoConfig.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    generation = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") == tokenizer.eos_token_id == tokenizer.pad_token_id
    assert config.eos_token_id == generation["eos_token_id"] == tokenizer.eos_token_id
    assert tokenizer.bos_token == "<|im_start|>"
    assert (config.num_hidden_layers, config.vocab_size) == (2, len(tokenizer))


def test_the_pad_token_may_be_its_own(tmp_path: Path) -> None:
    folder = random_model.save_random_model(tmp_path / "model", layers=1, pad_is_eos=False)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.pad_token == "<|pad|>" and tokenizer.eos_token == "<|im_end|>"
    assert len(random_model.tokenizer(size=300)) == 300
