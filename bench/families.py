"""Which model families biddable takes: small random models of each, through `learn.start`'s own check.

    python bench/families.py            # rewrites docs/models.md; a few minutes on two cores
    python bench/families.py --only llama,bloom

The configurations are in `FAMILIES`, with windows, multipliers and layer types that would show a wrong
computation.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
ONE_KEY_HEAD_EACH = {**SHAPE, "num_key_value_heads": 4}
EXPERTS = {
    **SHAPE,
    "num_local_experts": 4,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}
GPT = {"n_embd": 64, "n_head": 4, "n_layer": 4, "n_positions": 512}
WINDOW = {**SHAPE, "head_dim": 16, "sliding_window": 8}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", SHAPE),
    "mistral": ("MistralConfig", WINDOW),
    "ministral": ("MinistralConfig", WINDOW),
    "qwen2": ("Qwen2Config", SHAPE),
    "qwen3": ("Qwen3Config", {**SHAPE, "head_dim": 16}),
    "smollm3": ("SmolLM3Config", {**SHAPE, "no_rope_layer_interval": 2}),
    "gemma": ("GemmaConfig", {**SHAPE, "head_dim": 16}),
    "gemma2": ("Gemma2Config", {**WINDOW, "final_logit_softcapping": 5.0, "attn_logit_softcapping": 5.0}),
    "gemma3": ("Gemma3TextConfig", {**WINDOW, "sliding_window_pattern": 2}),
    "phi": ("PhiConfig", SHAPE),
    "phi3": ("Phi3Config", SHAPE),
    "olmo": ("OlmoConfig", SHAPE),
    "olmo2": ("Olmo2Config", SHAPE),
    "olmo3": ("Olmo3Config", WINDOW),
    "granite": ("GraniteConfig", {**SHAPE, "embedding_multiplier": 3.0, "logits_scaling": 2.0}),
    "stablelm": ("StableLmConfig", ONE_KEY_HEAD_EACH),
    "starcoder2": ("Starcoder2Config", {**SHAPE, "sliding_window": 8}),
    "cohere": ("CohereConfig", {**SHAPE, "logit_scale": 0.25}),
    "cohere2": ("Cohere2Config", {**SHAPE, "sliding_window": 8, "logit_scale": 0.25}),
    "glm": ("GlmConfig", {**SHAPE, "head_dim": 16}),
    "glm4": ("Glm4Config", {**SHAPE, "head_dim": 16}),
    "nemotron": ("NemotronConfig", {**SHAPE, "head_dim": 16}),
    "exaone4": ("Exaone4Config", {**WINDOW, "sliding_window_pattern": 4}),
    "helium": ("HeliumConfig", {**SHAPE, "head_dim": 16}),
    "ernie4_5": ("Ernie4_5Config", {**SHAPE, "head_dim": 16}),
    "seed_oss": ("SeedOssConfig", {**SHAPE, "head_dim": 16}),
    "arcee": ("ArceeConfig", SHAPE),
    "apertus": ("ApertusConfig", SHAPE),
    "hunyuan_v1_dense": ("HunYuanDenseV1Config", {**SHAPE, "head_dim": 16}),
    "diffllama": ("DiffLlamaConfig", SHAPE),
    "persimmon": ("PersimmonConfig", ONE_KEY_HEAD_EACH),
    "biogpt": ("BioGptConfig", SHAPE),
    "opt": ("OPTConfig", {**SHAPE, "ffn_dim": 96, "word_embed_proj_dim": 64}),
    "gpt_neox": ("GPTNeoXConfig", {k: v for k, v in SHAPE.items() if k != "num_key_value_heads"}),
    "gpt2": ("GPT2Config", GPT),
    "gpt_bigcode": ("GPTBigCodeConfig", GPT),
    "gptj": ("GPTJConfig", {**GPT, "rotary_dim": 8}),
    "gpt_neo": (
        "GPTNeoConfig",
        {
            "hidden_size": 64,
            "num_layers": 4,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 2]],
            "window_size": 8,
        },
    ),
    "codegen": ("CodeGenConfig", {**GPT, "rotary_dim": 8}),
    "falcon": ("FalconConfig", SHAPE),
    "bloom": ("BloomConfig", {"hidden_size": 64, "n_layer": 4, "n_head": 4}),
    "mpt": ("MptConfig", {"d_model": 64, "n_heads": 4, "n_layers": 4}),
    "mixtral": ("MixtralConfig", EXPERTS),
    "qwen3_moe": ("Qwen3MoeConfig", EXPERTS),
    "olmoe": ("OlmoeConfig", EXPERTS),
    "gpt_oss": ("GptOssConfig", {**EXPERTS, "head_dim": 16}),
    "deepseek_v3": ("DeepseekV3Config", {**ONE_KEY_HEAD_EACH, "n_routed_experts": 8}),
    "mamba": ("MambaConfig", {"hidden_size": 64, "num_hidden_layers": 4}),
    "falcon_h1": ("FalconH1Config", SHAPE),
    "qwen3_next": ("Qwen3NextConfig", EXPERTS),
    "recurrent_gemma": ("RecurrentGemmaConfig", {**SHAPE, "lru_width": 64}),
    "lfm2": ("Lfm2Config", SHAPE),
    "rwkv": ("RwkvConfig", {"hidden_size": 64, "num_hidden_layers": 4}),
}

HEAD = """# Models

