"""What trains `amd.rewards.emoji_align`: pictures with their captions, and their twins (`amd.rewards.twins`).

What is where is known of these pictures, so each place of the map also learns whose centre it holds: what captions
alone teach in ten minutes takes one. Shapes as there.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from amd.distill.noise import Noise
from amd.rewards.emoji_align import EmojiAlign
from amd.rewards.pair_training import PairTraining
from amd.rewards.sprite_detector import GRAIN, Scene, resized
from amd.rewards.twins import KINDS
from amd.rewards.two_towers import PLACES, Encode

EMPTY = 0.1  # weight of a place that is nobody's centre; most are


class AlignTraining(PairTraining[EmojiAlign]):
    """Captions and places among sprites, of pictures under a little noise."""

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
        super().__init__(pixels, captions, kinds, KINDS, encode, own, other, device, precision)
        self.centres, sprites = centres([scene for pair in scenes for scene in pair], pixels.shape[4])
        self.centres = self.centres.unflatten(0, (-1, 2)).to(device)  # (P, 2, G, G)
        self.module = EmojiAlign(architecture, len(sprites), text_width=self.tokens.shape[2], seed=seed).to(device)
        self.rarity = torch.tensor([1.0] * len(sprites) + [EMPTY], device=device)

    def loss(self, noise: Noise) -> Tensor:
        """InfoNCE, the mean over this rank's rows, pictures under a little noise; consecutive rows are twins.

        Pictures among captions, captions among pictures, both among twins alone, where all kinds weigh the same, and
        places among sprites.
        ValueError where the rows of a process are not even.
        """
        pair, row = self.drawn(noise, 2, "their number has to be even")
        clean = resized(self.pixels[pair, row % 2].float() / 127.5 - 1)
        grain = noise.uniform("grain").to(clean.dtype)[:, None, None, None] * GRAIN
        with torch.autocast(clean.device.type, torch.bfloat16, enabled=self.half):
            seen = self.module.look(clean + grain * noise.normal("noise", clean.shape[1:]))
        image, whose = self.module.images(seen), self.module.sprites(seen.float())
        parts = self.captioned(image, pair, row)
        parts["places"] = F.cross_entropy(whose, self.centres[pair, row % 2], self.rarity)
        return sum(parts.values(), torch.zeros((), device=clean.device))

    def finish(self) -> None:
        """Nothing: the weights are all there is."""

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
            score = image @ self.embedded(used).T
            right = score[row, own]
            differs = self.kind[part].repeat_interleave(2)
            for place, kind in enumerate(KINDS):
                hits[kind] += (right > score[row, own[row ^ 1]])[differs == place].tolist()
            hits["pictures"] += (right > score[row ^ 1, own]).tolist()
            hits["retrieval"] += (score.argmax(1) == own).tolist()
        return {kind: sum(found) / len(found) for kind, found in hits.items() if found}


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
