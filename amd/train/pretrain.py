"""What stands before a distillation: trained here from real data, or converted, where the domain has published weights.

Teacher: flow matching on the linear path, t uniform or moved towards noise (`shift`), labels dropped for
classifier-free guidance (Ma et al., SiT).
Classifier: cross-entropy on one half of the images, shifted by up to one pixel. Both: AdamW, or for the matrices of
transformer blocks Muon (Jordan et al., 2024, as torch has it); cosine to zero, EMA.
Shapes: B rows of the global batch, x (B, C, H, H), of clips (B, C, F, H, W).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from amd.backbones.base import Backbone, fill
from amd.backbones.keymaps import load_published
from amd.backbones.sit import SiTBackbone
from amd.config import plan
from amd.config.load import Run
from amd.config.schema.assets import PublishedTeacher
from amd.config.schema.closed import PROMPTED
from amd.config.schema.sizes import Pretraining
from amd.data.assets import locate, sha256
from amd.data.sources import half, images
from amd.distill.noise import Noise
from amd.distill.path import rows, shifted
from amd.distill.types import Condition
from amd.rewards.classifier import Classifier, accuracy
from amd.train import initial
from amd.train.artifact import artifact_sha
from amd.train.checkpoint import Session, write_artifact
from amd.train.conditions import Conditions, conditions
from amd.train.devices import Ranks, leave, ranks, threads
from amd.train.finished import weights
from amd.train.journal import Journal
from amd.train.lease import Lease
from amd.train.networks import blank, network
from amd.train.progress import Progress
from amd.train.reward import build_encoder
from amd.train.scorers import scorer_training
from amd.train.shown import shown_by
from amd.train.stop import Stop
from amd.train.weights import EMA, rising, trainable

CLIP = 1.0  # of the gradient's norm
DECAY = {"teacher": 0.0, "initial": 0.0, "classifier": 0.01, "scorer": 0.01}  # weight decay; SiT trains without
STEM = "patch_embedding.weight"  # (D, C, ...) of a Wan
EVERY = 50  # iterations per journal line
SAVE_S = 60.0  # between states


class Task(NamedTuple):
    """What is trained, and how one batch scores it."""

    module: nn.Module
    sizes: Pretraining
    loss: Callable[[Noise], Tensor]  # mean over this rank's rows
    report: Callable[[], dict[str, object]]  # of the finished module, for meta.json
    finish: Callable[[], None] = lambda: None  # when the weights are final, before they are kept
    batch: Callable[[int], int] | None = None  # rows of an iteration over all ranks; None: the sizes'


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


def teacher_task(run: Run, device: torch.device) -> Task:
    """The network's own diffusion loss: flow matching of a SiT or a Wan, eps of a UNet. From scratch, or from a start.

    Of clips the first iterations may see single latent frames (`stills`), one of each of F times as many clips, at the
    cost of a batch of clips: shapes and words are learned from pictures, as the published video models learn them, and
    what belongs together over time after them. Where a latent frame holds several of pixels, it shows some motion.
    Of image to video every clip is told its own first frame.
    """
    sizes, domain = run.sizes.teacher, run.domain
    if sizes is None or domain.data is None or (domain.autoencoder and domain.autoencoder.kind != "shuffle"):
        raise ValueError(
            f"scale {run.scale.name}, domain {domain.name}: a teacher is trained here where the scale has sizes for "
            "it, the domain has data, and its network sees pixels; else the domain names a published teacher"
        )
    x, index_of, known = _shown(run, device)
    begun = _begun(run, x, device)
    x = build_encoder(run, device)(x, x)  # pixels or their rearrangement: there is nothing to draw
    module = blank(run).to(device) if run.start is None else widened(run, weights(run.start), device)
    module.precision = run.scale.precision
    stills, frames = sizes.stills or 0, x.shape[2]

    def loss(noise: Noise) -> Tensor:
        index = noise.integers("images", len(x))
        clean, cond = x[index], {**known.of(index_of[index]), **begun(index)}
        if noise.iteration < stills:
            frame = noise.integers("frame", frames)
            clean = clean[torch.arange(len(index), device=index.device), :, frame][:, :, None]
        eps, t = noise.normal("eps", tuple(clean.shape[1:])), shifted(noise.uniform("t"), sizes.shift or 1)
        dropped = noise.uniform("dropout") < sizes.label_dropout
        told = {key: torch.where(rows(dropped, value).bool(), null, value) for key, value, null in _beside(known, cond)}
        return module.native_loss(clean, eps, t, told).mean()

    return Task(module, sizes, loss, dict, batch=lambda done: sizes.batch * (frames if done < stills else 1))


def _shown(run: Run, device: torch.device) -> tuple[Tensor, Tensor, Conditions]:
    """Real images or clips (N, C, ..., H, W), what each shows (N,), and the conditions that those indices mean."""
    domain = run.domain
    assert domain.data is not None
    if run.system.track in PROMPTED:
        found = shown_by(run)
        everything = found.take(torch.arange(len(found)))
        return everything.to(device), found.prompt.to(device), conditions(run, device, found.texts)
    x, label = images(domain.data.source, domain.data.assets, run.mirror, domain.pixels)
    return x.to(device), label.to(device), conditions(run, device)


def _begun(run: Run, x: Tensor, device: torch.device) -> Callable[[Tensor], Condition]:
    """Places of clips x (N, C, F, H, W) -> what is told of their first frames; nothing outside image to video."""
    if not run.domain.begins:
        return lambda index: {}
    from amd.train.first_frame import begins  # pictures and their encoders are no business of other tracks

    begin, first = begins(run, device), x[:, :, 0].clone()
    return lambda index: begin(first[index])


def widened(run: Run, tensors: Mapping[str, Tensor], device: torch.device) -> Backbone:
    """The run's network on a start's weights. Its stem has zeros for the channels that the start was not told, so that
    at first it says what the start says, whatever the first frame: as Wan2.1's were made (arXiv 2503.20314)."""
    with torch.device("meta"):
        own = blank(run).state_dict()
    grown = {
        name: F.pad(value, (0, 0) * (value.ndim - 2) + (0, max(own[name].shape[1] - value.shape[1], 0)))
        if name.endswith(STEM) and name in own
        else value
        for name, value in tensors.items()
    }
    return network(run, grown, device)


