"""VBench-I2V (Huang et al. 2024b, VBench++): does a clip keep to the picture it begins with?

Source: Vchitect/VBench@45e79ec, vbench2_beta_i2v/ and scripts/cal_i2v_final_score.py. Three dimensions of its own and
six of VBench's; temporal flickering is listed for some prompts but enters no score.
"""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor

from amd.measure.vbench import DIMENSIONS as VBENCH
from amd.measure.vbench import Absent, Dimension, Totals, totals

DIMENSIONS = {
    "camera_motion": Dimension(0.0, 1.0, 0.1, "i2v"),
    "i2v_subject": Dimension(0.1462, 1.0, 1.0, "i2v"),
    "i2v_background": Dimension(0.2615, 1.0, 1.0, "i2v"),
    **{
        name: VBENCH[name]
        for name in (
            "subject_consistency",
            "background_consistency",
            "motion_smoothness",
            "dynamic_degree",
            "aesthetic_quality",
            "imaging_quality",
        )
    },
}
GROUPS = {"quality": 1.0, "i2v": 1.0}
"""Weights in the total."""

SHARES = (0.4, 0.3, 0.3)  # of the best likeness, of the mean and of the least likeness of neighbours
STILL = 0.005  # of the shorter side: an edge point that moves less stands still
TOWARDS = {
    ("left", "left"): "pan_right",
    ("right", "right"): "pan_left",
    ("down", "down"): "tilt_up",
    ("up", "up"): "tilt_down",
    ("static", "static"): "static",
}
"""Where the content of two opposite edges goes -> what the camera does."""
ACROSS = {("up", "down"): "zoom_in", ("down", "up"): "zoom_out"}  # of top and bottom
ALONG = {("left", "right"): "zoom_in", ("right", "left"): "zoom_out"}  # of left and right
CAMERA = {
    "camera pans left": "pan_left",
    "camera pans right": "pan_right",
    "camera tilts up": "tilt_up",
    "camera tilts down": "tilt_down",
    "camera zooms in": "zoom_in",
    "camera zooms out": "zoom_out",
    "camera static": "static",
}
"""Words of a prompt -> what the camera is to do."""


def i2v_totals(values: Mapping[str, float], *, absent: Absent = "zero") -> Totals:
    """As `amd.measure.vbench.totals`, of these nine dimensions: groups quality and i2v."""
    return totals(values, absent=absent, dimensions=DIMENSIONS, groups=GROUPS)


def faithfulness(features: Tensor, image: Tensor) -> Tensor:
    """How a clip keeps to its first picture: features of its frames (n, F, D), of the pictures (n, D) -> (n,).

    i2v_subject reads DINO's features, i2v_background DreamSim's. Similarities are cosines, none below 0.
    """
    if features.shape[1] < 2:
        raise ValueError("a clip of one frame has no neighbours to be like")
    frames = F.normalize(features.double(), dim=-1)
    to_image = (frames * F.normalize(image.double(), dim=-1)[:, None]).sum(-1).clamp_min(0)
    to_next = (frames[:, 1:] * frames[:, :-1]).sum(-1).clamp_min(0)
    best, mean, least = SHARES
    return best * to_image.amax(1) + mean * to_next.mean(1) + least * to_next.amin(1)


def directions(vector: tuple[float, float], side: int) -> list[str]:
    """Where a point went, by x and y in pixels (y downwards) of pictures whose shorter side is `side`."""
    x, y, still = *vector, side * STILL
    found = ["right"] if x > still else ["left"] if x < -still else []
    found += ["down"] if y > still else ["up"] if y < -still else []
    return found or ["static"]


def camera(top: Sequence[str], bottom: Sequence[str], left: Sequence[str], right: Sequence[str]) -> set[str]:
    """What the camera may have done, from where the content in the middle of each edge went; "None": nothing known."""
    found = _classes(top, bottom, TOWARDS | ACROSS) | _classes(left, right, TOWARDS | ALONG)
    for weak in ("static", "None"):
        if len(found) > 1:
            found.discard(weak)
    return found


def _classes(one: Sequence[str], other: Sequence[str], known: Mapping[tuple[str, str], str]) -> set[str]:
    return {known[a, b] for a in one for b in other if (a, b) in known} or {"None"}


def asked_camera(prompt: str) -> str:
    """What a prompt tells the camera to do. ValueError where it tells it nothing."""
    for words, motion in CAMERA.items():
        if words in prompt:
            return motion
    raise ValueError(f"prompt {prompt!r} asks for no motion of the camera; the words are {', '.join(CAMERA)}")
