"""AdamW in fewer bytes a parameter: moments in 8 bits or factored, and bf16 weights without an fp32 copy.

Legend: n entries of a parameter, B entries of a block that share a scale.

Per bf16 parameter plain AdamW holds 2 bytes that compute, 4 of fp32 master and 8 of moments. Here the master
is 2 bytes (`split`) or nothing (`stochastic`), and the moments are 2.03 (`8bit`) or 1.02 (`factored`). The
arithmetic itself is in fp32, on a piece of a parameter at a time, so that the unpacked numbers never exist
together.

bitsandbytes and torchao have such moments, but not for a machine without a GPU or a compiler at this memory:
on a CPU the first unpacks whole parameters, the second compiles its step. torch.optim.Adafactor reads the
learning rate relative to each parameter's size, so a stage's rate would mean something else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F

MasterWeights = Literal["fp32", "split", "stochastic"]
AdamMoments = Literal["fp32", "8bit", "factored"]

BLOCK = 256
"""Entries that share one scale (Dettmers et al. 2022, 8-bit Optimizers, use 2,048 on a GPU; 256 are as in
torchao)."""
PIECE = 1 << 20
"""Entries that are unpacked at once, a multiple of BLOCK: 4 MB in fp32, which a processor's cache holds."""


def encode_signed(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(n,) fp32 -> int8 (n,) and fp32 scales, one for each block. q = 127 sign(x) sqrt(|x| / max|x|): the
    square root gives small entries steps of their own, down to 1/16,129 of the block's largest."""
    blocks = F.pad(values, (0, -len(values) % BLOCK)).view(-1, BLOCK)
    scales = blocks.abs().amax(dim=1, keepdim=True)
    shares = blocks / scales.clamp(min=torch.finfo(torch.float32).tiny)
    codes = (shares.abs().sqrt() * 127).copysign(shares).round_().to(torch.int8)
    return codes.view(-1)[: len(values)], scales[:, 0]


def decode_signed(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    roots = codes.float() / 127
    return (roots * roots.abs()).mul_(_spread(scales, len(codes)))


def encode_unsigned(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(n,) fp32 of at least 0 -> uint8 (n,) and scales. q = 255 (x / max x)^(1/4): second moments of one
    block span many orders of magnitude. What is not 0 never becomes 0, or its update would be divided by
    epsilon alone."""
    blocks = F.pad(values, (0, -len(values) % BLOCK)).view(-1, BLOCK)
    scales = blocks.amax(dim=1, keepdim=True)
    shares = blocks / scales.clamp(min=torch.finfo(torch.float32).tiny)
    codes = (shares.sqrt().sqrt_() * 255).round_().clamp_(min=1).mul_(blocks > 0).to(torch.uint8)
    return codes.view(-1)[: len(values)], scales[:, 0]


def decode_unsigned(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    return (codes.float() / 255).square_().square_().mul_(_spread(scales, len(codes)))


def _spread(scales: torch.Tensor, count: int) -> torch.Tensor:
    """Each block's scale at every one of its entries: (count,)."""
    return scales.repeat_interleave(BLOCK)[:count]


class Moment8Bit:
    """An average of n numbers in 8 bits each, read and written a piece at a time."""

    def __init__(self, like: torch.Tensor, signed: bool) -> None:
        blocks = -(-like.numel() // BLOCK)
        self.codes = like.new_zeros(like.numel(), dtype=torch.int8 if signed else torch.uint8)
        self.scales = like.new_zeros(blocks, dtype=torch.float32)
        self.signed = signed

    def update(self, piece: slice, values: torch.Tensor, beta: float) -> torch.Tensor:
        """beta times the average plus 1 - beta times `values`; returns it before it is rounded to 8 bits."""
        blocks = slice(piece.start // BLOCK, -(-piece.stop // BLOCK))
        decode = decode_signed if self.signed else decode_unsigned
        average = decode(self.codes[piece], self.scales[blocks]).lerp_(values, 1 - beta)
        encode = encode_signed if self.signed else encode_unsigned
        self.codes[piece], self.scales[blocks] = encode(average)
        return average

    def tensors(self) -> list[torch.Tensor]:
        return [self.codes, self.scales]


class MomentFP32:
    """An average of n numbers as it is."""

    def __init__(self, like: torch.Tensor) -> None:
        self.values = like.new_zeros(like.numel(), dtype=torch.float32)

    def update(self, piece: slice, values: torch.Tensor, beta: float) -> torch.Tensor:
        return self.values[piece].lerp_(values, 1 - beta)

    def tensors(self) -> list[torch.Tensor]:
        return [self.values]


class FactoredMoment:
    """The second moment of a matrix by the means of its rows and columns: v_ij is about r_i c_j / mean(r)
    (Shazeer and Stern 2018, Adafactor, algorithm 2), exact where v has rank 1."""

    def __init__(self, like: torch.Tensor) -> None:
        rows, self.width = like.shape
        self.rows = like.new_zeros(rows, dtype=torch.float32)
        self.columns = like.new_zeros(self.width, dtype=torch.float32)

    def update_means(self, pieces: Iterator[torch.Tensor], beta: float) -> None:
        """Take in the gradient, which comes in pieces of whole rows, flat."""
        rows, columns = [], torch.zeros_like(self.columns)
        for gradient in pieces:
            squares = gradient.square().view(-1, self.width)
            rows.append(squares.mean(dim=1))
            columns += squares.sum(dim=0)
        self.rows.lerp_(torch.cat(rows), 1 - beta)
        self.columns.lerp_(columns / len(self.rows), 1 - beta)

    def update(self, piece: slice, values: torch.Tensor, beta: float) -> torch.Tensor:
        rows = self.rows[piece.start // self.width : piece.stop // self.width]
        mean = self.rows.mean().clamp(min=torch.finfo(torch.float32).tiny)
        return torch.outer(rows, self.columns / mean).view(-1)

    def tensors(self) -> list[torch.Tensor]:
        return [self.rows, self.columns]


class CompressedAdam:
    """AdamW whose state is compressed; the same update otherwise (Loshchilov and Hutter 2019)."""

    def __init__(
        self,
        parameters: Sequence[torch.nn.Parameter],
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        master_weights: MasterWeights,
        moments: AdamMoments,
    ) -> None:
        self.parameters, self.betas, self.eps, self.weight_decay = parameters, betas, eps, weight_decay
        self.steps = 0
        self.master_weights = master_weights
        # what an fp32 weight has beyond its bf16 rounding; None: nothing, or the parameter is fp32 itself
        self.rests: list[torch.Tensor | None] = [
            self._first_rest(p) if p.dtype == torch.bfloat16 else None for p in parameters
        ]
        self.firsts = [MomentFP32(p) if moments == "fp32" else Moment8Bit(p, True) for p in parameters]
        self.seconds = [_second_moment(p, moments) for p in parameters]
        device = parameters[0].device if parameters else "cpu"
        self.generator = torch.Generator(device).manual_seed(1)

    def _first_rest(self, parameter: torch.Tensor) -> torch.Tensor | None:
        if self.master_weights == "stochastic":
            return None
        if self.master_weights == "split":
            return parameter.new_zeros(parameter.numel(), dtype=torch.int16)
        return parameter.detach().float().flatten()

    @torch.no_grad()
    def step(self, gradients: Sequence[torch.Tensor | None], learning_rate: float, scale: float) -> None:
        """One update from `scale` times these gradients."""
        self.steps += 1
        corrections = [1 - beta**self.steps for beta in self.betas]
        for number, gradient in enumerate(gradients):
            if gradient is None:
                continue
            flat = gradient.flatten()
            pieces = list(_pieces(self.parameters[number]))
            second = self.seconds[number]
            if isinstance(second, FactoredMoment):
                second.update_means((flat[piece].float() * scale for piece in pieces), self.betas[1])
            for piece in pieces:
                part = flat[piece].float() * scale
                first = self.firsts[number].update(piece, part, self.betas[0])
                square = second.update(piece, part.square(), self.betas[1])
                denominator = (square / corrections[1]).sqrt_().add_(self.eps)
                weights = self._read(number, piece) * (1 - learning_rate * self.weight_decay)
                weights.addcdiv_(first, denominator, value=-learning_rate / corrections[0])
                self._write(number, piece, weights)

    def _read(self, number: int, piece: slice) -> torch.Tensor:
        """A piece of a master weight, fp32."""
        weights, rest = self.parameters[number].data.view(-1)[piece], self.rests[number]
        if rest is None:
            return weights.float()
        if rest.dtype == torch.float32:
            return rest[piece]
        bits = (weights.view(torch.int16).int() << 16) + rest[piece]
        return bits.view(torch.float32)

    def _write(self, number: int, piece: slice, values: torch.Tensor) -> None:
        """Round a piece into the parameter that computes, and keep what is lost."""
        weights, rest = self.parameters[number].data.view(-1)[piece], self.rests[number]
        if weights.dtype == torch.float32 or (rest is not None and rest.dtype == torch.float32):
            weights.copy_(values)
            if rest is not None:
                rest[piece] = values
            return
        # bf16 is fp32's upper half, so rounding to it is arithmetic on the 32 bits: half a step is added and
        # the lower 16 bits are cut off, which rounds away from 0 at a tie
        bits = values.contiguous().view(torch.int32)
        if rest is None:  # a random share of a step: the mean of the rounded weight is the weight
            noise = torch.randint(
                0, 1 << 16, bits.shape, dtype=torch.int32, device=bits.device, generator=self.generator
            )
            weights.view(torch.int16).copy_((bits + noise) >> 16)
            return
        upper = (bits + (1 << 15)) >> 16
        weights.view(torch.int16).copy_(upper)
        rest[piece] = (bits - (upper << 16)).to(torch.int16)  # between -2^15 and 2^15 - 1

    @torch.no_grad()
    def master(self, number: int) -> torch.Tensor:
        """A master weight, fp32, in its parameter's shape."""
        parameter = self.parameters[number]
        return self._read(number, slice(0, parameter.numel())).view(parameter.shape).clone()

    @torch.no_grad()
    def set_master(self, number: int, values: torch.Tensor) -> None:
        self._write(number, slice(0, values.numel()), values.float().flatten())

    def _tensors(self) -> list[torch.Tensor]:
        moments = [t for moment in (*self.firsts, *self.seconds) for t in moment.tensors()]
        return [*(p.data for p in self.parameters), *(r for r in self.rests if r is not None), *moments]

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps, "tensors": self._tensors(), "generator": self.generator.get_state()}

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        self.steps = int(state["steps"])
        self.generator.set_state(state["generator"])
        for tensor, saved in zip(self._tensors(), state["tensors"], strict=True):
            tensor.copy_(saved)


def _second_moment(parameter: torch.Tensor, moments: AdamMoments) -> MomentFP32 | Moment8Bit | FactoredMoment:
    if moments == "fp32":
        return MomentFP32(parameter)
    if moments == "factored" and parameter.ndim == 2:
        return FactoredMoment(parameter)
    return Moment8Bit(parameter, signed=False)  # also of norms and heads, which have one row


def _pieces(parameter: torch.Tensor) -> Iterator[slice]:
    """Pieces of the flat parameter, each beginning at a block; of a matrix whole rows."""
    length = PIECE
    if parameter.ndim == 2:
        width = parameter.shape[1]
        whole_blocks = BLOCK // math.gcd(width, BLOCK)  # so many rows fill blocks without a rest
        length = width * whole_blocks * max(1, PIECE // (width * whole_blocks))
    for start in range(0, parameter.numel(), length):
        yield slice(start, min(start + length, parameter.numel()))
