"""One trunk, many branches: a decoder cut at block `trunk`, and what stands on the cut: policies, which
predict tokens, and scorers, which give one number.

Legend: R rows, T tokens a row, N answer tokens, A answers, d hidden size, V vocabulary.

Below the cut: embeddings and blocks, frozen, without gradients. Above: branches, each with its own copy of
the remaining blocks and final norm. In transformers every decoder accepts `inputs_embeds`, so trunk and
branch are both the family's own model class holding some of the blocks: nothing is written per family, and a
family for which that is not exact is refused by name (Glaese et al. 2022 froze 64 of 80 blocks and tuned 16).
`trunk = 0` is the ordinary case by the same code: there is no trunk, and each branch is a complete model with
its own embeddings.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from biddable.model.attention import additive_mask
from biddable.model.fused import (
    FusedBlocks,
    PrepackedLinear,
    frozen_copy,
    has_fusable_shape,
    matches_reference,
    packable,
)
from biddable.model.gradient_checkpointing import recomputed
from biddable.model.logprobs import LMHead, token_logprobs
from biddable.model.packing import PackedBatch, Tree, pack
from biddable.run.config import UserError

NORMS = ("norm", "final_layer_norm", "final_layernorm", "ln_f")
"""What families call the norm after the last block."""


class DecoderBlocks(nn.Module):
    """Some consecutive blocks of a decoder, as the family's own model class, with or without embeddings and
    final norm."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.fused: FusedBlocks | None = None
        self.fusable: bool | None = None  # None: not tried yet
        self.not_fused: str | None = None  # why not, once tried
        self.checkpointing = False  # gradient checkpointing: memory for time

    def forward(
        self, states: torch.Tensor, positions: torch.Tensor, masks: Any, cache: Any = None
    ) -> torch.Tensor:
        """(R, T, d) -> (R, T, d)."""
        masks = additive_mask(masks, states.dtype)  # here once: every block would convert it
        if self.fused is not None:
            return self.fused(states, positions, masks, cache)
        checkpointed = self.checkpointing and torch.is_grad_enabled()
        blocks: Any = getattr(self.model, blocks_name(self.model)) if checkpointed else []
        with recomputed(blocks):
            out = self.model(
                inputs_embeds=states,
                attention_mask=masks,
                position_ids=positions,
                past_key_values=cache,
                use_cache=cache is not None,
            )
        result: torch.Tensor = out.last_hidden_state
        return result

    def freeze(self, int8: bool = False) -> DecoderBlocks:
        """The same blocks for use without gradients, faster on a CPU, with linear layers in int8 if so wished.
        Later changes of this one's weights do not reach it: weights that train are copied, those that do not
        are shared."""
        if self.fusable is None:
            self.not_fused = self._why_not_fused()
            self.fusable = self.not_fused is None
        trained = any(parameter.requires_grad for parameter in self.parameters())
        if not self.fusable:
            return (
                DecoderBlocks(frozen_copy(copy.deepcopy(self.model) if trained else self.model, int8))
                .requires_grad_(False)
                .eval()
            )
        frozen = DecoderBlocks(copy.copy(self.model))
        frozen.model._modules = {
            name: copy.deepcopy(child) if trained else child
            for name, child in self.model._modules.items()
            if name != blocks_name(self.model)
        }
        frozen.fused = self._fuse(int8)
        return frozen.requires_grad_(False).eval() if trained else frozen

    def _fuse(self, int8: bool = False) -> FusedBlocks:
        (norm,) = (n for n in NORMS if hasattr(self.model, n))
        model: Any = self.model
        kinds = getattr(model.config, "layer_types", None)
        return FusedBlocks(
            list(getattr(model, blocks_name(model))), getattr(model, norm), model.rotary_emb, kinds, int8
        )

    def _why_not_fused(self) -> str | None:
        """None when fused blocks compute what the family's own code does. Each block is compared alone, in
        fp32: rounding does not add up over a deep model, and bf16's does not hide a difference."""
        model: Any = self.model
        blocks = list(getattr(model, blocks_name(model)))
        if not has_fusable_shape(blocks) or not hasattr(model, "rotary_emb"):
            return "its blocks have another shape"
        width = blocks[0].mlp.down_proj.weight.shape[0]
        for number in range(len(blocks)):
            # without the final norm, which would hide a block that scales its output; then the norm too
            for with_norm in (False, True) if number == len(blocks) - 1 else (False,):
                part = self._one_block_fp32(number, with_norm)
                if not matches_reference(part._fuse(), part, width, torch.float32, part.masks):
                    return f"block {number} computes something else"
        return None

    def _one_block_fp32(self, number: int, with_norm: bool) -> DecoderBlocks:
        """An fp32 copy of one block, as the family's model class; dropout hooks that hang on it are off."""
        model: Any = self.model
        part: Any = copy.copy(model)
        part._modules = dict(model._modules)
        name = blocks_name(model)
        part._modules[name] = nn.ModuleList([copy.deepcopy(getattr(model, name)[number])]).float().eval()
        (norm,) = (n for n in NORMS if hasattr(model, n))
        part._modules[norm] = copy.deepcopy(getattr(model, norm)).float() if with_norm else nn.Identity()
        part.config = _config_of_range(model.config, number, number + 1)
        return DecoderBlocks(part)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """(R, T) ids -> (R, T, d), with the family's own scaling."""
        out: torch.Tensor = self.model.get_input_embeddings()(tokens)  # type: ignore[operator]
        return out

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return int(self.model.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]

    def masks(self, mask: Callable[[int | None], torch.Tensor]) -> Any:
        """The mask in the form this family takes: one tensor, or one for each kind of its layers."""
        config: Any = self.model.config
        window = getattr(config, "sliding_window", None)
        kinds = set(getattr(config, "layer_types", None) or ())
        if not kinds:
            return mask(window)
        return {kind: mask(window if kind == "sliding_attention" else None) for kind in kinds}


