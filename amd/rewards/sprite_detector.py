"""Which objects of which colour are where: a small heat-map detector, trained here on scenes whose content is known.

A peak of class k's heat map is an object of class k (CenterNet, Zhou et al. 2019); at the peak the network also reads
where the centre lies within its cell, the box's size, and the colour. The same detector makes a text scorer, the share
of what a prompt's row asks for that is there. Shapes: pixels (B, 3, H, W) in [-1, 1], resized to 32; a cell is 2 x 2
pixels, G = 16 cells a side; N classes, M colours, at most O objects in a picture.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amd.distill.noise import Noise, generator
from amd.rewards.detection import Detection
from amd.rewards.text import TextMaterial, check

SIDE, CELL = 32, 2
PREPROCESSING = f"bilinear-antialias-{SIDE}-float32"
WIDTH, GROUPS = 48, 6
THRESHOLD = 0.3  # of a peak that is an object
SPREAD = 0.9  # of a peak in training, standard deviation in cells
SIZE = 11.0  # pixels; sizes are predicted as logarithms of their ratio to it
GRAIN = 0.1  # pixel noise in training has a standard deviation of up to this
WEIGHTS = {"heat": 1.0, "box": 0.5, "colour": 0.5}


class Placed(Protocol):
    """An object of a scene."""

    @property
    def name(self) -> str: ...

    @property
    def colour(self) -> str | None: ...

    @property
    def box(self) -> tuple[float, float, float, float]: ...


class Scene(Protocol):
    """What is in a picture."""

    @property
    def objects(self) -> Sequence[Placed]: ...


class SpriteDetector(nn.Module):
    """Four convolutions, which see 20 pixels around a cell, and a linear map of each cell; 67 k weights."""

    def __init__(self, names: Sequence[str], colours: Sequence[str], *, seed: int = 0) -> None:
        super().__init__()
        self.names, self.colours = tuple(names), tuple(colours)
        self.trunk = nn.Sequential(
            nn.Conv2d(3, WIDTH, 2 * CELL, CELL, 1),
            nn.GroupNorm(GROUPS, WIDTH),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, 1, 1),
            nn.GroupNorm(GROUPS, WIDTH),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, 1, 2, dilation=2),
            nn.GroupNorm(GROUPS, WIDTH),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, 1, 1),
            nn.ReLU(),
        )
        self.head = nn.Conv2d(WIDTH, len(self.names) + 4 + len(self.colours), 1)
        draw = generator(seed, "sprite detector", "weights")
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=draw)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.head.weight, std=0.02, generator=draw)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias[: len(self.names)], -4.0)  # nearly every cell is nobody's centre

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, 32, 32) -> logits of heat (B, N, G, G), boxes (B, 4, G, G), logits of colour (B, M, G, G).

        A box is the centre's place within its cell in [0, 1] (x, y), and the logarithm of width and height over SIZE.
        """
        raw = self.head(self.trunk(x))
        heat, box, colour = raw.float().split((len(self.names), 4, len(self.colours)), dim=1)
        return heat, box, colour

    @torch.no_grad()
    def detect(self, pixels: Tensor, threshold: float = THRESHOLD, batch: int = 256) -> list[list[Detection]]:
        """(B, 3, H, W) in [-1, 1] -> for each picture its objects, boxes in its own pixels, most confident first."""
        return [found for part in pixels.split(batch) for found in self._detect(part, threshold)]

    def _detect(self, pixels: Tensor, threshold: float) -> list[list[Detection]]:
        heat, box, colour = self(resized(pixels))
        score, kind = heat.sigmoid().max(1)  # (B, G, G): a cell is one object's centre at most
        peak = (score == F.max_pool2d(score, 3, 1, 1)) & (score > threshold)
        found: list[list[Detection]] = [[] for _ in pixels]
        picture, row, column = peak.nonzero(as_tuple=True)
        inside = box[picture, :, row, column]
        centre = (torch.stack((column, row), 1) + inside[:, :2]) * CELL
        half = inside[:, 2:].exp() * SIZE / 2
        scale = torch.tensor([pixels.shape[3], pixels.shape[2]], device=pixels.device) / SIDE
        boxes = torch.cat(((centre - half) * scale, (centre + half) * scale), 1).tolist()
        hues = colour[picture, :, row, column].argmax(1).tolist()
        kinds, scores = kind[peak].tolist(), score[peak].tolist()
        for i, each in enumerate(picture.tolist()):
            x0, y0, x1, y1 = boxes[i]
            found[each].append(Detection(self.names[kinds[i]], scores[i], (x0, y0, x1, y1), self.colours[hues[i]]))
        return [sorted(objects, key=lambda each: -each.score) for objects in found]


