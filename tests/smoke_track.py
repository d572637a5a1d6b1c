"""A prompted track at scale smoke, trained once: the same functions that the workflow's jobs call, in one process."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from amd.config import plan
from amd.config.load import Library, Run, load
from amd.measure.reference import reference
from amd.measure.sample import sample
from amd.measure.score import score
from amd.train.loop import distill
from amd.train.pretrain import pretrain

ROOT = Path(__file__).parents[1]
SCALE = "smoke"


class Track:
    """A folder in which runs are made as they are asked for, each once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.library: Library = load(ROOT / "config")

    def run(self, system: str, seed: int = 0) -> Run:
        """Trained, with everything that it reads."""
        run = self.library.run(system, SCALE, seed)
        for other in run.reads:
            self.run(other.name, other.seed)
        out = Path(plan.folder(run))
        if not out.exists():
            state = Path(plan.state(SCALE, run.name, seed, run.digest))
            (distill if run.system.kind == "student" else pretrain)(run, out, state)
        return run

    def scored(self, system: str, benchmark: str, seed: int = 0) -> Path:
        """The score file of a run under a benchmark."""
        run, entry = self.run(system, seed), self.library.benchmarks[benchmark]
        for other in run.panel:
            self.run(other.name, other.seed)
        place = (SCALE, run.name, seed, benchmark)
        out = Path(plan.score(*place, run.domain.judge.name))
        if not out.exists():
            drawn, real = Path(plan.samples(*place)), Path(plan.reference_of(run, benchmark))
            sample(run, entry, drawn)
            if not real.exists():
                reference(run, entry, real)
            score(run, entry, drawn, real, out, Path(plan.records(*place, run.domain.judge.name)))
        return out


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], contextlib.AbstractContextManager[Track]]:
    """`with made() as track:` works in the track's folder and comes back."""
    track = Track(tmp_path_factory.mktemp("track"))

    @contextlib.contextmanager
    def inside() -> Iterator[Track]:
        with contextlib.chdir(track.folder):
            yield track

    return inside
