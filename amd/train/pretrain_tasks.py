"""What each kind of pretraining is: a network, its sizes, and how one batch of real data scores it.

Teacher: flow matching on the linear path, t uniform or moved towards noise (`shift`), labels dropped for
classifier-free guidance (Ma et al., SiT). First weights: regression on a teacher's ODE.
Classifier: cross-entropy on one half of the images, shifted by up to one pixel. Scorer: `amd.train.scorers`.
Shapes: B rows of the global batch, x (B, C, H, H), of clips (B, C, F, H, W).
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amd.backbones.base import Backbone
from amd.config.load import Run
from amd.config.schema.closed import PROMPTED
from amd.config.schema.sizes import Pretraining
from amd.data.sources import half, images
from amd.distill.noise import Noise
from amd.distill.path import rows, shifted
from amd.distill.types import Condition
from amd.rewards.classifier import Classifier, accuracy
from amd.train import initial
from amd.train.conditions import Conditions, conditions
from amd.train.devices import Ranks
from amd.train.finished import weights
from amd.train.networks import blank, network
from amd.train.reward import build_encoder
from amd.train.scorers import scorer_training
from amd.train.shown import shown_by
from amd.train.stop import Stop

STEM = "patch_embedding.weight"  # (D, C, ...) of a Wan


class Task(NamedTuple):
    """What is trained, and how one batch scores it."""

    module: nn.Module
    sizes: Pretraining
    loss: Callable[[Noise], Tensor]  # mean over this rank's rows
    report: Callable[[], dict[str, object]]  # of the finished module, for meta.json
    finish: Callable[[], None] = lambda: None  # when the weights are final, before they are kept
    batch: Callable[[int], int] | None = None  # rows of an iteration over all ranks; None: the sizes'


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


def jittered(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """(B, C, H, H) moved by (B,) pixels in {-1, 0, 1} each way; the border is filled with black (-1)."""
    batch, side = x.shape[0], x.shape[3]
    line = torch.arange(side, device=x.device) + 1
    rows, columns = line - down[:, None], line - right[:, None]  # (B, H) into the padded image
    padded = F.pad(x, (1, 1, 1, 1), value=-1.0)
    at = torch.arange(batch, device=x.device)[:, None, None]
    return padded.movedim(1, 3)[at, rows[:, :, None], columns[:, None, :]].movedim(3, 1)
