"""Sizes of networks, trainings and sets of samples: what a scale says of each track."""

from typing import Annotated

from pydantic import Field, model_validator

from amd.config.schema.closed import Closed, Positive, Rate, ScorerArchitecture, Share, Stage


class SiTSize(Closed):
    """The size of a SiT. SiT-XL/2 is patch 2, width 1152, depth 28, heads 16."""

    patch: Positive
    width: Positive
    depth: Positive
    heads: Positive

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "SiTSize":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class UNetSize(Closed):
    """The size of a diffusers UNet2DConditionModel, one entry per block from the outside in.

    SDXL: channels 320 640 1280, layers 2, transformers 0 2 10, heads 5 10 20, context 2048, pooled 1280, linear
    projection. SD1.5: channels 320 640 1280 1280, layers 2, transformers 1 1 1 0, heads 8 each, context 768.
    """

    channels: list[Positive] = Field(min_length=1)
    layers: Positive  # residual blocks per block
    transformers: list[Annotated[int, Field(ge=0)]]  # per block; 0: no cross-attention in it
    heads: list[Positive]
    context: Positive  # width of the text states that cross-attention reads
    pooled: Positive | None = None  # width of the pooled text state: SDXL's micro-conditioning with it
    linear_projection: bool = False  # in and out of the transformers: linear (SDXL) or 1 x 1 convolution (SD1.5)
    groups: Positive = 32  # of the group norms

    @model_validator(mode="after")
    def _blocks_agree(self) -> "UNetSize":
        blocks = len(self.channels)
        if len(self.transformers) != blocks or len(self.heads) != blocks:
            raise ValueError(f"channels, transformers and heads name {blocks} blocks, one each")
        for width, heads in zip(self.channels, self.heads, strict=True):
            if width % heads or width % self.groups:
                raise ValueError(f"channels {width} is not a multiple of heads {heads} and of groups {self.groups}")
        return self


class Pretraining(Closed):
    """Flow matching of a teacher, or cross-entropy of a classifier, from scratch."""

    iterations: Positive
    batch: Positive
    lr: Rate  # AdamW's
    muon: Rate | None = None  # Muon's rate for the matrices of transformer blocks; None: AdamW moves all
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0  # decay per iteration; 0 keeps the raw weights
    label_dropout: Share = 0.1  # teachers only: share of labels replaced by the null class (CFG)
    stills: Positive | None = None  # teachers of clips only: how many first iterations see single frames of them
    shift: Annotated[float, Field(ge=1)] | None = None  # teachers only: of the uniform times, towards noise

    @model_validator(mode="after")
    def _then_clips(self) -> "Pretraining":
        if self.stills and self.stills >= self.iterations:
            raise ValueError(f"stills {self.stills} leave none of {self.iterations} iterations for clips that move")
        return self


class WanSize(Closed):
    """The size of a diffusers WanTransformer3DModel, whose patches are 1 x `patch` x `patch`.

    Wan2.1 1.3B: width 1536, depth 30, heads 12, ffn 8960; 14B: 5120, 40, 40, 13824; both: patch 2, context 4096,
    frequencies 256; 14B I2V besides: image_context 1280.
    """

    patch: Positive
    width: Positive
    depth: Positive
    heads: Positive
    ffn: Positive
    context: Positive  # width of the text states
    frequencies: Positive = 256  # of the embedding of time
    image_context: Positive | None = None  # width of the states of a first frame (I2V); None: none are read

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "WanSize":
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} is not a multiple of 2 x heads {self.heads}: rotations turn pairs")
        return self


class Streaming(Closed):
    """How a causal student makes a clip: chunk by chunk, each looking at the frames before it. In latent frames."""

    chunk: Positive
    window: Positive  # frames that are attended, those of the chunk and of the sink included
    sink: Annotated[int, Field(ge=0)]  # the first frames, which are never dropped

    @model_validator(mode="after")
    def _room(self) -> "Streaming":
        if self.window < self.sink + self.chunk:
            raise ValueError(f"window {self.window} has no room for sink {self.sink} and chunk {self.chunk}")
        return self


