"""What a detector says about one object of one image; GenEval's logic reads nothing else."""

from typing import NamedTuple


class Detection(NamedTuple):
    """One object."""

    class_name: str
    score: float  # confidence in [0, 1]
    box: tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels, y downwards
    colour: str | None = None  # None: nobody looked
