"""The random small model: the same for a seed, and made without disturbing anybody's random numbers."""

from __future__ import annotations

import torch

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