class Optimiser(Closed):
    """AdamW of student and fake and what is around it, where a published recipe has numbers of its own."""

    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]]
    decay: Annotated[float, Field(ge=0)]  # of the weights of both
    clip: Rate  # of a gradient's norm per update
    averaged_from: Share | None = (
        None  # share of a run after which the student's average begins, its decay constant; None: at once, rising
    )


class TrackSizes(Closed):
    """Sizes that every track of trained images has."""

    batch: Positive  # global batch of a student or fake update, all ranks and micro-batches together
    small_batch: Positive | None = None  # of systems that ask for it: another reading of the paper
    micro_batch: Positive  # rows per process per forward; accumulation = batch / (world size x micro_batch)
    group: Positive  # K of Eq. 12: consecutive rows that share a label or a prompt
    lr: Rate  # student
    fake_lr: Rate
    iterations: dict[Stage, Positive]  # student updates per stage
    milestones: Positive  # students kept along a run, evenly spaced, the last one included (Figures 5 and 6)
    teacher: Pretraining | None = None  # None: published weights (the domain says which)
    tether_pairs: Positive  # (noise, teacher ODE sample) pairs of the tether force
    teacher_steps: Positive  # steps of the teacher's ODE when it samples
    sample_batch: Positive
    sample_shards: Positive = 1  # jobs that share the samples of one student; they are put together afterwards
    trace_samples: Positive  # per milestone for Figures 5 and 6

    @model_validator(mode="after")
    def _stills_of_clips(self) -> "TrackSizes":
        if self.teacher and self.teacher.stills and not isinstance(self, VideoSizes):
            raise ValueError(f"teacher.stills {self.teacher.stills}: of clips alone; this track's pictures stand still")
        return self


class ClassSizes(TrackSizes):
    """Sizes of the class-conditional track (Table 4, Figures 5 and 6)."""

    network: SiTSize
    classifier: Pretraining | None = None
    samples: Positive  # per student for a benchmark
    compiled: bool = False  # blocks of a student's training by torch.compile: a minute of start-up, then a faster step


class TextSizes(TrackSizes):
    """Sizes of the text-to-image track (Tables 2, 3, 7, 8, 9 and Figure 9)."""

    network: UNetSize
    recompute: bool = False  # gradient checkpointing of student and fake: a forward more for less memory
    images: Positive | None = None  # captioned images that a teacher trained here, or a critic, sees; None: all
    scorers: dict[ScorerArchitecture, Pretraining] = {}  # of what judges or rewards and is trained here
    prompts: dict[str, Positive] = {}  # "train" or a benchmark -> how many of its source's prompts; absent: all


class VideoSizes(TrackSizes):
    """Sizes of the video track (Tables 5 and 6), and of image to video (Tables 10 and 11)."""

    network: WanSize
    streaming: Streaming | None = None  # of the systems whose backbone streams
    recompute: bool = False  # gradient checkpointing of student and fake
    initial: Pretraining | None = (
        None  # regression of a streaming student on the teacher's ODE; None: published weights
    )
    optimiser: Optimiser | None = None  # None: DMDR's numbers, as every other track has
    clips: Positive | None = None  # captioned clips that a teacher trained here, or a critic, sees; None: all
    scorers: dict[ScorerArchitecture, Pretraining] = {}
    prompts: dict[str, Positive] = {}  # "train" or a benchmark -> how many of its source's prompts; absent: all


class PlaneSizes(Closed):
    """Sizes of the 2-D track (Figures 7 and 8)."""

    iterations: Positive
    batch: Positive  # per run
    width: Positive  # hidden width of student and fake
    depth: Positive  # hidden layers
    latent: Positive  # dimension of z
    lr: Rate
    fake_lr: Rate
    teacher_iterations: Positive  # of the MLP teacher
    evaluations: Positive  # points in time at which a run is measured, evenly spaced
    samples: Positive  # per evaluation
