"""The configuration as it stands, cut to seconds where a test does not say otherwise."""

import dataclasses
from pathlib import Path

import pytest
import torch

from amd.config.load import Library, load

torch.set_num_threads(1)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def library() -> Library:
    """config/ of this checkout."""
    return load(ROOT / "config")


def with_problem(library: Library, problem: str, scale: str = "smoke", **changes: object) -> Library:
    """The same library with `changes` to a problem; keys of the scale's sizes are given as `sizes={...}`, `seeds=[...]`."""
    sizes, seeds = changes.pop("sizes", {}), changes.pop("seeds", None)
    base = library.scales[scale]
    scaled = base.model_copy(update={"plane": base.plane.model_copy(update=sizes), "seeds": seeds or base.seeds})
    changed = library.problems[problem].model_copy(update=changes)
    return dataclasses.replace(
        library, problems={**library.problems, problem: changed}, scales={**library.scales, scale: scaled}
    )
