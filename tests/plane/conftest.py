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


@pytest.fixture(scope="session")
def with_problem():
    """A copy of a library with changes to one problem, and to the scale's `sizes` of the plane and its `seeds`."""

    def changed(library: Library, problem: str, scale: str = "smoke", **changes: object) -> Library:
        sizes, seeds = changes.pop("sizes", {}), changes.pop("seeds", None)
        base = library.scales[scale]
        scaled = base.model_copy(update={"plane": base.plane.model_copy(update=sizes), "seeds": seeds or base.seeds})
        entry = library.problems[problem].model_copy(update=changes)
        return dataclasses.replace(
            library, problems={**library.problems, problem: entry}, scales={**library.scales, scale: scaled}
        )

    return changed
