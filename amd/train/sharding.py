"""Networks shared out over ranks (FSDP2): a rank keeps its part of every tensor and gathers a block while it runs.

`fully_shard` itself, and not accelerate's FullyShardedDataParallelPlugin(fsdp_version=2), which prepares one model with
its optimiser, hooks `forward` alone, and takes one policy for all. Here student, fake and critic train under two
optimisers beside a frozen teacher that may rest on the CPU, and a step calls networks by more methods than `forward`.

What passes in and out is whole: states and artefacts hold full tensors, so that a run goes on under another number of
ranks, or under none. Gradients are averaged over ranks as they are scattered, in float32.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from amd.backbones.adapters import set_scale, view
from amd.backbones.base import Backbone
from amd.distill.types import Condition, Denoiser
from amd.train.devices import Ranks

LARGEST = 2**26  # parameters that are gathered at a time, where a block has blocks inside: 256 MB in float32
NEARLY = 0.9  # of a block's parameters in blocks inside it, for them to take its place
METHODS = ("predict_x0", "native_loss", "features", "predict", "remember", "masked")  # of a backbone, besides `forward`

M = TypeVar("M", bound=nn.Module)


# --- networks --------------------------------------------------------------------------------------------------------


def shard(module: M, ranks: Ranks, *, frozen: bool = False) -> M:
    """Share the parameters out, block by block; the module itself, unchanged where `ranks` have no mesh.

    Before optimisers and averages are made, since the parameters become others. A block of a bfloat16 network is
    gathered in bfloat16, which is what autocast would make of it; what stands outside the blocks (the embeddings, the
    last layer) stays in float32. `frozen`: nothing of it trains, and it rests on the CPU if the run offloads. Raises
    RuntimeError where ranks hold different weights.
    """
    if ranks.mesh is None:
        return module
    ranks.agree(module.parameters(), type(module).__name__)
    settings: dict[str, Any] = {"mesh": ranks.mesh, "reshard_after_forward": True}
    if frozen and ranks.offload:
        settings["offload_policy"] = CPUOffloadPolicy(pin_memory=ranks.device.type != "cpu")
    narrow = getattr(module, "precision", "float32") == "bfloat16"
    dtype = torch.bfloat16 if narrow else None
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in blocks(module):
        fully_shard(block, mp_policy=policy, **settings)
    # A float64 time must arrive as it was sent, so inputs are not cast here either.
    fully_shard(
        module, mp_policy=MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False), **settings
    )
    for method in METHODS:
        if hasattr(module, method):
            register_fsdp_forward_method(module, method)
    return module


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The members of a network's lists of modules, outermost first; where one has over LARGEST, those of its own lists.

    Only if they have nearly all of it, as those of a UNet's stages have. A transformer's block has lists too, of single
    layers: much of it is in none, and its forward pass may read their weights past the hooks that gather them.
    """
    for child in module.children():
        members = list(child) if isinstance(child, nn.ModuleList) else []
        for member in members:
            inner = list(blocks(member)) if _count(member) > LARGEST else []
            yield from inner if sum(map(_count, inner)) > NEARLY * _count(member) else [member]
        if not members:
            yield from blocks(child)


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


class Borrowed:
    """A frozen network with a share of its branch, where the fake is the same sharded network with all of it.

    Two views of one network (`amd.backbones.adapters.view`) cannot both be sharded: each would have parts of its own.
    So the share is set for a call and taken back, which is sound because no graph is left that might recompute a block.
    """

    def __init__(self, network: Backbone, whole: float) -> None:
        """`whole`: the fake's share, which the network has between calls."""
        self.network, self.whole, self.share = network, whole, 0.0

    @torch.no_grad()
    def __call__(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x_t (B, *S), t (B,) -> x0_hat (B, *S), no graph."""
        set_scale(self.network, self.share)
        try:
            return self.network(x_t, t, cond)
        finally:
            set_scale(self.network, self.whole)


def views(network: Backbone, scale: float, ranks: Ranks) -> tuple[Denoiser, Backbone, Callable[[float], None]]:
    """Real and fake teacher of a network with a branch, and what sets the share that the real one borrows, in [0, 1].

    The fake has the branch at `scale`. The frozen weights are the fake's own, so they are never offloaded.
    """
    if ranks.mesh is None:
        real, fake = view(network, 0.0), view(network, scale)
        return real, fake, lambda pull: set_scale(real, pull * scale)
    set_scale(network, scale)
    borrowed = Borrowed(shard(network, ranks), scale)

    def set_pull(pull: float) -> None:
        borrowed.share = pull * scale

    return borrowed, network, set_pull


# --- tensors ---------------------------------------------------------------------------------------------------------


def sharded(tensor: Tensor) -> bool:
    """Whether this rank has a part of it only."""
    return isinstance(tensor, DTensor)


@torch.no_grad()
def part(tensor: Tensor) -> Tensor:
    """This rank's part, in place; an unsharded tensor itself. Without gradient."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def like(own: Tensor, whole: Tensor) -> Tensor:
    """A whole tensor, shared out as `own` of the same shape is; nothing is sent, since every rank has all of it."""
    if not isinstance(own, DTensor):
        return whole
    return distribute_tensor(
        whole, own.device_mesh, own.placements, src_data_rank=None
    ).clone()  # `whole` may be mapped


@torch.no_grad()
def whole(tensors: Mapping[str, Any], main: bool = True) -> dict[str, Any]:
    """Sharded tensors whole and on the CPU, and the others as they are: on the main process; nothing on the others.

    Every process must call it with the same names.
    """
    found = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if main:
            found[name] = full.cpu() if isinstance(tensor, DTensor) else full
    return found


def moments(optimiser: Optimizer, main: bool = True) -> dict[str, Any]:
    """An optimiser's state dict with whole tensors, on the main process. Every process must call it."""
    saved = optimiser.state_dict()
    return {**saved, "state": {index: whole(values, main) for index, values in saved["state"].items()}}


def load_moments(optimiser: Optimizer, saved: Mapping[str, Any]) -> None:
    """Take a state dict with whole tensors, whichever sharding or number of ranks it was saved under."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state = {
        index: {
            name: like(parameters[index], value) if value.shape == parameters[index].shape else value
            for name, value in values.items()
        }
        for index, values in saved["state"].items()
    }
    optimiser.load_state_dict({**saved, "state": state})
