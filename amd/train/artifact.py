"""A finished artefact: a folder of safetensors with a meta.json, renamed into place whole, verified before it is read.

Everything that is loaded again is named in meta.json with its sha256; whatever does not match is refused by name.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from amd.commit import git_sha

StateDict = Mapping[str, Tensor]


class Refused(ValueError):
    """A file on disk that is not what it says it is; the message names it."""


def sha256(file: Path) -> str:
    """Hex digest of a file, streamed."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(file: Path, content: Mapping[str, object]) -> None:
    """Atomic: `file`.part, then renamed."""
    part = file.with_name(file.name + ".part")
    part.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    os.replace(part, file)


def write_tensors(file: Path, tensors: StateDict) -> str:
    """Atomic; equal tensors give equal bytes. Returns the sha256."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    # A clone each: safetensors refuses tensors that share memory, and views shared by two names are common in networks.
    save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}, part)
    digest = sha256(part)
    os.replace(part, file)
    return digest


def versions() -> dict[str, str]:
    """Package versions that an artefact records."""
    return {"torch": torch.__version__, "numpy": numpy.__version__, "amd": version("amd-distillation")}


def created() -> str:
    """Now, UTC, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def write_artifact(
    folder: Path,
    tensors: Mapping[str, StateDict | Path],
    meta: Mapping[str, object],
    *,
    expected: Mapping[str, str] | None = None,
) -> None:
    """Write `folder`.part beside `folder` and rename it; an older folder of that name is replaced.

    `tensors`: name (may hold a "/") -> state dict, or a safetensors file to copy; each becomes `{name}.safetensors`.
    `meta` is completed by files (name -> sha256), git_sha, versions and created. `expected`: file -> the sha256 it must
    have, for what is copied; nothing is written in place where one differs.
    """
    folder = Path(folder)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    files = {}
    for name, content in tensors.items():
        file = part / f"{name}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, file)
            files[f"{name}.safetensors"] = sha256(file)
        else:
            files[f"{name}.safetensors"] = write_tensors(file, content)
    for file_name, digest in (expected or {}).items():
        if files[file_name] != digest:
            raise Refused(f"{file_name} was altered since it was made; run the same command again to make it anew")
    write_json(
        part / "meta.json",
        {"git_sha": git_sha(), "versions": versions(), "created": created(), **meta, "files": files},
    )
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)


def read_meta(folder: Path) -> dict[str, object]:
    """meta.json of an artefact. FileNotFoundError and Refused name the folder."""
    file = Path(folder) / "meta.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder}: no finished artefact there (meta.json is missing); make it first, or pull it"
        )
    try:
        meta = json.loads(file.read_text())
    except ValueError as error:
        raise Refused(f"{file}: not JSON ({error}); delete the folder and make it again") from error
    if not isinstance(meta, dict) or not isinstance(meta.get("files"), dict):
        raise Refused(f"{file}: has no 'files'; delete the folder and make it again")
    return meta


def read_artifact(folder: Path, name: str) -> dict[str, Tensor]:
    """The state dict `name` ("student", "milestones/000010"), on the CPU, its sha256 verified."""
    folder, file = Path(folder), f"{name}.safetensors"
    files = read_meta(folder)["files"]
    assert isinstance(files, dict)
    if file not in files:
        raise Refused(f"{folder}: holds no {file}; it holds {', '.join(sorted(files))}")
    if not (folder / file).is_file():
        raise Refused(f"{folder / file}: missing, though meta.json lists it")
    found = sha256(folder / file)
    if found != files[file]:
        raise Refused(
            f"{folder / file}: truncated or altered (sha256 {found[:12]}, meta.json says {str(files[file])[:12]}); "
            "delete the folder and make it again, or pull it"
        )
    return load_file(folder / file)


def intact(folder: Path) -> bool:
    """Whether every file that meta.json lists is there with its sha256. Refused where meta.json itself is not."""
    files = read_meta(folder)["files"]
    assert isinstance(files, dict)
    return all((folder / file).is_file() and sha256(folder / file) == digest for file, digest in files.items())


def artifact_sha(folder: Path, name: str | None = None) -> str:
    """The recorded sha256 of `{name}.safetensors`; by default of the weights that meta.json's kind names."""
    meta = read_meta(folder)
    files, file = meta["files"], f"{name or meta.get('kind')}.safetensors"
    assert isinstance(files, dict)
    if file not in files:
        raise Refused(f"{folder}: holds no {file}; it holds {', '.join(sorted(files))}")
    return str(files[file])
