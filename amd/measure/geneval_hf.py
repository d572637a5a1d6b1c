"""GenEval-HF: GenEval's protocol with transformers' Mask2Former, whose weights are another training run than GenEval's.

GenEval's detector (mmdet 2.28, mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco) does not install beside this torch, so
its numbers are not comparable to the digit, and the name says so. All around the network is GenEval's: mmdet's test
pipeline and instance post-processing (MaskFormerFusionHead.instance_postprocess), and colours by a zero-shot CLIP on
the object's crop with the rest in grey (djghosh13/geneval@af4902f evaluation/evaluate_images.py). Published folder:
facebook/mask2former-swin-small-coco-instance; the panoptic one knows 133 classes and is refused. Shapes: Q queries, C
classes, masks (Q, h, w).
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amd.measure.geneval import COLOURS, GENEVAL, kept
from amd.rewards import resize
from amd.rewards.detection import Detection
from amd.rewards.openclip import OpenClip, load
from amd.rewards.published import sha256

# COCO's 80 in their order, by GenEval's words (evaluation/object_names.txt)
WORDS = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,"
    "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,computer mouse,tv remote,computer keyboard,cell phone,microwave,"
    "oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)
NAMES = tuple(WORDS.split(","))
LONG, SHORT = 1333, 800  # an image is resized to fit into them
DIVISOR, PADDING = 32, 128.0
PREPROCESSING = f"fit-{LONG}x{SHORT}/bilinear/pad-{DIVISOR}/float32"
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
MOST = 100  # detections per image
GREY = 0x99  # behind an object whose colour is asked
TEMPLATES = ("a photo of a {colour} {name}", "a photo of a {colour}-colored {name}", "a photo of a {colour} object")
CLIP = "ViT-L-14-quickgelu"  # OpenAI's weights were trained with that GELU; plain ViT-L-14 would load them, and err


class Mask2Former:
    """Objects of an image with their colours. `revision` is of both networks' weights."""

    def __init__(self, files: Sequence[Path], device: torch.device | str, *, clip: str = CLIP) -> None:
        """files: config.json and model.safetensors of one transformers folder, and CLIP's weights.

        ValueError for other files, another number of classes than COCO's 80, and weights that do not fit.
        """
        by_name = {file.name: file for file in files}
        colours = [file for file in files if file.name not in ("config.json", "model.safetensors")]
        if not {"config.json", "model.safetensors"} <= by_name.keys() or len(colours) != 1 or len(files) != 3:
            raise ValueError(
                "GenEval-HF reads config.json and model.safetensors of a Mask2Former and one file of CLIP's weights; "
                f"it was given {[file.name for file in files]}"
            )
        folder = by_name["config.json"].parent
        if by_name["model.safetensors"].parent != folder:
            raise ValueError(f"{by_name['model.safetensors']} does not lie beside {by_name['config.json']}")
        self.network = _network(folder).to(device).eval().requires_grad_(False)
        self.clip = load(clip, colours[0]).to(device)
        digests = " ".join(sha256(file) for file in (by_name["model.safetensors"], colours[0]))
        self.revision = hashlib.sha256(digests.encode()).hexdigest()
        self.colours = Colours(self.clip)

    @torch.inference_mode()
    def __call__(self, pixels: Tensor, texts: Sequence[str] = ()) -> list[list[Detection]]:
        """pixels (B, 3, H, W) in [-1, 1] -> what is on each image above GenEval's threshold; `texts` are not read."""
        return [self._look((image.float() + 1).mul(127.5).round().clamp(0, 255)) for image in pixels]

    def _look(self, image: Tensor) -> list[Detection]:
        """(3, H, W), 0 to 255 -> detections, the most confident first."""
        seen, shown = prepared(image)
        outputs = self.network(pixel_values=seen[None])
        found, masks = detections(
            outputs.class_queries_logits[0], outputs.masks_queries_logits[0], seen.shape[1:], shown, image.shape[1:]
        )
        place = {id(each): mask for each, mask in zip(found, masks, strict=True)}
        chosen = [each for group in kept(found, "", GENEVAL).values() for each in group]
        named = self.colours(image, [(each, place[id(each)]) for each in chosen])
        return sorted(
            (each._replace(colour=colour) for each, colour in zip(chosen, named, strict=True)),
            key=lambda each: -each.score,
        )


