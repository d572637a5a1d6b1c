"""What every type of this folder is: closed, and made of the same few.

The folder says what an experiment is: every key that a user may write in config/, with its unit and its range. Pydantic
only, no torch: a dry run reads it. Unknown keys are refused; `amd/config/load.py` names file, key and value.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

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
