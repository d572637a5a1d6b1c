"""A run -> samples: one forward pass from noise (or the method's rollout) for a student, the guided ODE for a teacher,
its own recipe (amd.measure.released) for what others published.

Sample i is a function of (benchmark seed, i) and the weights: every system starts from the same noise, and neither
batch nor shard changes an image (beyond the last bit of a float sum). Everything is computed in float32 whatever the
training ran in, so that rounding is not among the things that are compared; a published recipe names its own
precision, and so does a domain of clips, whose teacher would take eight times as long. Stored as ADM and SiT do: arr_0
uint8 NHWC.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from amd.backbones.base import Backbone, fill
from amd.config import plan
from amd.config.load import Run
from amd.config.schema.closed import PROMPTED, Precision
from amd.config.schema.tables import Benchmark
from amd.distill.methods import row
from amd.distill.slot import Slot
from amd.distill.types import Cast, Conditioning
from amd.measure.index_noise import IndexNoise
from amd.measure.judge import to_uint8, truncated
from amd.train.artifact import (
    artifact_sha,
    created,
    git_sha,
    sha256,
    versions,
    write_json,
)
from amd.train.conditions import Conditions, asked_for, prompts_for
from amd.train.finished import weights
from amd.train.networks import blank, streaming
from amd.train.ode import ode
from amd.train.progress import Progress
from amd.train.reward import build_decoder
from amd.train.threads import threads

Decode = Callable[[Tensor], Tensor]
"""Latents (B, *S) -> pixels (B, C, H, W) in [-1, 1]; the identity where the network sees pixels."""


def labels(benchmark: Benchmark, count: int, indices: Sequence[int]) -> Tensor:
    """(b,) int64, what each sample is asked for, of `count` classes or prompts.

    Prompts: `per_prompt` consecutive samples of each, in order. Classes, balanced: sample i asks for class i mod count,
    so that every prefix is nearly balanced too.
    """
    if benchmark.track in PROMPTED:
        return torch.tensor([index // benchmark.per_prompt for index in indices])
    if benchmark.labels == "balanced":
        return torch.tensor([index % count for index in indices])
    return IndexNoise(benchmark.seed, tuple(indices)).integers("label", count)


@dataclass(frozen=True)
class Sampler:
    """Indices of a benchmark -> images, for one set of weights."""

    run: Run
    benchmark: Benchmark
    network: Backbone
    asked: Conditions  # of the benchmark's classes or prompts
    decode: Decode
    device: torch.device

    @torch.inference_mode()
    def __call__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(b,) indices -> pixels (b, C, H, W) float32 about [-1, 1], labels (b,), both on the CPU.

        FloatingPointError where an image is not finite: it would be stored as a black one.
        """
        wanted, conditioning, noise = self.wants(indices)
        x = self.decode(self._latents(conditioning, self.run.domain.latent_shape, noise))
        return finite(x, self.run, indices), wanted

    def wants(self, indices: Sequence[int]) -> tuple[Tensor, Conditioning, IndexNoise]:
        """Labels (b,) on the CPU, what they ask the network for, and the draws that are theirs."""
        wanted = labels(self.benchmark, self.asked.count, indices)
        noise = IndexNoise(self.benchmark.seed, tuple(indices), device=self.device)
        cond = self.asked.of(wanted.to(self.device))
        return wanted, Conditioning(cond, self.asked.null(cond), 1), noise

    def _latents(self, conditioning: Conditioning, shape: tuple[int, ...], noise: IndexNoise) -> Tensor:
        network = self.network.predict_x0
        if self.run.system.kind == "teacher":
            steps = self.run.sizes.teacher_steps
            return ode(self.network.path, self.run.domain.shift)(
                network, noise.normal("z", shape), conditioning, steps, self.run.cfg_weight
            )
        # a rollout asks the student alone; nobody else is on stage when it samples
        loss, path, stream = self.network.native_loss, self.network.path, streaming(self.network)
        cast = Cast(network, network, network, loss, path, self.run.cfg_weight, stream=stream)
        return rollout_of(self.run)(cast, conditioning, shape, noise, False, True).x


def rollout_of(run: Run) -> Slot:
    """How a run's network makes a sample, if it is no teacher: first weights as the students that begin at them."""
    return row(run.system.method or "dmd-pure", run.numbers).rollout


