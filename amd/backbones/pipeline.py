"""Anyone's Stable Diffusion folder in diffusers' layout, read as our parts: UNet, autoencoder, text encoders.

SD1.5 and SDXL at any size, in eps prediction on SD's own table. What is something else is refused by file, key and
value: with a key of its configuration unread, a UNet would run all the same and be another network.
"""

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import UNet2DConditionModel
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from amd.backbones.autoencoder import LatentAutoencoder, load_autoencoder
from amd.backbones.base import fill
from amd.backbones.text import TextEncoder, text_encoder
from amd.backbones.unet import FIRST, LAST, LEVELS, TIME_IDS, UNetBackbone, settings
from amd.config.schema.sizes import UNetSize

Kind = Literal["sd15", "sdxl"]
KINDS: dict[str, Kind] = {"StableDiffusionPipeline": "sd15", "StableDiffusionXLPipeline": "sdxl"}
WEIGHTS = "diffusion_pytorch_model"


@dataclass(frozen=True)
class Pipeline:
    """A Stable Diffusion folder that was read and found to be one we can train: eps prediction, SD's own table."""

    folder: Path
    kind: Kind
    size: UNetSize
    channels: int  # of the latents
    side: int  # of the latents
    scaling: float  # of the autoencoder
    pixels: int  # side of the pictures

    def backbone(self) -> UNetBackbone:
        """The UNet with the folder's weights, float32."""
        with torch.device("meta"):  # nothing is initialised only to be overwritten
            backbone = UNetBackbone(self.size, self.channels, self.side)
        fill(backbone.network, unet_weights(self.folder), str(self.folder / "unet"))
        return backbone

    def autoencoder(self) -> LatentAutoencoder:
        """The AutoencoderKL."""
        return load_autoencoder(self.folder / "vae", self.scaling)

    def encoder(self, device: torch.device | str = "cpu") -> TextEncoder:
        """What turns prompts into conditions."""
        return text_encoder(self.kind, self.folder, device, side=self.pixels)


def read_pipeline(folder: Path) -> Pipeline:
    """Read a local folder in diffusers' layout, of SD1.5 or SDXL at any size; weights are read when they are asked for.

    ValueError names file, key and value of what is not one of these: another class, v-prediction, an inpainting UNet,
    another table of betas. FileNotFoundError names what is missing.
    """
    folder = Path(folder)
    index = read_json(folder / "model_index.json")
    if (name := index.get("_class_name")) not in KINDS:
        raise ValueError(f"{folder / 'model_index.json'}: _class_name is {name!r}, known are {', '.join(KINDS)}")
    kind = KINDS[name]
    _check_scheduler(folder / "scheduler" / "scheduler_config.json")
    size, channels, side = _unet_size(folder / "unet" / "config.json")
    if (size.pooled is not None) != (kind == "sdxl"):
        raise ValueError(f"{folder / 'unet' / 'config.json'}: addition_embed_type does not go with a {name}")
    scaling, factor = _check_autoencoder(folder / "vae" / "config.json", channels)
    return Pipeline(folder, kind, size, channels, side, scaling, side * factor)


def unet_weights(folder: Path) -> dict[str, Tensor]:
    """The UNet's tensors in diffusers' names, float32."""
    return {name: tensor.float() for file in unet_files(folder) for name, tensor in load_file(file).items()}


def unet_files(folder: Path) -> list[Path]:
    """Where the UNet's tensors are: one safetensors, its shards, or the fp16 variant."""
    folder = Path(folder) / "unet"
    index = folder / f"{WEIGHTS}.safetensors.index.json"
    if index.is_file():
        files = [folder / Path(name).name for name in sorted(set(read_json(index)["weight_map"].values()))]
    else:
        files = [file for end in ("", ".fp16") if (file := folder / f"{WEIGHTS}{end}.safetensors").is_file()][:1]
    if not files:
        raise FileNotFoundError(
            f"{folder}: no {WEIGHTS}.safetensors, whole, in shards or fp16; .bin files are not read"
        )
    return files