def resized(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 3, 32, 32) float32, bilinear with antialiasing; untouched at that size."""
    if pixels.shape[2:] == (SIDE, SIDE):
        return pixels.float()
    return F.interpolate(pixels.float(), (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)


class DetectorTraining:
    """What a pretraining needs: `module`, `loss` of a batch, `report` on scenes that were not trained on."""

    def __init__(
        self,
        pixels: Tensor,
        scenes: Sequence[Scene],
        own: Tensor,
        other: Tensor,
        names: Sequence[str],
        colours: Sequence[str],
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: str = "float32",
    ) -> None:
        """pixels (P, 3, H, W) uint8 and what is in them; own, other (p,) int64: trained on, reported on.

        `precision` is of the network's forward pass in training; weights and losses are float32.
        """
        self.module = SpriteDetector(names, colours, seed=seed).to(device)
        self.half = precision == "bfloat16"
        self.pixels, self.scenes = pixels.to(device), scenes
        self.own, self.other = own.to(device), other.to(device)
        self.kind, self.hue, self.box = (
            part.to(device) for part in targets(scenes, names, colours, SIDE / pixels.shape[3])
        )

    def loss(self, noise: Noise) -> Tensor:
        """The mean over this rank's rows, pictures under a little noise."""
        index = self.own[noise.integers("images", len(self.own))]
        clean = resized(self.pixels[index].float() / 127.5 - 1)
        grain = noise.uniform("grain").to(clean.dtype)[:, None, None, None] * GRAIN
        with torch.autocast(clean.device.type, torch.bfloat16, enabled=self.half):
            heat, box, colour = self.module(clean + grain * noise.normal("noise", clean.shape[1:]))
        parts = losses(heat, box, colour, self.kind[index], self.hue[index], self.box[index])
        return sum((WEIGHTS[name] * part for name, part in parts.items()), torch.zeros((), device=clean.device))

    def finish(self) -> None:
        """Nothing: the weights are all there is."""

    def report(self) -> dict[str, object]:
        """Shares of pictures, and of objects, that are seen right in both halves."""
        return {
            "accuracy": {
                name: seen_right(self.module, self.pixels[rows], [self.scenes[i] for i in rows.tolist()])
                for name, rows in (("own half", self.own), ("other half", self.other))
            }
        }


