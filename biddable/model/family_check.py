"""Whether biddable computes a model as its own code does. No list of names decides: `learn.start` runs the
model on a few random tokens in the three ways the loop runs it, and compares every log-probability with the
family's plain, unpacked forward pass in transformers, all in fp32.

- packed: a prompt with K = 2 answers and a stranger in one row (training). A family whose attention ignores
  the mask sees its neighbours here, or the future.
- padded: rows of different lengths (scoring, and training with long examples).
- cached: the sampler, with a common prefix, rows at different positions and fused blocks where they are used.

Before that come the reasons that no short probe can show (`refuse_by_config`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from biddable.model import attention, hardware
from biddable.model.packing import Tree, pack
from biddable.model.sampler import Request, sample
from biddable.model.trunk import Policy
from biddable.run.config import UserError

TOLERANCE = 2e-3
"""Nats. Right families differ by 1e-6 (random, 4 blocks) to 1e-4 (30 blocks), wrong ones by 0.1 and more."""
PROBE_WINDOW = 8
"""Sliding attention is compared with a window this short: a window of 4096 would show nothing on 30
tokens."""
EXPERTS = (
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "moe_num_experts",
    "num_moe_experts",
    "moe_num_primary_experts",
)
"""Settings under which configurations hold the number of experts of a layer."""
LAYER_TYPES = {"full_attention", "sliding_attention"}


def refuse_by_config(config: Any, where: str) -> None:
    """Raise UserError for what is known to go wrong only in training, or only at lengths that a probe does
    not reach: all reasons at once."""
    reasons = [*_other_architectures(config), *_neighbours_in_rope(config)]
    experts = max(
        (count for name in EXPERTS if isinstance(count := getattr(config, name, None), int)), default=0
    )
    if experts > 1:
        reasons.append(
            f"it has {experts} experts a layer, and their router needs a load-balancing loss in training, "
            "which "
            "biddable does not have; choose a dense model"
        )
    quantised = getattr(config, "quantization_config", None)
    if quantised is not None:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised.quant_method
        reasons.append(
            f"its weights are quantised ({getattr(method, 'value', method)}); give the unquantised model, or "
            "a GGUF file, "
            "which is dequantised"
        )
    if reasons:
        raise UserError([_line(where, str(config.model_type), reason) for reason in reasons])


def _line(where: str, name: str, reason: str) -> str:
    return f"{where}: the model family {name} is refused: {reason}"


def _other_architectures(config: Any) -> list[str]:
    if getattr(config, "is_encoder_decoder", False):
        return ["it is an encoder with a decoder; choose a decoder-only model"]
    if not isinstance(getattr(config, "num_hidden_layers", None), int):
        return ["it is more than a text decoder (no num_hidden_layers in its config.json)"]
    kinds = sorted(set(getattr(config, "layer_types", None) or ()) - LAYER_TYPES)
    if kinds:
        return [
            f"its layers of type {', '.join(kinds)} cannot take packed rows; choose a model with attention "
            "only"
        ]
    return []


def _neighbours_in_rope(config: Any) -> list[str]:
    """RoPE types whose frequencies depend on the longest row of a batch: an answer's log-probability would
    change with its neighbours, and between sampling and training."""
    parameters = getattr(config, "rope_parameters", None) or {}
    nested = [value for value in parameters.values() if isinstance(value, dict)]  # one for each type of layer
    kinds = {str(entry.get("rope_type", "default")) for entry in nested or [parameters]}
    advice = {
        "dynamic": "take the scaling out of its config.json, and it is the same model up to its original "
        "length",
        "longrope": "choose the variant with the short context (e.g. 4k), which has fixed frequencies",
    }
    return [
        f"its RoPE of type {kind} changes with the longest text of a batch; {advice[kind]}"
        for kind in sorted(kinds & set(advice))
    ]


class Observation(NamedTuple):
    """Log-probabilities of one sequence's tokens from `start` on, as biddable computes them."""

    way: str  # "packed", "padded" or "cached"
    ids: tuple[int, ...]
    start: int
    logp: torch.Tensor  # (len(ids) - start,) fp32


