"""Scorers by their authors' own packages, each in an environment of its own: what our implementations are held to.

An environment is made once from workflow/envs/{name}/: a venv under .envs/, filled from hashed requirements, finished
when its environment.json stands. A scorer in it is a subprocess that reads a manifest (paths, prompts, settings: JSON,
nothing on the command line) and writes a record per image. It is a `TextScorer` like any other, without a gradient.
"""

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from amd.config.served import PACKAGES
from amd.rewards import hpsv2, imagereward, resize
from amd.rewards.published import sha256
from amd.rewards.text import TextMaterial, check

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "workflow" / "envs"
ENVIRONMENTS = ROOT / ".envs"
FILE = "environment.json"
SCORERS = ("hpsv2", "imagereward")  # of images with a package; of clips: amd.measure.isolated_clips


class NotMade(FileNotFoundError):
    """An environment that is not there, or was made from another recipe; the message says how to make it."""


@dataclass(frozen=True)
class Environment:
    """One that is finished."""

    name: str
    python: Path
    recipe: str  # `recipe(name)` at the time it was made
    packages: Mapping[str, str]  # name -> version


def recipe(name: str) -> str:
    """sha256 over everything that an environment is made of. ValueError for an unknown name."""
    folder = RECIPES / name
    if not (folder / "requirements.txt").is_file():
        known = ", ".join(sorted(path.parent.name for path in RECIPES.glob("*/requirements.txt")))
        raise ValueError(f"no environment '{name}' in {RECIPES}; there are {known}")
    hashed = hashlib.sha256(sys.version.split()[0].encode())
    for file in (RECIPES / "build.txt", folder / "requirements.txt", folder / "finish.py"):
        if file.is_file():  # not every environment has something to finish
            hashed.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return hashed.hexdigest()


def make(name: str, folder: Path | None = None) -> Environment:
    """Make the environment anew in `folder` (.envs/{name}); minutes and gigabytes, nothing of this one is shared.

    CalledProcessError where pip refuses, e.g. a file of another hash. environment.json is written last.
    """
    digest, folder, began = recipe(name), folder or ENVIRONMENTS / name, time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(folder)])
    python = folder / "bin" / "python"
    install = [str(python), "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    install += ["--require-hashes", "--no-build-isolation", "-r"]
    for requirements in (RECIPES / "build.txt", RECIPES / name / "requirements.txt"):
        print(f"{name}: installing {requirements.name} ...", flush=True)
        run([*install, str(requirements)])
    if (finish := RECIPES / name / "finish.py").is_file():
        run([str(python), "-I", str(finish)])
    found = run([str(python), "-I", "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"])
    said = {
        "name": name,
        "recipe": digest,
        "python": sys.version.split()[0],
        "packages": {entry["name"]: entry["version"] for entry in json.loads(found)},
        "seconds": round(time.monotonic() - began),
        "bytes": sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink()),
    }
    part = folder / f"{FILE}.part"
    part.write_text(json.dumps(said, indent=1) + "\n")
    os.replace(part, folder / FILE)
    return find(name, folder)


def find(name: str, folder: Path | None = None) -> Environment:
    """The finished environment. NotMade where it is not there, or its recipe has changed since."""
    folder = folder or ENVIRONMENTS / name
    stamp = folder / FILE
    if not stamp.is_file():
        raise NotMade(f"{folder}: no finished environment '{name}'; make it by `make envs ENVS={name}`")
    said = json.loads(stamp.read_text())
    if said["recipe"] != recipe(name):
        anew = f"make it anew by `make envs ENVS={name}`"
        raise NotMade(f"{folder}: made from another recipe than {RECIPES / name}; {anew}")
    return Environment(name, folder / "bin" / "python", said["recipe"], said["packages"])