def blocks_name(model: nn.Module) -> str:
    """The attribute that holds the model's blocks. Raises UserError for a family where it or the final norm
    is not found."""
    depth = model.config.num_hidden_layers  # type: ignore[union-attr]
    names = [
        n for n, child in model.named_children() if isinstance(child, nn.ModuleList) and len(child) == depth
    ]
    norms = [n for n in NORMS if hasattr(model, n)]
    if len(names) != 1 or len(norms) != 1:
        raise UserError(
            f"the model family {family(model)} is refused: its decoder does not hold its blocks and its "
            "final norm under a "
            f"known name ({', '.join(NORMS)})"
        )
    return names[0]


def family(model: nn.Module) -> str:
    """The family's name as transformers spells it, e.g. "llama"."""
    return str(model.config.model_type)  # type: ignore[union-attr]


def _block_range(model: nn.Module, start: int, stop: int) -> nn.Module:
    """The family's model with blocks start..stop-1 only, sharing its parameters. They are renumbered from 0,
    because each half has a cache of its own."""
    name = blocks_name(model)
    part = copy.copy(model)
    part._modules = dict(model._modules)
    blocks = list(getattr(model, name))[start:stop]
    part._modules[name] = nn.ModuleList(blocks)
    part.config = _config_of_range(model.config, start, stop)
    for module in part._modules[name].modules():  # type: ignore[union-attr]
        if isinstance(getattr(module, "layer_idx", None), int):
            module.layer_idx -= start  # type: ignore[operator]
    return part


def _config_of_range(config: Any, start: int, stop: int) -> Any:
    """The configuration of blocks start..stop-1."""
    part = copy.deepcopy(config)
    part.num_hidden_layers = stop - start
    if getattr(part, "layer_types", None):
        part.layer_types = part.layer_types[start:stop]
    return part


