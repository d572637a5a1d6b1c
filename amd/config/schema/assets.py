"""Where the parts of a domain come from: files, data, encoders, prompts, published weights, scorers."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from amd.config.schema.closed import Closed, Positive, Precision, Rate


class Asset(Closed):
    """A file that is fetched, never made: looked up in the mirror folder first, then at its address."""

    file: str  # name inside the mirror folder
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None  # None: recorded at the first fetch
    url: str | None = None
    license: str = ""


class Data(Closed):
    """Real images with labels."""

    source: str  # a key of amd.data.sources.SOURCES
    assets: list[Asset] = []


class Autoencoder(Closed):
    """Between pixels and latents; absent where the network works in pixels.

    kl: a diffusers AutoencoderKL from its file. wan: its AutoencoderKLWan, of clips, which knows its own scaling.
    shuffle: f x f pixels into channels, without loss; of clips those of several frames, where it has `frames`.
    """

    kind: Literal["kl", "wan", "shuffle"] = "kl"
    asset: Asset | None = None  # of a kl or a wan
    factor: Positive | None = None  # f of a shuffle
    frames: Positive | None = None  # of a shuffle of clips: frames of pixels per latent one, after the first; None: 1
    scaling: Rate = 1.0  # latents are multiplied by it (SD VAE: 0.18215, SDXL's 0.13025)
    shift: float = 0.0  # of a shuffle: the pixels' mean, taken away first

    @model_validator(mode="after")
    def _complete(self) -> "Autoencoder":
        if (self.kind != "shuffle") != (self.asset is not None) or (self.kind == "shuffle") != (
            self.factor is not None
        ):
            raise ValueError("a kl and a wan have an asset and no factor, a shuffle a factor and no asset")
        if self.kind != "shuffle" and (self.shift or self.frames):
            raise ValueError(f"a {self.kind} has no shift and no frames")
        if (self.kind == "wan") == ("scaling" in self.model_fields_set):
            raise ValueError("a wan knows its own scaling; of the others it must be given")
        return self


class Encoder(Closed):
    """What turns prompts into what the network reads."""

    name: str  # a key of amd.backbones.text.ENCODERS
    assets: list[Asset] = []
    length: Positive | None = None  # tokens; None: the encoder's own (CLIP: 77)
    kept: bool = False  # encode each prompt once and keep the states on disk: for closed sets of prompts


class ImageEncoder(Closed):
    """What turns a first frame into states that every block of a network with an image_context reads: a CLIPVisionModel
    of transformers, its config.json and its weights."""

    assets: list[Asset] = Field(min_length=1)


class Prompts(Closed):
    """Where prompts come from."""

    source: str  # a key of amd.data.prompts.PROMPTS
    variant: Literal["short", "extended"] | None = (
        None  # of video's: as a benchmark prints them, or told at length by a language model; checked against the files
    )
    assets: list[Asset] = []
    seed: int = 0  # of sources that compose them
    categories: dict[str, str] = {}  # prefix of a metric -> category of the source (hpdv2: anime -> anime)
    eight_bits: Literal["truncated"] | None = (
        None  # how their images are stored; None: rounded, as ADM and diffusers do
    )


class PublishedTeacher(Closed):
    """Teacher weights that someone else trained."""

    asset: Asset
    shards: list[Asset] | None = None  # further files of weights that are published in parts (diffusers)
    layout: Literal["sit", "repa", "diffusers", "wan", "self-forcing"]  # whose key names and time arrow the file has


class Scorer(Closed):
    """Something that gives a reward or a metric: a classifier trained here (system) or a published network (assets)."""

    name: str  # a key of REWARDS, TEXT_SCORERS or JUDGES
    system: str | None = None
    assets: list[Asset] = []
    settings: dict[str, bool | int | float | str] = {}  # of a published one, e.g. {version: v2.1}
    scorer: Literal["own", "package"] = "own"  # of a panel: our implementation, or the authors' package (`make envs`)
    times: Rate = 1.0  # what its mean is multiplied by in a table (the paper prints HPSv2 and ImageReward x 100)


class Clip(Closed):
    """What a video has besides channels and height."""

    frames: Positive
    width: Positive
    latent_frames: Positive
    latent_width: Positive
    fps: Positive
    stored: Literal["lossless", "h264"] = "h264"  # how samples are kept (amd.measure.films)
    drawn_in: Precision = "float32"  # what networks compute in when they draw samples; pixels are float32
