"""Which device, which rank, and everything that ranks say to each other. The only file that knows accelerate.

A run never mentions how many processes there are: the global batch is fixed, `Ranks.micro` derives the accumulation,
and gradients are averaged here after the last micro-batch of an update, because an update spans several forward passes
that go through callables (`amd.distill.types.Cast`). Gradients of sharded parameters (`amd.train.sharding`) arrive
averaged.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from accelerate.state import PartialState
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from amd.train.threads import threads

__all__ = ["Ranks", "alone", "leave", "ranks", "threads"]

BUCKET = 2**24  # gradient elements per all-reduce: 64 MB of float32
T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among `world`."""

    rank: int
    world: int
    device: torch.device
    mesh: DeviceMesh | None = None  # over which networks are sharded
    offload: bool = False  # a sharded teacher that never trains rests on the CPU

    def __str__(self) -> str:
        """For a log: 16 x cuda, sharded 2 x 8 (the nodes, each with a copy, and the ranks of one)."""
        mesh = () if self.mesh is None else tuple(self.mesh.shape)
        return f"{self.world} x {self.device.type}" + (f", sharded {' x '.join(map(str, mesh))}" if mesh else "")

    @property
    def main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def micro(self, batch: int, rows: int, group: int) -> int:
        """Into how many micro-batches an update of `batch` rows splits so that a process sees at most `rows` at once.

        A micro-batch holds whole groups over all ranks. Raises ValueError where the batch does not split.
        """
        if batch % self.world:
            raise ValueError(
                f"class.batch {batch} does not split over {self.world} processes; use a divisor of {batch}"
            )
        for parts in range(1, batch // self.world + 1):
            fits = batch // self.world <= parts * rows
            if fits and batch % (parts * self.world) == 0 and (batch // parts) % group == 0:
                assert parts * self.world * (batch // parts // self.world) == batch
                return parts
        raise ValueError(
            f"class.batch {batch} on {self.world} processes does not split into micro-batches of at most {rows} rows "
            f"(class.micro_batch) that hold whole groups of {group} (class.group)"
        )

    @torch.no_grad()
    def gather(self, rows: Tensor) -> Tensor:
        """(b, ...) of this rank -> (B, ...) of all ranks in rank order, without gradient."""
        if self.world == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.world)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @torch.no_grad()
    def average(self, parameters: Iterable[nn.Parameter], loss: Tensor) -> Tensor:
        """Replace gradients by their mean over ranks, in buckets; returns the mean of `loss`.

        Every rank must have gradients for the same parameters: they run the same graph. Those of sharded parameters are
        means already.
        """
        if self.world == 1:
            return loss
        loss = loss.clone()
        dist.all_reduce(loss)
        bucket: list[Tensor] = []
        for gradient in [p.grad for p in parameters if p.grad is not None and not isinstance(p.grad, DTensor)]:
            bucket.append(gradient)
            if sum(g.numel() for g in bucket) >= BUCKET:
                self._reduce(bucket)
                bucket = []
        if bucket:
            self._reduce(bucket)
        return loss / self.world

    def _reduce(self, bucket: list[Tensor]) -> None:
        flat = torch.cat([g.flatten() for g in bucket])
        dist.all_reduce(flat)
        flat /= self.world
        for gradient, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def most(self, code: int) -> int:
        """The largest of what the ranks say: how they agree to save or to stop."""
        if self.world == 1:
            return code
        said = torch.tensor(code, device=self.device)
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return int(said)

    def collect(self, said: T) -> list[T]:
        """What every rank says, in rank order. For small things, rarely."""
        if self.world == 1:
            return [said]
        heard: list[T | None] = [None] * self.world
        dist.all_gather_object(heard, said)
        return heard  # type: ignore[return-value]

    def agree(self, tensors: Iterable[Tensor], what: str) -> None:
        """RuntimeError where ranks begin from different numbers: their averaged gradients would mean nothing."""
        own = [float(tensor.detach().double().sum()) for tensor in tensors] if self.world > 1 else []
        if any(other != own for other in self.collect(own)):
            raise RuntimeError(f"{what}: ranks hold different weights; do they read the same checkpoints?")

    def wait(self) -> None:
        """Until every rank is here."""
        if self.world > 1:
            dist.barrier()


def ranks(sharding: Literal["none", "fsdp2"] = "none", *, offload: bool = False) -> Ranks:
    """This process, as `accelerate launch`, `torchrun` or a plain `python` started it.

    Under "fsdp2" with a mesh: over the processes of a node, with a copy on every node, since blocks are gathered many
    times in a step and gradients are averaged once; over all processes where a node has one. One process has nothing
    to share out, unless a teacher is to rest on the CPU. ValueError for `offload` without "fsdp2", which does it.
    """
    # told, because accelerate leaves several processes on a CPU alone unless asked for the CPU
    state = PartialState(cpu=not torch.accelerator.is_available())
    asked = int(os.environ.get("WORLD_SIZE") or 1)
    if asked != state.num_processes:
        raise RuntimeError(f"WORLD_SIZE is {asked}, and accelerate sees {state.num_processes} processes")
    world, device = state.num_processes, state.device
    if offload and sharding == "none":
        raise ValueError("offload: true is done by fsdp2; set sharding: fsdp2 in the same footprint")
    if sharding == "none" or (world == 1 and not offload):
        return Ranks(state.process_index, world, device)
    if not dist.is_initialized():  # a group of one
        dist.init_process_group(store=dist.HashStore(), rank=0, world_size=1)
    of_node = int(os.environ.get("LOCAL_WORLD_SIZE") or world)
    several = 1 < of_node < world
    shape, names = ((world // of_node, of_node), ("node", "rank")) if several else ((world,), ("rank",))
    mesh = init_device_mesh(device.type, shape, mesh_dim_names=names)
    return Ranks(state.process_index, world, device, mesh, offload)


def alone(device: str | torch.device = "cpu") -> Ranks:
    """One process, whatever the environment says."""
    return Ranks(0, 1, torch.device(device))


def leave() -> None:
    """Close the process group, if there is one: call it last."""
    if dist.is_initialized():
        dist.destroy_process_group()
