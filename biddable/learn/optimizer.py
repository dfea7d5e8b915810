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

from biddable.learn.compressed_adam import AdamMoments, CompressedAdam, MasterWeights
from biddable.learn.gradient_sketch import GradientSketch
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
    master_weights: MasterWeights = "fp32"
    """What bf16 weights train through. `fp32`: a copy in fp32, 4 bytes a weight. `split`: only the 16 bits
    that fp32 has beyond bf16, 2 bytes, the same arithmetic. `stochastic`: nothing; updates are rounded up or
    down by chance, so that they are right on average."""
    adam_moments: AdamMoments = "fp32"
    """How AdamW's two averages are kept. `fp32`: 8 bytes a weight. `8bit`: 2, rounded within blocks of 256
    (Dettmers et al. 2022). `factored`: 1, the second by its rows and columns (Shazeer and Stern 2018)."""
    checkpoint_share: float = Field(default=0.1, gt=0, le=1)
    """Share of the time that checkpoints may take at most: where one is slow to write, the next waits longer
    than `checkpoint_seconds`."""
    gradient_checkpointing: bool = False
    """Keep each block's input alone for the backward pass and run its forward again there (Chen et al. 2016):
    the same gradient, about a third more time, a fraction of the memory for activations."""

    def adamw(self, parameters: Iterable[nn.Parameter], weight_decay: float | None = None) -> Optimizer:
        """The optimizer these settings describe; `weight_decay` takes the place of theirs."""
        decay = self.weight_decay if weight_decay is None else weight_decay
        return Optimizer(
            parameters, self.adam_betas, self.adam_eps, decay, self.master_weights, self.adam_moments
        )

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
    microbatch; the first stays in its own dtype until there is a second. An fp32 parameter is its own master.
    Masters and moments may be compressed (`compressed_adam`).
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-5,
        weight_decay: float = 0.0,
        master_weights: MasterWeights = "fp32",
        moments: AdamMoments = "fp32",
    ) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self._collected: list[torch.Tensor | None] = [None] * len(self.parameters)
        for number, parameter in enumerate(self.parameters):
            if parameter.dtype != torch.float32:
                parameter.register_post_accumulate_grad_hook(self._collect(number))
        self.compressed: CompressedAdam | None = None
        if (master_weights, moments) != ("fp32", "fp32"):
            self.compressed = CompressedAdam(
                self.parameters, betas, eps, weight_decay, master_weights, moments
            )
            self.masters: Sequence[torch.Tensor] = CompressedMasters(self.compressed)
            return
        self.masters = [
            p if p.dtype == torch.float32 else p.detach().float().requires_grad_(True)
            for p in self.parameters
        ]
        self.adam = torch.optim.AdamW(
            self.masters, lr=0.0, betas=betas, eps=eps, weight_decay=weight_decay, fused=True
        )

    def _collect(self, number: int) -> Callable[[torch.Tensor], None]:
        """A hook that takes a parameter's fresh gradient and adds it to those before it, in fp32."""

        def hook(parameter: torch.Tensor) -> None:
            before, fresh = self._collected[number], parameter.grad
            assert fresh is not None
            self._collected[number] = fresh if before is None else before.float().add_(fresh)
            parameter.grad = None

        return hook

    @property
    def gradients(self) -> list[torch.Tensor | None]:
        """Each parameter's gradient accumulated so far. fp32 parameters keep theirs themselves."""
        return [
            parameter.grad if parameter.dtype == torch.float32 else collected
            for parameter, collected in zip(self.parameters, self._collected, strict=True)
        ]

    def norm(self) -> float:
        """Norm of the gradient accumulated so far, over all parameters together."""
        norms = [torch.linalg.vector_norm(g, dtype=torch.float32) for g in self.gradients if g is not None]
        return float(torch.stack(norms).norm()) if norms else 0.0

    def gradient(self) -> torch.Tensor:
        """A copy of the gradient accumulated so far, as one fp32 vector: 4 bytes a parameter."""
        parts = [
            (torch.zeros_like(p) if g is None else g).flatten().float()
            for p, g in zip(self.parameters, self.gradients, strict=True)
        ]
        return torch.cat(parts)

    def gradient_sketch(self) -> GradientSketch:
        """A few numbers from which the norm of a difference of gradients can be told."""
        return GradientSketch(self.gradients)

    @torch.no_grad()
    def step(self, learning_rate: float, clip_norm: float) -> float:
        """Clip the gradient, update masters and parameters, clear the gradient. Returns the norm before
        clipping."""
        norm = self.norm()
        scale = clip_norm / norm if norm > clip_norm else 1.0
        if self.compressed is not None:
            self.compressed.step(self.gradients, learning_rate, scale)
        else:
            for number, (master, gradient) in enumerate(zip(self.masters, self.gradients, strict=True)):
                self._collected[number] = None
                master.grad = None if gradient is None else gradient.float()
                if master.grad is not None and scale != 1.0:
                    master.grad.mul_(scale)
            self.adam.param_groups[0]["lr"] = learning_rate
            self.adam.step()
            self.adam.zero_grad(set_to_none=True)
            self._write_parameters()
        for number, parameter in enumerate(self.parameters):
            self._collected[number] = parameter.grad = None
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
        if self.compressed is not None:
            for number, value in enumerate(values):
                self.compressed.set_master(number, value)
            return
        for master, value in zip(self.masters, values, strict=True):
            master.copy_(value)
        self._write_parameters()

    def state(self) -> dict[str, Any]:
        """For a checkpoint: masters and both moments."""
        if self.compressed is not None:
            return self.compressed.state()
        return {"masters": [m.detach() for m in self.masters], "adam": self.adam.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        if self.compressed is not None:
            self.compressed.restore(state)
            return
        self.set_masters(state["masters"])
        self.adam.load_state_dict(state["adam"])


class CompressedMasters(Sequence[torch.Tensor]):
    """Compressed master weights, each unpacked when it is read."""

    def __init__(self, adam: CompressedAdam) -> None:
        self.adam = adam

    def __len__(self) -> int:
        return len(self.adam.parameters)

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self):  # what ends a loop
            raise IndexError(number)
        return self.adam.master(number)


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
        # one after another: compressed masters are unpacked here
        for value, master in zip(self.values, masters, strict=True):
            value.lerp_(master.detach(), 1 - self.decay)

    def state(self) -> list[torch.Tensor]:
        return self.values

    @torch.no_grad()
    def restore(self, state: Sequence[torch.Tensor]) -> None:
        for value, restored in zip(self.values, state, strict=True):
            value.copy_(restored)