def shorten_window(config: Any) -> Any:
    """The configuration with a sliding window that a short probe reaches the end of."""
    window = getattr(config, "sliding_window", None)
    if isinstance(window, int) and window > PROBE_WINDOW:
        config.sliding_window = PROBE_WINDOW
    return config


@torch.no_grad()
def observe(policy: Policy) -> list[Observation]:
    """The policy on random tokens, packed, padded and cached."""
    generator = torch.Generator().manual_seed(1)
    words = policy.weight.shape[0] if policy.tokens is None else policy.tokens

    def draw(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(words, (count,), generator=generator).tolist())

    trees = [Tree(draw(11), (draw(7), draw(12))), Tree(draw(3), (draw(5),))]
    observations = []
    # one row for all; then a row for each tree, the shorter one padded
    for way, row_tokens in (("packed", 64), ("padded", 1)):
        packed = pack(trees, row_tokens)
        logp = policy.logp(packed)[0].cpu()
        sequences = [(tree.prompt, answer) for tree in trees for answer in tree.answers]
        for number, (prompt, answer) in enumerate(sequences):
            of_answer = packed.answer.cpu() == number
            observations.append(Observation(way, (*prompt, *answer), len(prompt), logp[of_answer]))
    prefix = draw(9)
    prompts = [prefix + draw(2), prefix + draw(6), prefix + draw(1)]
    requests = [Request(prompt, seed, max_tokens=8) for seed, prompt in enumerate(prompts)]
    sampled = sample(policy.freeze(), requests, frozenset(), slots=2)
    for request, reply in zip(requests, sampled, strict=True):
        ids = (*request.prompt, *reply.tokens)
        observations.append(Observation("cached", ids, len(request.prompt), torch.tensor(reply.logp)))
    return observations


@torch.no_grad()
def largest_differences(plain: Any, observations: Sequence[Observation]) -> dict[str, float]:
    """For each way the largest difference (nats) from `plain`, the family's own causal model, which runs each
    sequence alone and without a cache. NaN counts as infinitely far off."""
    worst: dict[str, float] = {}
    for way, ids, start, logp in observations:
        tokens = torch.tensor([ids], device=hardware.device())
        logits = plain(input_ids=tokens, use_cache=False).logits.float().log_softmax(-1)[0, start - 1 : -1]
        expected = logits.gather(1, tokens[0, start:, None])[:, 0].cpu()
        difference = (expected - logp).abs().nan_to_num(nan=float("inf")).max().item()
        worst[way] = max(worst.get(way, 0.0), difference)
    return worst


def refuse_differences(family: str, differences: dict[str, float], where: str) -> None:
    """Raise UserError when any way differs by more than rounding."""
    too_large = {way: value for way, value in differences.items() if value > TOLERANCE}
    if too_large:
        values = ", ".join(f"{way} {value:.2g}" for way, value in too_large.items())
        raise UserError(
            _line(
                where,
                family,
                f"its log-probabilities differ from its own forward pass (nats: {values}; at most "
                f"{TOLERANCE:g})",
            )
        )


def failure(family: str, error: Exception, where: str) -> UserError:
    """The line for a family whose code raises `error` with our attention, on packed rows or on our cache."""
    text = (str(error).splitlines() or [""])[0]
    if attention.NAME in text:  # how transformers complains about an attention function it cannot put in
        return UserError(
            _line(where, family, "its attention is written out and takes no other function in its place")
        )
    return UserError(
        _line(
            where, family, f"its code does not take packed rows or our cache ({type(error).__name__}: {text})"
        )
    )


def ids_with_text(network: Any, tokenizer: Any, model: str) -> tuple[int | None, tuple[int, ...]]:
    """Which embedding rows stand for text: how many ids there are, when rows stand beyond them (else None),
    and the gaps below, ids that the tokenizer skips. Many models round their rows up or leave places free,
    and what stands there was never trained. Raises UserError when the tokenizer has more ids than there are
    rows."""
    rows = int(network.get_input_embeddings().weight.shape[0])
    ids = set(tokenizer.get_vocab().values())
    tokens = max(ids) + 1
    if tokens > rows:
        raise UserError(
            f"{model}: its tokenizer has {tokens} ids, but the model has {rows} embedding rows; they do not "
            "belong together"
        )
    return (tokens if tokens < rows else None), tuple(sorted(set(range(tokens)) - ids))
