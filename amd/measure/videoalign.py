"""VideoAlign's parts and scales as columns of a panel; what is looked at stands with the scorer."""

from amd.rewards.videoalign_frames import (
    PARTS,
    PUBLISHED,
    Scale,
    frame_count,
    frame_indices,
    normalised,
    resized,
    scales,
    total,
)

__all__ = [
    "PARTS",
    "PUBLISHED",
    "Scale",
    "frame_count",
    "frame_indices",
    "normalised",
    "resized",
    "scales",
    "total",
]
