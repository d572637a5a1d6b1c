"""A domain: what stands in for the paper's assets."""

from typing import Annotated

from pydantic import Field

from amd.config.schema.assets import Autoencoder, Clip, Data, Encoder, ImageEncoder, Prompts, PublishedTeacher, Scorer
from amd.config.schema.closed import Closed, Positive, Rate, Track


class Domain(Closed):
    """What stands in for the paper's assets."""

    name: str = ""
    title: str
    track: Track
    stand_in: str | None = None  # what this replaces, said in every banner; None at paper scale
    classes: Annotated[int, Field(ge=0)] = 0  # of the class track
    pixels: tuple[Positive, Positive]  # (channels, side); of clips (channels, height)
    latents: tuple[Positive, Positive]  # the same of what the network sees
    clip: Clip | None = None  # of the video tracks: the other sides of both
    data: Data | None = None  # None: nothing reads real images (paper scale: statistics are an asset of the judge)
    real: Data | None = None  # what a Frechet distance compares with in the text track; None: data
    autoencoder: Autoencoder | None = None
    teacher: PublishedTeacher | None = None  # None: the teacher system is trained here
    initial: PublishedTeacher | None = None  # a streaming student's first weights; None: they are trained here
    shift: Annotated[float, Field(ge=1)] = (
        1.0  # of the times of the teacher's ODE, of students and of re-noising towards
    )
    # noise: sigma' = s sigma / (1 + (s - 1) sigma), for large latents; a system may have its own
    encoder: Encoder | None = None  # of the prompted tracks, as the next two
    image_encoder: ImageEncoder | None = None  # of first frames, where the network has an image_context
    prompts: dict[str, Prompts] = {}  # "train", and each benchmark
    panel: dict[
        str, Scorer
    ] = {}  # what judges a benchmark's images, by the stem of its metrics: hpsv2, fid, geneval ...
    released: bool = False  # whether systems of kind released are sampled for its benchmarks; else they are quoted
    cfg_weight: Annotated[float, Field(ge=1)] | None = None  # guidance that this teacher needs; None: the system's
    force: Rate = 1.0  # times the weights of external forces, which were tuned in another space of latents
    reward: Scorer
    judge: Scorer
    metrics: dict[str, str]  # metric key -> its honest name here, e.g. fid -> FD-digits

    @property
    def begins(self) -> bool:
        """Whether its networks are told the picture that a clip is to begin with, and its prompts come with one."""
        return self.track == "i2v"

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """S: (C, H, H), or (C, F, H, W) of clips."""
        channels, side = self.latents
        return (channels, side, side) if self.clip is None else (channels, *self._sides(side, latent=True))

    @property
    def pixel_shape(self) -> tuple[int, ...]:
        """(C, H, H), or (C, F, H, W) of clips."""
        channels, side = self.pixels
        return (channels, side, side) if self.clip is None else (channels, *self._sides(side, latent=False))

    def _sides(self, height: int, latent: bool) -> tuple[int, int, int]:
        assert self.clip is not None
        if latent:
            return self.clip.latent_frames, height, self.clip.latent_width
        return self.clip.frames, height, self.clip.width
