"""What VBench makes of a detector's or a captioner's word on the frames of a video: pure Python, no network.

Source: Vchitect/VBench@45e79ec, vbench/{utils,object_class,multiple_objects,color,spatial_relationship,scene}.py. A
dimension's number is the mean over frames of all its videos, but of colour: there it is the mean over the videos in
which the object was found in some colour, of the share of those frames in which it had the one that was asked for.
Boxes are x0, y0, x1, y1 in pixels.
"""

from collections.abc import Collection, Sequence
from itertools import pairwise

Box = Sequence[float]

FRAMES = 16  # that are looked at
OVERLAP = 0.1  # intersection over union, above which a relation counts less
SIDEWAYS = ("on the left of", "on the right of")
UPRIGHT = ("on the top of", "on the bottom of")
COLOURS = ("white", "red", "pink", "blue", "silver", "purple", "orange", "green", "gray", "yellow", "black", "grey")
"""That a caption may name; a frame in which the object has none of them is not counted."""


def frame_indices(length: int, count: int = FRAMES) -> list[int]:
    """The middles of `count` equal stretches of `length` frames; the last one again where there are fewer."""
    taken = min(count, length)
    ends = [*(int(place * (length / taken)) for place in range(taken)), length]  # as numpy.linspace rounds
    middles = [(start + end - 1) // 2 for start, end in pairwise(ends)]
    return middles + [middles[-1]] * (count - taken)


def position_score(relation: str, a: Box, b: Box) -> float:
    """1 where the centres are further apart along the relation's axis than across it; less the more the boxes overlap.

    Which of the two is on which side is not asked: left and right score the same, as do top and bottom. ValueError for
    another relation.
    """
    if relation not in SIDEWAYS + UPRIGHT:
        raise ValueError(f"relation {relation!r}; VBench knows {', '.join(SIDEWAYS + UPRIGHT)}")
    across, down = (abs((b[i] + b[i + 2]) / 2 - (a[i] + a[i + 2]) / 2) for i in (0, 1))
    if (across <= down) if relation in SIDEWAYS else (down <= across):
        return 0.0
    overlap = intersection_over_union(a, b)
    return 1.0 if overlap < OVERLAP else OVERLAP / overlap


def intersection_over_union(a: Box, b: Box) -> float:
    """Of two boxes; 0 where both are empty."""
    width, height = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - width * height
    return width * height / union if union else 0.0


def spatial_scores(one: str, other: str, relation: str, frames: Sequence[Sequence[tuple[str, Box]]]) -> list[float]:
    """Per frame, what was seen as (name, box) -> the best score of any pair of boxes of the two names, 0 without one.

    Two boxes of the same name are a pair too.
    """
    scores = []
    for seen in frames:
        boxes = [box for name, box in seen if name in (one, other)]
        pairs = [(a, b) for place, a in enumerate(boxes) for b in boxes[place + 1 :]]
        scores.append(max((position_score(relation, a, b) for a, b in pairs), default=0.0))
    return scores


def frames_with(names: str, frames: Sequence[Collection[str]]) -> int:
    """How many frames show it, or both of "one and other": object_class and multiple_objects."""
    wanted = [name.strip() for name in names.split(" and ")]
    return sum(all(name in seen for name in wanted) for seen in frames)


def coloured_frames(colour: str, name: str, frames: Sequence[Sequence[tuple[str, str]]]) -> tuple[int, int]:
    """Per frame, (caption, name) of what was seen -> frames in which it has some colour, and in which it has `colour`.

    A caption has a colour where the word is part of it, so "a green and red car" has both.
    """
    some = asked = 0
    for seen in frames:
        captions = [caption for caption, called in seen if called == name]
        some += any(word in caption for caption in captions for word in COLOURS)
        asked += any(colour in caption for caption in captions)
    return some, asked


def coloured_object(prompt: str, colour: str) -> str:
    """What a prompt of the dimension colour is about: "a red bicycle" -> "bicycle"."""
    return prompt.replace("a ", "").replace("an ", "").replace(colour, "").strip()


def scene_frames(scene: str, captions: Sequence[str]) -> int:
    """How many captions hold every word of the scene, wherever and within whatever word."""
    return sum(all(word in caption for word in scene.split(" ")) for caption in captions)
