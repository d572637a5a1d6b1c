"""Published Wan weights in their authors' names into our network, which has diffusers'.

"wan"          (Wan-Video/Wan2.1 wan/modules/model.py; Wan-AI/Wan2.1-T2V-1.3B, -14B, -I2V-14B): safetensors, in parts.
"self-forcing" (guandeh17/Self-Forcing, NVlabs/LongLive; ode_init.pt and what their trainers save): a pickle of tensors
               with "generator_ema" (preferred) or "generator" in it, whose names begin with "model.", and hold what
               FSDP and activation checkpointing wrap modules in.

Values are the same in all of them: nothing is transposed, and time runs as Wan's does. The names are those that
diffusers' own conversion gives (loaders/single_file_utils.py, convert_wan_transformer_to_diffusers).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from amd.backbones.base import Backbone, fill
from amd.backbones.wan import Wan

WanLayout = Literal["wan", "self-forcing"]
LAYOUTS: tuple[WanLayout, ...] = ("wan", "self-forcing")

WRAPPERS = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
OUTSIDE = {
    "patch_embedding": "patch_embedding",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
    "head.head": "proj_out",
}
ATTENTION = {
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "o": "to_out.0",
    "norm_q": "norm_q",
    "norm_k": "norm_k",
    "k_img": "add_k_proj",
    "v_img": "add_v_proj",
    "norm_k_img": "norm_added_k",
}
BLOCK = {  # norm3 stands between the attentions and is diffusers' norm2; the other two have no weights
    **{f"self_attn.{theirs}": f"attn1.{ours}" for theirs, ours in ATTENTION.items()},
    **{f"cross_attn.{theirs}": f"attn2.{ours}" for theirs, ours in ATTENTION.items()},
    "norm3": "norm2",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
}


def load_wan(backbone: Backbone, files: Path | Sequence[Path], layout: WanLayout) -> Backbone:
    """Load a public checkpoint, in one file or in parts, into a Wan of either kind; returns `backbone`.

    Pickles are read with weights_only=True. ValueError names the file, and the keys that are missing, unexpected or of
    another shape.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r} is not known; known: {', '.join(LAYOUTS)}")
    if not isinstance(backbone, Wan):
        raise ValueError(f"layout {layout!r} is none of a {type(backbone).__name__}")
    parts = [Path(files)] if isinstance(files, Path) else [Path(file) for file in files]
    found: dict[str, Tensor] = {}
    for part in parts:
        found |= {renamed(name): tensor.float() for name, tensor in read(part, layout).items()}
    fill(backbone.network, found, f"{', '.join(map(str, parts))} in the {layout} layout")
    return backbone


def read(file: Path, layout: WanLayout) -> dict[str, Tensor]:
    """Wan's own name -> tensor, wrappers opened. Nothing but tensors and plain values is unpickled."""
    content: Any
    if file.suffix == ".safetensors":
        content = load_file(file)
    else:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    if layout == "self-forcing":
        for wrapper in ("generator_ema", "generator"):
            if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
                content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        where = ", neither bare nor under 'generator_ema' or 'generator'" if layout == "self-forcing" else ""
        raise ValueError(f"{file}: no state dict of tensors in it{where}")
    return {unwrapped(name): tensor for name, tensor in content.items()}


def unwrapped(name: str) -> str:
    """Without what trainers wrap modules in: FSDP, activation checkpointing, Self-Forcing's own "model."."""
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name.removeprefix("model.")


def renamed(name: str) -> str:
    """Wan's own name -> diffusers'; a name of neither comes back as it is, and fits nothing."""
    if name == "head.modulation":
        return "scale_shift_table"
    stem, _, kind = name.rpartition(".")
    if not stem.startswith("blocks."):
        return f"{OUTSIDE[stem]}.{kind}" if stem in OUTSIDE else name
    if kind == "modulation":
        return f"{stem}.scale_shift_table"
    _, number, *rest = stem.split(".")
    inside = BLOCK.get(".".join(rest))
    return name if inside is None else f"blocks.{number}.{inside}.{kind}"
