"""Distillation: phases of `amd.distill.step` -> backward, clip, finite?, optimiser step; average, journal, save, stop.

An interrupted run continues where its newest good state is, and ends in the same student bit for bit: every random
number is a function of (seed, iteration), and a state holds every weight, moment and average. Iterations are student
updates.
"""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from torch import Tensor

from amd.backbones.adapters import low_rank, merged
from amd.config.load import Run
from amd.distill.noise import Noise
from amd.distill.step import step
from amd.train.artifact import intact, read_meta, write_artifact, write_tensors
from amd.train.cast import build_cast, made_from, method_of
from amd.train.checkpoint import Session
from amd.train.devices import Ranks, leave, ranks, threads
from amd.train.journal import Journal
from amd.train.kept import NAME, keep, put_back
from amd.train.lease import Lease
from amd.train.optimise import NonFinite, Optimise, averaging, clip_of, learning_rate
from amd.train.progress import Progress
from amd.train.sharding import sharded, whole
from amd.train.stop import Stop
from amd.train.weights import EMA, Trainable, trainable

__all__ = ["NonFinite", "Training", "distill", "earlier", "milestones"]

LINES = 100  # of the journal, per run
GO, SAVE, STOP = 0, 1, 2


def milestones(iterations: int, count: int) -> list[int]:
    """At most `count` iterations, evenly spaced, the last one included."""
    return sorted({round(iterations * k / count) for k in range(1, count + 1)} - {0})


def distill(
    run: Run,
    out: Path,
    state: Path,
    budget_s: float | None = None,
    *,
    save_every_s: float = 60.0,
    sharding: Literal["none", "fsdp2"] = "none",
    offload: bool = False,
) -> None:
    """Train a student: artefact `out`, training state in `state`.

    Exit code 75 (SystemExit) after SIGTERM, SIGINT or a budget that nears its end, with everything saved. Raises
    NonFinite before an optimiser moves on a value that is none. Under several processes all call this; `sharding` and
    `offload` are a footprint's (`amd.train.devices.ranks`), and change a student by rounding only.
    """
    threads()
    out, state, world = Path(out), Path(state), ranks(sharding, offload=offload)
    with ExitStack() as stack:
        stop = stack.enter_context(Stop(budget_s))
        lease = Lease(state, interrupted=stop.give_up) if world.main else None
        if lease is not None:
            stack.enter_context(lease)
        world.wait()
        if world.most(int(world.main and (_finished(run, out) or _put_back(run, state, out)))):
            return
        training = Training(run, out, state, world, stop, lease)
        training.run_to_the_end(save_every_s)
        world.wait()
    leave()


