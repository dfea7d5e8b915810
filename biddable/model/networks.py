"""A model folder's network as transformers builds it, on our attention and without dropout of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from biddable.model import attention
from biddable.model.sources import NO_MODEL, load_network, open_config, refusing


def open_decoder(where: Path, dtype: torch.dtype, causal: bool) -> Any:
    """The folder's network. Raises UserError when it does not load."""
    open_config(where)  # refuses what would be built for hours
    with refusing(where, NO_MODEL):
        return open_network(where, dtype, causal)


def open_network(where: Path, dtype: torch.dtype, causal: bool, config: Any = None) -> Any:
    """The folder's network on our attention, without dropout of its own. `config` replaces the folder's."""
    from transformers import AutoModel, AutoModelForCausalLM

    kind = AutoModelForCausalLM if causal else AutoModel
    extra = {} if config is None else {"config": config}
    network = load_network(kind, where, dtype=dtype, attn_implementation=attention.NAME, **extra)
    switch_off_dropout(network)
    return network


def switch_off_dropout(network: torch.nn.Module) -> None:
    """A model's own dropout (`attention_dropout`, `resid_pdrop`, ...) would act wherever a stage trains,
    beside the stage's own setting and unseen. Its config.json keeps it."""
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if ("dropout" in name or name.endswith("pdrop")) and isinstance(value, float):
                setattr(module, name, 0.0)
