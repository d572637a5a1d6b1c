"""A run's network: its family at the scale's size, fresh or with given weights, in the scale's precision."""

import os
import shutil
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from amd.backbones.base import Backbone, backbone, fill
from amd.backbones.sit import SiTBackbone
from amd.backbones.undrawn import Undrawn
from amd.config.load import Run
from amd.config.read import ConfigError
from amd.config.schema.sizes import ClassSizes, TextSizes
from amd.distill.types import Stream


def blank(run: Run) -> Backbone:
    """Freshly initialised from the run's seed; under `torch.device("meta")` without values."""
    with Undrawn():
        return _fresh(run)


def _fresh(run: Run) -> Backbone:
    (channels, side), family, sizes = run.domain.latents, backbone(run.system.backbone), run.sizes
    if isinstance(sizes, ClassSizes):
        return family(sizes.network, run.domain.classes, channels, side, seed=run.seed)
    if isinstance(sizes, TextSizes):
        module = family(sizes.network, channels, side, seed=run.seed)
    else:
        streaming = (run.video.streaming,) if family.streams else ()
        shape, begins = run.domain.latent_shape, run.domain.begins
        module = family(run.video.network, shape, *streaming, first_frame=begins, seed=run.seed)
    module.recompute = run.prompted.recompute
    return module


def network(run: Run, tensors: Mapping[str, Tensor], device: torch.device) -> Backbone:
    """The run's network with these weights (its own copy of them), in the scale's precision."""
    with torch.device("meta"):  # nothing is initialised only to be overwritten
        module = blank(run)
    fill(module, {name: tensor.to(device, copy=True) for name, tensor in tensors.items()}, f"for run {run.name}")
    module.precision = run.scale.precision
    return module


def streaming(module: Backbone) -> Stream | None:
    """The same network as what makes clips chunk by chunk, where it does."""
    return cast(Stream, module) if module.streams else None


def compiled(run: Run, *networks: object) -> None:
    """Where the run asks for it, the blocks of each SiT among `networks` by torch.compile, kernels of each shape.

    In place, and after views of a network are made: they do not inherit it. ConfigError where a CPU computes and no C++
    compiler is found.
    """
    if run.system.track != "class" or not run.klass.compiled:
        return
    for each in networks:
        if not isinstance(each, SiTBackbone):
            continue
        if each.network.pos_embed.device.type == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
            raise ConfigError(
                f"scales/{run.scale.name}.yaml: class.compiled: a CPU's kernels want a C++ compiler, and "
                f"{os.environ.get('CXX', 'g++')} is not in PATH; install it, name another by CXX, or set it false"
            )
        for block in each.network.blocks:
            block.compile(dynamic=False)
