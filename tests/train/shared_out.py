"""What a child of test_sharding.py looks at: the same network twice, once whole and once shared out over ranks."""

import copy
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from amd.backbones.adapters import add_lora
from amd.backbones.base import Backbone, Precision
from amd.backbones.sit import SiTBackbone
from amd.backbones.unet import UNetBackbone
from amd.backbones.wan import WanBackbone
from amd.backbones.wan_streaming import StreamingWan
from amd.config.schema.sizes import SiTSize, Streaming, UNetSize, WanSize
from amd.distill.noise import generator
from amd.train import sharding
from amd.train.devices import Ranks, leave, ranks
from amd.train.sharding import part, shard, sharded, views, whole
from amd.train.weights import frozen, trainable

M = TypeVar("M", bound=nn.Module)
Loss = Callable[[Backbone, "Rows"], Tensor]
CLASSES, CHANNELS, SIDE, ROWS = 5, 4, 8, 8
CLIP = (CHANNELS, 6, 4, 6)
WAN = WanSize(patch=2, width=24, depth=3, heads=2, ffn=40, context=16, frequencies=32)


def sit(precision: Precision = "float32", seed: int = 0) -> SiTBackbone:
    """A small one, moved off its zeros."""
    network = SiTBackbone(SiTSize(patch=2, width=32, depth=3, heads=2), CLASSES, CHANNELS, SIDE, seed=seed)
    network.precision = precision
    return moved(network)


def unet(recompute: bool = False) -> UNetBackbone:
    """A small one with cross-attention."""
    size = UNetSize(channels=[32, 64], layers=1, transformers=[0, 1], heads=[2, 2], context=16, groups=8)
    network = moved(UNetBackbone(size, CHANNELS, SIDE))
    network.recompute = recompute
    return network


def wan(precision: Precision = "float32") -> WanBackbone:
    """A small one that is told a first frame and its states, and runs its blocks again."""
    network = WanBackbone(WAN.model_copy(update={"image_context": 10}), CLIP)
    network.precision, network.recompute = precision, True
    return moved(network)


def streaming() -> StreamingWan:
    """A small one of three chunks, the last of which has the first frame, three more and itself to read."""
    return moved(StreamingWan(WAN, CLIP, Streaming(chunk=2, window=6, sink=1)))


def moved(network: M) -> M:
    """The same with noise on every weight that trains: nothing is zero by accident."""
    draw = generator("sharding", "weights")
    with torch.no_grad():
        for p in trainable(network):
            p.add_(0.05 * torch.randn(p.shape, generator=draw))
    return network


