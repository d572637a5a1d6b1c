"""What stands before a distillation: trained here from real data, or converted, where the domain has published weights.

What is learned stands in `amd.train.pretrain_tasks`; here is the loop: AdamW, or for the matrices of transformer blocks
Muon (Jordan et al., 2024, as torch has it); cosine to zero, EMA.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from amd.backbones.base import fill
from amd.backbones.keymaps import load_published
from amd.backbones.sit import SiTBackbone
from amd.config import plan
from amd.config.load import Run
from amd.config.schema.assets import PublishedTeacher
from amd.config.schema.sizes import Pretraining
from amd.data.assets import locate, sha256
from amd.distill.noise import Noise
from amd.train.artifact import artifact_sha
from amd.train.checkpoint import Session, write_artifact
from amd.train.devices import Ranks, leave, ranks, threads
from amd.train.journal import Journal
from amd.train.lease import Lease
from amd.train.networks import blank
from amd.train.pretrain_tasks import classifier_task, initial_task, scorer_task, teacher_task
from amd.train.progress import Progress
from amd.train.stop import Stop
from amd.train.weights import EMA, rising, trainable

CLIP = 1.0  # of the gradient's norm
DECAY = {"teacher": 0.0, "initial": 0.0, "classifier": 0.01, "scorer": 0.01}  # weight decay; SiT trains without
EVERY = 50  # iterations per journal line
SAVE_S = 60.0  # between states


def pretrain(run: Run, out: Path, state: Path, budget_s: float | None = None) -> None:
    """Make the teacher, classifier or scorer `run` in `out`; resumes from `state`, exits 75 after SIGTERM or a budget.

    ValueError for a run that is none; FloatingPointError where a loss or gradient is not finite: nothing has moved.
    """
    out, state = Path(out), Path(state)
    if run.system.kind not in DECAY:
        raise ValueError(f"{run.name}: kind {run.system.kind} is not pretrained; {', '.join(DECAY)} are")
    threads()
    world = ranks()
    if published(run) is not None:
        if world.main:
            convert(run, out)
        leave()
        return
    state.mkdir(parents=True, exist_ok=True)
    with Stop(budget_s) as stop, Lease(state, interrupted=stop.give_up) if world.main else nullcontext() as lease:
        _train(run, out, state, world, stop, lease.check if lease else lambda: None)


def published(run: Run) -> PublishedTeacher | None:
    """The weights that others trained, where the domain has them for a run of this kind."""
    return {"teacher": run.domain.teacher, "initial": run.domain.initial}.get(run.system.kind)


def convert(run: Run, out: Path) -> None:
    """The published weights of the domain as an artefact in our names and our arrow of time."""
    theirs = published(run)
    assert theirs is not None
    file = locate(theirs.asset, run.mirror)
    module = blank(run)
    files = [file, *(locate(asset, run.mirror) for asset in theirs.shards or ())]
    if theirs.layout == "diffusers":
        tensors = {name: tensor for part in files for name, tensor in load_file(part).items()}
        fill(module, {f"network.{name}": tensor.float() for name, tensor in tensors.items()}, str(file))
    elif isinstance(module, SiTBackbone) and theirs.layout in ("sit", "repa"):
        load_published(module, file, theirs.layout)
    elif theirs.layout in ("wan", "self-forcing"):
        from amd.backbones.wan_keymaps import load_wan  # with diffusers' transformers: where one is asked for

        load_wan(module, files, theirs.layout)
    else:
        raise ValueError(f"system {run.name}: layout {theirs.layout!r} is none of backbone {run.system.backbone!r}")
    origin = {"file": theirs.asset.file, "sha256": sha256(file), "layout": theirs.layout}
    write_artifact(out, {run.system.kind: module.state_dict()}, {**_meta(run, 0), "made_from": {"published": origin}})


TASKS = {"teacher": teacher_task, "classifier": classifier_task, "scorer": scorer_task}


def optimisers_of(module: nn.Module, sizes: Pretraining, decay: float) -> dict[str, Optimizer]:
    """ "weights": AdamW; and "matrices": Muon, where the sizes ask for it, of what transformer blocks multiply by.

    ValueError where a network that has no such blocks is to be moved by Muon.
    """
    matrices = {
        name: parameter
        for name, parameter in module.named_parameters()
        if sizes.muon and parameter.requires_grad and ".blocks." in name and name.endswith(".weight")
        if parameter.ndim == 2
    }
    if sizes.muon and not matrices:
        raise ValueError(
            f"muon {sizes.muon}: a {type(module).__name__} has no transformer blocks whose matrices it moves"
        )
    own = {id(parameter) for parameter in matrices.values()}
    others = [parameter for parameter in trainable(module) if id(parameter) not in own]
    # fused: one pass over the parameters; the others loop in Python
    found: dict[str, Optimizer] = {"weights": AdamW(others, sizes.lr, weight_decay=decay, fused=True)}
    if sizes.muon:
        found["matrices"] = Muon(matrices.values(), sizes.muon, weight_decay=decay)
    return found


def _train(run: Run, out: Path, state: Path, world: Ranks, stop: Stop, held: Callable[[], None]) -> None:
    """The loop. `held` raises unless this process may still write."""
    own = run.system.kind == "initial"
    task = initial_task(run, world, state, stop) if own else TASKS[run.system.kind](run, world.device)
    sizes, parameters = task.sizes, trainable(task.module)
    optimisers = optimisers_of(task.module, sizes, DECAY[run.system.kind])
    ema = EMA(task.module, sizes.ema)
    session = Session(state, run.digest, main=world.main)
    done = session.restore({"weights": task.module, "ema": ema}, optimisers)
    journal = Journal(state / "journal.jsonl", resumed=done) if world.main else None
    title = f"{run.name} seed {run.seed}"

    def save() -> None:
        if world.main:
            held()
            tensors = {"weights": task.module.state_dict(), "ema": ema.state_dict()}
            session.save(done, tensors, optimisers)

    mean = torch.zeros((), device=world.device)
    stop.resting()
    with Progress(title, sizes.iterations, done, quiet=not world.main) as progress:
        while done < sizes.iterations:
            falling = (1 + math.cos(math.pi * done / sizes.iterations)) / 2
            for name, optimiser in optimisers.items():
                for group in optimiser.param_groups:
                    group["lr"] = falling * (sizes.muon if name == "matrices" and sizes.muon else sizes.lr)
            batch = task.batch(done) if task.batch else sizes.batch
            noise = Noise(run.seed, done, batch, world.rank, world.world, run.system.kind, device=world.device)
            loss = task.loss(noise)
            loss.backward()
            value = world.average(parameters, loss.detach())
            norm = nn.utils.clip_grad_norm_(parameters, CLIP)
            if not bool(torch.isfinite(value) & torch.isfinite(norm)):
                last = session.last_good or "none yet"
                raise FloatingPointError(
                    f"{title}: loss {float(value)} and gradient norm {float(norm)} at iteration {done + 1}; "
                    f"the weights were not moved; last good state: {last}"
                )
            for optimiser in optimisers.values():
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
            ema.decay = rising(sizes.ema, done)
            ema.update()
            done += 1
            stop.stepped()
            mean += (value - mean) / ((done - 1) % EVERY + 1)
            if journal and done % EVERY == 0:
                journal.write(done, {"loss": float(mean), "gradient": float(norm), "lr": falling * sizes.lr})
            progress.step(loss=float(mean))
            if done % EVERY == 0:
                mean.zero_()
            stopping = stop.reason(session.save_s)
            if world.most(int(bool(stopping))) and done < sizes.iterations:
                save()
                stop.leave(stopping or "another process stops", f"iteration {done} of {sizes.iterations} is in {state}")
            if world.most(int(session.due(SAVE_S))):
                save()
                stop.resting()
    task.module.load_state_dict(ema.complete(task.module))
    task.finish()
    if world.main:
        held()
        meta = {**_meta(run, done), "made_from": _made_from(run), **task.report()}
        write_artifact(out, {run.system.kind: task.module.state_dict()}, meta)
        session.clear()
    world.wait()
    leave()


def _meta(run: Run, iterations: int) -> dict[str, object]:
    return {
        "kind": run.system.kind,
        "system": run.system.name,
        "scale": run.scale.name,
        "seed": run.seed,
        "digest": run.digest,
        "iterations": iterations,
        "made_from": {},
    }


def _made_from(run: Run) -> dict[str, dict[str, str]]:
    """The checkpoint whose weights a training began from."""
    if run.start is None:
        return {}
    folder = plan.folder(run.start)
    found = artifact_sha(Path(folder), run.start.system.kind)
    return {"start": {"path": folder, "sha256": found, "digest": run.start.digest}}
