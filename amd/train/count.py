"""Counting a module without computing it: on the meta device tensors have shapes and no values.

Parameters, FLOPs, and the bytes that live at once during a forward pass with its backward pass, or without. All in
float32: under autocast some tensors are half as large, and none is larger. A multiply-add is two FLOPs.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """A network. Everything but the parameters is for one row of a batch, and bytes are without the weights."""

    parameters: int
    forward: float  # FLOPs
    activations: float  # most bytes alive in a forward and a backward pass
    resting: float = 0.0  # most bytes alive in a forward pass without a graph

    def __add__(self, other: "Cost") -> "Cost":
        """One after the other."""
        return Cost(
            self.parameters + other.parameters,
            self.forward + other.forward,
            self.activations + other.activations,
            max(self.resting, other.resting),
        )


NOTHING = Cost(0, 0.0, 0.0)


def count(module: nn.Module, call: Callable[[], Tensor], *, fused: bool, backward: bool = True) -> Cost:
    """The cost of `call()`, one row through `module`, which gives a tensor with a graph where `backward`.

    `fused`: attention without its matrix of scores, as a GPU's kernels have it. Modules run in float32 here whatever
    they choose: autocast is not known on the meta device.
    """
    with patch.object(torch, "autocast", lambda *_, **__: nullcontext()), Shapes():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            call()
        with _attention(fused):
            with Live(module) as resting, torch.no_grad():
                call()
            activations = 0.0
            if backward:
                with _gradients_thrown_away(module), Live(module) as live:
                    torch.autograd.backward(call().sum())
                activations = float(live.peak)
    return Cost(parameters(module), float(counter.get_total_flops()), activations, float(resting.peak))


def parameters(module: nn.Module) -> int:
    """How many."""
    return sum(parameter.numel() for parameter in module.parameters())


class Shapes(TorchDispatchMode):
    """An operation on the meta device gives what it gave for these shapes before: to work them out anew takes longer.

    Views and what works in place are left alone, as everything is that shares a storage.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[Any, list[tuple[Any, ...]]] = {}
        self.pure: dict[Any, bool] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let it happen once."""
        kwargs = kwargs or {}
        if func not in self.pure:
            schema = func._schema
            makes = all(str(each.type) == "Tensor" for each in schema.returns)
            fixed = not any(each.alias_info for each in (*schema.arguments, *schema.returns))
            self.pure[func] = makes and fixed and len(schema.returns) > 0
        key = self._key((func, args, tuple(kwargs.items()))) if self.pure[func] else None
        if key is None:
            return func(*args, **kwargs)
        if key not in self.seen:
            out = func(*args, **kwargs)
            made = (out,) if isinstance(out, Tensor) else out
            if all(isinstance(each, Tensor) and each.is_meta for each in made) and not _shares(made, (args, kwargs)):
                self.seen[key] = [(each.shape, each.stride(), each.dtype) for each in made]
            return out
        made = [torch.empty_strided(s, t, dtype=d, device="meta") for s, t, d in self.seen[key]]
        return made[0] if len(made) == 1 else tuple(made)

    def _key(self, value: Any) -> Any:
        """Of all that an operation is told; None where a tensor has values."""
        if isinstance(value, Tensor):
            return (value.shape, value.stride(), value.dtype) if value.is_meta else None
        if isinstance(value, (tuple, list)):
            parts = tuple(map(self._key, value))
            return None if None in parts else parts
        return type(value), value  # 1, 1.0 and True are no equals here


def _shares(made: Any, told: Any) -> bool:
    """Whether a storage is more than one tensor's; `_unsafe_view` does not say so in its schema."""
    there = {tensor.untyped_storage()._cdata for tensor in tree_leaves(told) if isinstance(tensor, Tensor)}
    fresh = {tensor.untyped_storage()._cdata for tensor in made}
    return len(fresh) < len(made) or not fresh.isdisjoint(there)


class Live(TorchDispatchMode):
    """Bytes of every storage that an operation makes, until nobody holds it; not of the module's own."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known = {tensor.untyped_storage()._cdata for tensor in (*module.parameters(), *module.buffers())}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let it happen, and look at what came out."""
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._see(tensor.untyped_storage())
        return out

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


class _Fused(torch.autograd.Function):
    """What a fused kernel keeps of an attention: its inputs and its output."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = query.new_empty((*query.shape[:-1], value.shape[-1]))
        ctx.save_for_backward(query, key, value, out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, _ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _attention(fused: bool) -> Any:
    if not fused:
        return nullcontext()
    return patch.object(
        F, "scaled_dot_product_attention", lambda query, key, value, *_, **__: _Fused.apply(query, key, value)
    )


@contextmanager
def _gradients_thrown_away(module: nn.Module) -> Iterator[None]:
    """As soon as a parameter's is complete: whoever asks counts them with the weights."""

    def forget(parameter: Tensor) -> None:
        parameter.grad = None

    moving = [parameter for parameter in module.parameters() if parameter.requires_grad]
    hooks = [parameter.register_post_accumulate_grad_hook(forget) for parameter in moving]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
