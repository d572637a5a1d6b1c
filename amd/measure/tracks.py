"""What detections in the frames of a clip say of what a row of `amd.data.motion` asks for: objects, motion, identity.

Pure functions of detections, a list of lists: F frames, each with its objects. An asked object's track is the most
confident detection of its class, and of its colour where one is asked for, in each frame.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amd.rewards.detection import Detection

Frames = Sequence[Sequence[Detection]]

MOST_FRAMES = 0.75  # of a clip, in which an object that is there is seen
MOVES_FROM = 0.1  # of the shorter side over the clip: what goes less stands still
ASLANT = 2.0  # what moves left goes at least twice as far to the left as up or down
GROWS_FROM = 1.25  # last over first extent


@dataclass(frozen=True)
class Followed:
    """An asked object over a clip."""

    present: float  # share of frames in which it is seen
    direction: str | None  # left, right, up, down, still; None: aslant, or seen too rarely
    size: str | None  # growing, shrinking, steady; None: seen too rarely

    @property
    def there(self) -> bool:
        """Whether it is seen in most frames."""
        return self.present >= MOST_FRAMES


@dataclass(frozen=True)
class Judged:
    """A clip: shares of the asked objects that are right, and of the frames that show the same things."""

    objects: float  # there in most frames, in the colour that is asked for
    direction: float  # there, and going where they are asked to
    size: float  # there, and growing or shrinking or neither, as asked
    identity: float  # frames that hold the most frequent collection of objects and colours

    @property
    def right(self) -> bool:
        """Whether all that is asked for is so."""
        return min(self.objects, self.direction, self.size) == 1


def judge(row: Mapping[str, Any], frames: Frames, height: int, width: int, coloured: Collection[str]) -> Judged:
    """A row and what is seen in each frame of its clip of `height` x `width` pixels -> what is right.

    `coloured`: classes that come in several colours; of others a detection's colour means nothing. ValueError for a
    clip of fewer than two frames.
    """
    if len(frames) < 2:
        raise ValueError(f"{len(frames)} frames; motion is judged from 2 on")
    side, asked = min(height, width), list(zip(row["include"], row["motion"], strict=True))
    found = [(follow(frames, clause["class"], clause.get("color"), side), motion) for clause, motion in asked]
    return Judged(
        objects=sum(it.there for it, _ in found) / len(found),
        direction=sum(it.there and it.direction == motion["direction"] for it, motion in found) / len(found),
        size=sum(it.there and it.size == motion["size"] for it, motion in found) / len(found),
        identity=kept(frames, coloured),
    )


def follow(frames: Frames, name: str, colour: str | None, side: int) -> Followed:
    """The track of an object; displacements are least-squares slopes over the frames in which it is seen."""
    seen = [(time, best(objects, name, colour)) for time, objects in enumerate(frames)]
    time = np.array([t for t, it in seen if it is not None], float)
    boxes = np.array([it.box for _, it in seen if it is not None], float).reshape(-1, 4)
    present = len(time) / len(frames)
    if present < MOST_FRAMES or len(time) < 2:
        return Followed(present, None, None)
    centre, extent = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    whole = len(frames) - 1
    way = whole * slope(time, centre) / side
    growth = whole * float(slope(time, np.log(np.maximum(extent, 1e-3)).mean(1, keepdims=True))[0])
    return Followed(present, heading(float(way[0]), float(way[1])), change(growth))


def best(objects: Sequence[Detection], name: str, colour: str | None) -> Detection | None:
    """The most confident detection of a class, and of a colour unless that is None."""
    fits = [it for it in objects if it.class_name == name and colour in (None, it.colour)]
    return max(fits, key=lambda it: it.score) if fits else None


def heading(x: float, y: float) -> str | None:
    """A displacement as shares of the side, y downwards -> where it goes; None: aslant."""
    if max(abs(x), abs(y)) < MOVES_FROM:
        return "still"
    if abs(x) >= ASLANT * abs(y):
        return "right" if x > 0 else "left"
    if abs(y) >= ASLANT * abs(x):
        return "down" if y > 0 else "up"
    return None


def change(growth: float) -> str:
    """The logarithm of last over first extent -> growing, shrinking or steady."""
    if abs(growth) < math.log(GROWS_FROM):
        return "steady"
    return "growing" if growth > 0 else "shrinking"


def kept(frames: Frames, coloured: Collection[str]) -> float:
    """Share of frames that hold the clip's most frequent collection of objects, colours included; 0 where the most
    frequent is nothing."""
    held = Counter(
        tuple(sorted((it.class_name, (it.colour or "") if it.class_name in coloured else "") for it in objects))
        for objects in frames
    )
    most, number = held.most_common(1)[0]
    return number / len(frames) if most else 0.0


def slope(time: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,), (n, k) -> (k,): of the straight lines that fit best."""
    centred = time - time.mean()
    return centred @ values / (centred @ centred)
