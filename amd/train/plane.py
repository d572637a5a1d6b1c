"""The plane's job: every system of a problem with every seed of the scale, stacked, then measured at every evaluation.

Writes one folder: measurements.json (numbers, with what made them) and samples.npz (snapshots, landscapes), so that
figures need neither torch nor a second look at any formula.
"""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amd.backbones.base import backbone
from amd.backbones.toy import MLP2D, Mixture, mixture
from amd.config.digest import plane_digest
from amd.config.load import Library
from amd.config.read import ConfigError, unknown
from amd.config.schema.problem import Problem
from amd.config.schema.sizes import PlaneSizes
from amd.config.schema.system import System
from amd.distill.methods import Method, row
from amd.distill.types import Denoiser
from amd.measure.toy import Judge, as_json, forbidden_border, law_curve, predicted
from amd.rewards.toy import Reward, plane_reward
from amd.train.artifact import created, git_sha, versions, write_json
from amd.train.checkpoint import Session
from amd.train.lease import Lease
from amd.train.optimise import NonFinite
from amd.train.progress import Progress
from amd.train.stacked import Stack, group_of, labels, train_teacher
from amd.train.stop import Stop
from amd.train.threads import threads

SAVE_EVERY_S = 30.0
GRID = 160  # points per side of the landscapes


@dataclass(frozen=True)
class Contender:
    """One run of the problem."""

    title: str
    system: System
    method: Method
    seed: int

    @property
    def bed(self) -> tuple[str, ...]:
        """What must be equal for two runs to lie in one stack."""
        slots = (self.method.rollout, self.method.cadence, self.method.real)
        return (*map(str, slots), str(self.system.cfg_weight), str(self.system.ema))


@dataclass
class Snapshots:
    """(evaluations so far, R, n, 2), kept in the training state beside the weights."""

    points: list[Tensor]

    def state_dict(self) -> dict[str, Tensor]:
        """By number."""
        return {f"{index:03d}": points for index, points in enumerate(self.points)}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """In order."""
        self.points = [state_dict[key] for key in sorted(state_dict)]


def plane(library: Library, problem: str, scale: str, out: Path, state: Path, budget_s: float | None = None) -> None:
    """Train and measure all systems x seeds of `problem`; `out` appears when it is complete.

    Exit code 75 (SystemExit) after SIGTERM, SIGINT or a budget that nears its end, with everything saved in `state`.
    """
    if problem not in library.problems:
        raise ConfigError(unknown(problem, "problem", library.problems))
    threads()
    out, state = Path(out), Path(state)
    with ExitStack() as exits:
        stop = exits.enter_context(Stop(budget_s))
        exits.enter_context(Lease(state, interrupted=stop.give_up))
        job = Job(library, library.problems[problem], scale, state, stop)
        if finished(out, job.digest):
            print(f"{out}: finished already", file=sys.stderr)
            return
        content, arrays = job.run()
        write(out, {**content, "scale": scale, "banner": library.scale(scale).banner}, arrays)
        for folder in state.glob("stack*"):
            shutil.rmtree(folder)


def finished(out: Path, digest: str) -> bool:
    """Whether the folder is there, whole, and of this configuration (a second process waited for the first)."""
    file = out / "measurements.json"
    if not file.is_file() or not (out / "samples.npz").is_file():
        return False
    try:
        return bool(json.loads(file.read_text())["run_digest"] == digest)
    except (ValueError, KeyError):
        return False


