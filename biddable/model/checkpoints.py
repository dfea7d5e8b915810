"""Model folders: transformers' own format (safetensors, tokenizer, chat template) plus `biddable.json`, which
says what the folder is.

A policy folder is the merged model, trunk and branch in one, and loads in transformers, vLLM and the like. A
scorer folder is the bare decoder in the same format, with its scalar head in `head.safetensors` (fp32).
`biddable.json` holds the cut and the trunk's fingerprint, so that branches that claim to share a trunk are
checked to do so.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from biddable.model import family_check, hardware
from biddable.model.encoding import encode_chat
from biddable.model.networks import open_decoder, open_network
from biddable.model.rule_model import RuleModel, TrainedRule, rule_model_from
from biddable.model.sources import (
    find_source,
    load_network,
    open_config,
    open_tokenizer,
    read_source,
    refusing,
)
from biddable.model.trunk import (
    DecoderBlocks,
    Policy,
    Scorer,
    Trunk,
    blocks_name,
    family,
    fingerprint,
    split_model,
)
from biddable.run.config import UserError
from biddable.run.parse import read_object
from biddable.run.records import Message

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # weights are files here; nothing is looked up on a network


def model_folder(folder: Path) -> Path:
    """The model inside a stage folder, or the folder itself. Raises UserError when it holds no model."""
    inner = folder / "model" if (folder / "model").is_dir() else folder
    if not (inner / "config.json").is_file():
        raise UserError(
            f"{folder}: holds no model (no config.json); name a stage that makes one, or a transformers "
            "folder"
        )
    return inner


def model_info(folder: Path) -> dict[str, Any]:
    """A model folder's `biddable.json`. Raises UserError when there is none: `learn.start` writes one for any
    model."""
    path = model_folder(folder) / "biddable.json"
    if not path.is_file():
        raise UserError(
            f'{folder}: has no biddable.json; bring the model in with [learn.start] model = "{folder}"'
        )
    facts = read_object(path)
    trunk = facts.get("trunk")
    if not isinstance(facts.get("kind"), str) or not isinstance(trunk, int) or trunk < 0:
        raise UserError(f"{path}: expected a kind and a trunk; make the folder again")
    return facts


def tokenizer(folder: Path) -> Any:
    """The folder's tokenizer. Raises UserError when it has no chat template or no end-of-sequence token."""
    where = model_folder(folder)
    loaded = open_tokenizer(where)
    errors = []
    if not loaded.chat_template:
        errors.append(
            f'{where}: its tokenizer has no chat template; give one with [learn.start] chat_template = "FILE"'
        )
    if loaded.eos_token_id is None:
        errors.append(
            f"{where}: its tokenizer has no end-of-sequence token; set eos_token in its tokenizer_config.json"
        )
    if errors:
        raise UserError(errors)
    return loaded


def eos_ids(folder: Path, tokenizer: Any) -> frozenset[int]:
    """Every token that ends an answer: the tokenizer's, and those the folder's generation settings name."""
    ids = {int(tokenizer.eos_token_id)}
    for name in ("generation_config.json", "config.json"):
        path = model_folder(folder) / name
        value = read_object(path).get("eos_token_id") if path.is_file() else None
        if value is not None:
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(number, int) for number in values):
                raise UserError(f"{path}: eos_token_id: expected token ids (got {str(value)[:60]})")
            ids |= set(values)
            break
    return frozenset(ids)


def context_length(folder: Path) -> int:
    """How many tokens the model was made for. The family's config class knows the name it has there (GPT-2:
    n_positions) and the value when config.json leaves it out."""
    config = open_config(model_folder(folder))
    return int(getattr(config, "max_position_embeddings", None) or 2**31)