def score(
    environment: Environment,
    files: Mapping[str, Path],
    settings: Mapping[str, object],
    images: Sequence[Path],
    prompts: Sequence[str],
    device: str = "cpu",
) -> list[float]:
    """A number per pair of image file and prompt. RuntimeError with the end of what the package said where it failed.

    ValueError where its records are not one finite number per sample, of the weights that were meant.
    """
    with tempfile.TemporaryDirectory() as folder:
        manifest, records = Path(folder) / "manifest.json", Path(folder) / "records.jsonl"
        samples = [
            {"index": index, "image": str(Path(image).resolve()), "prompt": prompt}
            for index, (image, prompt) in enumerate(zip(images, prompts, strict=True))
        ]
        asked = {
            "scorer": environment.name,
            "files": {role: str(Path(file).resolve()) for role, file in files.items()},
            "settings": dict(settings),
            "device": device,
            "samples": samples,
        }
        manifest.write_text(json.dumps(asked))
        run([str(environment.python), "-I", str(RECIPES / "score.py"), str(manifest), str(records)])
        rows = [json.loads(line) for line in records.read_text().splitlines()]
    return _checked(rows, len(samples), sha256(Path(files["weights"])), environment.name)


def _checked(rows: Sequence[Mapping[str, object]], count: int, revision: str, name: str) -> list[float]:
    if [row["index"] for row in rows] != list(range(count)):
        raise ValueError(f"environment '{name}' scored {len(rows)} samples, asked were {count}, in order")
    values = []
    for row in rows:
        value = row["value"]
        if row["revision"] != revision:
            raise ValueError(f"environment '{name}' read weights {row['revision']}, meant were {revision}")
        if not isinstance(value, float) or not math.isfinite(value):
            raise ValueError(f"environment '{name}': sample {row['index']} scored {value!r}")
        values.append(value)
    return values


def run(command: Sequence[str]) -> str:
    """stdout of a command. RuntimeError with the last lines that it said where it fails."""
    # user sites and paths of this environment have no say in that one
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_TARGET"))}
    done = subprocess.run(command, capture_output=True, text=True, env=own)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise RuntimeError(f"{' '.join(map(str, command[:4]))} ... failed ({done.returncode}):\n{said}")
    return done.stdout


class PackageScorer(nn.Module):
    """A published package as a `TextScorer`: images go to it as 8-bit PNG, as they are stored.

    A process per call loads packages and weights: ask for many images at once.
    """

    differentiable = False

    def __init__(self, environment: Environment, files: Mapping[str, Path], settings: Mapping[str, object]) -> None:
        super().__init__()
        self.environment, self.files, self.settings = environment, dict(files), dict(settings)
        self.revision = sha256(Path(files["weights"]))
        version = environment.packages[environment.name]
        self.preprocessing = f"package {environment.name}-{version}, environment {environment.recipe[:12]}"

    @torch.no_grad()
    def forward(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        """pixels (B, 3, H, W) in [-1, 1], rounded to 8 bits -> (B,)."""
        check(pixels, prompts)
        stored = (resize.unit(pixels) * 255).round().to(torch.uint8)
        return torch.tensor(self.look(stored, prompts), device=pixels.device)

    def look(self, images: Tensor, prompts: Sequence[str]) -> list[float]:
        """uint8 (n, 3, H, W), n prompts -> n scores, on a GPU if there is one."""
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / f"{index:06d}.png" for index in range(len(images))]
            for file, image in zip(files, images, strict=True):
                Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy()).save(file)
            device = "cuda" if torch.cuda.is_available() else "cpu"
            return score(self.environment, self.files, self.settings, files, prompts, device)


def package(name: str, material: TextMaterial) -> PackageScorer:
    """The text scorer called `name`, by its own package, from the same files and settings as ours.

    ValueError where it has no environment or lacks a file; NotMade where the environment is not there.
    """
    if name not in SCORERS:
        raise ValueError(f"text scorer '{name}' has no environment of its own; these have: {', '.join(SCORERS)}")
    environment = find(PACKAGES[name])
    if name == "hpsv2":
        version = material.settings.get("version")
        if version not in hpsv2.FILES:
            raise ValueError(f"text scorer 'hpsv2': settings: version is {version!r}; say {' or '.join(hpsv2.FILES)}")
        settings = {key: value for key, value in material.settings.items() if key == "architecture"}
        return PackageScorer(environment, {"weights": material.file(name, hpsv2.FILES[version])}, settings)
    roles = zip(("weights", "med_config", "vocabulary"), imagereward.FILES, strict=True)
    return PackageScorer(environment, {role: material.file(name, file) for role, file in roles}, {})
