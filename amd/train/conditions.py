"""What a network is told, by index: labels of the class track, prompts of the others, and their null condition.

A prompt's condition carries the prompt's own index besides the encoder's states, so that rewards find the words. Of
image to video it says what its clip begins with (`amd.train.first_frame`), and so does its null condition: the words
alone are taken away, as Wan2.1 guides (wan/image2video.py, arg_null).
Shapes: (b,) int64 indices -> tensors (b, ...).
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from amd.config.load import Run
from amd.config.schema.closed import PROMPTED
from amd.data.assets import locate
from amd.data.labels import labels
from amd.distill.types import Condition, Conditioning
from amd.distill.types import Noise as Draws

if TYPE_CHECKING:  # the class track needs neither, and they take seconds to import
    from amd.backbones.text import TextEncoder
    from amd.data.prompts import PromptSet

NOBODY = -1  # the prompt index of a null condition


class Conditions(Protocol):
    """Indices -> conditions."""

    count: int  # indices are 0 .. count - 1

    def of(self, index: Tensor) -> Condition:
        """(b,) -> the condition of each."""
        ...

    def null(self, cond: Condition) -> Condition:
        """The condition of classifier-free guidance's unconditional half: same keys and shapes."""
        ...


class Labels:
    """The classes of the class track; the null label is their number."""

    def __init__(self, classes: int) -> None:
        self.count = classes

    def of(self, index: Tensor) -> Condition:
        """{"label": (b,)}."""
        return {"label": index}

    def null(self, cond: Condition) -> Condition:
        """{"label": (b,)} filled with the null label."""
        return {"label": torch.full_like(cond["label"], self.count)}


class Texts:
    """Prompts whose states are looked up (`kept`) or encoded as they are asked for, and what their clips begin with."""

    def __init__(
        self,
        texts: Sequence[str],
        encoder: "TextEncoder",
        kept: Condition | None,
        device: torch.device,
        begun: Callable[[Tensor], Condition] | None = None,
    ) -> None:
        """`begun`: (b,) indices -> what is told of the pictures of these prompts."""
        self.texts, self.count, self.encoder, self.device = tuple(texts), len(texts), encoder, device
        self.begun = begun
        self.kept = None if kept is None else {key: value.to(device) for key, value in kept.items()}
        self.nobody = {key: value.to(device) for key, value in encoder.null(1).items()}

    def of(self, index: Tensor) -> Condition:
        """{"prompt": (b,), and the encoder's tensors (b, ...), and those of a first frame}."""
        if self.kept is not None:
            states: Condition = {key: value[index] for key, value in self.kept.items()}
        else:
            found = self.encoder([self.texts[i] for i in index.tolist()])
            states = {key: value.to(self.device) for key, value in found.items()}
        return {"prompt": index, **states, **({} if self.begun is None else self.begun(index))}

    def null(self, cond: Condition) -> Condition:
        """The encoder's null states, and no prompt; what is told besides, a first frame, stays."""
        rows = len(cond["prompt"])
        states = {key: value.expand(rows, *value.shape[1:]) for key, value in self.nobody.items()}
        return {**cond, "prompt": torch.full_like(cond["prompt"], NOBODY), **states}


def conditions(
    run: Run,
    device: torch.device,
    texts: Sequence[str] = (),
    begun: Callable[[Tensor], Condition] | None = None,
) -> Conditions:
    """Of a run's track; `texts` are the prompts that are meant (prompted tracks), `begun` says their first frames."""
    if run.system.track not in PROMPTED:
        return Labels(run.domain.classes)
    encoder, settings = encoder_of(run, device), run.domain.encoder
    assert settings is not None, "checked at load"
    from amd.backbones.text import encode_once

    kept = encode_once(encoder, texts, kept_in(run, texts)) if settings.kept else None
    return Texts(texts, encoder, kept, device, begun)


def asked_for(run: Run, device: torch.device, use: str) -> Conditions:
    """Every class, or the prompts of "train" or of a benchmark, with their first frames where networks are told some.

    ValueError where these are wanted and the prompts come without.
    """
    if run.system.track not in PROMPTED:
        return conditions(run, device)
    texts = prompts_for(run, use).texts
    if not run.domain.begins:
        return conditions(run, device, texts)
    from amd.train.first_frame import begun  # pictures and their encoders are no business of other tracks

    return conditions(run, device, texts, begun(run, device, use))


def encoder_of(run: Run, device: torch.device) -> "TextEncoder":
    """The text encoder of the run's domain. MissingAsset names a published file that is nowhere."""
    from amd.backbones.text import text_encoder

    settings, (_, side) = run.domain.encoder, run.domain.pixels
    assert settings is not None, "checked at load"
    files = [locate(asset, run.mirror) for asset in settings.assets]
    own = {} if settings.length is None else {"length": settings.length}
    return text_encoder(settings.name, files, device, side=side, **own)


def prompts_for(run: Run, use: str) -> "PromptSet":
    """The prompts of "train" or of a benchmark, as many as the scale asks for."""
    from amd.data.prompts import prompts

    if use not in run.domain.prompts:
        known = ", ".join(sorted(run.domain.prompts))
        raise ValueError(f"domain '{run.domain.name}': prompts.{use} is missing; it has prompts for {known}")
    entry = run.domain.prompts[use]
    return prompts(entry.source, entry.assets, run.mirror, run.prompted.prompts.get(use), entry.seed)


def grouped(known: Conditions, group: int) -> Callable[[Draws], Conditioning]:
    """(noise) -> Conditioning: one index per group of K consecutive rows of the global batch."""

    def draw(noise: Draws) -> Conditioning:
        cond = known.of(labels(noise, known.count, group))
        return Conditioning(cond, known.null(cond), group)

    return draw


def kept_in(run: Run, texts: Sequence[str]) -> Path:
    """A file that these prompts under this encoder share, whoever asks first."""
    content = [run.domain.encoder and run.domain.encoder.model_dump(mode="json"), list(texts)]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    return Path("state") / run.scale.name / "prompts" / f"{key}.safetensors"
