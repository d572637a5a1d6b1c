"""How well a picture fits its caption: a convolutional tower and a head on a text encoder's states, trained here.

R is the cosine of the two embeddings, as HPSv2's: without the scale of the logits (Radford et al. 2021) in which it was
trained, by InfoNCE in both directions, so that a weight of the reward does not depend on how sharp the training got.
Besides the other captions of the batch a picture tells its own from captions that differ in one respect: a colour, a
number, an object, a relation turned around, two colours exchanged. Two architectures, so that who reports is not the
twin of who rewards: "align-plain" (strided, GELU, no norm) and "align-residual" (residual, ReLU, group norm).
Shapes: pixels (B, 3, H, W) in [-1, 1], resized to 32; tokens (B, L, W), mask (B, L) true where there is text; D = 192.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amd.distill.noise import Noise, generator
from amd.distill.types import Condition
from amd.rewards.classifier import Residual
from amd.rewards.negatives import KINDS, Negatives
from amd.rewards.sprite_detector import GRAIN, SIDE, digest, resized
from amd.rewards.text import TextMaterial, check

EMBEDDING = 192
CHANNELS = 96  # of the map that a trunk ends in
QUERIES, VALUES, HIDDEN = 6, 96, 256
REACH = 5  # tokens that a token's value sees: its number, its colour, and the relation beside it
SCALE, MOST = 10.0, 100.0  # of the cosine: at the start, and CLIP's limit
TEXT_WIDTH = 384  # MiniLM's

Encode = Callable[[Sequence[str]], Condition]
"""Texts -> {"tokens", "mask"}."""


def plain() -> nn.Sequential:
    """Strided convolutions with GELU: (B, 3, 32, 32) -> (B, 96, 8, 8)."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, 2, 1),
        nn.GELU(),
        nn.Conv2d(32, 64, 3, 1, 1),
        nn.GELU(),
        nn.Conv2d(64, CHANNELS, 3, 2, 1),
        nn.GELU(),
        nn.Conv2d(CHANNELS, CHANNELS, 3, 1, 1),
        nn.GELU(),
    )


