"""What a network of image to video is told of the picture that a clip is to begin with.

"first": the picture's latents, as `amd.backbones.wan` reads them: (B, C, h, w) where a picture has latents of its own;
(B, C, f, h, w) under Wan's autoencoder, of the picture with grey frames behind it. "image": its states under the
domain's image encoder, (B, M, D), where the network reads some. Pictures are (B, 3, H, W) in [-1, 1].
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from amd.config.load import Run
from amd.data.assets import locate
from amd.data.first_frames import FirstFrames, first_frames
from amd.distill.types import Condition

Begin = Callable[[Tensor], Condition]
"""Pictures -> what is told of them."""


def begins(run: Run, device: torch.device) -> Begin:
    """Of a run whose networks are told a first frame, on `device`. MissingAsset names a file that is nowhere."""
    from amd.train.reward import build_codec  # which needs conditions, and they this module

    domain = run.domain
    codec, vision = build_codec(run, device), None
    if domain.image_encoder is not None:
        from amd.backbones.clip_vision import load_clip_vision  # transformers takes seconds to import

        vision = load_clip_vision([locate(asset, run.mirror) for asset in domain.image_encoder.assets]).to(device)
    grey = domain.pixel_shape[1] - 1 if domain.autoencoder is not None and domain.autoencoder.kind == "wan" else 0

    @torch.no_grad()
    def begin(pictures: Tensor) -> Condition:
        pictures = pictures.to(device)
        shown = with_grey(pictures, grey) if grey else pictures
        told: dict[str, Tensor] = {"first": shown if codec is None else codec.encode(shown)}
        return told if vision is None else told | {"image": vision(pictures)}

    return begin


def with_grey(pictures: Tensor, frames: int) -> Tensor:
    """(B, 3, H, W) -> (B, 3, 1 + frames, H, W), grey behind the first: Wan2.1, wan/image2video.py."""
    return torch.cat((pictures[:, :, None], pictures.new_zeros(*pictures.shape[:2], frames, *pictures.shape[2:])), 2)


def pictures_of(run: Run, use: str) -> FirstFrames:
    """Of the prompts of "train" or of a benchmark, in pixels. ValueError where they come without."""
    from amd.train.conditions import prompts_for  # the other half of what is asked for

    _, frames, height, width = run.domain.pixel_shape
    what = f"domains/{run.domain.name}.yaml: prompts.{use}"
    return first_frames(prompts_for(run, use), (frames, height, width), run.domain.prompts[use].seed, what)


def begun(run: Run, device: torch.device, use: str) -> "Begun":
    """The same, as networks are told of them."""
    settings = run.domain.encoder
    kept = settings is not None and settings.kept
    return Begun(pictures_of(run, use), begins(run, device), kept=kept)


class Begun:
    """Prompt indices (b,) -> what is told of their pictures; with `kept`, of each picture once."""

    def __init__(self, pictures: FirstFrames, begin: Begin, *, kept: bool) -> None:
        self.pictures, self.begin, self.kept = pictures, begin, kept
        self.known: dict[int, Condition] = {}

    def __call__(self, index: Tensor) -> Condition:
        """Tensors (b, ...) on the device of `begin`."""
        asked: Sequence[int] = index.tolist()
        if new := [i for i in dict.fromkeys(asked) if i not in self.known]:
            told = self.begin(self.pictures.take(new).float() / 127.5 - 1)
            self.known |= {i: {key: value[place] for key, value in told.items()} for place, i in enumerate(new)}
        found = [self.known[i] for i in asked]
        if not self.kept:
            self.known = {}
        return {key: torch.stack([each[key] for each in found]) for key in found[0]}