def targets(
    scenes: Sequence[Scene], names: Sequence[str], colours: Sequence[str], scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """-> class (P, O) and colour (P, O) int64, -1 where there is none; boxes (P, O, 4) times `scale`."""
    most = max(len(scene.objects) for scene in scenes)
    kind, hue = (torch.full((len(scenes), most), -1, dtype=torch.int64) for _ in range(2))
    box = torch.zeros(len(scenes), most, 4)
    for i, scene in enumerate(scenes):
        for j, it in enumerate(scene.objects):
            kind[i, j], box[i, j] = names.index(it.name), torch.tensor(it.box) * scale
            if it.colour is not None:
                hue[i, j] = colours.index(it.colour)
    return kind, hue, box


def losses(heat: Tensor, box: Tensor, colour: Tensor, kind: Tensor, hue: Tensor, where: Tensor) -> dict[str, Tensor]:
    """Of the three parts, each per object. heat, box, colour as the network returns them; the rest as `targets`.

    The first is CenterNet's focal loss, alpha 2 and beta 4; sizes and places L1; colours cross-entropy.
    """
    grid, there = heat.shape[-1], kind >= 0
    centre = (where[..., :2] + where[..., 2:]) / 2 / CELL  # (B, O, 2) in cells, x and y
    cell = centre.floor().clamp(0, grid - 1)
    line = torch.arange(grid, device=heat.device)
    bumps = torch.exp(-(line - cell[..., None]).square() / (2 * SPREAD**2))  # (B, O, 2, G)
    wanted = torch.zeros_like(heat)
    picture = torch.arange(len(kind), device=heat.device)
    for j in range(kind.shape[1]):  # a class may be there several times: the larger bump holds
        rows = picture[there[:, j]]
        bump = bumps[rows, j, 1, :, None] * bumps[rows, j, 0, None, :]
        wanted[rows, kind[rows, j]] = torch.maximum(wanted[rows, kind[rows, j]], bump)
    number = there.sum().clamp_min(1)
    p, at_centre = heat.sigmoid(), wanted == 1
    hit = (1 - p).square() * F.logsigmoid(heat)
    false = (1 - wanted) ** 4 * p.square() * F.logsigmoid(-heat)
    picture, _ = there.nonzero(as_tuple=True)
    column, row = cell[there].long().unbind(1)
    size = ((where[..., 2:] - where[..., :2]) / SIZE).clamp_min(1e-3).log()
    asked = torch.cat((centre - cell, size), -1)[there]
    named = hue[there] >= 0
    return {
        "heat": -torch.where(at_centre, hit, false).sum() / number,
        "box": (box[picture, :, row, column] - asked).abs().sum() / number,
        "colour": F.cross_entropy(colour[picture, :, row, column], hue[there], ignore_index=-1, reduction="sum")
        / named.sum().clamp_min(1),
    }


def seen_right(detector: SpriteDetector, pixels: Tensor, scenes: Sequence[Scene]) -> dict[str, float]:
    """pixels (P, 3, H, W) uint8 -> shares: pictures whose multiset of objects is right, with and without colours, and
    whose number is; objects found (recall), detections that are objects (precision), and coloured right among them."""
    exact = coloured = counted = shared = there = claimed = named = right = 0
    for found, scene in zip(detector.detect(pixels.float() / 127.5 - 1), scenes, strict=True):
        theirs = Counter(it.name for it in scene.objects)
        ours = Counter(it.class_name for it in found)
        several = {it.name for it in scene.objects if it.colour is not None}
        hues = Counter((it.name, str(it.colour)) for it in scene.objects if it.colour is not None)
        said = Counter((it.class_name, str(it.colour)) for it in found if it.class_name in several)
        exact += ours == theirs
        coloured += ours == theirs and said == hues
        counted += len(found) == len(scene.objects)
        shared += (ours & theirs).total()
        there, claimed = there + theirs.total(), claimed + ours.total()
        named, right = named + hues.total(), right + (said & hues).total()
    return {
        "objects": exact / len(scenes),
        "objects and colours": coloured / len(scenes),
        "number": counted / len(scenes),
        "recall": shared / there,
        "precision": shared / max(claimed, 1),
        "colour": right / max(named, 1),
    }


def agreement(row: Mapping[str, Any], found: Sequence[Detection]) -> float:
    """Share of the objects that a row asks for, in the colour it asks for, that are there; in [0, 1].

    Of a class with an exclude clause, objects beyond the number allowed enlarge what the share is of. Positions are
    not looked at.
    """
    hits, size = 0, 0
    for clause in row["include"]:
        fits = [each for each in found if each.class_name == clause["class"]]
        if "color" in clause:
            fits = [each for each in fits if each.colour == clause["color"]]
        hits, size = hits + min(len(fits), clause["count"]), size + clause["count"]
    for clause in row.get("exclude", ()):
        number = sum(each.class_name == clause["class"] for each in found)
        size += max(number - clause["count"] + 1, 0)
    return hits / size


class SpriteAgreement(nn.Module):
    """`agreement` of pictures with the rows of their prompts, as a text scorer."""

    differentiable = False
    preprocessing = PREPROCESSING

    def __init__(self, detector: SpriteDetector, rows: Sequence[Mapping[str, Any]], revision: str) -> None:
        super().__init__()
        self.detector, self.revision = detector.eval().requires_grad_(False), revision
        self.rows = {row["prompt"]: row for row in rows}

    def forward(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        """pixels (B, 3, H, W) in [-1, 1], B prompts -> (B,). ValueError on a prompt that no row has."""
        check(pixels, prompts)
        if unknown := [prompt for prompt in prompts if prompt not in self.rows]:
            raise ValueError(
                f"text scorer 'sprite-agreement' has no row of prompt {unknown[0]!r}: it reads rows of metadata, as "
                "GenEval's, never the words"
            )
        scores = [
            agreement(self.rows[prompt], found)
            for prompt, found in zip(prompts, self.detector.detect(pixels), strict=True)
        ]
        return torch.tensor(scores, device=pixels.device)


def load(weights: Mapping[str, Tensor], names: Sequence[str], colours: Sequence[str]) -> SpriteDetector:
    """A trained detector from its state dict, in eval mode."""
    detector = SpriteDetector(names, colours)
    detector.load_state_dict(dict(weights))
    return detector.eval()


def trained(material: TextMaterial) -> SpriteAgreement:
    """The scorer of a detector trained here; settings: `names` and `colours` as in training, and `rows`.

    ValueError where its weights were not brought.
    """
    settings = material.setting("sprite-agreement", names=(), colours=(), rows=())
    if material.weights is None:
        raise ValueError("text scorer 'sprite-agreement' needs the weights of a detector trained here")
    detector = load(material.weights, settings["names"], settings["colours"])
    return SpriteAgreement(detector, settings["rows"], digest(material.weights))


def digest(weights: Mapping[str, Tensor]) -> str:
    """sha256 over names and bytes of a state dict, in the order of the names."""
    found = hashlib.sha256()
    for name in sorted(weights):
        found.update(name.encode())
        found.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