def split_model(model: nn.Module, trunk: int) -> tuple[DecoderBlocks | None, DecoderBlocks]:
    """Split the family's bare decoder (no head) into trunk and branch; the model passed in is not to be used
    afterwards. The two together are compared with it on a few tokens.

    Raises UserError when `trunk` is out of range, or when the family does not split exactly.
    """
    depth = int(model.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
    if not 0 <= trunk < depth:
        raise UserError(f"trunk = {trunk}: this model has {depth} blocks; choose 0 to {depth - 1}")
    blocks_name(model)
    uncut = DecoderBlocks(model)
    if trunk == 0:
        return None, uncut
    probe = pack([Tree((5, 3, 8), ((2, 9), (4, 1, 7))), Tree((6,), ((3, 2),))], row_tokens=64)
    with torch.no_grad():
        before = uncut(uncut.embed(probe.tokens), probe.positions, uncut.masks(probe.mask))
        lower, upper = _block_range(model, 0, trunk), _block_range(model, trunk, depth)
        (norm,) = (n for n in NORMS if hasattr(model, n))
        lower._modules[norm] = nn.Identity()  # the final norm belongs to the branch
        if hasattr(
            upper, "embedding_multiplier"
        ):  # granite multiplies its input, also if that is no embedding
            upper.embedding_multiplier = 1.0  # type: ignore[assignment]
        upper._modules = {k: v for k, v in upper._modules.items() if v is not model.get_input_embeddings()}  # type: ignore[operator]
        below, above = DecoderBlocks(lower), DecoderBlocks(upper)
        between = below(below.embed(probe.tokens), probe.positions, below.masks(probe.mask))
        after = above(between, probe.positions, above.masks(probe.mask))
    if not torch.equal(before, after):
        worst = (before - after).abs().max().item()
        raise UserError(
            f"the model family {family(model)} does not split exactly at block {trunk} (its output differs "
            f"by {worst:.3g}); "
            "set trunk = 0 to train all of it"
        )
    return below, above


class Trunk:
    """What all branches share: frozen blocks below the cut, in int8 if so wished; with trunk = 0 it has no
    blocks and keeps nothing."""

    def __init__(self, blocks: DecoderBlocks | None, fingerprint: str, int8: bool = False) -> None:
        self.blocks = None if blocks is None else blocks.freeze(int8)
        self.depth = 0 if blocks is None else blocks.depth
        self.fingerprint, self.int8 = fingerprint, int8

    @torch.no_grad()
    def __call__(self, packed: PackedBatch) -> torch.Tensor | None:
        """Trunk outputs (R, T, d) of packed rows; the kept ones when they are there; None with trunk = 0."""
        if self.blocks is None or packed.hidden is not None:
            return packed.hidden
        blocks: Any = self.blocks
        return blocks(blocks.embed(packed.tokens), packed.positions, blocks.masks(packed.mask))


def fingerprint(blocks: DecoderBlocks | None, int8: bool = False) -> str:
    """sha256 over the trunk's tensors, and whether they are read in int8: two models share a trunk when theirs
    are equal."""
    digest = hashlib.sha256(b"int8" if int8 else b"")
    for name, tensor in sorted(blocks.state_dict().items()) if blocks is not None else []:
        digest.update(name.encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()


def branch_states(branch: DecoderBlocks, packed: PackedBatch, hidden: torch.Tensor | None) -> torch.Tensor:
    """The branch's final states, flat: (R*T, d)."""
    states = branch.embed(packed.tokens) if hidden is None else hidden
    return branch(states, packed.positions, branch.masks(packed.mask)).flatten(0, 1)


class Policy(nn.Module):
    """A branch with the language-model head. With tied embeddings and trunk > 0 the head is the trunk's and
    does not train; its bias, in families that have one, always does."""

    def __init__(
        self,
        trunk: Trunk,
        branch: DecoderBlocks,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        config: Any,
    ) -> None:
        super().__init__()
        self.trunk, self.branch = trunk, branch
        self.weight, self.bias = weight, bias
        self.tokens: int | None = None  # ids from here on have no text and are never drawn; None: all have
        self.gaps: tuple[int, ...] = ()  # ids below that the tokenizer skips: never drawn either
        self.scale = float(
            getattr(config, "logit_scale", None)
            or 1.0 / float(getattr(config, "logits_scaling", None) or 1.0)
        )
        self.softcap = getattr(config, "final_logit_softcapping", None)
        trains = weight.requires_grad or (bias is not None and bias.requires_grad)
        frozen = packable(weight) and not trains
        self.packed = (
            PrepackedLinear(weight, bias) if frozen else None
        )  # a head that does not train is packed once, for all copies

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, d) -> (B, V) fp32, for sampling."""
        return self.head.logits(hidden)

    @property
    def head(self) -> LMHead:
        return LMHead(self.weight, self.bias, self.scale, self.softcap, self.packed)

    def logp(self, packed: PackedBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability of every answer token, and the entropy of the distribution it was drawn from: (N,),
        (N,) fp32, nats. The head runs at these positions only."""
        return token_logprobs(self.states(packed), packed.target, self.head)

    def states(self, packed: PackedBatch) -> torch.Tensor:
        """(N, d): the branch's final state before each answer token, which the head reads."""
        return branch_states(self.branch, packed, self.trunk(packed))[packed.source]

    def _with_branch(self, branch: DecoderBlocks) -> Policy:
        """The same policy on a copy of its branch. A head that trains, or is tied to the branch's embeddings,
        is copied too."""
        policy = copy.copy(self)
        policy._modules, policy._parameters = dict(self._modules), dict(self._parameters)
        policy.branch = branch
        if self.trunk.depth == 0 or self.weight.requires_grad:
            pairs = zip(embeddings(self.branch), embeddings(branch), strict=True)
            tied = [copied.weight for original, copied in pairs if original.weight is self.weight]
            policy.weight = tied[0] if tied else copy.deepcopy(self.weight)
        policy.bias = copy.deepcopy(self.bias)
        return policy

    def copy(self) -> Policy:
        """A policy on the same trunk with copied weights. It runs the same operations, so its KL to this one
        is exactly 0."""
        return self._with_branch(copy.deepcopy(self.branch))

    def freeze(self) -> Policy:
        """The same policy for use without gradients, faster on a CPU. Later changes of this one's weights do
        not reach it."""
        frozen = self._with_branch(self.branch.freeze()).requires_grad_(False)
        if frozen.packed is None and packable(frozen.weight):
            frozen.packed = PrepackedLinear(frozen.weight, frozen.bias)
        return frozen


def embeddings(branch: DecoderBlocks) -> list[nn.Embedding]:
    """The branch's own embeddings: none above a trunk."""
    return [child for child in branch.model.children() if isinstance(child, nn.Embedding)]


class Scorer(nn.Module):
    """A branch with a scalar head in fp32, or with several on the same states. A reward model is read at an
    answer's last token, a value function before each."""

    def __init__(self, trunk: Trunk, branch: DecoderBlocks, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.trunk, self.branch = trunk, branch
        self.weight = nn.Parameter(weight.float())  # (d,), or (K, d) for K heads
        self.bias = nn.Parameter(bias.float())  # (), or (K,)

    def _read(self, packed: PackedBatch, positions: torch.Tensor) -> torch.Tensor:
        states = branch_states(self.branch, packed, self.trunk(packed))
        weight = self.weight if self.weight.dim() == 1 else self.weight.T
        return states[positions].float() @ weight + self.bias

    def scores(self, packed: PackedBatch) -> torch.Tensor:
        """(A,) fp32: the score at each answer's last real token (Ouyang et al. 2022, 3.5; never at
        padding)."""
        return self._read(packed, packed.last)

    def values(self, packed: PackedBatch) -> torch.Tensor:
        """(N,) fp32: the value of the state before each answer token; (N, K) of K heads."""
        return self._read(packed, packed.source)

    def freeze(self) -> Scorer:
        """The same scorer for use without gradients, faster on a CPU."""
        weight, bias = self.weight.detach().clone(), self.bias.detach().clone()
        return Scorer(self.trunk, self.branch.freeze(), weight, bias).requires_grad_(False)

    def __deepcopy__(self, memo: dict[int, Any]) -> Scorer:
        return Scorer(
            self.trunk,
            copy.deepcopy(self.branch, memo),
            self.weight.detach().clone(),
            self.bias.detach().clone(),
        )


def scorer_from(policy: Policy, generator: torch.Generator, deviation: float | None = None) -> Scorer:
    """A new scorer from the policy's weights, with a random head of standard deviation `deviation`; none:
    1/sqrt(d + 1) (Stiennon et al. 2020, code)."""
    branch = copy.deepcopy(policy.branch)
    size = int(policy.weight.shape[1])
    deviation = (size + 1) ** -0.5 if deviation is None else deviation
    weight = (torch.randn(size, generator=generator) * deviation).to(policy.weight.device)
    return Scorer(policy.trunk, branch, weight, weight.new_zeros(()))
