"""Pairs of noise and the teacher's ODE sample from it, for the tether (DMD v1's regression; AMD Eq. 26).

Made once per run, in chunks that are artefacts of the state folder: a killed run makes the missing ones, an altered one
is made again. Shapes: N pairs, S the latent's shape.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from amd.distill.noise import Noise
from amd.distill.types import Condition, Conditioning, Denoiser
from amd.distill.types import Noise as Draws
from amd.train.artifact import Refused, read_artifact, write_artifact
from amd.train.devices import Ranks
from amd.train.ode import euler
from amd.train.progress import Progress
from amd.train.stop import Stop


@dataclass(frozen=True)
class Pairs:
    """N pairs on the CPU; calling it draws a batch of them, with replacement."""

    z: Tensor  # (N, *S)
    x: Tensor  # (N, *S)
    label: Tensor  # (N,)

    def __call__(self, noise: Draws) -> tuple[Tensor, Tensor, Condition]:
        """This rank's rows: z (b, *S), x (b, *S), cond."""
        index = noise.integers("pairs", len(self.z))
        z, x, label = (part[index.cpu()].to(index.device) for part in (self.z, self.x, self.label))
        return z, x, {"label": label}


def make(
    teacher: Denoiser,
    null: Callable[[Condition], Condition],
    folder: Path,
    *,
    count: int,
    chunk: int,
    shape: tuple[int, ...],
    classes: int,
    steps: int,
    cfg_weight: float,
    seed: int,
    ranks: Ranks,
    stop: Stop,
) -> Pairs:
    """`count` pairs with balanced labels; chunks of `chunk` are shared out over ranks and kept in `folder`."""
    noise = Noise(seed, 0, count, phase="pairs")  # drawn whole, so that neither chunks nor ranks change a pair
    z, label = noise.normal("z", shape), torch.arange(count) % classes
    starts = range(0, count, chunk)
    mine = [start for start in starts if (start // chunk) % ranks.world == ranks.rank]
    missing = [start for start in mine if _read(folder, start) is None]
    with Progress("teacher's ODE pairs", len(mine), len(mine) - len(missing), quiet=not ranks.main) as progress:
        for start in missing:
            if reason := stop.reason():
                stop.leave(reason, f"{progress.done} of {len(mine)} chunks of the teacher's pairs are in {folder}")
            own = slice(start, start + chunk)
            cond: Condition = {"label": label[own].to(ranks.device)}
            conditioning = Conditioning(cond, null(cond), 1)
            x = euler(teacher, z[own].to(ranks.device), conditioning, steps, cfg_weight)
            if not bool(x.isfinite().all()):
                raise FloatingPointError(f"the teacher's ODE samples {start} to {start + len(x)} are not finite")
            write_artifact(_chunk(folder, start), {"pairs": {"x": x}}, {"kind": "pairs"})
            progress.step()
            stop.stepped()
    ranks.wait()
    chunks = [_read(folder, start) for start in starts]
    assert all(part is not None for part in chunks)
    return Pairs(z, torch.cat([part for part in chunks if part is not None]), label)


def _chunk(folder: Path, start: int) -> Path:
    return folder / f"{start:07d}"


def _read(folder: Path, start: int) -> Tensor | None:
    try:
        return read_artifact(_chunk(folder, start), "pairs")["x"]
    except (FileNotFoundError, Refused):
        return None