def finite(x: Tensor, run: Run, indices: Sequence[int]) -> Tensor:
    """Pixels as they are stored: float32 on the CPU. FloatingPointError where one is not finite."""
    x = x.float().cpu()
    if not bool(x.isfinite().all()):
        raise FloatingPointError(
            f"{run.name} seed {run.seed}: samples {indices[0]} to {indices[-1]} are not all finite"
        )
    return x


def device() -> torch.device:
    """A GPU if there is one. Its convolutions round to TF32 unless they are told not to, which moves FID."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build_sampler(run: Run, benchmark: Benchmark, tensors: Mapping[str, Tensor]) -> Sampler:
    """The run's network with these weights, what it is asked for, and the way from latents to pixels, in float32: the
    network too, but where the domain's clips say otherwise."""
    where = device()
    with torch.device("meta"):
        network = blank(run)
    fill(network, tensors, f"{run.name} seed {run.seed}")
    network = network.to(where).eval().requires_grad_(False)
    network.precision = drawn_in(run)
    asked = asked_for(run, where, benchmark.name)
    return Sampler(run, benchmark, network, asked, build_decoder(run, where), where)


class Drawn(Protocol):
    """What `draw` asks: a `Sampler`, or `amd.measure.released.Released`."""

    @property
    def run(self) -> Run:
        """Whose images they are."""
        ...

    def __call__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(b,) indices -> pixels (b, C, H, W) float32 about [-1, 1], labels (b,), both on the CPU."""
        ...


def stored_by(run: Run, benchmark: Benchmark) -> Callable[[Tensor], Tensor]:
    """[-1, 1] -> uint8: rounded, or truncated where the benchmark's prompts ask for that in this domain."""
    prompts = run.domain.prompts.get(benchmark.name)
    return truncated if prompts is not None and prompts.eight_bits == "truncated" else to_uint8


def draw(
    sampler: Drawn, indices: range, title: str, stored: Callable[[Tensor], Tensor] = to_uint8
) -> tuple[Tensor, Tensor]:
    """All of `drawn` at once: images (n, C, H, W) uint8 and labels (n,)."""
    parts = list(drawn(sampler, indices, title, stored))
    return torch.cat([images for images, _ in parts]), torch.cat([wanted for _, wanted in parts])


