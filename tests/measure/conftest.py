"""Finished runs at scale smoke, as training leaves them, but with random weights: real classes, real digits."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from amd.backbones.base import backbone
from amd.config import plan
from amd.config.load import Library, Run, load
from amd.config.schema.tables import Benchmark
from amd.rewards.classifier import Classifier
from amd.train.artifact import write_artifact

ROOT = Path(__file__).parents[2]
torch.set_num_threads(1)


def network(run: Run, seed: int) -> dict[str, Tensor]:
    """Weights of the run's backbone. Every one of them is drawn: the published initialisation predicts zero."""
    channels, side = run.domain.latents
    module = backbone(run.system.backbone)(run.scale.klass.network, run.domain.classes, channels, side)
    source = torch.Generator().manual_seed(seed)
    state = {
        name: tensor + 0.05 * torch.randn(tensor.shape, generator=source)
        for name, tensor in module.state_dict().items()
    }
    return {name: tensor.contiguous() for name, tensor in state.items()}


@dataclass(frozen=True)
class World:
    """A checkout's folders, with everything that measuring reads."""

    library: Library
    root: Path

    @property
    def benchmark(self) -> Benchmark:
        return self.library.benchmarks["class"]

    def run(self, system: str, seed: int = 0, **sizes: int) -> Run:
        """A run at smoke, its class sizes changed where asked (that changes no weight, so the digest stays)."""
        run = self.library.run(system, "smoke", seed)
        klass = run.scale.klass.model_copy(update=sizes)
        return replace(run, scale=run.scale.model_copy(update={"klass": klass}))

    def finish(self, run: Run, *, milestones: tuple[int, ...] = ()) -> Path:
        """Write the run's checkpoint folder."""
        if run.system.kind == "classifier":
            assert run.system.architecture is not None
            channels, _ = run.domain.pixels
            tensors = {"classifier": Classifier(run.system.architecture, run.domain.classes, channels).state_dict()}
        else:
            final = sum(map(ord, run.name)) + run.seed
            tensors = {run.system.kind: network(run, final)}
            for at in milestones:
                tensors[f"milestones/{at:06d}"] = network(run, final if at == max(milestones) else final + at)
        write_artifact(self.root / plan.folder(run), tensors, {"kind": run.system.kind, "digest": run.digest})
        return self.root / plan.folder(run)


@pytest.fixture(scope="module")  # not the session: other files want the working directory back
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Teacher, starts, two classifiers, DMD and AMD with milestones; the working directory is its root."""
    made = World(load(ROOT / "config"), tmp_path_factory.mktemp("world"))
    before = Path.cwd()
    os.chdir(made.root)
    for system in ("digits-reward", "digits-judge", "sit-teacher", "sit-warm-short", "sit-dmd"):
        made.finish(made.run(system))
    made.finish(made.run("sit-amd"), milestones=(1, 2))
    yield made
    os.chdir(before)
