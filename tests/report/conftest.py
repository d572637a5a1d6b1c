"""A results tree as the measuring verbs leave it, with numbers that a test chooses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amd.config import plan
from amd.config.load import Library, Run, load

ROOT = Path(__file__).parents[2]
BENCHMARK = "class"


class Results:
    """Writes score and trace files of runs at a scale, under `root`."""

    def __init__(self, library: Library, root: Path, scale: str) -> None:
        self.library, self.root, self.scale = library, root, scale

    def _write(self, path: str, run: Run, content: dict[str, Any]) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        said = {
            "benchmark": BENCHMARK,
            "version": 1,
            "protocol": "as agreed",
            "judge": run.domain.judge.name,
            "judge_sha256": "a" * 64,
            "reward": run.domain.reward.name,
            "reward_sha256": "b" * 64,
            "system": run.system.name,
            "run": run.name,
            "scale": self.scale,
            "seed": run.seed,
            "run_digest": run.digest,
            "student_sha256": f"{run.seed}" * 64,
            "git_sha": "c" * 40,
            "amd_version": "0.1.0",
            "created": "2026-01-01T00:00:00Z",
        }
        file.write_text(json.dumps({**said, **content}))
        return file

    def score(self, system: str, seed: int, **metrics: float) -> Path:
        """One score file; metrics that are not given are 0.5. `is_` is the inception score."""
        run = self.library.run(system, self.scale, seed)
        values = dict.fromkeys(self.library.benchmarks[BENCHMARK].metrics, 0.5)
        values |= {key.rstrip("_"): value for key, value in metrics.items()}
        path = plan.score(self.scale, run.name, seed, BENCHMARK, run.domain.judge.name)
        floor = {"half": {"fid": 0.7, "is": 9.0, "precision": 0.9}, "at_n": {"fid": 0.3, "is": 9.1}}
        return self._write(path, run, {"metrics": values, "floor": floor, "n": 5000})

    def trace(self, system: str, seed: int, iterations: list[int], **curves: list[float]) -> Path:
        """One trace file."""
        run = self.library.run(system, self.scale, seed)
        metrics = {key.rstrip("_"): values for key, values in curves.items()}
        path = plan.trace(self.scale, run.name, seed, BENCHMARK)
        return self._write(path, run, {"iterations": iterations, "metrics": metrics, "n": 1000})

    def samples(self, folder: str, count: int = 60, classes: int = 10, channels: int = 1, side: int = 16) -> Path:
        """A folder of samples; image i is of class i mod `classes` and all of one grey, i."""
        target = self.root / folder
        target.mkdir(parents=True, exist_ok=True)
        images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, side, side, channels))
        np.savez(target / "samples.npz", arr_0=images, labels=np.arange(count) % classes)
        return target


@pytest.fixture(scope="session")
def library() -> Library:
    return load(ROOT / "config")


@pytest.fixture
def results(library: Library, tmp_path: Path) -> Results:
    return Results(library, tmp_path, "tiny")


@pytest.fixture
def table4(results: Results) -> Callable[..., None]:
    """Score every row of Table 4, `shift` being added to AMD's FID; DMD's seeds are 18, 19 and 17."""

    def fill(shift: tuple[float, float, float] = (-3.0, -4.0, -3.5), systems: dict[str, float] | None = None) -> None:
        base = (18.0, 19.0, 17.0)
        results.score("sit-teacher", 0, fid=7.5, is_=9.66)
        for seed in range(3):
            results.score("sit-warm-short", seed, fid=28.0 + seed)
            results.score("sit-dmd", seed, fid=base[seed], is_=8.6)
            results.score("sit-dmdr", seed, fid=21.0 + seed, is_=9.7)
            results.score("sit-amd", seed, fid=base[seed] + shift[seed], is_=9.1)
            results.score("sit-amd-without-adaptation", seed, fid=base[seed] - 2.0)
            results.score("sit-amd-without-sharpening", seed, fid=base[seed] + (-1, 1, 0.2)[seed])

    return fill
