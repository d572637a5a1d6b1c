"""A system: one per row that anyone prints."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from amd.config.schema.assets import Asset
from amd.config.schema.closed import Closed, Positive, Rate, ScorerArchitecture, Share, Stage, Track


class Numbers(Closed):
    """The numbers of a method's slots that a system may set; None keeps the row's own (amd.distill.methods.METHODS).

    `amd.config.methods.TAKES` says which method has which; a number a method does not have is refused.
    """

    s: Annotated[float, Field(ge=0, lt=1)] | None = None  # sensitivity, Eq. 13; s >= 1 flips a term's sign
    k: Annotated[float, Field(ge=0)] | None = None  # sharpening strength, W = exp(-k a), Eq. 14
    clip: Rate | None = None  # bound of the advantage, Eq. 12
    normalise: Literal["none", "group", "batch"] | None = None  # of W to mean 1
    normaliser: Literal["cfg", "cond", "none"] | None = None  # what g is divided by
    ratio: Positive | None = None  # fake updates per student update
    samples: Literal["fresh", "reused", "same"] | None = None  # of a fake update: rolled anew, or the student update's
    lam: Annotated[float, Field(ge=0)] | None = None  # weight of the external force
    critic_lam: Annotated[float, Field(ge=0)] | None = None  # weight of the discriminator's own loss
    pull: Share | None = None  # starting share of the fake's low-rank branch in the real teacher
    anneal: Share | None = None  # share of the iterations over which pull and DMDR's Beta anneal
    low: Share | None = None  # bounds of the re-noising time
    high: Share | None = None
    eta: Share | None = None  # backward simulation: 1 fresh noise, 0 ODE
    steps: Positive | None = None  # of the student's rollout
    first: Share | None = None  # time at which the student is asked for pure noise; 0.6 is DMD2's one step (index 399)
    shift: Rate | None = None  # of the student's and of the re-noising times towards noise; 1: none, LongLive has 5
    dims: Positive | None = None  # size of the latent at which lam was tuned; it is scaled to the own one


class LoRA(Closed):
    """A low-rank fake teacher on the frozen real one."""

    rank: Positive
    scale: Rate  # multiplies the branch (DMDR: 2.0)


class Scheduler(Closed):
    """A scheduler of diffusers, with every setting that a recipe gives it; the rest are the class's defaults."""

    name: Literal[
        "DDIMScheduler",
        "EulerAncestralDiscreteScheduler",
        "EulerDiscreteScheduler",
        "FlowMatchEulerDiscreteScheduler",
        "LCMScheduler",
        "TCDScheduler",
    ]
    settings: dict[str, bool | int | float | str] = {}


class Release(Closed):
    """A published model and the recipe that its authors sample it by. Nothing of it is trained here."""

    pipeline: Literal["FluxPipeline", "StableDiffusionXLPipeline"]  # of diffusers
    files: dict[str, Asset]  # path in the pipeline's folder, as diffusers lays it out -> where the file comes from
    lora: Asset | None = None  # fused into the network before sampling
    scheduler: Scheduler
    steps: Positive
    timesteps: list[Annotated[int, Field(ge=0)]] | None = None  # where the recipe names them; None: the scheduler's
    embedded_guidance: Rate | None = None  # what a network that has guidance as an input is told, as diffusers counts
    resolution: Positive  # pixels of a side
    precision: Literal["float32", "bfloat16", "float16"]
    prompt_tokens: Positive | None = None  # of a FLUX's second text encoder

    @model_validator(mode="after")
    def _complete(self) -> "Release":
        if "model_index.json" not in self.files:
            raise ValueError("files has no model_index.json, which a folder of diffusers has")
        if self.timesteps is not None and len(self.timesteps) != self.steps:
            raise ValueError(f"{len(self.timesteps)} timesteps, but steps is {self.steps}")
        if (self.pipeline == "FluxPipeline") != (self.prompt_tokens is not None):
            raise ValueError("prompt_tokens is a FluxPipeline's, and it needs it")
        return self


class System(Closed):
    """One thing that is trained or sampled; `kind` says which keys it may have."""

    name: str = ""
    kind: Literal["student", "teacher", "initial", "classifier", "scorer", "plane", "released"]
    track: Track
    title: str
    about: str = ""  # one or two sentences for the report
    backbone: str = ""  # a key of BACKBONES; classifiers have none
    method: str | None = None  # students and planes: a key of METHODS
    numbers: Numbers = Numbers()
    start: str | None = None  # students: whose weights it begins from; a teacher of i2v that is trained here: the same
    teacher: str | None = None  # students: the real teacher's system; initial: whose ODE it learns
    stage: Stage | None = None  # students: key of the track's iterations
    cfg_weight: Annotated[float, Field(ge=1)] = 1.0  # w of Eq. 9: uncond + w (cond - uncond)
    lora: LoRA | None = None  # students: None trains a full fake teacher
    student_lora: LoRA | None = None  # students: None trains the whole student
    batch: Literal["full", "small"] = "full"  # students: the scale's batch, or its small_batch
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0  # students: decay per iteration; 0 keeps the raw weights
    warmup: Share = 0.0  # students: share of the iterations over which both learning rates rise linearly to their value
    teacher_seed: int = 0  # students: whose teacher (a teacher of another seed is one config line)
    architecture: Literal["conv", "resnet"] | ScorerArchitecture | None = None  # classifiers and scorers
    half: Literal[0, 1] | None = None  # classifiers and scorers: which half of the data trains it
    release: Release | None = None  # released: the files, and how they are sampled
    sources: dict[str, str] = {}  # number -> where it comes from
