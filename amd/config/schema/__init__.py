"""What an experiment is, as closed types: every key a user may write in config/, with its unit and its range.

Pydantic only, no torch: a dry run reads this. Unknown keys are refused; `amd/config/load.py` names file, key and value.
"""

from amd.config.schema.assets import (
    Asset,
    Autoencoder,
    Clip,
    Data,
    Encoder,
    ImageEncoder,
    Prompts,
    PublishedTeacher,
    Scorer,
)
from amd.config.schema.choice import EVERYTHING, Choice, Goal
from amd.config.schema.closed import (
    PROMPTED,
    VIDEO,
    Closed,
    Positive,
    Precision,
    Rate,
    ScorerArchitecture,
    Share,
    Stage,
    Track,
)
from amd.config.schema.domain import Domain
from amd.config.schema.problem import Problem
from amd.config.schema.scale import RULES, Footprint, Scale
from amd.config.schema.sizes import (
    ClassSizes,
    PlaneSizes,
    Pretraining,
    SiTSize,
    Streaming,
    TextSizes,
    TrackSizes,
    UNetSize,
    VideoSizes,
    WanSize,
)
from amd.config.schema.system import LoRA, Numbers, Release, Scheduler, System
from amd.config.schema.tables import Benchmark, Column, Figure, Row, Table

__all__ = [
    "EVERYTHING",
    "PROMPTED",
    "RULES",
    "VIDEO",
    "Asset",
    "Autoencoder",
    "Benchmark",
    "Choice",
    "ClassSizes",
    "Clip",
    "Closed",
    "Column",
    "Data",
    "Domain",
    "Encoder",
    "Figure",
    "Footprint",
    "Goal",
    "ImageEncoder",
    "LoRA",
    "Numbers",
    "PlaneSizes",
    "Positive",
    "Precision",
    "Pretraining",
    "Problem",
    "Prompts",
    "PublishedTeacher",
    "Rate",
    "Release",
    "Row",
    "Scale",
    "Scheduler",
    "Scorer",
    "ScorerArchitecture",
    "Share",
    "SiTSize",
    "Stage",
    "Streaming",
    "System",
    "Table",
    "TextSizes",
    "Track",
    "TrackSizes",
    "UNetSize",
    "VideoSizes",
    "WanSize",
]
