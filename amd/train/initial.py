"""A streaming student's first weights: regression on the teacher's ODE, before any distribution is matched.

The teacher's guided ODE is solved from N noises, and its states at the student's times are kept. The student, which
begins at the teacher's weights, learns from a state what the ODE ends in: all chunks in one masked forward pass, each
chunk at a time of its own, the clean chunks before it as context. It is CausVid's initialisation (Yin et al., 2025,
Sec. 4.3), which Self-Forcing and LongLive start from (`ode_init.pt`), with a clean context, which is what its rollout
will have. Shapes: N clips, S = (C, F, H, W), k times.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from amd.backbones.base import Backbone
from amd.config.load import Run
from amd.distill.noise import Noise
from amd.distill.rollout import grid
from amd.distill.types import Conditioning
from amd.train.artifact import Refused, read_artifact, write_artifact
from amd.train.conditions import Conditions, asked_for
from amd.train.devices import Ranks
from amd.train.finished import weights
from amd.train.networks import network
from amd.train.ode import states
from amd.train.progress import Progress
from amd.train.stop import Stop


@dataclass(frozen=True)
class Trajectories:
    """N solutions of the teacher's ODE on the CPU: of which prompt, their states at the student's times, their end."""

    prompt: Tensor  # (N,)
    x_t: Tensor  # (N, k, *S)
    x: Tensor  # (N, *S)
    times: Tensor  # (k,) float64, ascending

    def __len__(self) -> int:
        return len(self.prompt)


def times_of(run: Run) -> Tensor:
    """The student's times, (k,) float64, as its rollout has them."""
    return torch.tensor(grid(run.numbers.get("steps", 1), run.numbers.get("shift", 1.0)), dtype=torch.float64)


def trajectories(run: Run, folder: Path, ranks: Ranks, stop: Stop) -> Trajectories:
    """`tether_pairs` of them; chunks of `sample_batch` are shared out over ranks and kept in `folder`.

    ValueError where the student's times are not among the ODE's: their shifts must be the same.
    """
    assert run.teacher is not None
    sizes, domain, asked = run.video, run.domain, known(run, ranks.device)
    every = sizes.teacher_steps // run.numbers.get("steps", 1)
    if run.numbers.get("shift", 1.0) != domain.shift:
        raise ValueError(
            f"systems/{run.system.name}.yaml: numbers.shift {run.numbers['shift']} is not the shift {domain.shift} of "
            f"domain '{domain.name}': the states of the teacher's ODE would be at other times than the student's"
        )
    count, size = sizes.tether_pairs, sizes.sample_batch
    noise = Noise(run.seed, 0, count, phase="trajectories")  # drawn whole: neither chunks nor ranks change one
    z, prompt = noise.normal("z", domain.latent_shape), torch.arange(count) % asked.count
    starts = range(0, count, size)
    mine = [start for start in starts if (start // size) % ranks.world == ranks.rank]
    missing = [start for start in mine if _read(folder, start) is None]
    teacher: Backbone | None = None
    with Progress("teacher's ODE", len(mine), len(mine) - len(missing), quiet=not ranks.main) as progress:
        for start in missing:
            if reason := stop.reason():
                stop.leave(reason, f"{progress.done} of {len(mine)} chunks of the teacher's ODE are in {folder}")
            if teacher is None:
                teacher = network(run.teacher, weights(run.teacher), ranks.device).requires_grad_(False).eval()
            own = slice(start, start + size)
            cond = asked.of(prompt[own].to(ranks.device))
            solved = states(
                teacher,
                z[own].to(ranks.device),
                Conditioning(cond, asked.null(cond), 1),
                sizes.teacher_steps,
                run.cfg_weight,
                domain.shift,
            )
            found = list(solved)
            x_t, x = torch.stack(found[:-1][::every], 1), found[-1]
            if not bool(x.isfinite().all()):
                raise FloatingPointError(f"the teacher's ODE of clips {start} to {start + len(x)} is not finite")
            write_artifact(_chunk(folder, start), {"states": {"x_t": x_t, "x": x}}, {"kind": "trajectories"})
            progress.step()
            stop.stepped()
    ranks.wait()
    chunks = [part for start in starts if (part := _read(folder, start)) is not None]
    assert len(chunks) == len(starts)
    x_t, x = (torch.cat([part[name] for part in chunks]) for name in ("x_t", "x"))
    return Trajectories(prompt, x_t, x, times_of(run))


def known(run: Run, device: torch.device) -> Conditions:
    """The training prompts."""
    return asked_for(run, device, "train")


def regression(module: Backbone, found: Trajectories, asked: Conditions, chunk: int, noise: Noise) -> Tensor:
    """Mean over a batch of the squared error of x0_hat, every chunk asked at a time of its own."""
    index = noise.integers("clips", len(found))
    device, rows = index.device, index.cpu()
    x, frames = found.x[rows].to(device), found.x.shape[2]
    which = torch.stack([noise.integers(f"time {place}", len(found.times)) for place in range(frames // chunk)], 1)
    which = which.repeat_interleave(chunk, 1)  # (b, F)
    at = rows[:, None], which.cpu(), slice(None), torch.arange(frames)[None, :]
    x_t = found.x_t[at].transpose(1, 2).to(device)  # (b, F, C, H, W) -> (b, C, F, H, W)
    cond = asked.of(found.prompt[rows].to(device))
    told = module.masked(x, x_t, found.times.to(device)[which], cond)  # type: ignore[operator]
    return (told - x).square().mean()


def _chunk(folder: Path, start: int) -> Path:
    return folder / f"{start:07d}"


def _read(folder: Path, start: int) -> dict[str, Tensor] | None:
    try:
        return read_artifact(_chunk(folder, start), "states")
    except (FileNotFoundError, Refused):
        return None
