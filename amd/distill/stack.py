"""A stack of methods is a method: runs of several methods in one batch, each slot acting on its own rows.

Rows are in (run, row) order, `rows_each` of them per run, and groups never span runs. What cannot differ within one
batch (rollout, cadence, the real teacher's movement) must be equal. W is normalised within each run.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from amd.distill.force import Context, Force
from amd.distill.methods import Method
from amd.distill.renoise import Levels
from amd.distill.slot import Slot
from amd.distill.types import Displacements


def _pick(value: Any, rows: slice) -> Any:
    """The rows of whatever carries rows."""
    if isinstance(value, Displacements):
        return Displacements(**{f.name: _pick(getattr(value, f.name), rows) for f in fields(value)})
    return value[rows] if isinstance(value, Tensor) else value


def _title(slots: Sequence[Slot]) -> str:
    return f"stack[{', '.join(map(str, slots))}]"


def _sliced(slots: Sequence[Slot], rows_each: int, join: Callable[[list[Any]], Any]) -> Slot:
    """One slot that gives each run its own; equal slots are called as one."""
    if all(slot == slots[0] for slot in slots):
        first = slots[0]
        if "advantage" not in first.reads or first.name in ("adaptive", "naive"):
            return first  # nothing in it looks beyond a row

    def call(*args: Any) -> Any:
        pieces = []
        for index, slot in enumerate(slots):
            rows = slice(index * rows_each, (index + 1) * rows_each)
            pieces.append(slot(*(_pick(arg, rows) for arg in args)))
        return join(pieces)

    reads = frozenset().union(*(slot.reads for slot in slots))
    return Slot(_title(slots), call, reads=reads)


def _renoise(slots: Sequence[Slot], rows_each: int) -> Slot:
    """Each run's own law of t, drawn once for the whole batch and taken slice by slice."""
    if all(slot == slots[0] for slot in slots):
        return slots[0]

    def call(noise: Any, t_g: Tensor, group: int, progress: float) -> Levels:
        drawn = {slot: slot(noise, t_g, group, progress) for slot in set(slots)}
        rows = [slice(i * rows_each, (i + 1) * rows_each) for i in range(len(slots))]
        pieces = [(drawn[slot], r) for slot, r in zip(slots, rows, strict=True)]
        split = None
        if any(levels.split is not None for levels in drawn.values()):
            split = torch.cat(
                [
                    levels.split[r] if levels.split is not None else torch.zeros(rows_each, dtype=torch.bool)
                    for levels, r in pieces
                ]
            )
        return Levels(
            torch.cat([levels.t_dm[r] for levels, r in pieces]),
            torch.cat([levels.t_ca[r] for levels, r in pieces]),
            split,
        )

    return Slot(_title(slots), call)


def _external(methods: Sequence[Method], rows_each: int) -> tuple[Force, ...]:
    """Every distinct force, felt by the runs that have it."""
    forces = list(dict.fromkeys(force for method in methods for force in method.external))

    def masked(inner: Slot, owners: list[bool]) -> Slot:
        def call(context: Context) -> Tensor:
            mask = torch.tensor(owners, device=context.x.device).repeat_interleave(rows_each)
            return torch.where(mask, inner(context), 0.0)

        return Slot(f"stack of {inner}", call, reads=inner.reads)

    felt = []
    for force in forces:
        owners = [force in method.external for method in methods]
        felt.append(force.map(lambda inner, owners=owners: masked(inner, owners)))  # type: ignore[misc]
    return tuple(felt)


def stack(methods: Sequence[Method], rows_each: int) -> Method:
    """One method that runs all of `methods`, `rows_each` rows of the batch each, in order.

    Raises:
        ValueError: if rollout, cadence or the real teacher differ.
    """
    first = methods[0]
    for name in ("rollout", "cadence", "real"):
        if any(getattr(method, name) != getattr(first, name) for method in methods):
            raise ValueError(
                f"methods of one stack must share their {name}: {[str(getattr(m, name)) for m in methods]}"
            )

    def cat(pieces: list[Tensor]) -> Tensor:
        return torch.cat(pieces)

    def pairs(pieces: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        return torch.cat([a for a, _ in pieces]), torch.cat([b for _, b in pieces])

    def normalisers(pieces: list[Tensor | float]) -> Tensor | float:
        like = next((p for p in pieces if isinstance(p, Tensor)), None)  # (rows_each, 1, ..., 1)
        if like is None:
            return 1.0
        return torch.cat([p if isinstance(p, Tensor) else torch.full_like(like, p) for p in pieces])

    return replace(
        first,
        operator=_sliced([m.operator for m in methods], rows_each, cat),
        external=_external(methods, rows_each),
        renoise=_renoise([m.renoise for m in methods], rows_each),
        fake=_sliced([m.fake for m in methods], rows_each, cat),
        advantage=_sliced([m.advantage for m in methods], rows_each, pairs),
        normaliser=_sliced([m.normaliser for m in methods], rows_each, normalisers),
    )
