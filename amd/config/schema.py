"""What an experiment is, as closed types: every key a user may write in config/, with its unit and its range.

Pydantic only, no torch: a dry run reads this. Unknown keys are refused; `amd/config/load.py` names file, key and value.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]

Track = Literal["plane", "class", "text", "video", "i2v"]
Stage = Literal["short", "long", "finetune", "ablation"]
VIDEO: tuple[Track, ...] = ("video", "i2v")
PROMPTED: tuple[Track, ...] = ("text", *VIDEO)
"""Tracks that are asked by prompts, whose samples a panel judges."""
ScorerArchitecture = Literal["align-plain", "align-residual", "detector", "clip-plain", "clip-residual"]
Precision = Literal["float32", "bfloat16"]


class Closed(BaseModel):
    """Frozen, and closed: a misspelt key is an error, not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


# --- scales: sizes and footprints only -------------------------------------------------------------------------------


class Footprint(Closed):
    """What one job of a rule asks the scheduler for, per attempt."""

    nodes: Positive = 1
    gpus: Annotated[int, Field(ge=0)] = 0  # per node
    gpu_model: str | None = None
    cpus: Positive = 1  # per task
    mem_mb: Positive = 2000
    runtime_min: Positive = 60
    save_every_s: Annotated[float, Field(ge=0)] = 60.0  # between training states: what a killed job loses at most
    sharding: Literal["none", "fsdp2"] = "none"  # of a distillation's networks over the processes of a node
    offload: bool = False  # with fsdp2: the frozen teacher rests on the CPU


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


class Scale(Closed):
    """One of smoke, tiny, paper. Nothing in here chooses a method, a loss or a code path."""

    name: str = ""  # the file's stem, filled by the loader
    banner: str | None = None  # printed over every table and figure
    seeds: list[int] = Field(min_length=1)
    precision: Precision
    domains: dict[Track, str]  # track -> domain
    # sizes per track; None: the track does not run at this scale
    plane: PlaneSizes | None = None
    klass: ClassSizes | None = Field(default=None, alias="class")
    text: TextSizes | None = None
    video: VideoSizes | None = None
    i2v: VideoSizes | None = None
    footprints: dict[str, Footprint]  # rule -> footprint; "default" serves the rules not named

    def sizes(self, track: Track) -> TrackSizes:
        """Of a track of trained images or clips; `amd.config.check.misfit` says where there are none."""
        found: TrackSizes | None = getattr(self, "klass" if track == "class" else track)
        assert found is not None, f"scale {self.name} has no sizes of the {track} track: checked with the domain"
        return found


# --- domains: where assets come from ---------------------------------------------------------------------------------


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
    shuffle: f x f pixels into channels, without loss.
    """

    kind: Literal["kl", "wan", "shuffle"] = "kl"
    asset: Asset | None = None  # of a kl or a wan
    factor: Positive | None = None  # f of a shuffle
    scaling: Rate = 1.0  # latents are multiplied by it (SD VAE: 0.18215, SDXL's 0.13025)
    shift: float = 0.0  # of a shuffle: the pixels' mean, taken away first

    @model_validator(mode="after")
    def _complete(self) -> "Autoencoder":
        if (self.kind != "shuffle") != (self.asset is not None) or (self.kind == "shuffle") != (
            self.factor is not None
        ):
            raise ValueError("a kl and a wan have an asset and no factor, a shuffle a factor and no asset")
        if self.kind != "shuffle" and self.shift:
            raise ValueError(f"a {self.kind} has no shift")
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


# --- systems: one per row anyone prints ------------------------------------------------------------------------------


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


# --- the plane's problems --------------------------------------------------------------------------------------------


class Problem(Closed):
    """A 2-D mixture, what it is conditioned on, and what the reward likes (Figures 7 and 8)."""

    name: str = ""
    title: str
    about: str = ""
    mixture: Literal["ring8", "grid9"]
    radius: Rate  # of the ring, or spacing of the grid
    mode_std: Rate
    reward: Literal["selective", "global", "lower-left"]
    good: list[int] = []  # modes the selective reward likes
    condition: Literal["one", "split2"]  # one prompt, or two classes that each hold good and bad modes
    teacher: Literal["exact", "mlp"] = "exact"
    group: Positive | None = None  # K; None: the whole batch is one group
    gamma_quantile: Share = 0.99  # of the teacher's energy over its own samples: the Forbidden Zone's border, Eq. 5
    methods: dict[str, str]  # printed title -> plane system


# --- benchmarks, tables, figures -------------------------------------------------------------------------------------


class Benchmark(Closed):
    """What is sampled, who judges it, and what is reported."""

    name: str = ""
    title: str
    track: Track
    protocol: str  # one sentence that a reader of the number needs
    version: Positive = 1  # raise it when the meaning of a number changes: everything is scored anew
    labels: Literal["balanced", "random"] = "balanced"
    seed: int = 0  # of the samples; sample i of every system starts from the same noise
    metrics: list[str]
    per_prompt: Positive = 1  # images of each prompt (text track)
    splits: Positive = 10  # of the inception score


class Column(Closed):
    """A column of a table."""

    key: str
    title: str
    group: str | None = None
    benchmark: str | None = None  # None: a descriptor printed as it stands
    metric: str | None = None
    better: Literal["up", "down", "none"]
    digits: Annotated[int, Field(ge=0)] = 2
    trained_on: list[str] = []  # systems' methods for which this metric was also the training reward


class Row(Closed):
    """A row: a system that is measured, or numbers that are quoted."""

    title: str
    group: str | None = None
    system: str | None = None
    printed: dict[str, str] = {}  # column -> the paper's own string
    quoted_from: str | None = None  # rows that are never measured here, or (a released system) not at every scale
    descriptors: dict[str, str] = {}


class Table(Closed):
    """A table of the paper, or one of ours beside it."""

    name: str = ""
    title: str
    caption: str
    track: Track
    paper: str | None = None  # "Table 4" where the paper has it
    columns: list[Column]
    rows: list[Row]
    baseline: str | None = None  # the row's title that paired tests compare with
    notes: list[str] = []


class Figure(Closed):
    """A figure of the paper, or one of ours beside it."""

    name: str = ""
    title: str
    caption: str
    track: Track
    paper: str | None = None
    kind: Literal["plane", "law", "curves", "coevolution", "dose", "gallery", "winrate"]
    systems: dict[str, str] = {}  # printed title -> system
    problems: list[str] = []
    benchmarks: list[str] = []  # winrate: whose prompts are the contests
    baseline: str | None = None  # winrate: the title that the others play against
    benchmark: str | None = None  # whose metrics curves, coevolution and dose show
    stage: Literal["finetune", "ablation"] = "finetune"  # which iterations the curves run over
    metrics: list[str] = []
    options: dict[str, float] = {}  # numbers of a kind, e.g. k of each dose


class Goal(Closed):
    """A named set of tables and figures, so that `make tiny` and `rule all` are data."""

    tables: list[str] = []
    figures: list[str] = []


class Choice(Closed):
    """config/config.yaml: what this checkout builds."""

    scale: str = "tiny"
    checkpoints: Literal["train", "pull"] = "train"  # who makes a checkpoint: training here, or `dvc pull`
    domains: dict[Track, str] = {}  # overrides of the scale's
    mirror: str | None = None  # folder with assets, looked at before any address
    goals: dict[str, Goal]  # "main", "all"
