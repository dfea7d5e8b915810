"""A pretended accelerator, for machines that have none: its tensors hold real values on the CPU and say that
they live on "meta".

Any operation on one of its tensors and one of the CPU's is refused, as on a real device, so code that forgets
to put a tensor there fails here. What this cannot show: speed, memory, and a real device's own kernels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
CROSSING = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}
"""Operations that may see both devices."""


class Pretended(torch.Tensor):
    """A tensor on the pretended accelerator."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Pretended:
        made: Pretended = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.shape, inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=DEVICE
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})


class Accelerator(TorchDispatchMode):
    """Within it `device="meta"` means the pretended accelerator."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})


class Numbers(TorchFunctionMode):
    """Between numbers and tensors torch goes below the dispatcher: here such a tensor is made on the CPU and
    moved, or moved and read."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is torch.tensor and torch.device(kwargs.get("device") or "cpu") == DEVICE:
            return torch.tensor(*args, **{**kwargs, "device": "cpu"}).to(DEVICE)
        if function is torch.Tensor.new_tensor and isinstance(args[0], Pretended):
            return torch.tensor(args[1], dtype=args[0].dtype).to(DEVICE)
        if function is torch.Tensor.tolist and isinstance(args[0], Pretended):
            return args[0].inner.tolist()
        if (
            function is torch.Tensor.__getitem__
            and isinstance(args[0], Pretended)
            and isinstance(args[1], list)
        ):
            return args[0][torch.tensor(args[1]).to(DEVICE)]
        return function(*args, **kwargs)


def run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)]
    there = [one for one in given if isinstance(one, Pretended)]
    wanted = kwargs.get("device")
    lands = bool(there) if wanted is None else torch.device(wanted).type == DEVICE.type
    strangers = [one for one in given if not isinstance(one, Pretended) and one.dim() > 0]
    if there and strangers and function not in CROSSING:
        raise AssertionError(
            f"{function}: {len(there)} tensors on the accelerator, {len(strangers)} on the CPU"
        )
    if function is torch.ops.aten.copy_.default:
        lands = isinstance(args[0], Pretended)
    assert not any(one.device == DEVICE for one in strangers), (
        f"{function}: torch itself put a tensor on {DEVICE}"
    )
    own = {id(one.inner): one for one in there} | {
        id(one): one for one in given if not isinstance(one, Pretended)
    }
    if wanted is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    args, kwargs = tree_map(lambda one: one.inner if isinstance(one, Pretended) else one, (args, kwargs))
    out = function(*args, **kwargs)

    def back(one: Any) -> Any:
        if not isinstance(one, torch.Tensor):
            return one
        if id(one) in own:  # changed in place
            return own[id(one)]
        return Pretended(one) if lands else one

    return tree_map(back, out)
