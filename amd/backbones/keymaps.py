"""Published SiT weights into our network, in our arrow of time: everything is converted here, nothing at run time.

"sit"  (willisma/SiT): t = 1 is clean and the network predicts x - eps, as here. It also predicts a variance that its
       sampler throws away (learn_sigma): those rows of the last layer are dropped.
"repa" (sihyun-yu/REPA): t = 1 is noise and the network predicts eps - x. The last layer changes sign, and the first
       layer of the time embedding is rotated so that it reads f(1 - t) from f(t): with f = (cos tw, sin tw),
       cos((1-t)w) = cos w cos tw + sin w sin tw  and  sin((1-t)w) = sin w cos tw - cos w sin tw.  Exact, no flag.
       Its projectors (training only) are dropped; its older files number the second part "decoder_blocks".
"""

import math
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from amd.backbones.base import fill
from amd.backbones.sit import FREQUENCIES, MAX_PERIOD, SiTBackbone, position_embedding

Layout = Literal["sit", "repa"]
LAYOUTS: tuple[Layout, ...] = ("sit", "repa")


def load_published(backbone: SiTBackbone, file: Path, layout: Layout) -> SiTBackbone:
    """Load a public checkpoint: .safetensors, or a pickle of tensors read with weights_only=True; returns `backbone`.

    A dict with "ema" (preferred) or "model" inside is opened. ValueError names the file, and the keys that are missing,
    unexpected or of another shape.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r} is not known; known: {', '.join(LAYOUTS)}")
    weights = converted(read(Path(file)), layout, backbone, str(file))
    table = position_embedding(backbone.width, backbone.network.grid)
    # 1e-5: float32 rounding of sines
    if weights["pos_embed"].shape != table.shape or not torch.allclose(weights["pos_embed"], table, atol=1e-5):
        grid = backbone.network.grid
        raise ValueError(
            f"{file}: pos_embed is not the sine-cosine table of a {grid} x {grid} grid of {backbone.width}"
        )
    fill(backbone.network, weights, f"{file} in the {layout} layout")
    return backbone


def read(file: Path) -> dict[str, Tensor]:
    """Name -> tensor of a checkpoint file, wrappers opened. Nothing but tensors and plain values is unpickled."""
    if file.suffix == ".safetensors":
        return {name.removeprefix("module."): tensor for name, tensor in load_file(file).items()}
    with torch.serialization.safe_globals([Namespace]):  # both trainers keep their command line beside the weights
        content = torch.load(file, map_location="cpu", weights_only=True)
    for wrapper in ("ema", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{file}: no state dict of tensors in it, neither bare nor under 'ema' or 'model'")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def converted(weights: Mapping[str, Tensor], layout: Layout, backbone: SiTBackbone, file: str) -> dict[str, Tensor]:
    """Public names and values -> ours, float32."""
    ours = {name: tensor.float() for name, tensor in weights.items() if not name.startswith("projectors.")}
    ours = _renumbered(ours)
    for name in ("final_layer.linear.weight", "final_layer.linear.bias", "t_embedder.mlp.0.weight", "pos_embed"):
        if name not in ours:
            raise ValueError(f"{file}: not the {layout} layout: {name} is missing; it holds {sorted(ours)[:5]} ...")
    for name in ("final_layer.linear.weight", "final_layer.linear.bias"):
        ours[name] = _without_variance(ours[name], backbone)
        if layout == "repa":
            ours[name] = -ours[name]
    if layout == "repa":
        ours["t_embedder.mlp.0.weight"] = reversed_time(ours["t_embedder.mlp.0.weight"])
    return ours


def reversed_time(weight: Tensor) -> Tensor:
    """(D, 256) -> (D, 256): the matrix that reads from f(t) what `weight` reads from f(1 - t). Its own inverse."""
    half = FREQUENCIES // 2
    omega = torch.exp(torch.arange(half, dtype=torch.float64) * (-math.log(MAX_PERIOD) / half))
    cosine, sine = weight.double().split(half, 1)
    of_cosine = cosine * omega.cos() + sine * omega.sin()
    of_sine = cosine * omega.sin() - sine * omega.cos()
    return torch.cat((of_cosine, of_sine), 1).float()


def _without_variance(rows: Tensor, backbone: SiTBackbone) -> Tensor:
    """(patch * patch * 2C, ...) -> (patch * patch * C, ...); rows without a variance are returned as they are."""
    patches, channels = backbone.network.patch**2, backbone.channels
    if rows.shape[0] != 2 * patches * channels:
        return rows
    return rows.unflatten(0, (patches, 2, channels))[:, 0].flatten(0, 1).contiguous()


def _renumbered(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """decoder_blocks.i -> blocks.(n + i), n the number of blocks that are called so (REPA's --legacy)."""
    first = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
    renamed = {}
    for name, tensor in weights.items():
        if name.startswith("decoder_blocks."):
            _, index, rest = name.split(".", 2)
            name = f"blocks.{first + int(index)}.{rest}"
        renamed[name] = tensor
    return renamed
