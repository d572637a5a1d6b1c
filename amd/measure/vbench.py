"""VBench (Huang et al. 2024): sixteen dimensions of a video model, and the three totals that tables print.

Source: Vchitect/VBench@45e79ec, scripts/constant.py and scripts/cal_final_score.py. A dimension's value is a mean over
videos, mostly in [0, 1]; it is stretched by a published least and greatest value, without clipping, and weighted.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Absent = Literal["zero", "left out"]
"""What a dimension that nobody measured is. "zero": a raw 0, as in VBench's script, so that a total needs all of them;
"left out": the totals are over the dimensions there are, which compares with nothing published."""


class Dimension(NamedTuple):
    """How a value enters a total."""

    least: float  # becomes 0
    most: float  # becomes 1
    weight: float
    group: str  # whose mean it enters


DIMENSIONS = {
    "subject_consistency": Dimension(0.1462, 1.0, 1.0, "quality"),
    "background_consistency": Dimension(0.2615, 1.0, 1.0, "quality"),
    "temporal_flickering": Dimension(0.6293, 1.0, 1.0, "quality"),
    "motion_smoothness": Dimension(0.706, 0.9975, 1.0, "quality"),
    "dynamic_degree": Dimension(0.0, 1.0, 0.5, "quality"),
    "aesthetic_quality": Dimension(0.0, 1.0, 1.0, "quality"),
    "imaging_quality": Dimension(0.0, 1.0, 1.0, "quality"),
    "object_class": Dimension(0.0, 1.0, 1.0, "semantic"),
    "multiple_objects": Dimension(0.0, 1.0, 1.0, "semantic"),
    "human_action": Dimension(0.0, 1.0, 1.0, "semantic"),
    "color": Dimension(0.0, 1.0, 1.0, "semantic"),
    "spatial_relationship": Dimension(0.0, 1.0, 1.0, "semantic"),
    "scene": Dimension(0.0, 0.8222, 1.0, "semantic"),
    "appearance_style": Dimension(0.0009, 0.2855, 1.0, "semantic"),
    "temporal_style": Dimension(0.0, 0.364, 1.0, "semantic"),
    "overall_consistency": Dimension(0.0, 0.364, 1.0, "semantic"),
}
"""By VBench's names, with the underscores of its files."""
GROUPS = {"quality": 4.0, "semantic": 1.0}
"""Weights in the total."""


class Totals(NamedTuple):
    """Of a model."""

    groups: Mapping[str, float]  # of VBench quality and semantic
    total: float
    missing: tuple[str, ...]  # dimensions that nobody measured; the numbers above say what `absent` made of them


def totals(
    values: Mapping[str, float],
    *,
    absent: Absent = "zero",
    dimensions: Mapping[str, Dimension] = DIMENSIONS,
    groups: Mapping[str, float] = GROUPS,
) -> Totals:
    """Values by dimension, as fractions -> the groups' weighted means and theirs.

    ValueError for a name that is no dimension, and where a group of which nothing was measured is to be left out.
    """
    if unknown := sorted(set(values) - set(dimensions)):
        raise ValueError(f"no dimension {unknown[0]!r}; there are {', '.join(dimensions)}")
    missing = tuple(name for name in dimensions if name not in values)
    found = {}
    for group in groups:
        names = [name for name, each in dimensions.items() if each.group == group]
        if absent == "left out":
            names = [name for name in names if name in values]
        if not names:
            raise ValueError(f"no dimension of {group} was measured; it cannot be left out of a total")
        weighted = [dimensions[name].weight * stretched(values.get(name, 0.0), dimensions[name]) for name in names]
        found[group] = sum(weighted) / sum(dimensions[name].weight for name in names)
    total = sum(weight * found[group] for group, weight in groups.items()) / sum(groups.values())
    return Totals(found, total, missing)


def stretched(value: float, dimension: Dimension) -> float:
    """(value - least) / (most - least): below 0 and above 1 where the value is outside."""
    return (value - dimension.least) / (dimension.most - dimension.least)
