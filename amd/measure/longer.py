"""Clips of another length than the training's, by a student that streams: it makes them chunk by chunk, and what it
remembers stays as large as its window (`amd.distill.rollout.chunks`)."""

from dataclasses import replace

from amd.backbones.base import backbone
from amd.config.load import Run
from amd.config.schema.closed import VIDEO


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
