"""R(image, prompt) -> number, higher is better: what a text scorer is, and which there are.

A scorer reads pixels (B, 3, H, W), or one of clips (B, 3, F, H, W), float32 in [-1, 1] of any side, resizes them
itself, and says by what resize and by which weights. `PromptReward` makes one a `Reward`, which knows a prompt by its
index.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from amd.distill.types import Condition

TEXT_SCORERS: dict[str, str] = {
    "hpsv2": "amd.rewards.hpsv2:published",
    "pickscore": "amd.rewards.pickscore:published",
    "imagereward": "amd.rewards.imagereward:published",
    "clip-score": "amd.rewards.clip_score:published",
    "videoalign": "amd.rewards.videoalign:published",
    "emoji-align": "amd.rewards.emoji_align:trained",
    "sprite-agreement": "amd.rewards.sprite_detector:trained",
    "clip-align": "amd.rewards.clip_align:trained",
}
"""Name -> module:function (TextMaterial -> TextScorer), imported when it is asked for."""

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@runtime_checkable
class TextScorer(Protocol):
    """A torch module in eval mode whose own weights are fixed."""

    differentiable: bool
    """Whether a gradient reaches the pixels."""
    revision: str
    """sha256 of the weights: two scorers of one name and another revision are two metrics."""
    preprocessing: str
    """What happens to the pixels and in which precision they are looked at; it moves scores in the third digit."""

    def __call__(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        """pixels (B, 3, H, W), of clips (B, 3, F, H, W), float32 in [-1, 1], B prompts -> (B,) float32."""
        ...


@dataclass(frozen=True)
class TextMaterial:
    """What a text scorer may be made of; each takes what it needs and says what is missing."""

    files: Sequence[Path] = ()  # published files, or one folder of them
    weights: Mapping[str, Tensor] | None = None  # the state dict of a scorer trained here
    settings: Mapping[str, Any] = field(default_factory=dict)  # the scorer's own keys, e.g. hpsv2's version

    def setting(self, scorer: str, **known: Any) -> dict[str, Any]:
        """The settings over the defaults `known`.

        ValueError names a key that the scorer does not have, and a value that is no flag or number where one is due.
        """
        if unknown := sorted(set(self.settings) - set(known)):
            listed = ", ".join(sorted(known)) or "none"
            raise ValueError(f"text scorer '{scorer}': settings: unknown key '{unknown[0]}'; its keys: {listed}")
        return known | {key: _typed(scorer, key, value, known[key]) for key, value in self.settings.items()}

    def file(self, scorer: str, name: str) -> Path:
        """The published file called `name`, among `files` or in the one folder. ValueError where it is not there."""
        for path in self.files:
            if path.name == name and path.is_file():
                return path
            if (path / name).is_file():
                return path / name
        given = ", ".join(str(path) for path in self.files) or "nothing"
        raise ValueError(f"text scorer '{scorer}' needs the file {name}; it was given {given}")


def _typed(scorer: str, key: str, value: Any, default: Any) -> Any:
    """`value`, which is a flag or a whole number where the default is one."""
    if isinstance(default, bool) and not isinstance(value, bool):
        raise ValueError(f"text scorer '{scorer}': settings: {key} is {value!r}; say true or false, without quotes")
    if type(default) is int and type(value) is not int:
        raise ValueError(f"text scorer '{scorer}': settings: {key} is {value!r}; say a whole number")
    return value


def text_scorer(name: str, material: TextMaterial) -> TextScorer:
    """The scorer called `name`, in eval mode on the CPU; it is a torch module, so `.to(device)` moves it."""
    if name not in TEXT_SCORERS:
        raise ValueError(f"unknown text scorer {name!r}; known: {', '.join(sorted(TEXT_SCORERS))}")
    module, attribute = TEXT_SCORERS[name].split(":")
    return getattr(import_module(module), attribute)(material)


class PromptReward(nn.Module):
    """A text scorer as a `Reward`: row i is scored for `texts[cond["prompt"][i]]`."""

    def __init__(self, scorer: TextScorer, texts: Sequence[str]) -> None:
        super().__init__()
        self.scorer, self.texts = scorer, tuple(texts)

    @property
    def differentiable(self) -> bool:
        """Whether a gradient reaches x."""
        return self.scorer.differentiable

    def forward(self, x: Tensor, cond: Condition) -> Tensor:
        """x (B, 3, H, W), of clips (B, 3, F, H, W), in [-1, 1], cond {"prompt": (B,) int64} -> (B,) float32.

        ValueError on an index that is no prompt: -1 is the null condition's, which asks for nothing.
        """
        asked = cond["prompt"].tolist()
        if wrong := [index for index in asked if not 0 <= index < len(self.texts)]:
            raise ValueError(
                f"prompt {wrong[0]} is none of the run's {len(self.texts)}; a reward needs a prompt per row"
            )
        return self.scorer(x, [self.texts[index] for index in asked]).float()


def per_prompt(prompts: Sequence[str], encode: Callable[[list[str]], Tensor]) -> Tensor:
    """(B, ...): `encode` of each prompt, asked once per different text, since the rows of a group share theirs."""
    different = list(dict.fromkeys(prompts))
    place = {text: index for index, text in enumerate(different)}
    encoded = encode(different)
    return encoded[torch.tensor([place[text] for text in prompts], device=encoded.device)]


def check(pixels: Tensor, prompts: Sequence[str], *, clips: bool = False) -> None:
    """ValueError unless they are B RGB images, or clips (B, 3, F, H, W), and B prompts."""
    what, shape = ("clips", "(B, 3, F, H, W)") if clips else ("images", "(B, 3, H, W)")
    if pixels.ndim != 4 + clips or pixels.shape[1] != 3 or not pixels.is_floating_point():
        raise ValueError(
            f"a text scorer of {what} reads float pixels {shape}, not {pixels.dtype} {tuple(pixels.shape)}"
        )
    if len(pixels) != len(prompts):
        raise ValueError(f"{len(pixels)} {what} and {len(prompts)} prompts are not pairs")


def precision(scorer: str, name: str) -> torch.dtype:
    """The dtype of a scorer's setting `precision`. ValueError on an unknown one."""
    if name not in PRECISIONS:
        raise ValueError(f"text scorer '{scorer}': settings: precision {name!r} is none of {', '.join(PRECISIONS)}")
    return PRECISIONS[name]
