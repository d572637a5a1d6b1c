"""What Wan2.1's image-to-video networks see of a first frame besides its latents: states of CLIP's ViT-H/14.

As diffusers' WanImageToVideoPipeline: the picture through CLIP's own preprocessing, the states before the last layer.
(Wan's own code squeezes the picture to a square instead of cutting its middle out: wan/modules/clip.py, `visual`.)
Files lie as in a diffusers folder: image_encoder/config.json and image_encoder/model.safetensors.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from amd.backbones.base import fill

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # OpenAI's CLIP
PREFIX = "vision_model."  # of the keys in files that transformers 4 wrote


class ClipVision(nn.Module):
    """pixels (B, 3, H, W) in [-1, 1] -> states (B, M, D) float32, M = 1 + the picture's patches; weights are fixed."""

    def __init__(self, network: CLIPVisionModel) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Before the last layer, and before any norm that follows it."""
        seen = preprocessed(pixels, self.network.config.image_size)
        states = self.network(pixel_values=seen, output_hidden_states=True).hidden_states
        assert states is not None
        return states[-2].float()


def preprocessed(pixels: Tensor, side: int) -> Tensor:
    """(B, 3, H, W) in [-1, 1] -> (B, 3, side, side): the shorter side resized (bicubic, to 8 bits), the middle, CLIP's
    statistics. transformers' CLIPImageProcessor, of pictures in memory."""
    height, width = pixels.shape[2:]
    shorter = min(height, width)
    size = (side * height // shorter, side * width // shorter)
    resized = F.interpolate((pixels.float() + 1) / 2, size, mode="bicubic", antialias=True)
    resized = (255 * resized).round().clamp(0, 255) / 255
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    middle = resized[:, :, top : top + side, left : left + side]
    mean, std = (torch.tensor(value, device=pixels.device)[:, None, None] for value in (MEAN, STD))
    return (middle - mean) / std


def load_clip_vision(files: Sequence[Path]) -> ClipVision:
    """From config.json and the safetensors of a CLIPVisionModel, in float32.

    FileNotFoundError says what is missing; ValueError names keys that do not fit.
    """
    config = next((file for file in files if file.name == "config.json"), None)
    weights = [file for file in files if file.suffix == ".safetensors"]
    if config is None or not weights:
        there = ", ".join(file.name for file in files) or "nothing"
        raise FileNotFoundError(f"an image encoder is a config.json and its .safetensors; there: {there}")
    settings = json.loads(config.read_text())
    with torch.device("meta"):  # nothing is initialised only to be overwritten
        network = CLIPVisionModel(CLIPVisionConfig(**settings.get("vision_config", settings)))
    tensors = {name: tensor for part in weights for name, tensor in load_file(part).items()}
    own = {name.removeprefix(PREFIX): tensor.float() for name, tensor in tensors.items()}
    own = {name: tensor for name, tensor in own.items() if not name.endswith("position_ids")}  # no weight
    fill(network, own, str(weights[0]))
    network.embeddings.register_buffer(
        "position_ids", torch.arange(network.embeddings.num_positions).expand((1, -1)), persistent=False
    )
    return ClipVision(network)
