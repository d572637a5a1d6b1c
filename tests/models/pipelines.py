"""Tiny random Stable Diffusion folders, SD1.5's kind and SDXL's, as diffusers saves them."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from amd.backbones.unet import settings
from amd.config.schema.sizes import UNetSize

TABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SIZES = {
    "sd15": UNetSize(channels=[16, 24, 32], layers=1, transformers=[1, 1, 0], heads=[2, 2, 2], context=32, groups=8),
    "sdxl": UNetSize(
        channels=[16, 32],
        layers=1,
        transformers=[0, 2],
        heads=[2, 4],
        context=32 + 48,
        pooled=24,
        linear_projection=True,
        groups=8,
    ),
}


def tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's tokenizer without a merge: a letter is a token."""
    letters = [chr(c) for c in range(33, 127)]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def tower(width: int, projection: int | None, tokens: CLIPTokenizer) -> CLIPTextModel:
    """A text encoder, tiny and random."""
    config = CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=projection or width,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def unet(size: UNetSize, **more: int) -> UNet2DConditionModel:
    """diffusers' own module, random throughout."""
    network = UNet2DConditionModel(**settings(size, 4, 8) | more)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return network


def autoencoder(shift: float | None = None) -> AutoencoderKL:
    """Latents of half the pictures' side, four wide."""
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        scaling_factor=0.3,
        shift_factor=shift,
    )


def save(root: Path) -> dict[str, Path]:
    """kind -> a folder that diffusers wrote."""
    torch.manual_seed(0)
    tokens = tokenizer(root / "letters")
    vae = autoencoder()
    StableDiffusionPipeline(
        vae, tower(32, None, tokens), tokens, unet(SIZES["sd15"]), PNDMScheduler(**TABLE, steps_offset=1), None, None,
        requires_safety_checker=False,
    ).save_pretrained(root / "sd15")  # fmt: skip
    StableDiffusionXLPipeline(
        vae, tower(32, None, tokens), tower(48, 24, tokens), tokens, tokens, unet(SIZES["sdxl"]),
        EulerDiscreteScheduler(**TABLE),
    ).save_pretrained(root / "sdxl")  # fmt: skip
    return {kind: root / kind for kind in SIZES}