def prepared(image: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """(3, H, W), 0 to 255 -> what the network is shown (3, H', W'), and the part (h, w) of it that is no padding.

    Resized (bilinear without antialiasing, as cv2) to fit into 1333 x 800, padded to a multiple of 32 with 128, then
    normalised: the padding is not black.
    """
    height, width = image.shape[1:]
    scale = min(LONG / max(height, width), SHORT / min(height, width))
    size = int(height * scale + 0.5), int(width * scale + 0.5)
    small = F.interpolate(image[None], size, mode="bilinear", align_corners=False)[0].round().clamp(0, 255)
    below, right = (-side % DIVISOR for side in size)
    padded = F.pad(small, (0, right, 0, below), value=PADDING)
    mean, std = (image.new_tensor(values)[:, None, None] for values in (MEAN, STD))
    return (padded - mean) / std, size


def detections(
    class_logits: Tensor, mask_logits: Tensor, seen: Sequence[int], shown: Sequence[int], size: Sequence[int]
) -> tuple[list[Detection], Tensor]:
    """Class logits (Q, C + 1), the last for nothing, mask logits (Q, h, w) -> detections, and masks (n, H, W) bool.

    Masks are upsampled to the network's input `seen`, cut to the part `shown`, resized to the image's `size`. The 100
    likeliest (query, class) are taken; a score is the class's probability times the mean probability within the mask.
    A box ends one pixel after the mask's last.
    """
    logits = F.interpolate(mask_logits[None].float(), tuple(seen), mode="bilinear", align_corners=False)
    logits = logits[..., : shown[0], : shown[1]]
    logits = F.interpolate(logits, tuple(size), mode="bilinear", align_corners=False)[0]
    probability = class_logits.float().softmax(-1)[:, :-1]
    classes = probability.shape[1]
    score, index = probability.flatten().topk(min(MOST, probability.numel()))
    chosen, kind = logits[index // classes], (index % classes).tolist()
    masks = chosen > 0
    area = masks.sum((1, 2))
    inside = (chosen.sigmoid() * masks).sum((1, 2)) / (area + 1e-6)
    scores = (score * inside).tolist()
    return [Detection(NAMES[kind[i]], scores[i], _box(masks[i])) for i in range(len(masks))], masks


def _box(mask: Tensor) -> tuple[float, float, float, float]:
    """(H, W) bool -> x0, y0, x1, y1; zeros of an empty mask."""
    rows, columns = mask.any(1).nonzero().flatten().tolist(), mask.any(0).nonzero().flatten().tolist()
    if not rows:
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


class Colours:
    """Zero-shot CLIP over GenEval's ten colours, its classifier made once per class."""

    def __init__(self, clip: OpenClip) -> None:
        self.clip = clip
        self.known: dict[str, Tensor] = {}

    def __call__(self, image: Tensor, objects: Sequence[tuple[Detection, Tensor]]) -> list[str | None]:
        """image (3, H, W), 0 to 255; detections with their masks (H, W) -> a colour each, None of an empty box."""
        named: list[str | None] = []
        for detection, mask in objects:
            x0, y0, x1, y1 = (round(side) for side in detection.box)
            if x1 <= x0 or y1 <= y0:
                named.append(None)
                continue
            alone = torch.where(mask, image, float(GREY))[None, :, y0:y1, x0:x1] / 255
            side = self.clip.side
            crop = resize.centre_crop(resize.shorter_side(alone, side), side, "round")
            scores = self.clip.look(resize.normalise(crop))[0] @ self._classifier(detection.class_name).T
            named.append(COLOURS[int(scores.argmax())])
        return named

    def _classifier(self, name: str) -> Tensor:
        """(10, D) unit vectors: of each colour the mean over the templates."""
        if name not in self.known:
            texts = [template.format(colour=colour, name=name) for colour in COLOURS for template in TEMPLATES]
            mean = self.clip.read(texts).unflatten(0, (len(COLOURS), len(TEMPLATES))).mean(1)
            self.known[name] = F.normalize(mean, dim=-1)
        return self.known[name]


def _network(folder: Path) -> nn.Module:
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation  # seconds to import

    config: Any = Mask2FormerConfig.from_pretrained(folder, local_files_only=True)
    if config.num_labels != len(NAMES):
        raise ValueError(
            f"{folder / 'config.json'}: {config.num_labels} classes; COCO's instances have {len(NAMES)} "
            "(a panoptic model finds none of GenEval's objects)"
        )
    network, said = Mask2FormerForUniversalSegmentation.from_pretrained(
        folder, config=config, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    wrong = {name: sorted(map(str, said[name])) for name in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if any(wrong.values()):
        raise ValueError(f"{folder / 'model.safetensors'} does not fit its configuration: {wrong}")
    return network
