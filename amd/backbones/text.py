"""What turns prompts into the tensors a network reads; the states of a closed set of prompts, kept on disk.

Shapes: B prompts of L tokens, states of width D: "tokens" (B, L, D) float32, and what else a network is told.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from amd.distill.types import Condition


@runtime_checkable
class TextEncoder(Protocol):
    """Frozen; no gradient comes out of it."""

    @property
    def key(self) -> str:
        """What its states depend on besides the text: weights by their sha256, and settings."""
        ...

    def __call__(self, texts: Sequence[str]) -> Condition:
        """B texts -> tensors (B, ...), without "prompt"."""
        ...

    def null(self, count: int) -> Condition:
        """The condition of classifier-free guidance's unconditional half: same keys and shapes."""
        ...


ENCODERS: dict[str, str] = {
    "minilm": "amd.backbones.minilm:minilm",
    "sd15": "amd.backbones.clip_text:sd15",
    "sdxl": "amd.backbones.clip_text:sdxl",
    "umt5": "amd.backbones.umt5:umt5",
}
"""Name in a domain's `encoder` -> module:function (files, device, side, length) -> TextEncoder, imported on demand."""


def text_encoder(
    name: str, files: Sequence[Path] | Path, device: torch.device | str, *, side: int = 1024, length: int | None = None
) -> TextEncoder:
    """An encoder on `device`.

    `files`: its files, or the folder that has them; minilm finds its own in an installed package where there are none.
    `side`: of the picture in pixels, which SDXL is told. `length`: L, where one may choose it (minilm: 20, umt5: 512).

    Raises ValueError for an unknown name, a length it does not have, weights that are others; FileNotFoundError for
    files that are not there, naming them.
    """
    if name not in ENCODERS:
        raise ValueError(f"encoder.name {name!r} is no text encoder; known: {', '.join(sorted(ENCODERS))}")
    module, attribute = ENCODERS[name].split(":")
    build: Callable[..., TextEncoder] = getattr(import_module(module), attribute)
    return build(files, torch.device(device), side=side, length=length)


def encode_once(encoder: TextEncoder, texts: Sequence[str], file: Path, *, batch: int = 64) -> Condition:
    """The states of all texts, (N, ...) on the CPU: out of `file` where it holds these texts' under this encoder, else
    computed `batch` at a time and kept there. A file of other texts or of another encoder is replaced, and it is said.
    """
    if not texts:
        raise ValueError(f"no texts to encode for {file}")
    key = hashlib.sha256(json.dumps([encoder.key, list(texts)]).encode()).hexdigest()
    if file.is_file():
        with safe_open(file, "pt") as kept:
            if (kept.metadata() or {}).get("key") == key:
                return {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118  (not a mapping)
        print(f"{file}: states of other texts or of another encoder; encoding anew", file=sys.stderr, flush=True)
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(texts), batch):
        for name, value in encoder(texts[start : start + batch]).items():
            parts.setdefault(name, []).append(value.cpu())
    states = {name: torch.cat(values) for name, values in parts.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    save_file(states, part, metadata={"key": key})
    os.replace(part, file)
    return states
