"""What trains `amd.rewards.clip_align`: real clips against spoiled ones, and against their twins' captions.

VQ and MQ learn to tell real clips from those with a fault of the look or of the motion (`amd.rewards.clip_faults`); TA
learns on twins (`amd.rewards.motion_twins`), by InfoNCE in both directions. What is where is known of these clips, so
each place of each frame also learns whose centre it holds, and how large that is. Shapes as there; O objects.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from amd.distill.noise import Noise
from amd.rewards.clip_align import PARTS, ClipAlign
from amd.rewards.clip_faults import FAULTS, LOOKS, spoil
from amd.rewards.motion_twins import KINDS
from amd.rewards.pair_training import PairTraining
from amd.rewards.two_towers import PLACES, Encode

EMPTY = 0.05  # weight of a place that is nobody's centre; most are
WEIGHTS = {"vq": 1.0, "mq": 1.0, "captions": 0.5, "shown": 0.5, "twins": 1.0, "places": 1.0, "sizes": 0.5}


class Moving(Protocol):
    """An object of a clip."""

    @property
    def name(self) -> str: ...

    @property
    def colour(self) -> str | None: ...

    @property
    def boxes(self) -> Any: ...  # (F, 4) in pixels


class Filmed(Protocol):
    """What is in a clip."""

    @property
    def objects(self) -> Sequence[Moving]: ...


class ClipTraining(PairTraining[ClipAlign]):
    """Faults, captions, and places among sprites; and the constants of the parts' normalisation."""

    def __init__(
        self,
        pixels: Tensor,
        filmed: Sequence[tuple[Filmed, Filmed]],
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
        """P pairs of twins: pixels (P, 2, 3, F, H, W) uint8, their content, their captions, what differs between them.

        `own`, `other` (p,) int64: pairs trained on, pairs reported on. Each text is encoded once, here. `precision` is
        of the frames' forward pass in training; weights and losses are float32.
        """
        super().__init__(pixels, captions, kinds, KINDS, encode, own, other, device, precision)
        height, width = pixels.shape[4:]
        boxes, whose, sprites = content([each for pair in filmed for each in pair], height, width)
        self.boxes = boxes.unflatten(0, (-1, 2)).to(device)  # (P, 2, O, F, 4)
        self.whose = whose.unflatten(0, (-1, 2)).to(device)  # (P, 2, O)
        self.moves = ((boxes[..., -1, :] - boxes[..., 0, :]).abs() > 1e-6).flatten(1).any(1).view(-1, 2).to(device)
        self.module = ClipAlign(architecture, sprites, text_width=self.tokens.shape[2], seed=seed).to(device)
        self.rarity = torch.tensor([1.0] * sprites + [EMPTY], device=device)

    def loss(self, noise: Noise) -> Tensor:
        """The mean over this rank's rows; consecutive rows are twins, and the first half have a spoiled copy each.

        ValueError where the rows of a process are no multiple of four.
        """
        pair, row = self.drawn(noise, 4, "they have to be a multiple of four")
        clean = self._clips(pair, row % 2)
        boxes, whose = self.boxes[pair, row % 2], self.whose[pair, row % 2]
        first = row[: len(pair) // 2]
        moves = self.moves[pair, row % 2][first]
        spoiled, fault = spoil(clean[first], boxes[first, 0], moves, replace(noise, batch=noise.batch // 2))
        with torch.autocast(clean.device.type, torch.bfloat16, enabled=self.half):
            seen = self.module.look(torch.cat((clean, spoiled)))
        found, extent = self.module.located(seen[: len(pair)])
        parts = self._faults(seen, fault) | self.captioned(self.module.clips(found, extent), pair, row)
        parts |= self._places(found, extent, boxes, whose)
        return sum((WEIGHTS[name] * part for name, part in parts.items()), torch.zeros((), device=clean.device))

    def _faults(self, seen: Tensor, fault: Tensor) -> dict[str, Tensor]:
        """Binary judgements. A fault of the motion leaves the looks right; of a fault of the looks MQ is not asked."""
        vq, mq = self.module.judged(seen)
        bad = fault < len(LOOKS)
        clean = bad.new_ones(len(vq) - len(bad))
        looks = asked = torch.cat((clean, ~bad)).to(vq.dtype)
        moves = torch.cat((clean, bad)).to(mq.dtype)
        return {
            "vq": F.binary_cross_entropy_with_logits(vq, looks),
            "mq": F.binary_cross_entropy_with_logits(mq, moves, weight=asked),
        }

    def _places(self, found: Tensor, extent: Tensor, boxes: Tensor, whose: Tensor) -> dict[str, Tensor]:
        """Of the clean clips: whose centre each place of each frame holds, and how large what is there is."""
        wanted = torch.full_like(extent, len(self.rarity) - 1, dtype=torch.int64)  # (b, F, G, G)
        there = (whose >= 0)[..., None].expand(boxes.shape[:3])  # (b, O, F)
        clip, thing, frame = there.nonzero(as_tuple=True)
        box = boxes[clip, thing, frame]
        column, line = (((box[:, i] + box[:, i + 2]) / 2 * PLACES).long().clamp(0, PLACES - 1) for i in (0, 1))
        wanted[clip, frame, line, column] = whose[clip, thing]
        size = (3 * (box[:, 2:] - box[:, :2]).amax(1)).log()
        return {
            "places": F.cross_entropy(found.transpose(1, 2), wanted, self.rarity),
            "sizes": (extent[clip, frame, line, column] - size).abs().mean(),
        }

    @torch.no_grad()
    def finish(self, batch: int = 64) -> None:
        """The constants of the parts' normalisation, over the real clips that were trained on with their captions."""
        found = []
        for pair in self.own.split(batch):
            for side in (0, 1):
                sides = torch.full_like(pair, side)
                found.append(self.module.raw(self._clips(pair, sides), self.embedded(self.asked[pair, side])))
        raw = torch.cat(found)
        self.module.mean.copy_(raw.mean(0))
        self.module.std.copy_(raw.std(0).clamp_min(1e-6))

    def report(self) -> dict[str, object]:
        """Shares judged right in both halves, by head and by what is wrong; and the constants."""
        constants = {"mean": self.module.mean, "std": self.module.std}
        return super().report() | {
            name: dict(zip(PARTS, value.tolist(), strict=True)) for name, value in constants.items()
        }

    @torch.no_grad()
    def told_apart(self, pairs: Tensor, batch: int = 32) -> dict[str, float]:
        """Shares, of the pairs (p,), under a third name for each fault and each kind of twins: "vq blurred" and the
        like, spoiled copies that score below their clip; "ta object" and the like, clips whose own caption scores above
        the twin's; "vq", "mq", "ta": of all."""
        hits: dict[str, list[bool]] = {}
        names = [f"vq {kind}" if kind in LOOKS else f"mq {kind}" for kind in FAULTS]
        for number, part in enumerate(pairs.split(batch)):
            pair = part.repeat_interleave(2)
            row = torch.arange(len(pair), device=pair.device)
            clean = self._clips(pair, row % 2)
            noise = Noise(0, number, len(pair), phase="report", device=clean.device)
            spoiled, fault = spoil(clean, self.boxes[pair, row % 2, 0], self.moves[pair, row % 2], noise)
            seen = self.module.look(torch.cat((clean, spoiled)))
            below = [score[: len(pair)] > score[len(pair) :] for score in self.module.judged(seen)]
            embedded = self.embedded(self.asked[pair, row % 2])
            clip = self.module.clips(*self.module.located(seen[: len(pair)]))
            right = (clip * embedded).sum(1) > (clip * embedded[row ^ 1]).sum(1)
            for i, (wrong, kind) in enumerate(zip(fault.tolist(), self.kind[pair].tolist(), strict=True)):
                judged = bool(below[int(wrong >= len(LOOKS))][i])
                for name, hit in ((names[wrong], judged), (f"ta {list(KINDS)[kind]}", bool(right[i]))):
                    hits.setdefault(name, []).append(hit)
                    hits.setdefault(name[:2], []).append(hit)
        return {name: sum(found) / len(found) for name, found in sorted(hits.items())}

    def _clips(self, pair: Tensor, side: Tensor) -> Tensor:
        return self.pixels[pair, side].float() / 127.5 - 1


def content(filmed: Sequence[Filmed], height: int, width: int) -> tuple[Tensor, Tensor, int]:
    """-> boxes (N, O, F, 4) as shares of width and height; which sprite (N, O) int64, -1 where there is none; and how
    many sprites this counts."""
    seen = {(it.name, it.colour or "") for clip in filmed for it in clip.objects}
    place = {sprite: number for number, sprite in enumerate(sorted(seen))}
    most, frames = max(len(clip.objects) for clip in filmed), len(filmed[0].objects[0].boxes)
    boxes, whose = torch.zeros(len(filmed), most, frames, 4), torch.full((len(filmed), most), -1)
    whole = torch.tensor([width, height, width, height], dtype=torch.float64)
    for i, clip in enumerate(filmed):
        for j, it in enumerate(clip.objects):
            boxes[i, j], whose[i, j] = torch.as_tensor(it.boxes) / whole, place[it.name, it.colour or ""]
    return boxes, whose, len(place)