def write(out: Path, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """The folder, whole: beside its place, then renamed."""
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write_json(part / "measurements.json", content)
    np.savez_compressed(part / "samples.npz", **arrays)  # type: ignore[arg-type]
    shutil.rmtree(out, ignore_errors=True)
    os.replace(part, out)


class Job:
    """One problem at one scale."""

    def __init__(self, library: Library, problem: Problem, scale: str, state: Path, stop: Stop) -> None:
        self.problem, self.state, self.stop = problem, state, stop
        sizes = library.scale(scale)
        if sizes.plane is None:
            raise ConfigError(f"{library.root}/scales/{scale}.yaml: plane: missing; this scale does not run the plane")
        self.sizes: PlaneSizes = sizes.plane
        systems = {title: library.system(name) for title, name in problem.methods.items()}
        self.digest = plane_digest(problem, systems, sizes)
        self.mixture: Mixture = mixture(problem.mixture, problem.radius, problem.mode_std, problem.condition)
        self.group = group_of(problem.group, self.sizes.batch, self.mixture.classes)
        self.reward: Reward = plane_reward(problem.reward, self.means, problem.good)
        for system in systems.values():
            if backbone(system.backbone) is not MLP2D:
                raise ConfigError(
                    f"systems/{system.name}.yaml: backbone: {system.backbone!r} is not of the plane; mlp2d is"
                )
        self.contenders = [
            Contender(title, system, method_of(system), seed)
            for title, system in systems.items()
            for seed in sizes.seeds
        ]

    @property
    def means(self) -> Tensor:
        """(M, 2) of the modes, the broad component left out."""
        return self.mixture.means[: self.mixture.modes]

    @property
    def measured_group(self) -> int:
        """K among the samples of an evaluation: as in training, where there are so many."""
        return min(self.group, self.sizes.samples // self.mixture.classes)

    def run(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Train every stack, measure every run; what the two files hold."""
        label = labels(self.sizes.samples, self.mixture.classes, self.measured_group)
        real: Denoiser = self.mixture if self.problem.teacher == "exact" else train_teacher(self.mixture, self.sizes)
        beds: dict[tuple[str, ...], list[int]] = {}
        for index, contender in enumerate(self.contenders):
            beds.setdefault(contender.bed, []).append(index)
        steps = evaluations(self.sizes.iterations, self.sizes.evaluations)
        snapshots = torch.empty(len(steps), len(self.contenders), self.sizes.samples, 2)
        for number, members in enumerate(beds.values()):
            snapshots[:, members] = self._train(number, len(beds), members, real, label, steps)
        return self._measured(snapshots, label, steps), self._arrays(snapshots, steps)

    def _train(
        self, number: int, count: int, members: Sequence[int], real: Denoiser, label: Tensor, steps: Sequence[int]
    ) -> Tensor:
        """One stack from its last good state to the end -> (evaluations, runs, n, 2)."""
        runs = [self.contenders[index] for index in members]
        stack = Stack(
            [run.method for run in runs],
            [run.seed for run in runs],
            self.sizes,
            real,
            self.mixture,
            self.reward,
            cfg_weight=runs[0].system.cfg_weight,
            ema=runs[0].system.ema,
            group=self.group,
            titles=[f"{run.title} seed {run.seed}" for run in runs],
        )
        kept = Snapshots([])
        session = Session(self.state / f"stack{number}", self.digest)
        roles: dict[str, Any] = {**stack.modules, "ema": stack.ema, "snapshots": kept}
        done = session.restore(roles, stack.optimisers)
        if not kept.points:
            kept.points.append(stack.sample(label))
        title = f"{self.problem.name}, {len(runs)} runs" + (f" (stack {number + 1} of {count})" if count > 1 else "")
        with Progress(title, self.sizes.iterations, done) as progress:
            self.stop.resting()
            while done < self.sizes.iterations:
                try:
                    stack.advance(done, self.sizes.iterations)
                except NonFinite as error:
                    good = session.last_good or "none yet"
                    raise NonFinite(f"{self.problem.name}, {error}; last good state: {good}") from error
                done += 1
                if done in steps:
                    kept.points.append(stack.sample(label))
                progress.step()
                self.stop.stepped()
                reason = self.stop.reason(session.save_s)
                last = done == self.sizes.iterations and count > 1  # the stacks after it may be stopped
                if reason or last or session.due(SAVE_EVERY_S):
                    tensors = {role: module.state_dict() for role, module in roles.items()}
                    session.save(done, tensors, stack.optimisers)
                    if reason:
                        self.stop.leave(reason, f"saved {title} after {done} of {self.sizes.iterations} iterations")
        return torch.stack(kept.points)

    def _measured(self, snapshots: Tensor, label: Tensor, steps: Sequence[int]) -> dict[str, Any]:
        gamma = forbidden_border(self.mixture, self.problem.gamma_quantile)
        judge = Judge(self.mixture, self.reward, self.problem.good, label, self.measured_group, gamma)
        two_levels = self.problem.reward == "selective"
        runs = []
        with Progress(f"{self.problem.name}, measuring", len(self.contenders)) as progress:
            for index, contender in enumerate(self.contenders):
                curve = [
                    {"iteration": step, **as_json(judge.measure(snapshots[at, index]))} for at, step in enumerate(steps)
                ]
                runs.append(
                    {
                        **described(contender),
                        "law": predicted(judge, contender.method, two_levels, self.group),
                        "curve": curve,
                    }
                )
                progress.step()
        return {
            "problem": self.problem.name,
            "title": self.problem.title,
            "settings": self.problem.model_dump(mode="json", exclude={"name", "title", "about", "methods"}),
            "sizes": self.sizes.model_dump(mode="json"),
            "group": self.group,
            "modes": self.means.tolist(),
            "good": judge.good,
            "p0": judge.p0 if len(judge.good) < self.mixture.modes else None,
            "gamma": gamma,
            "floor": judge.floor(),
            "law_curve": law_curve(judge.p0, self.group) if two_levels else None,
            "runs": runs,
            "run_digest": self.digest,
            "git_sha": git_sha(),
            "versions": versions(),
            "created": created(),
        }

    def _arrays(self, snapshots: Tensor, steps: Sequence[int]) -> dict[str, np.ndarray]:
        """Snapshots, and the two landscapes on a square around the modes."""
        reach = float(self.means.abs().max()) + 5 * self.problem.mode_std + 0.3
        axis = torch.linspace(-reach, reach, GRID, dtype=torch.float64)
        points = torch.cartesian_prod(axis, axis).flip(1)  # row-major: y varies slowest, as imshow wants it
        density = torch.zeros(len(points), dtype=torch.float64)
        for label in range(self.mixture.classes):
            density += torch.exp(-self.mixture.energy(points, torch.full((len(points),), label)))
        cond = {"label": torch.zeros(len(points), dtype=torch.long)}
        return {
            "snapshots": snapshots.transpose(0, 1).numpy().astype(np.float32),  # (R, evaluations, n, 2)
            "iterations": np.array(steps),
            "titles": np.array([c.title for c in self.contenders]),
            "seeds": np.array([c.seed for c in self.contenders]),
            "axis": axis.numpy(),
            "density": (density / self.mixture.classes).reshape(GRID, GRID).numpy(),
            "reward": self.reward(points, cond).reshape(GRID, GRID).numpy(),
        }


def evaluations(iterations: int, count: int) -> list[int]:
    """Where a run is measured: at the start, then at most `count` times, evenly spaced, the last time at the end."""
    return sorted({round(iterations * index / count) for index in range(count + 1)})


def method_of(system: System) -> Method:
    """The system's row with its own numbers."""
    assert system.method is not None  # checked at load
    try:
        return row(system.method, system.numbers.model_dump(exclude_none=True))
    except ValueError as error:
        raise ConfigError(f"systems/{system.name}.yaml: method: {error}") from error


def described(contender: Contender) -> dict[str, Any]:
    """Who a run is."""
    system = contender.system
    return {
        "title": contender.title,
        "system": system.name,
        "method": system.method,
        "numbers": dict(sorted(contender.method.numbers.items())),
        "cfg_weight": system.cfg_weight,
        "ema": system.ema,
        "seed": contender.seed,
    }
