"""One thread per process before torch is loaded: two workers fill two cores."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

CLUSTER = Path(__file__).parent / "cluster"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The tests that start a Slurm cluster run when their folder is named (`make cluster-test`), and only then."""
    if collection_path != CLUSTER:
        return None
    named = (Path(argument.split("::")[0]).resolve() for argument in config.args)
    return None if any(path.is_relative_to(CLUSTER) for path in named) else True
