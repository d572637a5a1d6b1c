"""PickScore: exp(logit scale) x cosine of a CLIP ViT-H/14 trained on Pick-a-Pic; about 20 to 23, tables print it raw.

yuvalkirstain/PickScore (MIT), README: no softmax over candidates, which would be a win probability. Read from the
published transformers folder (huggingface.co/yuvalkirstain/PickScore_v1, with the tokenizer of
laion/CLIP-ViT-H-14-laion2B-s32B-b79K). Shapes: pixels (B, 3, H, W) in [-1, 1].
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amd.rewards import resize
from amd.rewards.published import install, sha256, state_dict
from amd.rewards.text import TextMaterial, check, per_prompt, precision

TOKENS = 77
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


class PickScore(nn.Module):
    """Differentiable in the pixels."""

    differentiable = True
    network: Any

    def __init__(
        self, network: nn.Module, tokenizer: Any, revision: str, precision: str = "float32", dtype: Any = torch.float32
    ) -> None:
        """`network` is transformers' CLIPModel, `tokenizer` its CLIPTokenizer."""
        super().__init__()
        self.network, self.tokenizer, self.revision, self.dtype = network, tokenizer, revision, dtype
        self.side = int(self.network.config.vision_config.image_size)
        self.preprocessing = f"shorter-{self.side}/crop/bicubic/antialias/tensor/{precision}"
        self.eval().requires_grad_(False)

    def forward(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        """(B,)."""
        check(pixels, prompts)
        images = resize.centre_crop(resize.shorter_side(resize.unit(pixels), self.side), self.side, "floor")
        cosine = (self.look(resize.normalise(images)) * self.read(prompts)).sum(1)
        return self.network.logit_scale.float().exp() * cosine

    def look(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> unit vectors (B, D)."""
        network = self.network
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype != torch.float32):
            features = network.visual_projection(network.vision_model(pixel_values=images).pooler_output)
        return F.normalize(features.float(), dim=-1)

    @torch.no_grad()
    def read(self, prompts: Sequence[str]) -> Tensor:
        """B prompts, cut at 77 tokens -> unit vectors (B, D)."""
        network = self.network
        device = network.logit_scale.device

        def encode(texts: list[str]) -> Tensor:
            tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=TOKENS, return_tensors="pt")
            asked = {name: tokens[name].to(device) for name in ("input_ids", "attention_mask")}
            with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
                return network.text_projection(network.text_model(**asked).pooler_output)

        return F.normalize(per_prompt(prompts, encode).float(), dim=-1)


def published(material: TextMaterial) -> PickScore:
    """From config.json, model.safetensors (or pytorch_model.bin), vocab.json and merges.txt. settings: precision.

    preprocessor_config.json is read where it is there: ValueError where it asks for another resize than ours.
    """
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer  # seconds to import

    chosen = material.setting("pickscore", precision="float32")
    config_file, vocabulary, merges = (
        material.file("pickscore", n) for n in ("config.json", "vocab.json", "merges.txt")
    )
    config = json.loads(config_file.read_text())
    if config.get("model_type") != "clip":
        raise ValueError(f"{config_file}: model_type is {config.get('model_type')!r}, PickScore's is 'clip'")
    side = int(CLIPConfig(**config).vision_config.image_size)
    if found := _given(material, "preprocessor_config.json"):
        _as_ours(found, side)
    file = _given(material, WEIGHTS[0]) or material.file("pickscore", WEIGHTS[1])
    weights = {name: tensor for name, tensor in state_dict(file).items() if not name.endswith(".position_ids")}
    with torch.device("meta"):  # nothing is initialised only to be overwritten
        network: Any = CLIPModel(CLIPConfig(**config))
    install(network, weights, file)
    for tower in (network.text_model, network.vision_model):  # buffers that no file needs to hold
        places = tower.embeddings.position_embedding.num_embeddings
        tower.embeddings.position_ids = torch.arange(places).unsqueeze(0)
    tokenizer = CLIPTokenizer(vocab=str(vocabulary), merges=str(merges))
    words = network.config.text_config.vocab_size
    if len(tokenizer) != words:
        raise ValueError(f"{vocabulary}: {len(tokenizer)} tokens, {config_file} has {words}; they belong to two models")
    dtype = precision("pickscore", chosen["precision"])
    return PickScore(network, tokenizer, sha256(file), chosen["precision"], dtype)


def _given(material: TextMaterial, name: str) -> Path | None:
    places = [*(path for path in material.files if path.name == name), *(path / name for path in material.files)]
    return next((path for path in places if path.is_file()), None)


def _as_ours(file: Path, side: int) -> None:
    """ValueError unless a processor resizes the shorter side to `side`, bicubically, crops, and normalises as CLIP."""
    said = json.loads(file.read_text())
    size, crop = said.get("size"), said.get("crop_size")
    size = size.get("shortest_edge") if isinstance(size, dict) else size
    crop = crop.get("height") if isinstance(crop, dict) else crop
    wanted = {
        "size": (size, side),
        "crop_size": (crop, side),
        "resample": (said.get("resample"), 3),  # PIL's number of bicubic
        "image_mean": (tuple(said.get("image_mean", ())), resize.MEAN),
        "image_std": (tuple(said.get("image_std", ())), resize.STD),
    }
    for key, (found, ours) in wanted.items():
        if found != ours:
            raise ValueError(f"{file}: {key} is {found}; this scorer prepares images with {ours}")