def load_policy(folder: Path, trunk: int | None = None, shared: Trunk | None = None) -> Policy:
    """A policy folder, cut where its `biddable.json` says (or at `trunk`). With `shared` the policy stands on
    that trunk, and its own, which must be equal, is dropped.

    Raises UserError when the folder holds no policy, when the family cannot be split, or when the trunks
    differ.
    """
    where = model_folder(folder)
    tokens, gaps, int8 = None, (), False
    if trunk is None:
        facts = model_info(folder)
        if facts["kind"] != "policy":
            raise UserError(
                f"{folder}: is a {facts['kind']}; expected a policy (a model that generates text)"
            )
        trunk, int8 = int(facts["trunk"]), facts.get("int8_trunk", False)
        tokens, gaps = facts.get("tokens"), tuple(facts.get("gaps", ()))
    model = open_decoder(where, hardware.compute_dtype(), causal=True).to(hardware.device())
    policy = _cut(model, trunk, shared, folder, int8)
    policy.tokens, policy.gaps = tokens, gaps
    return policy


def _cut(model: Any, trunk: int, shared: Trunk | None, folder: Path, int8: bool = False) -> Policy:
    """The policy of a complete causal model."""
    head = model.get_output_embeddings()
    tied = head.weight is model.get_input_embeddings().weight
    below, above = split_model(model.base_model, trunk)
    trunk_of_policy = _check_trunk(folder, below, shared, int8)
    above.requires_grad_(True)
    head.weight.requires_grad_(trunk == 0 or not tied)
    bias = getattr(head, "bias", None)
    if bias is not None:  # no trunk holds it, so it trains even where the weight is the trunk's
        bias.requires_grad_(True)
    return Policy(trunk_of_policy, above, head.weight, bias, model.config)


def load_scorer(folder: Path, shared: Trunk | None = None) -> Scorer:
    """A scorer folder: branch, fp32 head and bias, exactly as saved. Raises UserError when it holds no scorer
    or another trunk."""
    if (kind := model_info(folder)["kind"]) != "scorer":
        raise UserError(f"{folder}: is a {kind}; expected a scorer (a reward model)")
    return _load_scorer(folder, shared)


def load_rule_model(folder: Path, trunk: Trunk | None = None) -> RuleModel:
    """A rule model, as `learn.rules` saved it; or of a policy folder the rule model that it is untrained, by
    its own yes or no. Raises UserError when the folder holds neither, or another trunk."""
    facts = model_info(folder)
    if facts["kind"] == "policy":
        policy = load_policy(folder, shared=trunk)
        return rule_model_from(policy, tokenizer(folder), context_length(folder))
    if facts["kind"] != "rule_model":
        raise UserError(f"{folder}: is a {facts['kind']}; expected a rule model or a policy")
    rules = [TrainedRule(*row) for row in facts["rules"]]
    scorer = _load_scorer(folder, trunk)
    template, max_tokens = facts["template"], facts["max_tokens"]
    return RuleModel(scorer, tokenizer(folder), context_length(folder), template, rules, max_tokens)


def _load_scorer(folder: Path, shared: Trunk | None) -> Scorer:
    from safetensors.torch import load_file

    where, facts = model_folder(folder), model_info(folder)
    if not (where / "head.safetensors").is_file():
        raise UserError(f"{where}: its head is missing (no head.safetensors); train it again")
    model = open_decoder(where, hardware.compute_dtype(), causal=False).to(hardware.device())
    below, above = split_model(model, int(facts["trunk"]))
    with refusing(where, "its head does not load"):
        head = load_file(where / "head.safetensors")
        if head["weight"].numel() != model.config.hidden_size or head["bias"].numel() != 1:
            raise ValueError("it has other shapes than its model")
    above.requires_grad_(True)
    # cloned, because a file's tensors begin anywhere in memory, and the matrix library's sums round by where
    # they begin
    weight, bias = (head[name].clone().to(hardware.device()) for name in ("weight", "bias"))
    trunk = _check_trunk(folder, below, shared, facts.get("int8_trunk", False))
    return Scorer(trunk, above, weight, bias)


def _check_trunk(folder: Path, below: DecoderBlocks | None, shared: Trunk | None, int8: bool) -> Trunk:
    if below is not None:
        below.requires_grad_(False)
    if int8 and hardware.device().type != "cpu":
        raise UserError(
            f"{folder}: has a trunk in int8, which is for CPUs; set int8_trunk = false in [learn.start]"
        )
    own_fingerprint = fingerprint(below, int8)
    if shared is None:
        return Trunk(below, own_fingerprint, int8)
    if own_fingerprint != shared.fingerprint:
        raise UserError(
            f"{folder}: its trunk is not the one the other models stand on; all must come from one "
            "[learn.start]"
        )
    return shared


