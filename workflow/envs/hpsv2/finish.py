"""Puts the list of byte pairs where hpsv2's tokenizer looks for it: the wheel of 1.2.0 was built without the file.

open_clip, from which that tokenizer was taken, carries the same one.
"""

import hashlib
import shutil
from importlib.util import find_spec
from pathlib import Path

NAME = "bpe_simple_vocab_16e6.txt.gz"
SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"


def folder(package: str) -> Path:
    """Where a package lies; nothing of it is imported."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed in this environment")
    return Path(spec.origin).parent


source, target = folder("open_clip") / NAME, folder("hpsv2") / "src" / "open_clip" / NAME
if hashlib.sha256(source.read_bytes()).hexdigest() != SHA256:
    raise SystemExit(f"{source}: not the list of byte pairs that CLIP was trained with")
shutil.copyfile(source, target)
