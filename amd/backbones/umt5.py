"""The text encoder of Wan2.1, google/umt5-xxl as diffusers' WanPipeline uses it, out of the published files.

Files lie as in a diffusers folder: text_encoder/config.json and its safetensors (in parts), tokenizer/tokenizer.json.
States behind a prompt's end are zeros, and the network reads them: Wan was trained so, and there is no mask.
"""

import hashlib
import html
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import ftfy
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from amd.distill.types import Condition

LENGTH = 512  # tokens: text_len of Wan-Video/Wan2.1 wan/configs/shared_config.py
NEGATIVE = (  # sample_neg_prompt of the same file; Self-Forcing's and LongLive's negative_prompt
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，"
    "丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，"
    "杂乱的背景，三条腿，背景人很多，倒着走"
)


def cleaned(text: str) -> str:
    """Broken Unicode mended, HTML's entities resolved (twice), one space between words."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())


class UMT5Encoder:
    """{"tokens": (B, L, D) float32, zeros behind a prompt's end}. Null: the states of `negative`."""

    def __init__(
        self, network: UMT5EncoderModel, tokenizer: Tokenizer, key: str, length: int, negative: str = NEGATIVE
    ) -> None:
        self.network, self.tokenizer, self.length, self.negative = network, tokenizer, length, negative
        self.key = f"umt5 {key} length {length}"
        self.cut = False
        tokenizer.no_padding()
        tokenizer.no_truncation()

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Condition:
        """B texts -> the condition of each. What is longer than L tokens is cut, as in the pipeline, and said once."""
        ids, mask = (value.to(self.network.device) for value in self._ids(texts))
        longest = int(mask.sum(1).max())  # what comes after it is zero in any case
        states = self.network(ids[:, :longest], mask[:, :longest]).last_hidden_state.float()
        return {"tokens": F.pad(states * mask[:, :longest, None], (0, 0, 0, self.length - longest))}

    def null(self, count: int) -> Condition:
        """Those of the negative prompt."""
        return {name: value.repeat_interleave(count, 0) for name, value in self([self.negative]).items()}

    def _ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens and a mask of them, (B, L) int64 each; a prompt that is cut keeps its end of sequence."""
        ids, mask = torch.zeros(2, len(texts), self.length, dtype=torch.int64)
        for row, text in enumerate(texts):
            found = self.tokenizer.encode(cleaned(text)).ids
            if len(found) > self.length:
                if not self.cut:
                    said = f"a prompt of {len(found)} tokens is cut to {self.length}, Wan reads no more; said once"
                    print(said, file=sys.stderr, flush=True)
                self.cut, found = True, [*found[: self.length - 1], found[-1]]
            ids[row, : len(found)], mask[row, : len(found)] = torch.tensor(found), 1
        return ids, mask


def umt5(
    files: Sequence[Path] | Path, device: torch.device, *, side: int = 0, length: int | None = None
) -> UMT5Encoder:
    """From a folder of Wan2.1 in diffusers' layout, or its files, in the precision of the weights; `side` is SDXL's.

    FileNotFoundError names what is missing, ValueError weights that are not those of the configuration.
    """
    length = LENGTH if length is None else length
    if length < 2:
        raise ValueError(f"encoder.length is {length}; a prompt has at least its end of sequence and a word")
    config, weights, words = _files(files)
    tensors = {name: tensor for part in weights for name, tensor in load_file(part).items()}
    if not tensors:
        raise ValueError(f"{weights[0]}: no tensors in it")
    network, report = UMT5EncoderModel.from_pretrained(
        None,
        config=UMT5Config(**json.loads(config.read_text())),
        state_dict=tensors,
        dtype=next(iter(tensors.values())).dtype,
        output_loading_info=True,
    )
    wrong = {kind: sorted(map(str, names)) for kind, names in report.items() if names}
    if wrong:
        said = "; ".join(f"{len(names)} {kind}: {', '.join(names[:3])}" for kind, names in wrong.items())
        raise ValueError(f"{weights[0]}: not the weights of {config}: {said}")
    key = " ".join(_sha256(file) for file in (*weights, words))
    tokenizer = Tokenizer.from_file(str(words))
    return UMT5Encoder(network.to(device).eval().requires_grad_(False), tokenizer, key, length)


def _files(files: Sequence[Path] | Path) -> tuple[Path, list[Path], Path]:
    """The encoder's configuration, its weights in order, and the tokenizer."""
    if isinstance(files, Path):
        there = [file for part in ("text_encoder", "tokenizer") for file in (files / part).glob("*") if file.is_file()]
    else:
        there = list(files)
    where = files if isinstance(files, Path) else "the encoder's assets"
    named = {(file.parent.name, file.name): file for file in there}
    weights = sorted(file for file in there if file.parent.name == "text_encoder" and file.suffix == ".safetensors")
    config, words = named.get(("text_encoder", "config.json")), named.get(("tokenizer", "tokenizer.json"))
    if config is None or words is None or not weights:
        found = ", ".join(sorted("/".join(name) for name in named)) or "nothing"
        raise FileNotFoundError(
            f"{where}: wanted text_encoder/config.json, text_encoder/*.safetensors and tokenizer/tokenizer.json; "
            f"there: {found}"
        )
    return config, weights, words


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
