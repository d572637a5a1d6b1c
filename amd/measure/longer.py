"""Clips of another length than the training's, by a student that streams: made, decoded and stored chunk by chunk.

What the student remembers stays as large as its window (`amd.distill.rollout.chunks`), what the decoder remembers as
large as its convolutions reach, and a chunk is forgotten when it is written: memory does not grow with the length.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from amd.backbones.base import backbone
from amd.config.load import Run
from amd.config.schema.closed import VIDEO
from amd.distill.rollout import chunks, times_of
from amd.measure.sample import Sampler, finite, labels, rollout_of
from amd.train.networks import streaming
from amd.train.progress import Progress
from amd.train.reward import build_parts_decoder


def longer(run: Run, frames: int) -> Run:
    """The same weights, asked for clips of `frames` frames of pixels; its digest stays.

    ValueError for a system that makes a clip at once, whose network knows one length; and for a number that is not
    whole chunks of latent frames, with the next one that is.
    """
    system, clip = run.system, run.domain.clip
    if system.track not in VIDEO or clip is None or not backbone(system.backbone).streams:
        what = f"backbone '{system.backbone}'" if system.backbone else f"a system of kind '{system.kind}'"
        raise ValueError(
            f"systems/{system.name}.yaml: {what} does not stream: it makes a whole sample at once, of the size that it "
            "was trained at; clips of any length take backbone: wan-streaming"
        )
    assert run.video.streaming is not None, "checked at load"
    chunk = run.video.streaming.chunk
    stride = (clip.frames - 1) // (clip.latent_frames - 1)  # frames of a latent frame, after the first
    latent, rest = divmod(frames - 1, stride)
    latent += 1
    if frames < 1 or rest or latent % chunk:
        fits = (max(-(-(latent + (rest > 0)) // chunk), 1) * chunk - 1) * stride + 1
        raise ValueError(
            f"--frames {frames}: {system.name} makes {chunk} latent frames at a time, each of {stride} frames after "
            f"the first; the next length is {fits}"
        )
    long = clip.model_copy(update={"frames": frames, "latent_frames": latent})
    return replace(run, domain=run.domain.model_copy(update={"clip": long}))


def streamed(
    sampler: Sampler, indices: range, title: str, stored: Callable[[Tensor], Tensor]
) -> Iterator[tuple[Iterator[Tensor], Tensor]]:
    """The clips of `sampler`'s run, `sample_batch` at a time: their parts (b, 3, f, H, W) uint8, a chunk each, as
    `stored` makes them, and labels (b,). Together the parts are what `sampler` itself would make. With progress."""
    run, decoded = sampler.run, build_parts_decoder(sampler.run, sampler.device)
    size = run.sizes.sample_batch
    starts = range(0, len(indices), size)
    with Progress(title, len(starts) * _chunks(run)) as progress:

        def written(parts: Iterator[Tensor]) -> Iterator[Tensor]:
            for part in parts:
                yield stored(part)
                progress.step()

        for start in starts:
            asked = indices[start : start + size]
            yield written(parts_of(sampler, decoded, asked)), labels(sampler.benchmark, sampler.asked.count, asked)


@torch.inference_mode()
def parts_of(
    sampler: Sampler, decoded: Callable[[Iterable[Tensor]], Iterator[Tensor]], indices: Sequence[int]
) -> Iterator[Tensor]:
    """Pixels (b, 3, f, H, W) of a chunk after another, float32 about [-1, 1] on the CPU, made when they are asked for.

    FloatingPointError where a chunk is not finite.
    """
    run, stream = sampler.run, streaming(sampler.network)
    assert stream is not None
    rollout = rollout_of(run)
    times = times_of(rollout["steps"], rollout["first"], rollout["shift"])
    _, conditioning, noise = sampler.wants(indices)
    path, shape = sampler.network.path, run.domain.latent_shape
    made = chunks(stream, path, conditioning.cond, shape, noise, times, eta=rollout["eta"])
    for pixels in decoded(x0 for x0, _ in islice(made, _chunks(run))):
        yield finite(pixels, run, indices)


def _chunks(run: Run) -> int:
    """Of a clip."""
    assert run.video.streaming is not None
    return run.domain.latent_shape[1] // run.video.streaming.chunk
