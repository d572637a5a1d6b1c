"""ImageNet's training images, read from ILSVRC2012_img_train.tar as it is distributed: a tar of one tar per class.

Nothing is unpacked: tars are not compressed, so an index of (offset, size) per image, made once, finds every JPEG.
Labels are the classes' numbers in the order of their WordNet ids, as everywhere. Cropped as ADM's center_crop_arr does.
"""

import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from amd.data.assets import cache


class ImageNet:
    """Images that are decoded when they are asked for."""

    def __init__(self, tar: Path, side: int) -> None:
        """The index is read from the cache, or made (minutes for the real file) and kept there."""
        self.side = side
        self.offset, self.size, label = _index(Path(tar))
        self.label = torch.from_numpy(label.astype(np.int64))  # (N,)
        self._file = os.open(tar, os.O_RDONLY)

    def __len__(self) -> int:
        return len(self.label)

    def take(self, index: Tensor) -> Tensor:
        """(b,) int64 -> (b, 3, side, side) float32 in [-1, 1]."""
        return torch.stack([self._one(i) for i in index.tolist()])

    def _one(self, i: int) -> Tensor:
        content = os.pread(self._file, int(self.size[i]), int(self.offset[i]))
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(cropped(image.convert("RGB"), self.side))
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 127.5 - 1


def cropped(image: Image.Image, side: int) -> Image.Image:
    """The central square: halved by box filters while it is twice too large, then bicubic, then cut (ADM's recipe)."""
    while min(image.size) >= 2 * side:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = side / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _index(tar: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int16]]:
    """Offsets into the file, sizes in bytes, and labels, each (N,), class by class. ValueError for another tar."""
    status = tar.stat()
    file = cache() / "indices" / f"{tar.name}-{status.st_size}-{status.st_mtime_ns}.npz"
    if not file.is_file():
        columns = _scan(tar)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.name}.{os.getpid()}.part")
        with part.open("wb") as sink:
            np.savez(sink, offset=columns[0], size=columns[1], label=columns[2])
        os.replace(part, file)
    with np.load(file) as stored:
        return stored["offset"], stored["size"], stored["label"]


def _scan(tar: Path) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    offset, size, label = [], [], []
    with tar.open("rb") as raw, tarfile.TarFile(fileobj=raw) as outer:
        classes = sorted((member for member in outer if member.name.endswith(".tar")), key=lambda member: member.name)
        if not classes:
            raise ValueError(
                f"{tar}: holds no tar per class; wanted ILSVRC2012_img_train.tar as ImageNet distributes it"
            )
        for number, member in enumerate(tqdm(classes, desc=f"index of {tar.name}", disable=None)):
            raw.seek(member.offset_data)
            with tarfile.TarFile(fileobj=raw) as inner:  # its offsets are those of the whole file
                for image in inner:
                    offset.append(image.offset_data)
                    size.append(image.size)
                    label.append(number)
    return offset, size, label