def _unet_size(file: Path) -> tuple[UNetSize, int, int]:
    """(size, channels, side) of a UNet's config.json, every key of which must be what we would have written."""
    given = {key: value for key, value in read_json(file).items() if not key.startswith("_")}
    defaults = inspect.signature(UNet2DConditionModel.__init__).parameters
    theirs = {key: p.default for key, p in defaults.items() if p.default is not p.empty} | given
    if theirs["in_channels"] != theirs["out_channels"]:
        raise ValueError(
            f"{file}: in_channels is {theirs['in_channels']} and out_channels {theirs['out_channels']}: a UNet for "
            "inpainting or editing; a text-to-image one has as many"
        )
    numbers = ["sample_size", "layers_per_block", "cross_attention_dim", "norm_num_groups"]
    if theirs["addition_embed_type"] == "text_time":
        numbers += ["projection_class_embeddings_input_dim", "addition_time_embed_dim"]
    for key in numbers:
        if not isinstance(theirs[key], int):
            raise ValueError(f"{file}: {key} is {theirs[key]!r}; SD1.5 and SDXL have one number there")
    blocks = len(theirs["block_out_channels"])
    crossed = ["CrossAttn" in name for name in theirs["down_block_types"]]
    depths = _per_block(theirs["transformer_layers_per_block"], blocks)
    pooled, each = theirs["projection_class_embeddings_input_dim"], theirs["addition_time_embed_dim"]
    try:
        size = UNetSize(
            channels=list(theirs["block_out_channels"]),
            layers=theirs["layers_per_block"],
            transformers=[depth if cross else 0 for depth, cross in zip(depths, crossed, strict=True)],
            heads=_per_block(theirs["attention_head_dim"], blocks),
            context=theirs["cross_attention_dim"],
            pooled=pooled - TIME_IDS * each if theirs["addition_embed_type"] == "text_time" else None,
            linear_projection=theirs["use_linear_projection"],
            groups=theirs["norm_num_groups"],
        )
    except ValidationError as error:
        said = "; ".join(f"{' '.join(map(str, e['loc']))} {e['msg']}".strip() for e in error.errors())
        raise ValueError(f"{file}: not a UNet as SD1.5 and SDXL have it: {said}") from error
    ours = {key: p.default for key, p in defaults.items() if p.default is not p.empty}
    ours |= settings(size, theirs["in_channels"], theirs["sample_size"])
    ours["transformer_layers_per_block"] = [  # of blocks without attention it means nothing; the last is the middle's
        own if cross or last else depth
        for own, depth, cross, last in zip(
            ours["transformer_layers_per_block"], depths, crossed, [False] * (blocks - 1) + [True], strict=True
        )
    ]
    theirs |= {"transformer_layers_per_block": depths, "attention_head_dim": list(size.heads)}
    for key in theirs:
        if _plain(theirs[key]) != _plain(ours.get(key)):
            raise ValueError(
                f"{file}: {key} is {theirs[key]!r}; the UNets of SD1.5 and SDXL have {ours.get(key)!r} there, and "
                "nothing else is read"
            )
    return size, theirs["in_channels"], theirs["sample_size"]


def _check_scheduler(file: Path) -> None:
    """Any scheduler's configuration will do, as long as the network was trained on SD's table to predict the noise."""
    found = read_json(file)
    wanted = {
        "prediction_type": "epsilon",
        "beta_schedule": "scaled_linear",
        "beta_start": FIRST,
        "beta_end": LAST,
        "num_train_timesteps": LEVELS,
        "trained_betas": None,
        "rescale_betas_zero_snr": False,
    }
    absent = {"prediction_type": "epsilon", "trained_betas": None, "rescale_betas_zero_snr": False}  # in older files
    for key, value in wanted.items():
        if (given := found.get(key, absent.get(key))) != value:
            raise ValueError(f"{file}: {key} is {given!r}; only {value!r} is read here, as SD1.5 and SDXL have it")


def _check_autoencoder(file: Path, channels: int) -> tuple[float, int]:
    """(scaling, pixels per latent) of an autoencoder's config.json."""
    found = read_json(file)
    if (given := found.get("latent_channels", 4)) != channels:
        raise ValueError(f"{file}: latent_channels is {given}, and the UNet has in_channels {channels}")
    for key in ("latents_mean", "latents_std", "shift_factor"):
        if found.get(key) is not None:
            raise ValueError(f"{file}: {key} is {found[key]!r}; only scaled latents are read, without it")
    return float(found.get("scaling_factor", 0.18215)), 2 ** (len(found.get("block_out_channels", [64])) - 1)


def _per_block(value: int | Sequence[int], blocks: int) -> list[int]:
    return [value] * blocks if isinstance(value, int) else list(value)


def _plain(value: object) -> object:
    """None and False mean the same in these files, and so do lists and tuples."""
    return list(value) if isinstance(value, tuple) else value or None


def read_json(file: Path) -> dict[str, Any]:
    """A file that holds a mapping; FileNotFoundError and ValueError name it."""
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; a folder in diffusers' layout has it")
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: holds no mapping")
    return content
