"""Fashion-MNIST: 60,000 real pictures of clothes, 28 x 28 (Xiao, Rasul, Vollgraf, arXiv 1708.07747; MIT licence).

The original idx.gz files, by sha256, from wherever they are: the mirror folder, Debian's dataset-fashion-mnist,
installed or fetched with `apt-get download` (needs no root), or their public address.
"""

import gzip
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amd.config.schema.assets import Asset
from amd.data.assets import locate

PACKAGE = "dataset-fashion-mnist"
DEBIAN = Path("usr/share/datasets/fashion-mnist")
ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
SHA256 = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}
IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


def idx(file: Path) -> NDArray[np.uint8]:
    """An idx file of bytes: 0, 0, type 8, number of dimensions, big-endian sizes, values."""
    content = gzip.decompress(file.read_bytes())
    dimensions = content[3]
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{file}: not an idx file of bytes (starts with {content[:4].hex()})")
    shape = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions)]
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def apt_get_download(asset: Asset, target: Path) -> bool:
    """All four files out of Debian's package into the cache, without root; False where apt is not there or fails."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return False
    with tempfile.TemporaryDirectory() as folder:
        command = ["apt-get", "download", "-qq", PACKAGE]
        if subprocess.run(command, cwd=folder, capture_output=True, timeout=300).returncode:
            return False
        package = next(Path(folder).glob("*.deb"))
        subprocess.run(["dpkg-deb", "-x", package, "out"], cwd=folder, check=True, capture_output=True)
        for name in SHA256:
            part = target.with_name(f"{name}.{os.getpid()}.part")
            shutil.copyfile(Path(folder) / "out" / DEBIAN / name, part)
            os.replace(part, target.with_name(name))
    return True


def find(mirror: str | Path | None = None, assets: Sequence[Asset] = ()) -> dict[str, Path]:
    """The training images and labels on this machine, by name. MissingAsset names what to put where.

    `assets` may give other addresses; the sha256 above decides in any case.
    """
    addresses = {asset.file: asset.url for asset in assets}
    found = {}
    for name in (IMAGES, LABELS):
        url = addresses.get(name) or f"{ADDRESS}/{name}"
        asset = Asset(file=name, sha256=SHA256[name], url=url, license="MIT, (c) Zalando SE")
        found[name] = locate(asset, mirror, folders=[Path("/") / DEBIAN], fetchers=[apt_get_download])
    return found


def load(mirror: str | Path | None = None, assets: Sequence[Asset] = ()) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(60000, 28, 28) grey values and (60000,) labels."""
    files = find(mirror, assets)
    return idx(files[IMAGES]), idx(files[LABELS]).astype(np.int64)
