"""How well a picture fits its caption: a convolutional tower and a head on a text encoder's states, trained here.

R is the cosine of the two embeddings, as CLIP's (Radford et al. 2021), trained by InfoNCE in both directions on twins:
two captions that differ in one respect (`amd.rewards.twins`), each with its picture. What is where is known of these
pictures, so each place of the map also learns whose centre it holds: what captions alone teach in ten minutes takes
one. Both embeddings have a part for what is there and how many, and one each for what is on which side along x and y.
Two architectures, so that who reports is not the twin of who rewards: "align-plain" (strided, GELU) and
"align-residual" (residual, ReLU). Shapes: pixels (B, 3, H, W) in [-1, 1], resized to 32; a map has G x G places, G = 8;
N sprites; tokens (T, L, W), mask (T, L) true where there is text; D = 288.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amd.distill.noise import Noise, generator
from amd.distill.types import Condition
from amd.rewards.sprite_detector import GRAIN, SIDE, Scene, digest, resized
from amd.rewards.text import TextMaterial, check
from amd.rewards.twins import KINDS

COUNTED, PLACED = 192, 48  # D = COUNTED + 2 PLACED
CHANNELS = 192  # of the map that a trunk ends in
QUERIES, VALUES, HIDDEN = 6, 96, 256
NEAR, FAR = 5, 9  # tokens around one that say its number and colour; that say on which side it is
PLACES = 8  # G
EMPTY = 0.1  # weight of a place that is nobody's centre; most are
SCALE, LIMIT = 10.0, 100.0  # of the cosine: at the start, and CLIP's limit
TEXT_WIDTH = 384  # MiniLM's

Encode = Callable[[Sequence[str]], Condition]
"""Texts -> {"tokens", "mask"}."""


class Block(nn.Module):
    """Two 3 x 3 convolutions around a shortcut, which is all there is at the start: the second one begins at zero."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(into, out, 3, stride, 1), nn.Conv2d(out, out, 3, 1, 1)
        self.shortcut = nn.Conv2d(into, out, 1, stride, bias=False)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, H, H) -> (B, out, H / stride, H / stride)."""
        return F.relu(self.gain * self.second(F.relu(self.first(x))) + self.shortcut(x))


def plain() -> nn.Sequential:
    """Strided convolutions with GELU: (B, 3, 32, 32) -> (B, 192, 8, 8)."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, 2, 1),
        nn.GELU(),
        nn.Conv2d(32, 64, 3, 1, 1),
        nn.GELU(),
        nn.Conv2d(64, 96, 3, 2, 1),
        nn.GELU(),
        nn.Conv2d(96, 96, 3, 1, 1),
        nn.GELU(),
        nn.Conv2d(96, CHANNELS, 1),
        nn.GELU(),
    )