def _decoder_state(branch: DecoderBlocks, trunk: int) -> dict[str, torch.Tensor]:
    """The branch's tensors under the names they have in the complete decoder."""
    prefix = blocks_name(branch.model) + "."
    state = {}
    for key, tensor in branch.model.state_dict().items():
        if key.startswith(prefix):  # the branch counts its blocks from 0, the decoder from the cut
            number, rest = key[len(prefix) :].split(".", 1)
            key = f"{prefix}{int(number) + trunk}.{rest}"
        state[key] = tensor
    return state


def _save_beside(model: Any, tokenizer: Any, target: Path) -> Path:
    """Write model and tokenizer beside `target` and return where."""
    side = target.with_name(target.name + ".part")
    shutil.rmtree(side, ignore_errors=True)
    # our attention function is no part of the model: the folder must not name it
    implementation, model.config._attn_implementation = model.config._attn_implementation, None
    model.save_pretrained(side)
    model.config._attn_implementation = implementation
    tokenizer.save_pretrained(side)
    return side


def _write_info_and_rename(side: Path, target: Path, facts: dict[str, Any]) -> None:
    """Write `biddable.json` and give the complete folder its name: a reader never sees half of it."""
    (side / "biddable.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    side.rename(target)


def _merged(source: Path, branch: DecoderBlocks, trunk: int, causal: bool) -> Any:
    """The complete decoder of `source` with the branch's tensors in place. Raises RuntimeError when a tensor
    of the branch has no place there, or a block above the cut gets none."""
    model = open_decoder(model_folder(source), hardware.compute_dtype(), causal)
    decoder = model.base_model if causal else model
    result = decoder.load_state_dict(_decoder_state(branch, trunk), strict=False)
    above = [k for k in result.missing_keys if _is_above(k, blocks_name(decoder), trunk)]
    if result.unexpected_keys or above:
        raise RuntimeError(
            f"merge of {family(decoder)}: unexpected {result.unexpected_keys}, missing {above}"
        )
    return model


def _is_above(key: str, name: str, trunk: int) -> bool:
    parts = key.split(".")
    return parts[0] == name and int(parts[1]) >= trunk


def save_policy(policy: Policy, target: Path, source: Path) -> None:
    """Write the merged policy as a plain transformers folder. `source` is any folder with the same trunk; its
    tokenizer is copied."""
    model = _merged(source, policy.branch, policy.trunk.depth, causal=True)
    head = model.get_output_embeddings()
    with torch.no_grad():
        if policy.weight.requires_grad:
            head.weight.copy_(policy.weight)
        if policy.bias is not None:
            head.bias.copy_(policy.bias)
    facts = {"kind": "policy"} | _trunk_facts(policy.trunk)
    facts |= _ids_without_text(policy.tokens, policy.gaps)
    _write_info_and_rename(_save_beside(model, tokenizer(source), target), target, facts)


def _trunk_facts(trunk: Trunk) -> dict[str, Any]:
    """The entries of `biddable.json` about a trunk."""
    facts = {"trunk": trunk.depth, "fingerprint": trunk.fingerprint}
    return facts | ({"int8_trunk": True} if trunk.int8 else {})


def _ids_without_text(tokens: int | None, gaps: tuple[int, ...]) -> dict[str, Any]:
    """The entries of `biddable.json` about ids that are never drawn; none for a vocabulary without holes."""
    return ({} if tokens is None else {"tokens": tokens}) | ({"gaps": list(gaps)} if gaps else {})


def save_rule_model(model: RuleModel, target: Path, source: Path) -> None:
    """Write the rule model: a scorer with its template and the rules it was trained on."""
    facts = {
        "kind": "rule_model",
        "template": model.template,
        "max_tokens": model.max_tokens,
        "rules": [list(rule) for rule in model.rules],
    }
    save_scorer(model.scorer, target, source, facts)


def save_scorer(scorer: Scorer, target: Path, source: Path, facts: dict[str, Any] | None = None) -> None:
    """Write the scorer: the merged bare decoder, and its fp32 head. `facts`: more about it, for
    `biddable.json`."""
    from safetensors.torch import save_file

    model = _merged(source, scorer.branch, scorer.trunk.depth, causal=True).base_model
    side = _save_beside(model, tokenizer(source), target)
    head = {"weight": scorer.weight.detach().cpu().clone(), "bias": scorer.bias.detach().cpu().clone()}
    save_file(head, side / "head.safetensors")
    facts = {"kind": "scorer"} | (facts or {}) | _trunk_facts(scorer.trunk)
    _write_info_and_rename(side, target, facts)


def import_model(
    model: str, target: Path, trunk: int, chat_template: str | None = None, int8: bool = False
) -> dict[str, Any]:
    """Write any start model as a policy folder cut at `trunk` (to be read in `int8`): a transformers folder, a GGUF file, or
    `package:NAME` for a Python package that carries one. Returns facts for the summary. Raises UserError for
    what cannot be used, before anything is written: a family that biddable does not compute as transformers
    does is refused here (`family_check`)."""
    source, gguf = find_source(model)
    network, source_tokenizer = read_source(source, gguf, model)
    if chat_template is not None:
        source_tokenizer.chat_template = chat_template
    if not source_tokenizer.chat_template or source_tokenizer.eos_token_id is None:
        missing = "chat template" if not source_tokenizer.chat_template else "end-of-sequence token"
        raise UserError(
            f"{model}: its tokenizer has no {missing}; give an instruct model, or [learn.start] "
            'chat_template = "FILE"'
        )
    try:
        encode_chat(source_tokenizer, [Message(role="user", content="Hello")])
    except UserError as error:
        raise UserError(f"{model}: {error.lines[0]}") from None
    tokens, gaps = family_check.ids_with_text(network, source_tokenizer, model)
    sizes = {
        "blocks": int(network.config.num_hidden_layers),
        "hidden": int(network.config.hidden_size),
        "vocabulary": int(network.config.vocab_size),
        "parameters": sum(p.numel() for p in network.parameters()),
        "tied": bool(network.config.tie_word_embeddings),
    }
    side = _save_beside(network, source_tokenizer, target)
    del network  # before two more are loaded, one after the other
    try:
        checked = _compare_with_transformers(side, trunk, tokens, model)
        below, _ = split_model(
            open_decoder(side, hardware.compute_dtype(), True).base_model.to(hardware.device()), trunk
        )
        cut = _check_trunk(Path(model), below, None, int8)
    except UserError:
        shutil.rmtree(side)
        raise
    facts = {"kind": "policy"} | _trunk_facts(cut)
    facts |= _ids_without_text(tokens, gaps)
    _write_info_and_rename(side, target, facts)
    return {**facts, **sizes, **checked}


def _compare_with_transformers(side: Path, trunk: int, tokens: int | None, model: str) -> dict[str, Any]:
    """Run the written model as biddable does and as transformers does, in fp32. Returns facts for the
    summary; raises UserError with a line for a family that differs."""
    from transformers import AutoModelForCausalLM

    config = family_check.shorten_window(open_config(side))
    try:
        network = open_network(side, torch.float32, True, config).to(hardware.device())
        policy = _cut(network, trunk, None, side)
        policy.tokens = tokens
        observations = family_check.observe(policy)
        not_fused = policy.branch.not_fused
        del network, policy
        settings = {"attn_implementation": "eager", "config": copy.deepcopy(config)}
        plain = load_network(AutoModelForCausalLM, side, dtype=torch.float32, **settings)
        differences = family_check.largest_differences(plain.to(hardware.device()), observations)
    except UserError:
        raise
    except Exception as error:  # a family's own code, given what it was not written for, raises anything
        raise family_check.failure(str(config.model_type), error, model) from error
    family_check.refuse_differences(str(config.model_type), differences, model)
    return {
        "largest_difference": max(differences.values()),
        "fused_blocks": not_fused is None,
        **({} if not_fused is None else {"not_fused": not_fused}),
    }
