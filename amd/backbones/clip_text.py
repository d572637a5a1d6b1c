"""The text encoders of Stable Diffusion 1.5 and SDXL, as diffusers' pipelines use them, out of the published files.

Files lie as in a diffusers folder: text_encoder/config.json and model.safetensors, tokenizer/ with its json and txt
files; SDXL has text_encoder_2 and tokenizer_2 as well. Equal to `encode_prompt` of diffusers' own pipelines.
"""

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from amd.distill.types import Condition

WEIGHTS = ("model.safetensors", "model.fp16.safetensors")
Part = Mapping[str, Path]  # file name -> where it is


class Clip:
    """One CLIP text tower and its tokenizer."""

    def __init__(
        self,
        network: type[CLIPTextModel] | type[CLIPTextModelWithProjection],
        words: Part,
        tower: Part,
        device: torch.device,
    ) -> None:
        self.weights = next(tower[name] for name in WEIGHTS if name in tower)
        config = CLIPTextConfig(**json.loads(tower["config.json"].read_text()))
        self.network, report = network.from_pretrained(
            None, config=config, state_dict=load_file(self.weights), dtype=torch.float32, output_loading_info=True
        )
        wrong = {kind: sorted(map(str, names)) for kind, names in report.items() if names}
        if wrong:
            said = "; ".join(f"{len(names)} {kind}: {', '.join(names[:3])}" for kind, names in wrong.items())
            raise ValueError(f"{self.weights}: not the weights of {tower['config.json']}: {said}")
        self.network = self.network.to(device).eval().requires_grad_(False)
        self.length: int = config.max_position_embeddings
        self.tokenizer = _tokenizer(words)
        self.cut = False

    def ids(self, texts: Sequence[str]) -> Tensor:
        """(B, 77) int64, padded at the end; what is longer is cut, as the pipelines do, and said once."""
        asked = {"padding": "max_length", "max_length": self.length, "return_tensors": "pt"}
        if not self.cut:
            longest = max(len(ids) for ids in self.tokenizer(list(texts)).input_ids)
            self.cut = longest > self.length
            if self.cut:
                print(
                    f"a prompt of {longest} tokens is cut to {self.length}, CLIP reads no more; said once",
                    file=sys.stderr,
                    flush=True,
                )
        return self.tokenizer(list(texts), truncation=True, **asked).input_ids.to(self.network.device)

    @cached_property
    def sha256(self) -> str:
        """Of the weights."""
        with self.weights.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


class SD15Encoder:
    """{"tokens": (B, 77, 768)}: the last layer's states after the final norm. Null: those of the empty prompt."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip

    @property
    def key(self) -> str:
        """Weights."""
        return f"sd15 {self.clip.sha256}"

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Condition:
        """B texts -> the condition of each."""
        return {"tokens": self.clip.network(self.clip.ids(texts)).last_hidden_state}

    def null(self, count: int) -> Condition:
        """The empty prompt's."""
        return {"tokens": self([""])["tokens"].repeat_interleave(count, 0)}


class SDXLEncoder:
    """Two towers: {"tokens": (B, 77, 768 + 1280) of both last layers but one, "pooled": (B, 1280) of the second,
    "time_ids": (B, 6) = original height and width, crop's top and left, target height and width}.

    Null: zero tokens and zero pooled, not the empty prompt's (tianweiy/DMD2 main/sd_unified_model.py:262; SDXL's own
    pipeline does the same where `force_zeros_for_empty_prompt`).
    """

    def __init__(self, first: Clip, second: Clip, side: int) -> None:
        self.first, self.second, self.side = first, second, side

    @property
    def key(self) -> str:
        """Weights of both, and the side that time_ids tell."""
        return f"sdxl {self.first.sha256} {self.second.sha256} side {self.side}"

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Condition:
        """B texts -> the condition of each."""
        one = self.first.network(self.first.ids(texts), output_hidden_states=True)
        two = self.second.network(self.second.ids(texts), output_hidden_states=True)
        tokens = torch.cat((one.hidden_states[-2], two.hidden_states[-2]), dim=-1)
        return {"tokens": tokens, "pooled": two.text_embeds, "time_ids": self._time_ids(len(texts))}

    def null(self, count: int) -> Condition:
        """Nothing, at the same size."""
        device, widths = (
            self.first.network.device,
            [clip.network.config.hidden_size for clip in (self.first, self.second)],
        )
        return {
            "tokens": torch.zeros(count, self.first.length, sum(widths), device=device),
            "pooled": torch.zeros(count, self.second.network.config.projection_dim, device=device),
            "time_ids": self._time_ids(count),
        }

    def _time_ids(self, count: int) -> Tensor:
        ids = torch.tensor([self.side, self.side, 0, 0, self.side, self.side], dtype=torch.float32)
        return ids.repeat(count, 1).to(self.first.network.device)


def sd15(
    files: Sequence[Path] | Path, device: torch.device, *, side: int = 512, length: int | None = None
) -> SD15Encoder:
    """From a Stable Diffusion 1.5 folder, or its files; `side` is SDXL's. Raises as `text_encoder`."""
    found = _parts(files, ("tokenizer", "text_encoder"))
    clip = Clip(CLIPTextModel, found["tokenizer"], found["text_encoder"], device)
    _fixed(length, clip)
    return SD15Encoder(clip)


def sdxl(
    files: Sequence[Path] | Path, device: torch.device, *, side: int = 1024, length: int | None = None
) -> SDXLEncoder:
    """From an SDXL folder, or its files; `side`: of the picture, in pixels. Raises as `text_encoder`."""
    found = _parts(files, ("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2"))
    first = Clip(CLIPTextModel, found["tokenizer"], found["text_encoder"], device)
    second = Clip(CLIPTextModelWithProjection, found["tokenizer_2"], found["text_encoder_2"], device)
    _fixed(length, first)
    return SDXLEncoder(first, second, side)


def _fixed(length: int | None, clip: Clip) -> None:
    if length is not None and length != clip.length:
        raise ValueError(f"encoder.length is {length}; this CLIP reads {clip.length} tokens, always: leave it out")


def _parts(files: Sequence[Path] | Path, names: Sequence[str]) -> dict[str, Part]:
    """Part -> its files. Of single files the folder each lies in says its part, and no other file there is read."""
    found: dict[str, Part]
    if isinstance(files, Path):
        found = {name: {file.name: file for file in (files / name).glob("*") if file.is_file()} for name in names}
    else:
        found = {name: {file.name: file for file in files if file.parent.name == name} for name in names}
    where = files if isinstance(files, Path) else "the encoder's assets"
    for name, part in found.items():
        if name.startswith("tokenizer"):
            complete = {"vocab.json", "merges.txt"} <= part.keys() or "tokenizer.json" in part
            wanted = "vocab.json and merges.txt (and special_tokens_map.json), or tokenizer.json"
        else:
            complete = "config.json" in part and any(weights in part for weights in WEIGHTS)
            wanted = f"config.json and {' or '.join(WEIGHTS)}"
        if not complete:
            raise FileNotFoundError(
                f"{where}: {name}/ should have {wanted}; there: {', '.join(sorted(part)) or 'nothing'}"
            )
    return found


def _tokenizer(part: Part) -> CLIPTokenizer:
    """Out of copies of these files alone, so that nothing that lies beside them is read."""
    with tempfile.TemporaryDirectory() as folder:
        for name, file in part.items():
            if file.suffix in (".json", ".txt"):
                shutil.copyfile(file, Path(folder) / name)
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