def residual() -> nn.Sequential:
    """A stem and two residual blocks with ReLU: (B, 3, 32, 32) -> (B, 192, 8, 8)."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, 2, 1),
        nn.ReLU(),
        Block(32, 48, 1),
        Block(48, 96, 2),
        nn.Conv2d(96, CHANNELS, 1),
        nn.ReLU(),
    )


ARCHITECTURES = {"align-plain": plain, "align-residual": residual}


class EmojiAlign(nn.Module):
    """Both towers and the scale."""

    def __init__(self, architecture: str, sprites: int, *, text_width: int = TEXT_WIDTH, seed: int = 0) -> None:
        """`sprites`: how many different objects, each colour one, the pictures of its training show."""
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise ValueError(f"unknown architecture {architecture!r}; known: {', '.join(sorted(ARCHITECTURES))}")
        self.trunk = ARCHITECTURES[architecture]()
        self.sprites = nn.Conv2d(CHANNELS, sprites + 1, 1)  # whose centre a place holds; the last: nobody's
        self.image_counted = nn.Sequential(nn.Linear(CHANNELS + sprites, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, COUNTED))
        self.image_placed = nn.Linear(CHANNELS + sprites, PLACED, bias=False)
        self.text_norm, self.values = nn.LayerNorm(text_width), nn.Linear(text_width, VALUES)
        self.near = nn.Conv1d(VALUES, VALUES, NEAR, padding=NEAR // 2)
        self.queries = nn.Linear(VALUES, QUERIES)
        self.text_counted = nn.Sequential(nn.Linear(QUERIES * VALUES, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, COUNTED))
        self.sides = nn.Conv1d(VALUES, 2, FAR, padding=FAR // 2)
        self.text_placed = nn.Linear(VALUES, PLACED, bias=False)
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
        return self.log_scale.exp().clamp_max(LIMIT)

    def look(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> what is seen at each place (B, C, G, G)."""
        return self.trunk(resized(pixels).contiguous(memory_format=torch.channels_last))

    def images(self, seen: Tensor) -> Tensor:
        """(B, C, G, G) -> unit embeddings (B, D) float32.

        Sums over places, of what is seen and of whose centre it is, so that numbers add up; weighted by x and by y, so
        that a difference of two is a relation.
        """
        seen = seen.float()
        whose = self.sprites(seen).softmax(1)[:, :-1] * PLACES
        told = torch.cat((seen, whose), 1) / PLACES
        line = torch.linspace(-1, 1, PLACES, device=seen.device)
        counted, along_x, along_y = (sums.sum((2, 3)) for sums in (told, told * line, told * line[:, None]))
        placed = self.image_placed(torch.stack((along_x, along_y), 1)).flatten(1)
        return F.normalize(torch.cat((self.image_counted(counted), placed), 1), dim=1)

    def texts(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(T, L, W), (T, L) -> unit embeddings (T, D) float32.

        What a few learned queries find, side by side; and every token on its side, -1 to 1 along x and y, which the
        tokens around it tell: "left" soon after it, or some way before.
        """
        longest = int(mask.sum(1).max())
        there = mask[:, :longest, None]
        values = F.gelu(self.values(self.text_norm(tokens[:, :longest]))) * there  # (T, L, V)
        turned = values.transpose(1, 2)
        said = (values + F.gelu(self.near(turned)).transpose(1, 2)) * there
        weight = self.queries(said).masked_fill(~there, -math.inf).softmax(1)  # (T, L, Q)
        counted = self.text_counted((weight.transpose(1, 2) @ said).flatten(1))
        sides = self.sides(turned).tanh() * there.transpose(1, 2)  # (T, 2, L)
        placed = (sides @ self.text_placed(said)).flatten(1)
        return F.normalize(torch.cat((counted, placed), 1), dim=1)

    def forward(self, pixels: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """B pictures with B texts -> (B,)."""
        return self.scale * (self.images(self.look(pixels)) * self.texts(tokens, mask)).sum(1)


class AlignTraining:
    """What a pretraining needs: `module`, `loss` of a batch, `report` on pictures that were not trained on."""

    def __init__(
        self,
        pixels: Tensor,
        scenes: Sequence[tuple[Scene, Scene]],
        captions: Sequence[tuple[str, str]],
        kinds: Sequence[str],
        encode: Encode,
        own: Tensor,
        other: Tensor,
        architecture: str,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: str = "float32",
    ) -> None:
        """P pairs of twins: pixels (P, 2, 3, H, W) uint8, their content, their captions, what differs between them.

        `own`, `other` (p,) int64: pairs trained on, pairs reported on. Each text is encoded once, here. `precision` is
        of the trunk's forward pass in training; weights and losses are float32.
        """
        texts = tuple(dict.fromkeys(text for pair in captions for text in pair))
        place = {text: index for index, text in enumerate(texts)}
        states = encode(texts)
        self.tokens, self.mask = states["tokens"].to(device), states["mask"].to(device)
        self.centres, sprites = centres([scene for pair in scenes for scene in pair], pixels.shape[4])
        self.centres = self.centres.unflatten(0, (-1, 2)).to(device)  # (P, 2, G, G)
        self.module = EmojiAlign(architecture, len(sprites), text_width=self.tokens.shape[2], seed=seed).to(device)
        self.rarity = torch.tensor([1.0] * len(sprites) + [EMPTY], device=device)
        self.pixels = pixels.to(device)
        self.kind = torch.tensor([list(KINDS).index(kind) for kind in kinds], device=device)
        self.asked = torch.tensor([[place[text] for text in pair] for pair in captions], device=device)  # (P, 2)
        self.own, self.other = own.to(device), other.to(device)
        self.half = precision == "bfloat16"

    def loss(self, noise: Noise) -> Tensor:
        """InfoNCE, the mean over this rank's rows, pictures under a little noise; consecutive rows are twins.

        Pictures among captions, captions among pictures, both among twins alone, where all kinds weigh the same, and
        places among sprites.
        ValueError where the rows of a process are not even.
        """
        pair = self.own[noise.integers("pairs", len(self.own), shared=2)]
        if len(pair) % 2:
            raise ValueError(f"{len(pair)} rows per process part a pair of twins; their number has to be even")
        row = torch.arange(len(pair), device=pair.device)
        mate = row ^ 1
        clean = resized(self.pixels[pair, row % 2].float() / 127.5 - 1)
        grain = noise.uniform("grain").to(clean.dtype)[:, None, None, None] * GRAIN
        with torch.autocast(clean.device.type, torch.bfloat16, enabled=self.half):
            seen = self.module.look(clean + grain * noise.normal("noise", clean.shape[1:]))
        image, whose = self.module.images(seen), self.module.sprites(seen.float())
        asked = self.asked[pair, row % 2]
        used, own = asked.unique(return_inverse=True)
        logits = self.module.scale * image @ self._embedded(used).T  # (b, texts)
        across = logits[:, own]  # (b pictures, b captions)
        same = (asked[:, None] == asked) & (row[:, None] != row)  # others' pictures of the same caption
        right = across.diagonal()
        margin = F.softplus(across[row, mate] - right) + F.softplus(across[mate, row] - right)
        kind = self.kind[pair]
        number = torch.zeros(len(KINDS), device=margin.device).index_add(0, kind, torch.ones_like(margin))
        twins = torch.zeros_like(number).index_add(0, kind, margin) / number.clamp_min(1)
        return (
            F.cross_entropy(logits, own)
            + F.cross_entropy(across.T.masked_fill(same, -math.inf), row)
            + twins.sum() / (number > 0).sum()
            + F.cross_entropy(whose, self.centres[pair, row % 2], self.rarity)
        )

    def finish(self) -> None:
        """Nothing: the weights are all there is."""

    def report(self) -> dict[str, object]:
        """How often the right one of twins scores higher, in both halves."""
        halves = (("own half", self.own), ("other half", self.other))
        return {"accuracy": {name: self.told_apart(pairs) for name, pairs in halves}}

    @torch.no_grad()
    def told_apart(self, pairs: Tensor, batch: int = 125) -> dict[str, float]:
        """Shares, of the pairs (p,). By kind: pictures whose own caption scores above the twin's; "pictures": captions
        whose own picture scores above the twin's; "retrieval": pictures whose own is the best of 250 captions."""
        hits: dict[str, list[bool]] = {kind: [] for kind in (*KINDS, "pictures", "retrieval")}
        for part in pairs.split(batch):
            asked = self.asked[part].flatten()
            row = torch.arange(len(asked), device=asked.device)
            image = self.module.images(self.module.look(self.pixels[part].flatten(0, 1).float() / 127.5 - 1))
            used, own = asked.unique(return_inverse=True)
            score = image @ self._embedded(used).T
            right = score[row, own]
            differs = self.kind[part].repeat_interleave(2)
            for place, kind in enumerate(KINDS):
                hits[kind] += (right > score[row, own[row ^ 1]])[differs == place].tolist()
            hits["pictures"] += (right > score[row ^ 1, own]).tolist()
            hits["retrieval"] += (score.argmax(1) == own).tolist()
        return {kind: sum(found) / len(found) for kind, found in hits.items() if found}

    def _embedded(self, texts: Tensor) -> Tensor:
        return self.module.texts(self.tokens[texts], self.mask[texts])


def centres(scenes: Sequence[Scene], side: int) -> tuple[Tensor, list[tuple[str, str | None]]]:
    """Scenes of `side` pixels -> whose centre each place holds (S, G, G) int64, and the sprites that this counts; their
    number: nobody's."""
    seen = {(it.name, it.colour or "") for scene in scenes for it in scene.objects}
    sprites = {sprite: place for place, sprite in enumerate(sorted(seen))}
    found = torch.full((len(scenes), PLACES, PLACES), len(sprites), dtype=torch.int64)
    for i, scene in enumerate(scenes):
        for it in scene.objects:
            column, row = (min(int((it.box[k] + it.box[k + 2]) / 2 / side * PLACES), PLACES - 1) for k in (0, 1))
            found[i, row, column] = sprites[it.name, it.colour or ""]
    return found, [(name, colour or None) for name, colour in sprites]


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
        return (self.network.images(self.network.look(pixels)) * text).sum(1)


def load(architecture: str, weights: Mapping[str, Tensor]) -> EmojiAlign:
    """A trained network from its state dict, in eval mode."""
    sprites, width = len(weights["sprites.bias"]) - 1, len(weights["text_norm.weight"])
    network = EmojiAlign(architecture, sprites, text_width=width)
    network.load_state_dict(dict(weights))
    return network.eval()


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
