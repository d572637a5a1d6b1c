"""What a network takes: parameters, FLOPs and activations from the real modules on the meta device.

Shapes do not matter here, only rows: every figure is per row of a batch. A multiply-add is two FLOPs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from amd.backbones.sit import SiTBackbone
from amd.config.load import Run
from amd.config.schema import PlaneSizes, Scorer, SiTSize
from amd.distill.methods import Method
from amd.rewards.classifier import Classifier


@dataclass(frozen=True)
class Cost:
    """A network: parameters, and FLOPs (a multiply-add is two) and bytes saved for the backward pass, per row."""

    parameters: int
    forward: float
    activations: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.parameters + other.parameters, self.forward + other.forward, self.activations + other.activations
        )


NOTHING = Cost(0, 0.0, 0.0)

PUBLISHED: dict[str, Cost] = {
    # counted once with torch's FlopCounterMode on the meta device, activations in bfloat16
    "autoencoder": Cost(49_490_179, 622e9, 717 * 2**20),  # decoder of SD's AutoencoderKL, 32 x 32 -> 256 x 256
    "dinov2": Cost(304_368_640, 162e9, 242 * 2**20),  # ViT-L/14 at 224 x 224
    "adm-inception": Cost(23_900_000, 11.4e9, 0.0),  # Inception-v3 at 299 x 299, 5.7 GMAC as torchvision documents
}


def _saved(module: Callable[[], object], own: nn.Module) -> float:
    """Bytes that autograd keeps for the backward pass of `module()`, without the parameters."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module()
    weights = {parameter.untyped_storage()._cdata for parameter in own.parameters()}
    return float(sum(size for key, size in kept.items() if key not in weights))


def _flops(module: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module()
    return float(counter.get_total_flops())


@lru_cache
def transformer(size: SiTSize, classes: int, channels: int, side: int) -> Cost:
    """A SiT on the meta device: one block counted and multiplied by the depth, plus the two ends."""
    with torch.device("meta"):
        network = SiTBackbone(size, classes, channels, side).network
        tokens = torch.empty(1, network.grid**2, size.width, requires_grad=True)
        c = torch.empty(1, size.width, requires_grad=True)
        image = torch.empty(1, channels, side, side)
        ends = _flops(lambda: (network.x_embedder(image), network.final_layer(tokens, c)))
        return Cost(
            sum(parameter.numel() for parameter in network.parameters()),
            size.depth * _flops(lambda: network.blocks[0](tokens, c)) + ends,
            size.depth * _saved(lambda: network.blocks[0](tokens, c), network),
        )


@lru_cache
def classifier(architecture: str, classes: int, channels: int, side: int) -> Cost:
    """A classifier of real images on the meta device."""
    with torch.device("meta"):
        network = Classifier(architecture, classes, channels)
        image = torch.empty(1, channels, side, side)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        return Cost(parameters, _flops(lambda: network(image)), _saved(lambda: network(image), network))


def perceptron(sizes: PlaneSizes) -> Cost:
    """The plane's student or fake: one multiply-add per weight."""
    weights = sizes.latent * sizes.width + (sizes.depth - 1) * sizes.width**2 + 2 * sizes.width
    return Cost(weights, 2.0 * weights, 4.0 * sizes.depth * sizes.width)


def network(run: Run) -> Cost:
    """A run's own network at its scale."""
    domain = run.domain
    if run.system.kind == "classifier":
        return classifier(run.system.architecture or "", domain.classes, *domain.pixels)
    return transformer(run.scale.klass.network, domain.classes, *domain.latents)


def scorer(run: Run, which: Scorer, trained: Run | None) -> Cost:
    """A reward or a judge, the way to pixels not included."""
    return network(trained) if trained is not None else PUBLISHED.get(which.name, NOTHING)


def decoder(run: Run) -> Cost:
    """From what the network makes to pixels."""
    return PUBLISHED["autoencoder"] if run.domain.autoencoder is not None else NOTHING


def passes(method: Method, guided: bool, low_rank: bool) -> tuple[float, float]:
    """Per row of the batch and iteration: (forward passes of the network, forward passes of decoder and reward)."""
    numbers, updates = method.numbers, method.cadence()
    rollout = (numbers.get("steps", 1) + 1) / 2  # the exit step is drawn uniformly
    train = 2.0 if low_rank else 3.0  # of the fake: forward and backward
    split = method.renoise.name == "cleaner_ca" and guided
    student = rollout + 2 + 1 + (2 if guided else 1) + (1 if split else 0)  # push, fake, real, real at a second time
    fresh = updates.samples == "fresh"
    reward = float("advantage" in method.operator.reads or (not fresh and "advantage" in method.fake.reads))
    fake = train
    if fresh:
        fake += rollout
        reward += updates.fake_updates * float("advantage" in method.fake.reads)
    for force in method.external:
        reads = force.value.reads
        student += 3 * ("pairs" in reads) + 3 * ("logit" in reads)  # the critic trunk's own gradients are thrown away
        reward += 2 * ("reward" in reads)
        fake += 6 * (force.critic is not None)  # generated and real rows through the fake's features, and back
    return student + updates.fake_updates * fake, reward
