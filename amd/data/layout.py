"""Where objects go: boxes at random places that hardly overlap and stand to each other as asked.

A relation is GenEval's (djghosh13/geneval evaluation/evaluate_images.py, relative_position): the offset of two centres,
less a tenth of both boxes' extent, over the length of the offset, points left, right, up or down by more than 1/2.
Boxes are (x0, y0, x1, y1) in pixels, y downwards.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CANDIDATES = 48  # arrangements tried at once; the best is taken
ROUNDS = 16
APART = 0.55  # of the room, between the two sides of a relation
DIRECTIONS = {"left of": (0, -1.0), "right of": (0, 1.0), "above": (1, -1.0), "below": (1, 1.0)}
"""Relation -> axis and sign."""
TRUE_FROM = 0.5  # GenEval's
ASKED_FROM = 0.6  # more than true, so that half a pixel's error of a detector changes nothing


class Relation(NamedTuple):
    """Object `subject` stands `words` object `target`, both as places in the list of boxes."""

    subject: int
    words: str
    target: int


def relative_position(subject: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes (..., 4) -> (..., 2): x and y of GenEval's revised offset, from the target to the subject."""
    offset = (subject[..., :2] + subject[..., 2:] - target[..., :2] - target[..., 2:]) / 2
    extent = (subject[..., 2:] - subject[..., :2]) + (target[..., 2:] - target[..., :2])
    revised = np.maximum(np.abs(offset) - 0.1 * extent, 0) * np.sign(offset)
    return revised / np.maximum(np.linalg.norm(offset, axis=-1, keepdims=True), 1e-9)


def lay_out(
    sizes: NDArray[np.int64], relations: Sequence[Relation], side: int, random: np.random.Generator
) -> NDArray[np.int64] | None:
    """Sizes (n, 2) as width, height in pixels -> boxes (n, 4), inside `side` x `side`, every relation true.

    Among 48 random arrangements the one with the least overlap, and the fewest relations beyond the asked, is taken;
    where it overlaps too much or a relation is not true, another 48 are drawn. None where nothing will do.
    """
    n = len(sizes)
    pairs = np.triu_indices(n, 1)
    margin = round(side / 32)
    room = side - sizes + 1 - 2 * margin
    for attempt in range(ROUNDS):
        place = random.random((CANDIDATES, n, 2))
        if attempt % 2:
            place = _guided(place, relations)
        corner = margin + np.floor(place * room)
        boxes = np.concatenate((corner, corner + sizes), axis=-1)
        overlap = _overlap(boxes[:, pairs[0]], boxes[:, pairs[1]]).sum(1)
        wrong, blurred = _complaints(boxes, relations)
        best = int(np.argmin(wrong * 1e6 + blurred * side + overlap))
        if not wrong[best] and overlap[best] <= attempt // 4 * 0.004 * side**2:
            return boxes[best].astype(np.int64)
    return None


def _guided(place: NDArray[np.float64], relations: Sequence[Relation]) -> NDArray[np.float64]:
    """(K, n, 2) in [0, 1): subjects to their side of the picture, targets to the other. Chance rarely sorts groups."""
    place = place.copy()
    for subject, words, target in relations:
        axis, sign = DIRECTIONS[words]
        for index, end in ((subject, sign > 0), (target, sign < 0)):
            inside = place[:, index, axis] % (1 - APART)
            place[:, index, axis] = inside + (APART if end else 0)
    return place


def _overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 4) twice -> (...) square pixels, of boxes with a pixel of air between them."""
    shared = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2]) + 1
    return np.maximum(shared, 0).prod(-1)


def _complaints(
    boxes: NDArray[np.float64], relations: Sequence[Relation]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(K, n, 4) -> (K,) twice: how many relations are not clearly true, and how many pairs stand so much aslant that a
    second relation is true as well."""
    if not relations:
        return np.zeros(len(boxes), int), np.zeros(len(boxes), int)
    subject, words, target = zip(*relations, strict=True)
    axis, sign = np.array([DIRECTIONS[it] for it in words]).T
    axis, each = axis.astype(int), np.arange(len(relations))
    relative = relative_position(boxes[:, list(subject)], boxes[:, list(target)])  # (K, relations, 2)
    wrong = relative[:, each, axis] * sign <= ASKED_FROM
    return wrong.sum(1), (np.abs(relative[:, each, 1 - axis]) > TRUE_FROM).sum(1)
