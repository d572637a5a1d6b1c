"""A run's network: its family at the scale's size, fresh or with given weights, in the scale's precision."""

from collections.abc import Mapping

import torch
from torch import Tensor

from amd.backbones.base import Backbone, backbone, fill
from amd.config.load import Run


def blank(run: Run) -> Backbone:
    """Freshly initialised from the run's seed; under `torch.device("meta")` without values."""
    (channels, side), family = run.domain.latents, backbone(run.system.backbone)
    if run.system.track == "text":
        module = family(run.text.network, channels, side, seed=run.seed)
        module.recompute = run.text.recompute
        return module
    return family(run.klass.network, run.domain.classes, channels, side, seed=run.seed)


def network(run: Run, tensors: Mapping[str, Tensor], device: torch.device) -> Backbone:
    """The run's network with these weights (its own copy of them), in the scale's precision."""
    with torch.device("meta"):  # nothing is initialised only to be overwritten
        module = blank(run)
    fill(module, {name: tensor.to(device, copy=True) for name, tensor in tensors.items()}, f"for run {run.name}")
    module.precision = run.scale.precision
    return module
