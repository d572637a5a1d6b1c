"""What trains two towers on pairs of twins: two captions that differ in one respect, each with what shows it.

InfoNCE in both directions (Radford et al. 2021), and between the two of a pair alone, where each kind of difference
weighs the same. Of pictures in `emoji_training`, of clips in `clip_training`. Shapes: P pairs, b rows of a batch, of
which 2 i and 2 i + 1 are twins; D numbers in an embedding.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic

import torch
import torch.nn.functional as F
from torch import Tensor

from amd.distill.noise import Noise
from amd.rewards.two_towers import Encode, Network


class PairTraining(ABC, Generic[Network]):
    """What a pretraining needs: `module`, `loss` of a batch, `finish`, `report` on pairs that were not trained on."""

    module: Network

    def __init__(
        self,
        pixels: Tensor,
        captions: Sequence[tuple[str, str]],
        kinds: Sequence[str],
        known: Iterable[str],
        encode: Encode,
        own: Tensor,
        other: Tensor,
        device: torch.device | str,
        precision: str,
    ) -> None:
        """pixels (P, 2, 3, ...) uint8, their captions, what differs between them, one of `known`; own, other (p,)
        int64: pairs trained on, pairs reported on. Each text is encoded once, here."""
        texts = tuple(dict.fromkeys(text for pair in captions for text in pair))
        place = {text: index for index, text in enumerate(texts)}
        states = encode(texts)
        self.tokens, self.mask = states["tokens"].to(device), states["mask"].to(device)
        self.pixels, self.kinds = pixels.to(device), tuple(known)
        self.kind = torch.tensor([self.kinds.index(kind) for kind in kinds], device=device)
        self.asked = torch.tensor([[place[text] for text in pair] for pair in captions], device=device)  # (P, 2)
        self.own, self.other = own.to(device), other.to(device)
        self.half = precision == "bfloat16"

    @abstractmethod
    def loss(self, noise: Noise) -> Tensor:
        """The mean over this rank's rows."""

    @abstractmethod
    def finish(self) -> None:
        """When the weights are final: what else the module keeps of its data."""

    @abstractmethod
    def told_apart(self, pairs: Tensor) -> Mapping[str, float]:
        """Shares of the pairs (p,), by what is told apart."""

    def report(self) -> dict[str, object]:
        """How often the right one of two scores higher, in both halves."""
        halves = (("own half", self.own), ("other half", self.other))
        return {"accuracy": {name: self.told_apart(pairs) for name, pairs in halves}}

    def drawn(self, noise: Noise, multiple: int, why: str) -> tuple[Tensor, Tensor]:
        """-> (b,) which pair, (b,) which row. ValueError, saying `why`, where b is no multiple of that number."""
        pair = self.own[noise.integers("pairs", len(self.own), shared=2)]
        if len(pair) % multiple:
            raise ValueError(f"{len(pair)} rows per process part a pair of twins; {why}")
        return pair, torch.arange(len(pair), device=pair.device)

    def captioned(self, shown: Tensor, pair: Tensor, row: Tensor) -> dict[str, Tensor]:
        """Embeddings (b, D) among captions, captions among them, and both among twins alone: three losses."""
        mate, asked = row ^ 1, self.asked[pair, row % 2]
        used, own = asked.unique(return_inverse=True)
        logits = self.module.scale * shown @ self.embedded(used).T  # (b, texts)
        across = logits[:, own]  # (b shown, b captions)
        same = (asked[:, None] == asked) & (row[:, None] != row)  # others of the same caption
        right = across.diagonal()
        margin = F.softplus(across[row, mate] - right) + F.softplus(across[mate, row] - right)
        kind = self.kind[pair]
        number = torch.zeros(len(self.kinds), device=margin.device).index_add(0, kind, torch.ones_like(margin))
        twins = torch.zeros_like(number).index_add(0, kind, margin) / number.clamp_min(1)
        return {
            "captions": F.cross_entropy(logits, own),
            "shown": F.cross_entropy(across.T.masked_fill(same, -math.inf), row),
            "twins": twins.sum() / (number > 0).sum(),
        }

    def embedded(self, texts: Tensor) -> Tensor:
        """Places of texts -> their embeddings (., D)."""
        return self.module.texts(self.tokens[texts], self.mask[texts])
