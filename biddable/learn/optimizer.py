"""AdamW with fp32 masters, its settings, its learning-rate schedules, and the moving average of weights.

What all training stages share about the step from a gradient to new weights. Losses are elsewhere: each stage
writes out its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from biddable.run.config import Settings

Schedule = Literal["cosine", "constant"]
Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerSettings(Settings):
    """The optimizer's settings, inherited by every stage that trains. Peak learning rates stay in the stages:
    they differ."""

    adam_betas: tuple[Beta, Beta] = (0.9, 0.95)
    """Decay of AdamW's averages of the gradient and of its square (Ouyang et al. 2022, C: 0.9 and 0.95)."""
    adam_eps: float = Field(default=1e-5, gt=0)
    """AdamW's epsilon (Huang et al. 2024, detail 18: 1e-5; GPT-3: 1e-8). With clipped gradients 1e-5
    leaves 0.42 of Adam's first step at 135M weights and 0.14 at 8B: docs/ppo.md."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay; a scalar head has none."""
    clip_norm: float = Field(default=1.0, gt=0)
    """A longer gradient is scaled down to this norm."""
    schedule: Schedule = "cosine"
    """The learning rate after the warm-up: `cosine` falls to a tenth of the peak, `constant` stays at it."""
    warmup: int = Field(default=0, ge=0)
    """Steps over which the learning rate rises: from nothing with `cosine`, from a tenth of the peak with
    `constant`."""
    gradient_checkpointing: bool = False
    """Keep each block's input alone for the backward pass and run its forward again there (Chen et al. 2016):
    the same gradient, about a third more time, a fraction of the memory for activations."""

    def adamw(self, parameters: Iterable[nn.Parameter], weight_decay: float | None = None) -> Optimizer:
        """The optimizer these settings describe; `weight_decay` takes the place of theirs."""
        decay = self.weight_decay if weight_decay is None else weight_decay
        return Optimizer(parameters, self.adam_betas, self.adam_eps, decay)

    def rate_at(self, step: int, steps: int, peak: float) -> float:
        """The learning rate of a step, counted from 0, of `steps` in all."""
        if self.schedule == "constant":
            return linear_warmup(step, peak, self.warmup)
        # From 1/warmup, not from 0: a first update at rate 0 would be wasted.
        rise = min(1.0, (step + 1) / max(self.warmup, 1))
        return rise * cosine_decay(step, steps, peak)


def cosine_decay(step: int, steps: int, peak: float, floor: float = 0.1) -> float:
    """Cosine decay from the peak to `floor` of it (Ouyang et al. 2022, C.1: to a tenth, without warm-up).
    `step` counts from 0."""
    angle = torch.tensor(step / max(steps, 1) * torch.pi)
    return peak * (floor + (1 - floor) * 0.5 * (1 + float(torch.cos(angle))))


def linear_warmup(step: int, peak: float, warmup: int = 10) -> float:
    """Constant after a rise from a tenth of the peak over the first `warmup` steps (Ouyang et al. 2022, C.4).
    `step` counts from 0."""
    return peak * (0.1 + 0.9 * min(1.0, step / warmup)) if warmup else peak


class Optimizer:
    """AdamW on fp32 masters of parameters that compute in their own dtype.

    In bf16 a weight of 1 cannot move by less than 1/256, so updates of 1e-5 would vanish: the masters add
    them up and the parameters are rounded from them. Gradients too are added up in fp32, microbatch after
    microbatch. An fp32 parameter is its own master.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-5,
        weight_decay: float = 0.0,
    ) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self.masters = [
            p if p.dtype == torch.float32 else p.detach().float().requires_grad_(True)
            for p in self.parameters
        ]
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if parameter is not master:
                parameter.register_post_accumulate_grad_hook(_move_gradient_to(master))
        self.adam = torch.optim.AdamW(
            self.masters, lr=0.0, betas=betas, eps=eps, weight_decay=weight_decay, fused=True
        )

    def norm(self) -> float:
        """Norm of the gradient accumulated so far, over all parameters together."""
        norms = [m.grad.norm() for m in self.masters if m.grad is not None]
        return float(torch.stack(norms).norm()) if norms else 0.0

    def gradient(self) -> torch.Tensor:
        """A copy of the gradient accumulated so far, as one vector."""
        return torch.cat(
            [(torch.zeros_like(m) if m.grad is None else m.grad).flatten() for m in self.masters]
        )

    @torch.no_grad()
    def step(self, learning_rate: float, clip_norm: float) -> float:
        """Clip the gradient, update masters and parameters, clear the gradient. Returns the norm before
        clipping."""
        norm = self.norm()
        if norm > clip_norm:
            for master in self.masters:
                if master.grad is not None:
                    master.grad.mul_(clip_norm / norm)
        self.adam.param_groups[0]["lr"] = learning_rate
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        self._write_parameters()
        return norm

    @torch.no_grad()
    def _write_parameters(self) -> None:
        """Round the masters into the parameters that compute."""
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if parameter is not master:
                parameter.copy_(master)

    @torch.no_grad()
    def set_masters(self, values: Sequence[torch.Tensor]) -> None:
        """Put these weights, e.g. an average's or the best epoch's, into masters and parameters."""
        for master, value in zip(self.masters, values, strict=True):
            master.copy_(value)
        self._write_parameters()

    def state(self) -> dict[str, Any]:
        """For a checkpoint: masters and both moments."""
        return {"masters": [m.detach() for m in self.masters], "adam": self.adam.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.set_masters(state["masters"])
        self.adam.load_state_dict(state["adam"])


def _move_gradient_to(master: torch.Tensor) -> Callable[[torch.Tensor], None]:
    """A hook that adds a parameter's fresh gradient to its master's, in fp32, and frees it."""

    def hook(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        if master.grad is None:
            master.grad = parameter.grad.float()
        else:
            master.grad += parameter.grad
        parameter.grad = None

    return hook


class Ema:
    """Exponential moving average of the masters: w_ema = decay w_ema + (1 - decay) w (Ouyang et al. 2022,
    C.4: decay 0.992).

    The average is what PPO saves; the raw weights go on sampling and training. The paper doesn't say whether
    its decay counts updates or rollouts; ours counts updates.
    """

    def __init__(self, masters: Sequence[torch.Tensor], decay: float) -> None:
        self.decay = decay
        self.values = [m.detach().clone() for m in masters]

    @torch.no_grad()
    def update(self, masters: Sequence[torch.Tensor]) -> None:
        torch._foreach_lerp_(self.values, [m.detach() for m in masters], 1 - self.decay)

    def state(self) -> list[torch.Tensor]:
        return self.values

    @torch.no_grad()
    def restore(self, state: Sequence[torch.Tensor]) -> None:
        for value, restored in zip(self.values, state, strict=True):
            value.copy_(restored)
