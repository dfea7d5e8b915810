"""A random small model in an ordinary folder, made in process: for tests, for `configs/tiny.toml`, for
looking at the loop without waiting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% "
    "endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A chat template without a default system prompt."""

SENTENCES = (
    "Write one sentence about the sea and mention salt.",
    "Name three fruits as bullet points.",
    "What is the capital of France? The capital of France is Paris.",
    "Please explain in two sentences how a kettle works, and mention the price.",
    "The quick brown fox jumps over the lazy dog; 0123456789 times.",
)
"""What the small tokenizer is trained on."""

SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", SHAPE),
    "qwen2": ("Qwen2Config", SHAPE),
    "qwen3": ("Qwen3Config", {**SHAPE, "head_dim": 16}),
    "mistral": ("MistralConfig", {**SHAPE, "sliding_window": 8}),
    "smollm3": ("SmolLM3Config", {**SHAPE, "no_rope_layer_interval": 2, "pad_token_id": 0}),
    "olmo2": ("Olmo2Config", SHAPE),
    "gemma2": (
        "Gemma2Config",
        {
            **SHAPE,
            "head_dim": 16,
            "sliding_window": 8,
            "final_logit_softcapping": 5.0,
            "attn_logit_softcapping": 5.0,
        },
    ),
    "gemma3": (
        "Gemma3TextConfig",
        {**SHAPE, "head_dim": 16, "sliding_window": 8, "sliding_window_pattern": 2},
    ),
    "phi3": ("Phi3Config", {**SHAPE, "pad_token_id": 0}),
    "granite": (
        "GraniteConfig",
        {**SHAPE, "embedding_multiplier": 3.0, "logits_scaling": 2.0, "residual_multiplier": 0.5},
    ),
    "gpt_neox": ("GPTNeoXConfig", {k: v for k, v in SHAPE.items() if k != "num_key_value_heads"}),
    "starcoder2": ("Starcoder2Config", {**SHAPE, "sliding_window": 8}),
    "cohere2": ("Cohere2Config", {**SHAPE, "sliding_window": 8, "logit_scale": 0.25}),
    "gpt2": (
        "GPT2Config",
        {
            "n_embd": 64,
            "n_head": 4,
            "n_positions": 512,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
        },
    ),
}
"""Families tried, with settings that would show a wrong split: small windows, multipliers, soft caps."""


def tokenizer(pad_is_eos: bool = True, sentences: Sequence[str] = SENTENCES, size: int = 384) -> Any:
    """A byte-level BPE tokenizer trained on a few sentences, with a chat template; by default its pad token
    is its end token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        sentences,
        trainers.BpeTrainer(
            vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        bos_token="<|im_start|>",
        pad_token="<|im_end|>" if pad_is_eos else "<|pad|>",
    )
    fast.chat_template = TEMPLATE
    return fast


def build_model(
    family: str = "llama", layers: int = 4, vocabulary: int = 384, seed: int = 1, tied: bool = True
) -> Any:
    """A random model of a family, with weights large enough that its outputs differ from one another."""
    import torch
    import transformers

    name, shape = FAMILIES[family]
    depth = {"n_layer": layers} if family == "gpt2" else {"num_hidden_layers": layers}
    config = getattr(transformers, name)(
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
        initializer_range=0.1,
        bos_token_id=1,
        eos_token_id=2,
        **depth,
        **shape,
    )
    if family == "qwen2":
        config.layer_types = ["full_attention"] * layers
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    torch.set_rng_state(state)
    return model


def save_random_model(
    folder: Path, seed: int = 1, layers: int = 4, family: str = "llama", pad_is_eos: bool = True
) -> Path:
    """Write a random model with its tokenizer as a plain transformers folder and return the folder."""
    backend = tokenizer(pad_is_eos)
    model = build_model(family, layers, len(backend), seed)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    backend.save_pretrained(folder)
    return folder