@dataclass(frozen=True)
class Rows:
    """Rows of a batch: those of one rank, or all of them."""

    x: Tensor
    eps: Tensor
    t: Tensor
    cond: dict[str, Tensor]

    def of(self, here: Ranks) -> "Rows":
        """This rank's."""
        own = slice(here.rank * ROWS // here.world, (here.rank + 1) * ROWS // here.world)
        return Rows(self.x[own], self.eps[own], self.t[own], {key: value[own] for key, value in self.cond.items()})


def rows() -> Rows:
    """A batch of latents, times that bfloat16 does not hold, labels and texts."""
    draw = generator("sharding", "rows")
    x, eps = (torch.randn(ROWS, CHANNELS, SIDE, SIDE, generator=draw) for _ in range(2))
    t = torch.rand(ROWS, generator=draw, dtype=torch.float64)
    label, tokens = torch.randint(CLASSES, (ROWS,), generator=draw), torch.randn(ROWS, 3, 16, generator=draw)
    return Rows(x, eps, t, {"label": label, "tokens": tokens})


def clips() -> Rows:
    """A batch of clips, of texts of several lengths, and of what they begin with."""
    draw = generator("sharding", "clips")
    x, eps = (torch.randn(ROWS, *CLIP, generator=draw) for _ in range(2))
    t = torch.rand(ROWS, generator=draw, dtype=torch.float64)
    mask = torch.arange(5) < torch.randint(1, 6, (ROWS, 1), generator=draw)
    cond = {"tokens": torch.randn(ROWS, 5, WAN.context, generator=draw), "mask": mask, "first": x[:, :, 0]}
    return Rows(x, eps, t, cond | {"image": torch.randn(ROWS, 7, 10, generator=draw)})


def loss(network: Backbone, own: Rows) -> Tensor:
    """Everything that a step asks of a network, in one graph: two passes, and its features."""
    states = network.features(own.x, own.t, own.cond, (0,))
    own_loss = network.native_loss(own.x, own.eps, own.t, own.cond).mean()
    return own_loss + network(own.x, own.t, own.cond).square().mean() + states[0].square().mean()


def streamed(network: Backbone, own: Rows) -> Tensor:
    """What a step asks of a streaming student, in one graph: chunk after chunk, each reads those before."""
    assert isinstance(network, StreamingWan)
    context, total = network.empty(len(own.x)), torch.zeros(())
    for x_t in own.x.split(network.chunk, 2):
        with torch.no_grad():
            first = network.predict(x_t, torch.zeros_like(own.t), own.cond, context)
        x0 = network.predict(network.path.add_noise(first, torch.zeros_like(first), own.t), own.t, own.cond, context)
        total = total + x0.square().mean()
        context = network.remember(x0, own.cond, context)
    return total + network.masked(own.x, own.eps, own.t[:, None].expand(-1, CLIP[1]), own.cond).square().mean()


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Distance as a share of length (Euclidean, over all tensors)."""
    assert one.keys() == other.keys()
    return (
        sum(float((one[name] - other[name]).double().square().sum()) for name in one)
        / sum(float(tensor.double().square().sum()) for tensor in one.values())
    ) ** 0.5


def gradients(network: nn.Module) -> dict[str, Tensor]:
    """Whole ones, of every rank."""
    return whole({name: p.grad for name, p in network.named_parameters() if p.grad is not None})


def trained(one: Backbone, here: Ranks, data: Rows | None = None, asked: Loss = loss) -> float:
    """Gradients of a network shared out over ranks against the whole network's on the whole batch."""
    data, other = data or rows(), shard(copy.deepcopy(one), here)
    assert all(sharded(p) for p in other.parameters())
    asked(one, data).backward()
    asked(other, data.of(here)).backward()
    return apart(gradients(one), gradients(other))


def recomputed(here: Ranks) -> float:
    """As `trained`, of blocks that are run again in the backward pass."""
    network = sit()
    network.network.recompute = True
    return trained(network, here)


def lowered(look: Callable[[], float]) -> float:
    """What is seen where every member of a list has more parameters than are gathered at a time."""
    before = sharding.LARGEST
    sharding.LARGEST = 1
    try:
        return look()
    finally:
        sharding.LARGEST = before


def leaked(here: Ranks, make: Callable[[], Backbone] = sit, data: Rows | None = None) -> float:
    """A loss that descends a critic on the network's features: what reaches x; the weights are reached by nothing."""
    data, found = data or rows(), []
    for whole_one, own in ((True, data), (False, data.of(here))):
        network = make()
        judge = moved(network.critic())
        if not whole_one:
            network, judge = shard(network, here), shard(judge, here)
        layers: tuple[int, ...] = judge.layers  # type: ignore[assignment]
        moving, x = trainable(network, judge), own.x.clone().requires_grad_()
        with frozen(moving):
            logit = judge(network.features(x, own.t, own.cond, layers))
        logit.sum().backward()
        assert not any(p.grad is not None for p in moving)
        assert x.grad is not None
        found.append(here.gather(x.grad) if len(x) < ROWS else x.grad)
        judge(network.features(own.x, own.t, own.cond, layers)).mean().backward()  # and now they train
        assert all(p.grad is not None for p in trainable(judge))
    return apart({"x": found[0]}, {"x": found[1]})


def borrowed(here: Ranks) -> tuple[float, float]:
    """Real teacher and fake as shares of one branch, against two views of a whole network; what the share changes."""
    data, found = rows(), []
    for mesh in (None, here.mesh):
        base, own = sit(), data if mesh is None else data.of(here)
        add_lora(base, 2)
        with torch.no_grad():
            for p in trainable(base):
                p.normal_(std=0.3, generator=generator("sharding", "branch"))
        real, fake, set_pull = views(base, 2.0, Ranks(here.rank, here.world, here.device, mesh))
        set_pull(0.25)
        with torch.no_grad():
            x0 = real(own.x, own.t, own.cond)
        loss(fake, own).backward()
        set_pull(0.0)
        with torch.no_grad():
            alone = real(own.x, own.t, own.cond)
        gather = here.gather if mesh else lambda x: x
        found.append({"real": gather(x0), "alone": gather(alone), **gradients(fake)})
    return apart(*found), apart({"x": found[0]["real"]}, {"x": found[0]["alone"]})


def rested(network: Backbone, here: Ranks, data: Rows) -> float:
    """A frozen network whose parts rest on the CPU."""
    own = data.of(here)
    network.requires_grad_(False)
    with torch.no_grad():
        whole_x0 = network(data.x, data.t, data.cond)
        shard(network, here, frozen=True)
        mine = network(own.x, own.t, own.cond)
    assert {part(p).device.type for p in network.parameters()} == {"cpu"}
    return apart({"x": whole_x0}, {"x": here.gather(mine)})


def look(folder: Path, out: str, rank: int, world: int, port: int, of_node: int) -> None:
    """All of it as one of several processes; `out`.json is what the first one found."""
    told = {"RANK": rank, "LOCAL_RANK": rank % of_node, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": of_node}
    os.environ.update({key: str(value) for key, value in told.items()}, MASTER_ADDR="localhost", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    here = ranks("fsdp2", offload=True)
    assert here.mesh is not None
    branch, share = borrowed(here)
    held = [sum(part(p).numel() for p in shard(sit(), here).parameters()), sum(p.numel() for p in sit().parameters())]
    found = {
        "mesh": list(here.mesh.shape),
        "held": held,
        "sit": trained(sit(), here),
        "sit bfloat16": trained(sit("bfloat16"), here),
        "unet": trained(unet(), here),
        "recomputed": recomputed(here),
        "leaked": leaked(here),
        "borrowed": branch,
        "borrowed share": share,
        "rested": rested(sit(), here, rows()),
        "wan": lowered(lambda: trained(wan(), here, clips())),
        "wan bfloat16": trained(wan("bfloat16"), here, clips()),
        "wan leaked": leaked(here, wan, clips()),
        "unet leaked": lowered(lambda: leaked(here, lambda: unet(recompute=True))),
        "wan rested": rested(wan(), here, clips()),
        "streaming wan": trained(streaming(), here, clips(), streamed),
    }
    try:
        shard(sit(seed=here.rank), here)
    except RuntimeError as error:
        found["refused"] = str(error)
    if here.main:
        (folder / f"{out}.json").write_text(json.dumps(found))
    dist.barrier()
    leave()
