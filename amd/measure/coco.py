"""COCO-30k FID as DMD2 measures it, with clean-fid's resize, network and formula.

Samples, 8 bits truncated (the domain's `eight_bits`), against all of val2014: the middle square of both, PIL LANCZOS to
256, PIL bicubic per channel in float32 to 299, the 2048 pool features of NVIDIA's TorchScript of the 2015 Inception.
Sources: GaParmar/clean-fid 0.1.35 (mode "clean"); tianweiy/DMD2, main/coco_eval/coco_evaluator.py.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from cleanfid.fid import frechet_distance
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from amd.rewards.resize import crop_lanczos

INCEPTION = "inception-2015-12-05.pt"
VAL2014 = 40_504  # images of the reference, all of them
SIDE = 256  # DMD2's eval_res here; 512 for its 10k set
PREPROCESSING = f"crop/lanczos-{SIDE}/bicubic-299/float32"  # of `prepare`, both resizes by PIL
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

Look = Callable[[Tensor], Tensor]
"""Images (B, 3, 299, 299) float32 in [0, 255] -> features (B, D)."""


def inception(file: Path, device: torch.device | str = "cpu") -> Look:
    """clean-fid's network from NVIDIA's file. It is TorchScript: tensors and a graph, no pickled Python.

    FileNotFoundError where it is not there, ValueError where it has another name: clean-fid asks for it by name.
    """
    file = Path(file)
    if file.name != INCEPTION:
        raise ValueError(f"{file}: clean-fid's network is {INCEPTION}")
    if not file.is_file():
        raise FileNotFoundError(f"{file}: not there; clean-fid's FID is of its features")
    network = InceptionV3W(str(file.parent), download=False).to(device).eval()
    return lambda images: network(images.to(device))


@dataclass(frozen=True)
class Statistics:
    """Mean (D,) and covariance (D, D) of n images' features, float64."""

    mean: Tensor
    covariance: Tensor
    images: int

    @staticmethod
    def of(features: np.ndarray) -> "Statistics":
        """features (n, D), n >= 2. ValueError on fewer, and on a number that is none."""
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"statistics need features (n >= 2, D), not {features.shape}")
        if not np.isfinite(features).all():
            raise ValueError(f"{np.count_nonzero(~np.isfinite(features))} of {features.size} features are not finite")
        covariance = np.cov(features, rowvar=False)
        return Statistics(torch.from_numpy(features.mean(0)).double(), torch.from_numpy(covariance), len(features))

    def save(self, file: Path) -> None:
        """As safetensors."""
        count = torch.tensor(self.images)
        save_file({"mean": self.mean, "covariance": self.covariance, "images": count}, file)

    @staticmethod
    def load(file: Path) -> "Statistics":
        """What `save` wrote."""
        tensors = load_file(file)
        return Statistics(tensors["mean"], tensors["covariance"], int(tensors["images"]))


def prepare(image: np.ndarray, side: int | None = SIDE) -> Tensor:
    """uint8 (H, W, 3) -> what the network looks at, (3, 299, 299) float32 in [0, 255], never rounded to 8 bits again.

    `side` None: no crop and no first resize, clean-fid's own protocol.
    """
    square = image if side is None else crop_lanczos(image, side)
    return torch.from_numpy(build_resizer("clean")(square)).permute(2, 0, 1)


def features(
    images: Iterable[np.ndarray], look: Look, *, side: int | None = SIDE, batch: int = 64, workers: int = 1
) -> np.ndarray:
    """uint8 (H, W, 3) images of any size -> (n, D) float32, in order.

    `workers` threads prepare a batch: PIL lets go of the interpreter while it resizes. ValueError on no images.
    """
    found, left = [], iter(images)
    with ThreadPoolExecutor(workers) as pool, torch.inference_mode():
        while chunk := list(islice(left, batch)):
            prepared = list(pool.map(lambda image: prepare(image, side), chunk))
            found.append(look(torch.stack(prepared)).float().cpu())
    if not found:
        raise ValueError("no images to look at")
    return torch.cat(found).numpy()


def folder(path: Path, count: int | None = None) -> Sequence[Path]:
    """The images below a folder, sorted by name. ValueError where there are none, or not `count`."""
    files = sorted(file for file in Path(path).rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files or (count is not None and len(files) != count):
        raise ValueError(f"{path}: {len(files)} images, there should be {count or 'some'}")
    return files


def read(files: Iterable[Path]) -> Iterator[np.ndarray]:
    """Image files -> uint8 (H, W, 3); grey and transparent ones become RGB."""
    for file in files:
        with Image.open(file) as image:
            yield np.array(image.convert("RGB"))


def fid(samples: Statistics, reference: Statistics) -> float:
    """clean-fid's Frechet distance, by scipy's matrix square root. ValueError where their features differ in width."""
    if samples.mean.shape != reference.mean.shape:
        raise ValueError(f"features of {len(samples.mean)} and {len(reference.mean)} numbers have no Frechet distance")
    moments = (samples.mean, samples.covariance, reference.mean, reference.covariance)
    return float(frechet_distance(*(moment.numpy() for moment in moments)))
