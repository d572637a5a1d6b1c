"""A CLIP of open_clip's catalogue from a local file: images and prompts -> unit vectors whose product is the cosine.

Shapes: images (B, 3, S, S) normalised, S the side that the network was built for; vectors (B, D) float32.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amd.rewards.published import install, state_dict
from amd.rewards.text import per_prompt


class OpenClip(nn.Module):
    """Both towers and the tokenizer, weights fixed. `dtype` is autocast's; the vectors are normalised in float32."""

    network: Any

    def __init__(
        self, network: nn.Module, tokenize: Callable[[list[str]], Tensor], dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.network, self.tokenize, self.dtype = network, tokenize, dtype
        size = self.network.visual.image_size
        self.side = int(size[0] if isinstance(size, tuple | list) else size)
        self.eval().requires_grad_(False)

    def look(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> (B, D), with the graph of the images."""
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype != torch.float32):
            features = self.network.encode_image(images)
        return F.normalize(features.float(), dim=-1)

    @torch.no_grad()
    def read(self, prompts: Sequence[str]) -> Tensor:
        """B prompts, cut at 77 tokens -> (B, D)."""
        device = self.network.logit_scale.device

        def encode(texts: list[str]) -> Tensor:
            with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
                return self.network.encode_text(self.tokenize(texts).to(device))

        return F.normalize(per_prompt(prompts, encode).float(), dim=-1)

    def cosine(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """(B,) in [-1, 1]: how near each image is to its prompt."""
        return (self.look(images) * self.read(prompts)).sum(1)


def load(architecture: str, file: Path, dtype: torch.dtype = torch.float32, *, recompute: bool = False) -> OpenClip:
    """`architecture` is a name of open_clip's catalogue ("ViT-H-14"); nothing is fetched.

    `recompute`: the image tower keeps no activations for the gradient, it computes them again. ValueError names an
    architecture that open_clip does not have or that is no plain CLIP, and a file that does not fit it.
    """
    import open_clip  # seconds to import
    from open_clip.factory import get_model_config

    config = get_model_config(architecture)
    if config is None or "/" in architecture or ":" in architecture:
        raise ValueError(f"open_clip has no model {architecture!r}; its names are `open_clip.list_models()`")
    if config.get("custom_text") or "hf_model_name" in config["text_cfg"] or "timm_model_name" in config["vision_cfg"]:
        raise ValueError(f"open_clip's {architecture!r} is not a plain CLIP of two transformers, which is read here")
    with torch.device("meta"):  # nothing is initialised only to be overwritten
        quick = bool(config.pop("quick_gelu", False))
        network: Any = open_clip.CLIP(**config, quick_gelu=quick)
    weights = {name.removeprefix("module."): tensor for name, tensor in state_dict(file).items()}
    install(network, weights, file)
    length = network.context_length
    # the one buffer that no file holds: token i reads tokens 0 to i
    network.attn_mask = torch.full((length, length), -torch.inf).triu(1)
    network.visual.set_grad_checkpointing(recompute)
    return OpenClip(network, open_clip.get_tokenizer(architecture), dtype)
