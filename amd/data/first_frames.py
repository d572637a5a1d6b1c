"""The pictures that clips of a set of prompts are to begin with (image to video), made when they are asked for.

A row that names a picture ("image", `amd.data.video_prompts`) has its largest middle part of the clips' shape; a row
that says what moves how (`amd.data.motion`) has the first frame of its film. Shapes: uint8 (n, 3, H, W).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amd.data.clips import film
from amd.data.pictures import fitted
from amd.data.prompt_files import PromptSet
from amd.data.rows import Row, generator

Make = Callable[[], NDArray[np.uint8]]
"""-> (3, H, W)."""


@dataclass(frozen=True)
class FirstFrames:
    """A picture for each of N prompts."""

    makes: tuple[Make, ...]

    def __len__(self) -> int:
        return len(self.makes)

    def take(self, indices: Sequence[int]) -> Tensor:
        """-> uint8 (n, 3, H, W); one that is asked for several times is made once."""
        made = {i: torch.from_numpy(self.makes[i]()) for i in dict.fromkeys(indices)}
        return torch.stack([made[i] for i in indices])


def first_frames(found: PromptSet, shape: tuple[int, int, int], seed: int, what: str) -> FirstFrames:
    """Of prompts whose clips are `shape` = (F, H, W); the same (prompts, shape, seed), the same pictures.

    ValueError, naming `what` and the prompt, where a row has neither a picture nor a motion.
    """
    rows: Sequence[Row] = found.rows if found.rows is not None else [{}] * len(found)
    makes = list[Make]()
    for index, (text, row) in enumerate(zip(found.texts, rows, strict=True)):
        if "image" in row:
            makes.append(partial(fitted, Path(row["image"]), *shape[1:]))
        elif "motion" in row:
            makes.append(partial(_begun, row, film_seed(seed, index), shape))
        else:
            raise ValueError(f"{what}: prompt {text!r} comes without the picture that its clip is to begin with")
    return FirstFrames(tuple(makes))


def film_seed(seed: int, index: int) -> int:
    """Of the film whose first frame prompt `index` of a set of this seed has."""
    return int(generator("first frame", seed, index).integers(2**62))


def _begun(row: Row, seed: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(film(row, seed, *shape)[0][:, 0])
