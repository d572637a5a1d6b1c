"""A distillation at smoke size, for tests and for the child processes they start (and kill).

`python smoke_run.py OUT STATE RUN` distils in the working folder; RUN is a file with a pickled Run, made by the test.
"""

import os
import pickle
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from amd.backbones.sit import SiTBackbone
from amd.config import plan
from amd.config.load import Library, Run, load
from amd.config.schema.system import LoRA, Numbers
from amd.distill.noise import generator
from amd.rewards.classifier import Classifier
from amd.train.artifact import write_artifact
from amd.train.loop import distill

CONFIG = Path(__file__).parents[2] / "config"


@cache
def library() -> Library:
    """The project's own configuration."""
    return load(CONFIG)


@dataclass(frozen=True)
class Case:
    """What a test varies; the rest is sit-amd at smoke."""

    method: str = "amd"
    numbers: dict[str, Any] = field(default_factory=lambda: {"ratio": 2})
    rank: int | None = None  # of a low-rank fake
    ema: float = 0.9
    iterations: int = 4
    seed: int = 0
    sizes: dict[str, Any] = field(default_factory=dict)  # of class
    warmup: float = 0.0

    def run(self) -> Run:
        """The run; its digest tells cases apart."""
        base = library().run("sit-amd", "smoke", self.seed)
        system = base.system.model_copy(
            update={
                "method": self.method,
                "numbers": Numbers(**self.numbers),
                "ema": self.ema,
                "lora": None if self.rank is None else LoRA(rank=self.rank, scale=2.0),
                "warmup": self.warmup,
            }
        )
        scale = base.scale.model_copy(update={"klass": base.scale.klass.model_copy(update=self.sizes)})
        digest = f"{self.method}-{self.rank}-{self.iterations}"
        return replace(base, system=system, scale=scale, stage_iterations=self.iterations, digest=digest)


def make_checkpoints() -> None:
    """Random weights for the teacher, the start with its fake, and the reward, under their digests."""
    run = Case().run()
    assert run.start is not None
    assert run.teacher is not None
    assert run.reward is not None
    domain, (channels, side) = run.domain, run.domain.latents

    def noisy(module: torch.nn.Module, name: str) -> dict[str, torch.Tensor]:
        draw = generator("smoke", name)
        moved = {n for n, p in module.named_parameters() if p.requires_grad}
        return {
            key: value + 0.05 * torch.randn(value.shape, generator=draw) if key in moved else value
            for key, value in module.state_dict().items()
        }

    sit = SiTBackbone(run.scale.klass.network, domain.classes, channels, side)
    fake = noisy(sit, "fake")
    del fake["network.pos_embed"]
    for made, tensors in (
        (run.teacher, {"teacher": noisy(sit, "teacher")}),
        (run.start, {"student": noisy(sit, "student"), "fake": fake}),
        (run.reward, {"classifier": noisy(Classifier("conv", domain.classes, domain.pixels[0]), "reward")}),
    ):
        write_artifact(Path(plan.folder(made)), tensors, {"kind": made.system.kind, "digest": made.digest})


# --- for children ----------------------------------------------------------------------------------------------------


def attempt(folder: Path, run: Run, out: str, state: str, **how: Any) -> None:
    """One attempt in `folder`, saving after every iteration; `how` as `distill` takes it."""
    os.chdir(folder)
    distill(run, Path(out), Path(state), **{"save_every_s": 0.0, **how})


def ranked_attempt(
    folder: Path,
    run: Run,
    out: str,
    state: str,
    rank: int,
    world: int,
    port: int,
    of_node: int | None = None,
    **how: Any,
) -> None:
    """An attempt as one of several processes, `of_node` of them on each node, told so as launchers do."""
    each = of_node or world
    told = {"RANK": rank, "LOCAL_RANK": rank % each, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": each, "MASTER_PORT": port}
    os.environ.update({key: str(value) for key, value in told.items()}, MASTER_ADDR="localhost")
    attempt(folder, run, out, state, **how)


def killed_attempt(folder: Path, run: Run, out: str, state: str, what: str, count: int) -> None:
    """An attempt that SIGKILLs itself before the `count`-th call of `what`: an optimiser's "step", or a "rename"."""
    owner: Any
    owner, name = (torch.optim.AdamW, "step") if what == "step" else (os, "replace")
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, counted)
    attempt(folder, run, out, state)


if __name__ == "__main__":
    attempt(Path.cwd(), pickle.loads(Path(sys.argv[3]).read_bytes()), sys.argv[1], sys.argv[2])
