"""Whether a clip of sprites shows what its row asks for, from what a detector sees in each frame: pure Python.

Rows are `amd.data.motion`'s. Objects, pairs and colours count as VBench counts them; in place of its human actions
stands the direction in which an object moves. Relations, scenes and styles are asked of no clip of sprites.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from amd.measure.vbench_frames import frames_with
from amd.rewards.detection import Detection

Row = Mapping[str, Any]
Frames = Sequence[Sequence[Detection]]
"""What is seen in each frame of a clip."""

SEEN = 0.5  # share of the frames that an object must be seen in, for its path to be known
STILL = 0.125  # of the shorter side: half the least way that a moving object of the real clips goes

DIMENSIONS = ("object_class", "multiple_objects", "color", "human_action")


def semantics(row: Row, frames: Frames, height: int, width: int) -> dict[str, float | None]:
    """By dimension; None where the row does not ask for it.

    An object that is never seen has no colour, and counts 0: VBench leaves such clips out, and has no number where all
    are such, as with a student at the beginning of its training.
    """
    include = row["include"]
    classes = [{each.class_name for each in seen} for seen in frames]
    names = [clause["class"] for clause in include]
    shown = frames_with(" and ".join(names), classes) / len(frames)
    coloured = [clause for clause in include if "color" in clause]
    shares = [colour_share(clause["class"], clause["color"], frames) for clause in coloured]
    return {
        "object_class": shown if len(names) == 1 else None,
        "multiple_objects": shown if len(set(names)) == 2 else None,
        "color": sum(share or 0.0 for share in shares) / len(shares) if shares else None,
        "human_action": float(moves_as_asked(row, frames, height, width)),
    }


def still(row: Row) -> bool:
    """Whether nothing in it is to move or to change its size."""
    return all(each["direction"] == "still" and each["size"] == "steady" for each in row["motion"])


def colour_share(name: str, colour: str, frames: Frames) -> float | None:
    """Of the frames in which the object is seen, those in which it has the colour; None where it is in none."""
    hues = [{each.colour for each in seen if each.class_name == name} for seen in frames]
    found = [each for each in hues if each]
    return sum(colour in each for each in found) / len(found) if found else None


def moves_as_asked(row: Row, frames: Frames, height: int, width: int) -> bool:
    """Whether every object of the row goes where it is asked to."""
    return all(
        heading(way(clause, frames), STILL * min(height, width)) == motion["direction"]
        for clause, motion in zip(row["include"], row["motion"], strict=True)
    )


def way(clause: Row, frames: Frames) -> tuple[float, float] | None:
    """How far the centre of an object goes from the first frame to the last, x and y in pixels, on the line that fits
    best; None where it is seen in fewer than half of the frames."""
    places, times = [], []
    for time, seen in enumerate(frames):
        fits = [each for each in seen if each.class_name == clause["class"]]
        if "color" in clause:
            fits = [each for each in fits if each.colour == clause["color"]]
        if fits:
            x0, y0, x1, y1 = max(fits, key=lambda each: each.score).box
            places.append(((x0 + x1) / 2, (y0 + y1) / 2))
            times.append(time)
    if len(times) < max(2, math.ceil(SEEN * len(frames))):
        return None
    mean = sum(times) / len(times)
    spread = sum((time - mean) ** 2 for time in times)
    slopes = [sum((time - mean) * place[axis] for time, place in zip(times, places, strict=True)) for axis in (0, 1)]
    dx, dy = (slope / spread * (len(frames) - 1) for slope in slopes)
    return dx, dy


def heading(way: tuple[float, float] | None, least: float) -> str | None:
    """left, right, up, down by the longer component; still where both are under `least`; None of an unknown way."""
    if way is None:
        return None
    dx, dy = way
    if max(abs(dx), abs(dy)) < least:
        return "still"
    if abs(dx) >= abs(dy):
        return "right" if dx > 0 else "left"
    return "down" if dy > 0 else "up"
