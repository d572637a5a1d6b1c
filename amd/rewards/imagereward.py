"""ImageReward: BLIP's text encoder reads the prompt while looking at the image; an MLP scores its first token.

zai-org/ImageReward (Apache-2.0), image-reward 1.5: ImageReward.py and models/BLIP. That package stops at transformers
4; here the same networks are transformers 5's BlipVisionModel and BlipTextModel, read under the published key names.
Three things are easy to miss: the image tower's norms have eps 1e-6, the MLP has no activations, and the text encoder,
although built with cross-attention, reads in both directions. Shapes: pixels (B, 3, H, W) in [-1, 1].
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amd.rewards import resize
from amd.rewards.published import install, sha256, state_dict
from amd.rewards.text import TextMaterial, check, precision

MEAN, STD = 0.16717362830052426, 1.0333394966054072  # of raw scores over the training set
TOKENS = 35  # longer prompts are cut: their ends are not scored
HEAD_WIDTH = 64  # of attention, in both of BLIP's image towers
NORM_EPS = 1e-6  # of the image tower
FILES = ("ImageReward.pt", "med_config.json", "vocab.txt")
SIZES = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("layer_norm_eps", "hidden_act", "max_position_embeddings", "pad_token_id"),
)
"""What med_config.json says of the text encoder."""
UNUSED = re.compile(r"blip\.(vision_proj|text_proj)\.|blip\.text_encoder\.embeddings\.position_ids$")
"""Weights of the published file that no score reads."""

RENAMED = [  # the published image tower -> BlipVisionModel; the first that matches
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^norm\.", "post_layernorm."),
    (r"^blocks\.(\d+)\.norm(\d)\.", r"encoder.layers.\1.layer_norm\2."),
    (r"^blocks\.(\d+)\.attn\.qkv\.", r"encoder.layers.\1.self_attn.qkv."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.projection."),
    (r"^blocks\.(\d+)\.mlp\.", r"encoder.layers.\1.mlp."),
]


class ImageReward(nn.Module):
    """Differentiable in the pixels. About -2 to 2; tables print the mean x 100."""

    differentiable = True
    vision: Any

    def __init__(
        self,
        vision: nn.Module,
        text: nn.Module,
        head: nn.Module,
        tokenizer: Any,
        revision: str,
        precision: str = "float32",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """transformers' BlipVisionModel and BlipTextModel, the MLP, a tokenizer of the tokenizers package."""
        super().__init__()
        self.vision, self.text, self.head, self.tokenizer = vision, text, head, tokenizer
        self.revision, self.dtype = revision, dtype
        self.side = int(self.vision.config.image_size)
        self.preprocessing = f"shorter-{self.side}/crop/bicubic/antialias/tensor/{precision}"
        self.eval().requires_grad_(False)

    def forward(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        """(B,), normalised as published."""
        check(pixels, prompts)
        images = resize.centre_crop(resize.shorter_side(resize.unit(pixels), self.side), self.side, "round")
        tokens, mask = self.tokens(prompts)
        return self.score(resize.normalise(images), tokens.to(images.device), mask.to(images.device))

    def tokens(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """B prompts -> token ids and mask, each (B, 35) int64: cut or padded."""
        read = self.tokenizer.encode_batch(list(prompts))
        return torch.tensor([each.ids for each in read]), torch.tensor([each.attention_mask for each in read])

    def score(self, images: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, 3, S, S) normalised, (B, L), (B, L) -> (B,)."""
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype != torch.float32):
            seen = self.vision(pixel_values=images).last_hidden_state
            read = self.text(
                input_ids=tokens,
                attention_mask=mask,
                encoder_hidden_states=seen,
                encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device),
                is_decoder=False,  # in both directions
            ).last_hidden_state[:, 0]
        return (self.head(read.float()).squeeze(1) - MEAN) / STD


def published(material: TextMaterial) -> ImageReward:
    """From ImageReward.pt, med_config.json and bert-base-uncased's vocab.txt. settings: precision.

    Sizes are read off the files. ValueError names a file that is missing or does not fit.
    """
    chosen = material.setting("imagereward", precision="float32")
    file, med, vocabulary = (material.file("imagereward", name) for name in FILES)
    weights = {name: tensor for name, tensor in state_dict(file).items() if not UNUSED.match(name)}
    parts: dict[str, dict[str, Tensor]] = {"blip.visual_encoder.": {}, "blip.text_encoder.": {}, "mlp.layers.": {}}
    for name, tensor in weights.items():
        prefix = next((prefix for prefix in parts if name.startswith(prefix)), None)
        if prefix is None:
            raise ValueError(f"{file}: unexpected weight {name!r}; an ImageReward has {', '.join(parts)}")
        parts[prefix][name.removeprefix(prefix)] = tensor
    if empty := [prefix for prefix, found in parts.items() if not found]:
        raise ValueError(f"{file}: no weights under {empty[0]}; this is not an ImageReward")
    eyes = vision(parts["blip.visual_encoder."], file)
    return ImageReward(
        eyes,
        text(parts["blip.text_encoder."], med, int(eyes.config.hidden_size), file),
        head(parts["mlp.layers."], file),
        tokenizer(vocabulary, TOKENS),
        sha256(file),
        chosen["precision"],
        precision("imagereward", chosen["precision"]),
    )


def vision(weights: Mapping[str, Tensor], file: Path) -> Any:
    """BLIP's image tower, ViT-L/16 in the published file, from weights in its names."""
    from transformers import BlipVisionConfig, BlipVisionModel  # seconds to import

    renamed = {_renamed(name): tensor for name, tensor in weights.items()}
    try:
        patches, table = renamed["embeddings.patch_embedding.weight"], renamed["embeddings.position_embedding"]
        hidden = renamed["encoder.layers.0.mlp.fc1.weight"].shape[0]
    except KeyError as error:
        raise ValueError(f"{file}: no {error} in the image tower") from error
    width, patch = patches.shape[0], patches.shape[2]
    config = BlipVisionConfig(
        hidden_size=width,
        intermediate_size=hidden,
        num_hidden_layers=1 + max(int(name.split(".")[2]) for name in renamed if name.startswith("encoder.layers.")),
        num_attention_heads=width // HEAD_WIDTH,
        image_size=patch * math.isqrt(table.shape[1] - 1),
        patch_size=patch,
        layer_norm_eps=NORM_EPS,
        hidden_act="gelu",
    )
    with torch.device("meta"):
        network = BlipVisionModel(config)
    install(network, renamed, file)
    return network


def text(weights: Mapping[str, Tensor], med: Path, seen: int, file: Path) -> Any:
    """BLIP's text encoder of the size in med_config.json, looking at image states of width `seen`."""
    from transformers import BlipTextConfig
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    said = json.loads(med.read_text())
    if missing := [key for key in SIZES if key not in said]:
        raise ValueError(f"{med}: has no '{missing[0]}'")
    sizes = {key: said[key] for key in SIZES}
    # the file's encoder_width is the smaller tower's; the reference sets it to the width that it sees, as done here
    config = BlipTextConfig(**sizes, encoder_hidden_size=seen, is_decoder=True)
    with torch.device("meta"):
        network = BlipTextModel(config, add_pooling_layer=False)
    install(network, weights, file)
    network.embeddings.position_ids = torch.arange(config.max_position_embeddings).unsqueeze(0)
    return network


def head(weights: Mapping[str, Tensor], file: Path) -> nn.Sequential:
    """The MLP, its widths read off the weights: linear layers with nothing between them at evaluation."""
    layers = sorted({int(name.split(".")[0]) for name in weights})
    try:
        shapes = [weights[f"{layer}.weight"].shape for layer in layers]
        with torch.device("meta"):
            network = nn.Sequential(*(nn.Linear(into, out) for out, into in shapes))
    except (KeyError, ValueError) as error:
        raise ValueError(f"{file}: mlp.layers are not linear layers ({error})") from error
    # dropouts stood between them, so their numbers have gaps
    place = {str(layer): str(index) for index, layer in enumerate(layers)}
    install(network, {re.sub(r"^\d+", lambda found: place[found[0]], n): t for n, t in weights.items()}, file)
    return network


def tokenizer(vocabulary: Path, length: int) -> Any:
    """bert-base-uncased's word pieces and BLIP's two further tokens; every text cut or padded to `length`."""
    from tokenizers import BertWordPieceTokenizer

    words = BertWordPieceTokenizer(str(vocabulary), lowercase=True)
    words.add_special_tokens(["[DEC]", "[ENC]"])
    words.enable_truncation(length)
    words.enable_padding(pad_id=words.token_to_id("[PAD]"), length=length)
    return words


def _renamed(name: str) -> str:
    for pattern, replacement in RENAMED:
        new, found = re.subn(pattern, replacement, name)
        if found:
            return new
    return name
