"""A run's reward, and the ways between its latents and pixels: from checkpoints and assets to callables."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

from amd.config.load import Run
from amd.config.schema.closed import PROMPTED
from amd.data.assets import locate
from amd.rewards.base import Material, Reward, reward
from amd.train.conditions import prompts_for
from amd.train.finished import weights

if TYPE_CHECKING:
    from amd.backbones.autoencoder import LatentAutoencoder
    from amd.backbones.shuffle import PixelShuffleCodec
    from amd.backbones.video_codec import ClipAutoencoder


@runtime_checkable
class GoesOn(Protocol):
    """A decoder of clips that knows, in the middle of one, what it has to know of the frames before."""

    def decoded(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """Latents (B, C, f, H, W) in order -> the pixels of each."""
        ...


def build_reward(run: Run, device: torch.device | str = "cpu") -> Reward:
    """The reward of the run's domain on `device`.

    FileNotFoundError where its classifier is not trained yet, or names the published file that is nowhere.
    """
    scorer, trained = run.domain.reward, run.reward
    if run.system.track in PROMPTED:
        from amd.rewards.text import PromptReward
        from amd.train.scorers import build_text_scorer  # the class track needs neither

        return PromptReward(build_text_scorer(run, scorer, device), prompts_for(run, "train").texts)
    if scorer.system is not None and trained is None:
        raise ValueError(f"run {run.name} reads no reward; domain {run.domain.name} has one from {scorer.system}")
    material = Material(
        classes=run.domain.classes,
        channels=run.domain.pixels[0],
        architecture=trained.system.architecture if trained else None,
        weights=weights(trained) if trained else None,
        files=[locate(asset, run.mirror) for asset in scorer.assets],
    )
    built = reward(scorer.name, material)
    assert isinstance(built, torch.nn.Module)
    return built.to(device)


def build_decoder(run: Run, device: torch.device | str = "cpu") -> Callable[[Tensor], Tensor]:
    """Latents (B, *S) -> pixels (B, C, H, H) or (B, C, F, H, W), differentiable; the identity without a codec."""
    codec = build_codec(run, device)
    return (lambda latents: latents) if codec is None else codec.decode


def build_parts_decoder(run: Run, device: torch.device | str = "cpu") -> Callable[[Iterable[Tensor]], Iterator[Tensor]]:
    """A clip's latents, (B, C, f, H, W) after another -> the pixels of each, together those of `build_decoder`.

    ValueError for an autoencoder of pictures.
    """
    codec = build_codec(run, device)
    if codec is None:
        return iter
    if not isinstance(codec, GoesOn):
        raise ValueError(f"domains/{run.domain.name}.yaml: its autoencoder is of pictures, which have no parts")
    return codec.decoded


def build_encoder(run: Run, device: torch.device | str = "cpu") -> Callable[[Tensor, Tensor], Tensor]:
    """(pixels (B, C, H, H), eps (B, *S)) -> latents (B, *S), a sample of the posterior; the identity without one."""
    codec = build_codec(run, device)
    return (lambda pixels, eps: pixels) if codec is None else torch.no_grad()(codec.encode)


def build_codec(
    run: Run, device: torch.device | str
) -> "LatentAutoencoder | ClipAutoencoder | PixelShuffleCodec | None":
    """The domain's autoencoder on `device`."""
    settings = run.domain.autoencoder
    if settings is None:
        return None
    if settings.factor is not None:
        from amd.backbones.shuffle import PixelShuffleCodec

        return PixelShuffleCodec(settings.factor, settings.scaling, settings.shift, settings.frames or 1)
    if settings.kind == "wan":
        from amd.backbones.video_codec import load_clip_autoencoder

        assert settings.asset is not None, "checked at load"
        return load_clip_autoencoder(locate(settings.asset, run.mirror)).to(device)
    from amd.backbones.autoencoder import load_autoencoder  # diffusers takes seconds to import

    assert settings.asset is not None, "checked at load"
    return load_autoencoder(locate(settings.asset, run.mirror), settings.scaling).to(device)