class Training:
    """One attempt at one run."""

    def __init__(self, run: Run, out: Path, state: Path, world: Ranks, stop: Stop, lease: Lease | None) -> None:
        """Builds everybody and resumes the newest good state."""
        self.run, self.out, self.state, self.world, self.stop, self.lease = run, out, state, world, stop, lease
        sizes, system = run.sizes, run.system
        self.title = f"{run.name} seed {run.seed}"
        self.method = method_of(run)
        self.company = build_cast(run, world, state=state, stop=stop)
        self.batch = self.company.batch
        self.micro = world.micro(run.batch, sizes.micro_batch, sizes.group)
        self.iterations = run.stage_iterations
        self.milestones = milestones(self.iterations, sizes.milestones)
        self.ema = EMA(self.company.modules["student"], system.ema) if system.ema else None
        self.session = Session(state, f"{run.digest}-seed{run.seed}", main=world.main)
        self.done = self.session.restore(self._roles(), self.company.optimisers)
        assert len(set(world.collect(self.done))) == 1, "ranks resumed different steps"
        moving = trainable(*self.company.modules.values())
        world.agree([p for p in moving if not sharded(p)], self.title)
        self.kept: dict[str, str] = {k: str(v) for k, v in _mapping(self.session.extra.get("milestones")).items()}
        self.journal = Journal(state / "journal.jsonl", resumed=self.done) if world.main else None

    def run_to_the_end(self, save_every_s: float) -> None:
        """Every iteration that is left, then the artefact."""
        optimise = Optimise(self.company, self.world, clip_of(self.run), last_good=self.session.last_good)
        every = max(1, self.iterations // LINES)
        with Progress(self.title, self.iterations, self.done, quiet=not self.world.main) as progress:
            progress.say(f"from iteration {self.done} to {self.iterations}: {self._setting()}")
            self.stop.resting()
            while self.done < self.iterations:
                logged = (self.done + 1) % every == 0 or self.done + 1 == self.iterations
                seen = self._iterate(optimise, stats=logged)
                self.done += 1
                if self.done in self.milestones:
                    self._keep_milestone()
                if logged:
                    self._log(seen, progress)
                progress.step(**{k: v for k, v in seen.items() if k in ("student/gradient", "fake/loss")})
                self.stop.stepped()
                self._save_or_stop(save_every_s)
            self._finish()
            progress.say(f"done: {self.out}")

    def _iterate(self, optimise: Optimise, *, stats: bool) -> dict[str, float]:
        """One student update and its fake updates; what was seen, where asked for."""
        run, system = self.run, self.run.system
        for role, base in (("student", run.sizes.lr), ("fake", run.sizes.fake_lr)):
            for group in self.company.optimisers[role].param_groups:
                group["lr"] = learning_rate(base, self.done, self.iterations, system.warmup)
        noise = Noise(
            run.seed,
            earlier(run) + self.done,
            run.batch,
            rank=self.world.rank,
            world=self.world.world,
            device=self.world.device,
        )
        optimise.where = f"{self.title}, iteration {self.done}"
        optimise.last_good = self.session.last_good
        progress = self.done / self.iterations
        seen: dict[str, list[float]] = {}
        for phase in step(
            self.method, self.company.cast, self.batch, noise, progress=progress, micro=self.micro, stats=stats
        ):
            values = optimise(phase)
            if phase.role == "student" and phase.last and self.ema is not None:
                self.ema.decay = averaging(run, self.done)
                self.ema.update()
            found: dict[str, float | Tensor] = {**values, **phase.stats}
            for key, value in found.items():
                seen.setdefault(f"{phase.role}/{key}", []).append(float(value))
        return {key: sum(values) / len(values) for key, values in seen.items()}

    def _roles(self) -> dict[str, Trainable | EMA]:
        """Everything that a state holds, optimisers aside."""
        roles: dict[str, Trainable | EMA] = {role: Trainable(m) for role, m in self.company.modules.items()}
        return roles if self.ema is None else {**roles, "ema": self.ema}

    def _student(self) -> dict[str, Tensor]:
        """The weights that are used: the average where there is one."""
        student = self.company.modules["student"]
        return dict(student.state_dict()) if self.ema is None else self.ema.complete(student)

    def _plain(self, student: dict[str, Tensor]) -> dict[str, Tensor]:
        """With a low-rank branch added to the weights: whoever samples it needs no branch."""
        lora = self.run.system.student_lora
        return student if lora is None else merged(student, lora.scale)

    def _keep_milestone(self) -> None:
        """In the state folder until the end; a state that relies on it knows its sha256."""
        student = whole(self._student(), self.world.main)
        if self.world.main:
            assert self.lease is not None
            self.lease.check()
            name = _milestone(self.done)
            self.kept[name] = write_tensors(self.state / name, self._plain(student))

    def _save_or_stop(self, every_s: float) -> None:
        reason = self.stop.reason(self.session.save_s) if self.done < self.iterations else None
        said = self.world.most(STOP if reason else SAVE if self.world.main and self.session.due(every_s) else GO)
        if said == GO:
            return
        self.save()
        self.stop.resting()
        if said == STOP:
            self.world.wait()
            leave()
            what = f"saved {self.session.last_good}" if self.world.main else "saved by the main process"
            self.stop.leave(reason or "another process stops", what)

    def save(self) -> None:
        """The state after `done` iterations."""
        if self.world.main:
            assert self.lease is not None
            self.lease.check()
        tensors = {role: holder.state_dict() for role, holder in self._roles().items()}
        self.session.save(
            self.done, tensors, self.company.optimisers, extra={"milestones": self.kept}, attached=self.kept
        )

    def _finish(self) -> None:
        """The artefact is in place before the states go; the journal stays."""
        student = whole(self._student(), self.world.main)
        fake = whole(Trainable(self.company.modules["fake"]).state_dict(), self.world.main)
        if not self.world.main:
            return
        assert self.lease is not None
        self.lease.check()
        run = self.run
        tensors: dict[str, Mapping[str, Tensor] | Path] = {
            "student": self._plain(student),
            **({"student_lora": low_rank(student)} if run.system.student_lora else {}),
            "fake": fake,
            **{name.removesuffix(".safetensors"): self.state / name for name in self.kept},
        }
        meta = {
            "kind": "student",
            "system": run.system.name,
            "run": run.name,
            "scale": run.scale.name,
            "seed": run.seed,
            "digest": run.digest,
            "iterations": self.iterations,
            "made_from": made_from(run),
        }
        write_artifact(self.out, tensors, meta, expected=self.kept)
        keep(self.out, self.state)
        self.session.clear()
        for folder in ("milestones", "pairs"):
            shutil.rmtree(self.state / folder, ignore_errors=True)

    def _log(self, seen: dict[str, float], progress: Progress) -> None:
        """Means over ranks: each saw its own rows."""
        everywhere = self.world.collect(seen)
        if self.journal is None:
            return
        keys = sorted(set().union(*everywhere))
        mean = {key: _mean([each[key] for each in everywhere if key in each]) for key in keys}
        self.journal.write(self.done, {**mean, "s_per_iteration": round(progress.each_s, 4)})

    def _setting(self) -> str:
        return (
            f"{self.run.system.method}, batch {self.run.batch} on {self.world}, "
            f"{self.micro} micro-batches, {self.run.scale.precision}, digest {self.run.digest}"
        )


def earlier(run: Run) -> int:
    """Iterations of the students that this one continues: its draws go on where theirs ended, and repeat none."""
    return 0 if run.start is None else earlier(run.start) + run.start.stage_iterations


def _milestone(iteration: int) -> str:
    return f"milestones/{iteration:06d}.safetensors"


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _finished(run: Run, out: Path) -> bool:
    """Whether an earlier attempt, or an orphan of one, finished this very run."""
    there = _is(run, out)
    if there:
        print(f"{out}: finished already (digest {run.digest}); delete it and its state to train it anew", flush=True)
    return there


def _put_back(run: Run, state: Path, out: Path) -> bool:
    """Whether it was finished, was deleted after that, and is there again; what was altered is not put back."""
    there = _is(run, state / NAME) and intact(state / NAME) and put_back(state, out)
    if there:
        print(f"{out}: finished before and put back (digest {run.digest}); delete {state} to train it anew", flush=True)
    return there


def _is(run: Run, folder: Path) -> bool:
    """Whether a folder holds the finished artefact of this run."""
    try:
        meta = read_meta(folder)
    except (FileNotFoundError, ValueError):
        return False
    found = (meta.get("digest"), meta.get("seed"), meta.get("iterations"))
    return found == (run.digest, run.seed, run.stage_iterations)