def drawn(
    sampler: Drawn, indices: range, title: str, stored: Callable[[Tensor], Tensor] = to_uint8
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images or clips (b, C, ..., H, W) uint8, as `stored` makes them, and labels (b,), `sample_batch` at a time, with
    progress."""
    size = sampler.run.sizes.sample_batch
    with Progress(title, len(indices)) as progress:
        for start in range(0, len(indices), size):
            x, label = sampler(indices[start : start + size])
            yield stored(x), label
            for _ in label:
                progress.step()


def sample(
    run: Run, benchmark: Benchmark, out: Path, *, shard: tuple[int, int] = (0, 1), frames: int | None = None
) -> None:
    """Write `out`/samples.npz (arr_0 uint8 NHWC, labels int64) and manifest.json, the folder in one rename.

    `shard` (i, n): the i-th of n consecutive parts of the indices; `gather` puts the parts together. `frames`: clips of
    so many, by a student that streams, made, decoded and written chunk by chunk (`amd.measure.longer`); they are to be
    looked at, and no score takes them.
    """
    threads()
    if frames is not None:
        from amd.measure.longer import longer  # of clips

        run = longer(run, frames)
    part, parts = shard
    if not 0 <= part < parts:
        raise ValueError(f"shard {part}/{parts} is none: they are 0/{parts} to {parts - 1}/{parts}")
    total = plan.sample_count(run, benchmark)
    indices = range(part * total // parts, (part + 1) * total // parts)
    sampler, weights_sha256, precision = _drawn(run, benchmark)
    manifest = {
        "benchmark": benchmark.name,
        "version": benchmark.version,
        "protocol": benchmark.protocol,
        "labels": benchmark.labels,
        "noise_seed": benchmark.seed,
        "indices": [indices.start, indices.stop],
        "of": total,
        "system": run.system.name,
        "run": run.name,
        "scale": run.scale.name,
        "seed": run.seed,
        "run_digest": run.digest,
        "weights_sha256": weights_sha256,
        "precision": precision,
        "git_sha": git_sha(),
        "versions": versions(),
        "created": created(),
    }
    if run.system.track in PROMPTED:
        manifest["prompts"] = list(prompts_for(run, benchmark.name).texts)  # what the labels count
    if frames is not None:
        manifest["frames"] = frames
    title, stored = f"samples of {run.name} seed {run.seed}", stored_by(run, benchmark)
    if run.domain.clip is None:
        write_samples(Path(out), *draw(sampler, indices, title, stored), manifest)
    else:
        from amd.measure.films import write_films, write_parts  # FFmpeg is no business of images

        if frames is not None and run.system.kind != "teacher":  # a teacher solves an ODE of the whole clip
            from amd.measure.longer import streamed

            assert isinstance(sampler, Sampler)
            batches = streamed(sampler, indices, title, stored)
            write_parts(Path(out), batches, indices.start, run.domain.clip, manifest)
        else:
            write_films(Path(out), drawn(sampler, indices, title, stored), indices.start, run.domain.clip, manifest)


def _drawn(run: Run, benchmark: Benchmark) -> tuple[Drawn, str, str]:
    """What draws the samples, the sha256 of its weights, and the precision that it computes in."""
    if run.system.release is not None:
        from amd.measure import released  # which needs this module

        sha256 = released.weights_sha(run)
        return released.build(run, benchmark), sha256, run.system.release.precision
    sampler = build_sampler(run, benchmark, weights(run))
    return sampler, artifact_sha(Path(plan.folder(run)), run.system.kind), drawn_in(run)


def drawn_in(run: Run) -> Precision:
    """What the matrices of a network compute in when it draws: float32, or what the domain says of its clips."""
    return run.domain.clip.drawn_in if run.domain.clip else "float32"


def write_samples(out: Path, images: Tensor, labels: Tensor, manifest: Mapping[str, object]) -> None:
    """`out`.part beside `out`, then renamed; the manifest learns the file's sha256."""
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    np.savez(part / "samples.npz", arr_0=images.permute(0, 2, 3, 1).contiguous().numpy(), labels=labels.numpy())
    write_json(part / "manifest.json", {**manifest, "n": len(images), "sha256": sha256(part / "samples.npz")})
    shutil.rmtree(out, ignore_errors=True)
    os.replace(part, out)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a folder of samples says of itself. ValueError where there is none."""
    if not (file := folder / "manifest.json").is_file():
        raise ValueError(f"{file}: not there; sample first")
    return json.loads(file.read_text())


def read_samples(folder: Path) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Images (n, C, H, W) uint8, labels (n,) int64, manifest. ValueError names a file that is missing or altered."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    if not (folder / "samples.npz").is_file():
        raise ValueError(f"{folder / 'samples.npz'}: not there; sample first")
    if sha256(folder / "samples.npz") != manifest["sha256"]:
        raise ValueError(
            f"{folder / 'samples.npz'}: truncated or altered (sha256 differs from the manifest's); sample again"
        )
    with np.load(folder / "samples.npz", allow_pickle=False) as file:
        images, wanted = torch.from_numpy(file["arr_0"]), torch.from_numpy(file["labels"])
    return images.permute(0, 3, 1, 2), wanted, manifest


def gather(folders: Sequence[Path], out: Path) -> None:
    """Put shards together. ValueError unless they are the parts of one whole, each once."""
    found = sorted(((Path(folder), read_manifest(Path(folder))) for folder in folders), key=lambda it: it[1]["indices"])
    if not found:
        raise ValueError("no shards to gather")
    same = ("benchmark", "version", "run", "seed", "run_digest", "weights_sha256", "of", "frames")
    first, position = found[0][1], 0
    for _, manifest in found:
        if differs := [key for key in same if manifest.get(key) != first.get(key)]:
            raise ValueError(
                f"shards of different things: {differs[0]} is {manifest.get(differs[0])} and {first.get(differs[0])}"
            )
        start, stop = manifest["indices"]
        if start != position:
            raise ValueError(f"shards do not join: samples {position} to {start} are missing or double")
        position = stop
    if position != first["of"]:
        raise ValueError(f"shards end at sample {position} of {first['of']}")
    whole = {**first, "indices": [0, position]}
    if "films" in first:
        from amd.measure.films import gather_films

        gather_films(found, Path(out), whole)
        return
    parts = [read_samples(folder) for folder, _ in found]
    write_samples(Path(out), torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]), whole)
