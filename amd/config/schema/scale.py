"""A scale: the sizes of its tracks, and what its jobs ask of a machine."""

from typing import Annotated, Literal

from pydantic import Field

from amd.config.schema.closed import Closed, Positive, Precision, Track
from amd.config.schema.sizes import ClassSizes, PlaneSizes, TextSizes, TrackSizes, VideoSizes

RULES = (
    *("pretrain", "distill", "fetch", "track", "pull", "reference", "shard", "gather", "sample"),
    *("score", "trace", "grid", "plane", "table", "figure"),
)
"""Of the workflow, whose jobs have footprints."""


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
        """Of a track of trained images or clips; `amd.config.checks.fit.misfit` says where there are none."""
        found: TrackSizes | None = getattr(self, "klass" if track == "class" else track)
        assert found is not None, f"scale {self.name} has no sizes of the {track} track: checked with the domain"
        return found