def _beside(known: Conditions, cond: Condition) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Each tensor of a condition beside that of its null condition."""
    null = known.null(cond)
    return ((key, value, null[key]) for key, value in cond.items())


def classifier_task(run: Run, device: torch.device) -> Task:
    """Cross-entropy on the system's half of the images; judged on the other half."""
    sizes, domain, system = run.klass.classifier, run.domain, run.system
    if sizes is None or domain.data is None or system.architecture is None or system.half is None:
        raise ValueError(
            f"system {system.name} at scale {run.scale.name}, domain {domain.name}: a classifier is trained here where "
            "the scale has class.classifier, the domain has data, and the system has architecture and half"
        )
    x, label = (part.to(device) for part in images(domain.data.source, domain.data.assets, run.mirror, domain.pixels))
    own, other = half(label, system.half), half(label, 1 - system.half)
    module = Classifier(system.architecture, domain.classes, domain.pixels[0], seed=run.seed).to(device)

    def loss(noise: Noise) -> Tensor:
        index = own[noise.integers("images", len(own))]
        down, right = noise.integers("down", 3), noise.integers("right", 3)
        return F.cross_entropy(module(jittered(x[index], down - 1, right - 1)), label[index])

    def report() -> dict[str, object]:
        shares = {name: accuracy(module, x[rows], label[rows]) for name, rows in (("own", own), ("other", other))}
        return {"accuracy": {f"{name} half": share for name, share in shares.items()}}

    return Task(module, sizes, loss, report)


def scorer_task(run: Run, device: torch.device) -> Task:
    """A scorer of a prompted track on the system's half of the captioned images or clips."""
    training, sizes = scorer_training(run, device)
    return Task(training.module, sizes, training.loss, training.report, training.finish)


def initial_task(run: Run, world: Ranks, state: Path, stop: Stop) -> Task:
    """A streaming student from the teacher's weights, on the teacher's ODE, which is solved first."""
    sizes, streaming = run.video.initial, run.video.streaming
    if sizes is None or streaming is None or run.teacher is None:
        raise ValueError(
            f"scale {run.scale.name}: {run.name} is trained here where the scale has {run.system.track}.initial and "
            f"{run.system.track}.streaming; else the domain names published weights (initial)"
        )
    found = initial.trajectories(run, state / "trajectories", world, stop)
    module, asked = network(run, weights(run.teacher), world.device), initial.known(run, world.device)
    return Task(module, sizes, lambda noise: initial.regression(module, found, asked, streaming.chunk, noise), dict)


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


def jittered(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """(B, C, H, H) moved by (B,) pixels in {-1, 0, 1} each way; the border is filled with black (-1)."""
    batch, side = x.shape[0], x.shape[3]
    line = torch.arange(side, device=x.device) + 1
    rows, columns = line - down[:, None], line - right[:, None]  # (B, H) into the padded image
    padded = F.pad(x, (1, 1, 1, 1), value=-1.0)
    at = torch.arange(batch, device=x.device)[:, None, None]
    return padded.movedim(1, 3)[at, rows[:, :, None], columns[:, None, :]].movedim(3, 1)


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