def residual() -> nn.Sequential:
    """A stem and two residual blocks: (B, 3, 32, 32) -> (B, 96, 8, 8)."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, 2, 1, bias=False),
        nn.GroupNorm(8, 32),
        nn.ReLU(),
        Residual(32, 48, 1),
        Residual(48, CHANNELS, 2),
    )


ARCHITECTURES = {"align-plain": plain, "align-residual": residual}


class EmojiAlign(nn.Module):
    """Both towers and the scale."""

    def __init__(self, architecture: str, *, text_width: int = TEXT_WIDTH, seed: int = 0) -> None:
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise ValueError(f"unknown architecture {architecture!r}; known: {', '.join(sorted(ARCHITECTURES))}")
        self.trunk = ARCHITECTURES[architecture]()
        # of what is there and where: no norm, which would take away how many there are
        self.image_head = nn.Sequential(nn.Linear(3 * CHANNELS, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, EMBEDDING))
        self.text_norm = nn.LayerNorm(text_width)
        self.values = nn.Linear(text_width, VALUES)
        self.near = nn.Conv1d(VALUES, VALUES, REACH, padding=REACH // 2)
        self.queries = nn.Linear(VALUES, QUERIES)
        self.text_head = nn.Sequential(nn.Linear(QUERIES * VALUES, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, EMBEDDING))
        self.log_scale = nn.Parameter(torch.tensor(math.log(SCALE)))
        draw = generator(seed, architecture, "weights")
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=draw)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def scale(self) -> Tensor:
        """() what a cosine is multiplied by."""
        return self.log_scale.exp().clamp_max(MOST)

    def images(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> unit embeddings (B, D)."""
        seen = self.trunk(resized(pixels).contiguous(memory_format=torch.channels_last))
        line = torch.linspace(-1, 1, seen.shape[3], device=seen.device, dtype=seen.dtype)
        # sums over places, and the same weighted by x and by y: numbers add up, and a difference of sums is a relation
        sums = [(seen * weight).sum((2, 3)) / seen.shape[3] for weight in (1, line, line[:, None])]
        return F.normalize(self.image_head(torch.cat(sums, 1)), dim=1)

    def texts(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(T, L, W), (T, L) -> unit embeddings (T, D): what a few learned queries find, side by side."""
        longest = int(mask.sum(1).max())
        there = mask[:, :longest, None]
        values = F.gelu(self.values(self.text_norm(tokens[:, :longest]))) * there  # (T, L, V)
        values = values + F.gelu(self.near(values.transpose(1, 2))).transpose(1, 2)
        weight = self.queries(values).masked_fill(~there, -math.inf).softmax(1)  # (T, L, Q)
        answers = weight.transpose(1, 2) @ values  # (T, Q, V)
        return F.normalize(self.text_head(answers.flatten(1)), dim=1)

    def forward(self, pixels: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """B pictures with B texts -> (B,)."""
        return self.scale * (self.images(pixels) * self.texts(tokens, mask)).sum(1)


class AlignTraining:
    """What a pretraining needs: `module`, `loss` of a batch, `report` on pictures that were not trained on."""

    def __init__(
        self,
        pixels: Tensor,
        asked: Negatives,
        encode: Encode,
        own: Tensor,
        other: Tensor,
        architecture: str,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """pixels (P, 3, H, W) uint8; `asked`: what each shows, and captions that are wrong of it; own, other (p,)
        int64: trained on, reported on. Every text is encoded once, here."""
        states = encode(asked.texts)
        self.tokens, self.mask = states["tokens"].to(device), states["mask"].to(device)
        self.module = EmojiAlign(architecture, text_width=self.tokens.shape[2], seed=seed)
        self.module.to(device).to(memory_format=torch.channels_last)
        self.pixels, self.right, self.wrong = pixels.to(device), asked.right.to(device), asked.wrong.to(device)
        self.own, self.other = own.to(device), other.to(device)

    def loss(self, noise: Noise) -> Tensor:
        """InfoNCE, the mean over this rank's rows, pictures under a little noise.

        Pictures among captions, captions among pictures, and each picture among its own wrong captions alone.
        """
        index = self.own[noise.integers("images", len(self.own))]
        clean = resized(self.pixels[index].float() / 127.5 - 1)
        grain = noise.uniform("grain").to(clean.dtype)[:, None, None, None] * GRAIN
        image = self.module.images(clean + grain * noise.normal("noise", clean.shape[1:]))
        right, wrong = self.right[index], self.wrong[index]  # (b,), (b, kinds)
        used, place = torch.cat((right, wrong[wrong >= 0])).unique(return_inverse=True)
        logits = self.module.scale * image @ self.module.texts(self.tokens[used], self.mask[used]).T  # (b, used)
        row, own = torch.arange(len(index), device=image.device), place[: len(index)]
        ranks = torch.full_like(wrong, -1)
        ranks[wrong >= 0] = place[len(index) :]
        margin = logits[row, own][:, None] - logits.gather(1, ranks.clamp_min(0))  # (b, kinds)
        number = (ranks >= 0).sum(0)
        apart = (F.softplus(-margin) * (ranks >= 0)).sum(0) / number.clamp_min(1)  # kinds are alike, however rare
        across = logits[:, own].T  # (b captions, b pictures)
        same = (right[:, None] == right) & ~torch.eye(len(index), dtype=torch.bool, device=image.device)
        return (
            F.cross_entropy(logits, own)
            + F.cross_entropy(across.masked_fill(same, -math.inf), row)
            + apart.sum() / (number > 0).sum().clamp_min(1)
        ) / 3

    def report(self) -> dict[str, object]:
        """How often the right caption scores above a wrong one, by what is wrong with it, in both halves."""
        return {
            "accuracy": {
                name: self.told_apart(rows) for name, rows in (("own half", self.own), ("other half", self.other))
            }
        }

    @torch.no_grad()
    def told_apart(self, rows: Tensor, batch: int = 250) -> dict[str, float]:
        """Kind -> share of the pictures `rows` (p,) whose own caption scores above the wrong one; "retrieval": whose
        own caption scores highest among those of 250 pictures."""
        hits: dict[str, list[Tensor]] = {kind: [] for kind in (*KINDS, "retrieval")}
        for index in rows.split(batch):
            image = self.module.images(self.pixels[index].float() / 127.5 - 1)
            right, wrong = self.right[index], self.wrong[index]
            score = (image * self._embedded(right)).sum(1)
            for place, kind in enumerate(KINDS):
                there = wrong[:, place] >= 0
                if bool(there.any()):
                    against = (image[there] * self._embedded(wrong[there, place])).sum(1)
                    hits[kind].append(score[there] > against)
            captions = right.unique()
            best = captions[(image @ self._embedded(captions).T).argmax(1)]
            hits["retrieval"].append(best == right)
        return {kind: float(torch.cat(found).float().mean()) for kind, found in hits.items() if found}

    def _embedded(self, texts: Tensor) -> Tensor:
        return self.module.texts(self.tokens[texts], self.mask[texts])


class AlignScorer(nn.Module):
    """R(pixels, prompt) of a trained network; differentiable in the pixels, its own weights are fixed."""

    differentiable = True
    preprocessing = f"bilinear-antialias-{SIDE}-float32"

    def __init__(self, network: EmojiAlign, encode: Encode, revision: str) -> None:
        super().__init__()
        self.network, self.encode, self.revision = network.eval().requires_grad_(False), encode, revision
        self.known: dict[str, Tensor] = {}  # embeddings of the prompts so far: prompts come again and again

    def forward(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        """pixels (B, 3, H, W) in [-1, 1], B prompts -> (B,), within [-1, 1]."""
        check(pixels, prompts)
        if new := [text for text in dict.fromkeys(prompts) if text not in self.known]:
            states = self.encode(new)
            where = self.network.log_scale.device
            with torch.no_grad():
                embedded = self.network.texts(states["tokens"].to(where), states["mask"].to(where))
            self.known.update(zip(new, embedded, strict=True))
        text = torch.stack([self.known[prompt].to(pixels.device) for prompt in prompts])
        return (self.network.images(pixels) * text).sum(1)


def load(architecture: str, weights: Mapping[str, Tensor]) -> EmojiAlign:
    """A trained network from its state dict, in eval mode."""
    network = EmojiAlign(architecture, text_width=len(weights["text_norm.weight"]))
    network.load_state_dict(dict(weights))
    return network.eval().to(memory_format=torch.channels_last)


def trained(material: TextMaterial) -> AlignScorer:
    """The scorer of a network trained here; settings: `architecture`, and `encode`, the text encoder of its training.

    ValueError where one of them or the weights were not brought.
    """
    settings = material.setting("emoji-align", architecture=None, encode=None)
    if material.weights is None or settings["architecture"] is None or settings["encode"] is None:
        raise ValueError(
            "text scorer 'emoji-align' needs weights trained here, their architecture and the text encoder (encode)"
        )
    network = load(settings["architecture"], material.weights)
    return AlignScorer(network, settings["encode"], digest(material.weights))
