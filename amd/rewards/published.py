"""Weight files that others published: read without unpickling code, believed by shape, named by their sha256."""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


def sha256(file: Path) -> str:
    """Hex digest of a file, streamed."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def state_dict(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, or of what torch.save wrote: a state dict, alone or under "state_dict".

    ValueError names the file where it is neither, or holds anything that only unpickling code could restore.
    """
    if file.suffix == ".safetensors":
        return load_file(file)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(
            f"{file}: not a file of tensors alone ({first}); nothing else is unpickled: save its state dict anew"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{file}: not a state dict of tensors, nor one under the key 'state_dict'")
    return dict(content)


def install(module: nn.Module, weights: Mapping[str, Tensor], file: Path, dtype: torch.dtype = torch.float32) -> None:
    """Put `weights` into a module that was made on the meta device, in `dtype`, each name and shape accounted for.

    ValueError names the file and the first weights that are missing, unexpected or of another shape.
    """
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if wrong := sorted(dict(own.items() ^ given.items())):
        raise ValueError(f"{file}: {len(wrong)} weights are missing, unexpected or of another shape: {wrong[:3]}")
    floats = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    module.load_state_dict(floats, assign=True)