Any decoder-only model of a family that biddable computes as transformers does. `learn.start` decides by comparing the model itself with its own plain forward
pass, in fp32: log-probabilities of packed rows (a prompt with two answers and a stranger), of padded rows and of cached sampling, at the cut you set. Nothing
is accepted or refused by its name alone, except what a short comparison cannot show: experts without a router loss, RoPE that depends on the longest neighbour,
quantised weights.

The table is made by `python bench/families.py` from small random models. "split" says whether `trunk` may be more than 0, "difference" is the largest
of all log-probabilities in nats, "fused" whether sampling uses the faster blocks.

"""


def save(name: str, folder: Path) -> Path:
    """A random model of the family with a tokenizer, in its folder."""
    import torch
    import transformers

    from biddable.model import random_model

    words = random_model.tokenizer()
    kind, settings = FAMILIES[name]
    torch.manual_seed(1)
    config = getattr(transformers, kind)(
        vocab_size=len(words),
        initializer_range=0.1,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        **settings,
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def row(name: str, folder: Path) -> str:
    """One line of the table."""
    from biddable.model import checkpoints
    from biddable.run.config import UserError

    source = save(name, folder / name)
    results: list[dict[str, Any]] = []
    for trunk in (0, 2):
        try:
            results.append(checkpoints.import_model(str(source), folder / f"{name}-{trunk}", trunk))
        except UserError as error:
            line = str(error).removeprefix(f"{source}: ").split(" is refused: ")[-1]
            if trunk == 0:
                return f"| {name} | no | | | | {line} |"
            return (
                f"| {name} | yes | no | {results[0]['largest_difference']:.0e} | {fused(results[0])} | "
                f"with a trunk: {line} |"
            )
    difference = max(result["largest_difference"] for result in results)
    return f"| {name} | yes | yes | {difference:.0e} | {fused(results[0])} | |"


def fused(facts: dict[str, Any]) -> str:
    return "yes" if facts["fused_blocks"] else "no"


def main() -> None:
    parser = argparse.ArgumentParser(description="Which model families biddable takes.")
    parser.add_argument(
        "--only", default="", help="names with commas between; prints instead of writing the page"
    )
    names = [name for name in parser.parse_args().only.split(",") if name]
    warnings.simplefilter("ignore")
    rows = [
        "| family | accepted | split | difference | fused | why not |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as temporary:
        for name in names or FAMILIES:
            try:
                rows.append(row(name, Path(temporary)))
            except Exception as error:  # a row that says so is better than no table
                rows.append(
                    f"| {name} | not tried | | | | {type(error).__name__}: {str(error).splitlines()[0]} |"
                )
            print(rows[-1], flush=True)
    if not names:
        page = Path(__file__).resolve().parents[1] / "docs" / "models.md"
        page.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
