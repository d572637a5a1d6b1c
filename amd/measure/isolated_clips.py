"""Judges of clips by their authors' code, in environments of their own: a record per clip, a process per dimension.

Environments are made as those of `amd.measure.isolated`. A job is a manifest of files and words as JSON
(workflow/envs/clips.py): nothing is said on a command line, and files are called by numbers.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from PIL import Image

from amd.config.served import FLICKERING, VBENCH_SETTINGS
from amd.measure import isolated
from amd.measure.films import ENCODING, write_film
from amd.measure.isolated import Environment
from amd.measure.panel import Asked, Columns
from amd.measure.video import Clips
from amd.rewards import videoalign_frames
from amd.rewards.published import sha256

Values = Mapping[str, float | None]
BATCH = 16  # clips in memory while files are written
FILTER = "static_filter"  # what VBench's environment measures besides its dimensions: 1 for a clip that stands still


class PackageVBench:
    """VBench or VBench-I2V: clips -> a value per dimension, None where the prompt's row does not name it."""

    def __init__(
        self,
        environment: Environment,
        files: Mapping[str, Path],
        settings: Mapping[str, object],
        dimensions: Sequence[str],
        fps: int,
    ) -> None:
        """files: by name. settings: `without`, names of dimensions that are not measured, apart by spaces; `still`,
        how many clips of a prompt temporal_flickering looks at, the first that stand still (absent: all, moving or
        still).

        ValueError for another setting, for a name that is no dimension, and as `ready` raises it.
        """
        without, still = str(settings.get("without", "")).split(), settings.get("still")
        if unknown := sorted(set(settings).difference(VBENCH_SETTINGS) | (set(without) - set(dimensions))):
            raise ValueError(
                f"environment '{environment.name}': settings: {unknown[0]!r} is neither 'without' nor a dimension in "
                f"it, nor 'still'; the dimensions: {', '.join(dimensions)}"
            )
        if still is not None and (not isinstance(still, int) or isinstance(still, bool) or still < 1):
            raise ValueError(
                f"environment '{environment.name}': settings: still is {still!r}; say how many of a prompt's clips, "
                "e.g. 5"
            )
        self.still = still
        self.dimensions = tuple(name for name in dimensions if name not in without)
        self.without = tuple(name for name in dimensions if name in without)
        filters = self.still is not None and FLICKERING in self.dimensions
        ready(environment, files, (*self.dimensions, *([FILTER] if filters else [])))
        self.environment, self.files, self.fps, self.hashes = environment, dict(files), fps, hashes(files)
        self.revision, self.preprocessing = revision(self.hashes), preprocessing(environment)
        if filters:
            self.preprocessing += f"; {FLICKERING} of the first {self.still} clips of a prompt that stand still"

    def __call__(self, clips: Clips, asked: Asked) -> Columns:
        """Words are those of VBench's own list, whatever longer text the clips were made from.

        ValueError where the prompts' rows are not that list's, and where no clip stands still of those that should.
        """
        rows = asked.rows
        if lost := [i for i, row in enumerate(rows) if not {"dimension", "prompt_en"} <= set(row)]:
            said = asked.texts[lost[0]]
            raise ValueError(f"prompt {said!r}: its row has no 'dimension' and 'prompt_en', as VBench's list does")
        found: Columns = {}
        with tempfile.TemporaryDirectory() as folder:
            samples = write(clips, [row["prompt_en"] for row in rows], rows, self.fps, Path(folder))
            for dimension in self.dimensions:
                of = [sample for sample, row in zip(samples, rows, strict=True) if dimension in row["dimension"]]
                if of and dimension == FLICKERING and self.still is not None:
                    found[FILTER] = self._column(FILTER, of, len(clips))
                    of = first_still(of, found[FILTER], self.still)
                if of:
                    found[dimension] = self._column(dimension, of, len(clips))
        return found

    def _column(self, dimension: str, of: Sequence[Mapping[str, Any]], count: int) -> list[float | None]:
        """A value per clip of `count`, None for those that are not among the samples `of`."""
        column: list[float | None] = [None] * count
        values = record(self.environment, self.files, self.hashes, dimension, of)
        for sample, each in zip(of, values, strict=True):
            column[sample["index"]] = each[dimension]
        return column


class PackageVideoAlign:
    """VideoAlign: clips and prompts -> vq, mq, ta."""

    def __init__(self, environment: Environment, files: Mapping[str, Path], fps: int) -> None:
        """files: by name. ValueError as `ready` raises it."""
        ready(environment, files, [None])
        self.environment, self.files, self.fps, self.hashes = environment, dict(files), fps, hashes(files)
        self.revision, self.preprocessing = revision(self.hashes), preprocessing(environment)

    def __call__(self, clips: Clips, texts: Sequence[str]) -> Columns:
        """A value per clip and part."""
        with tempfile.TemporaryDirectory() as folder:
            samples = write(clips, texts, [{}] * len(texts), self.fps, Path(folder))
            values = record(self.environment, self.files, self.hashes, None, samples)
        return {part: [each[part] for each in values] for part in videoalign_frames.PARTS}


def first_still(samples: Sequence[dict[str, Any]], still: Sequence[float | None], count: int) -> list[dict[str, Any]]:
    """Of each prompt's samples the first `count` that stand still, by a 1 in `still`; where a prompt has fewer, those,
    as VBench does. ValueError where none does."""
    kept: list[dict[str, Any]] = []
    taken = Counter[str]()
    for sample in samples:
        if still[sample["index"]] and taken[sample["prompt"]] < count:
            taken[sample["prompt"]] += 1
            kept.append(sample)
    if not kept:
        raise ValueError(f"{FLICKERING}: none of {len(samples)} clips stands still by VBench's filter; see still")
    return kept


def ready(environment: Environment, files: Mapping[str, Path], dimensions: Sequence[str | None]) -> None:
    """ValueError where a dimension reads a file that is not given, or a package that is not there: a process per
    dimension would say so after hours of the others."""
    name, scorer = environment.name, scorer_of(environment.name)
    for dimension in dimensions:
        try:
            lacking = [file for file in scorer.needs(dimension) if file not in files]
        except SystemExit as refusal:
            raise ValueError(f"environment '{name}': {refusal}; name it in settings: {{without: ...}}") from None
        if lacking:
            raise ValueError(
                f"environment '{name}': {dimension or 'it'} reads {', '.join(lacking)}, which is none of the assets"
            )
    if absent := unbuilt(name, dimensions, environment):
        package = absent[min(absent)]
        raise ValueError(
            f"environment '{name}': {', '.join(absent)} need {package}, which is not in it and in no package index; "
            f"{isolated.RECIPES / name / 'scorer.py'} says how to build it, or name them in settings: {{without: ...}}"
        )


def scorer_of(name: str) -> ModuleType:
    """An environment's scorer, to be asked what it reads: its file imports nothing heavy before it scores."""
    spec = importlib.util.spec_from_file_location(f"{name}_scorer", isolated.RECIPES / name / "scorer.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unbuilt(name: str, dimensions: Iterable[str | None], environment: Environment | None) -> dict[str, str]:
    """Of these dimensions, those that need a package that a site builds, and it is not there -> that package."""
    built: Mapping[str, str] = getattr(scorer_of(name), "BUILT", {})
    wanted = {dimension: built[dimension] for dimension in dimensions if dimension is not None and dimension in built}
    return {key: package for key, package in wanted.items() if environment is None or not holds(environment, package)}


def holds(environment: Environment, package: str) -> bool:
    """Whether a package is installed there, by whomever."""
    places = [str(each) for each in environment.python.parents[1].glob("lib/python*/site-packages")]
    return any(importlib.metadata.distributions(name=package, path=places))


def hashes(files: Mapping[str, Path]) -> dict[str, str]:
    """Name -> sha256."""
    return {name: sha256(Path(file)) for name, file in files.items()}


def revision(hashes: Mapping[str, str]) -> str:
    """sha256 over the names and the hashes of all files that a scorer is given."""
    return hashlib.sha256("".join(f"{name} {each}\n" for name, each in sorted(hashes.items())).encode()).hexdigest()


def preprocessing(environment: Environment) -> str:
    """What a clip goes through before it is looked at."""
    return f"{environment.name}, environment {environment.recipe[:12]}, mp4 {ENCODING}"


def write(
    clips: Clips, texts: Sequence[str], rows: Sequence[Mapping[str, Any]], fps: int, folder: Path
) -> list[dict[str, Any]]:
    """Clips as mp4 files -> a manifest's samples: the films that there are, where they are stored as here; else
    numbered ones in `folder`, each written once.

    The picture that a clip begins with is the row's own file ("image"), or a PNG of what the clip was given.
    """
    samples, films = [], clips.encoded(fps)
    for start in range(0, len(clips), BATCH):
        places = range(start, min(start + BATCH, len(clips)))
        shown, pictures = None if films is not None else clips.take(places), clips.pictures(places)
        for offset, place in enumerate(places):
            video = folder / f"{place:06d}.mp4"
            if shown is not None:
                write_film(video, shown[offset], fps, "h264")
            seen = video if films is None else Path(films[place]).resolve()
            sample = {"index": place, "video": str(seen), "prompt": texts[place], "row": dict(rows[place])}
            if "image" in rows[place]:
                sample["picture"] = str(Path(rows[place]["image"]).resolve())
            elif pictures is not None:
                picture = video.with_suffix(".png")
                Image.fromarray(pictures[offset].permute(1, 2, 0).contiguous().cpu().numpy()).save(picture)
                sample["picture"] = str(picture)
            samples.append(sample)
    return samples


def record(
    environment: Environment,
    files: Mapping[str, Path],
    hashes: Mapping[str, str],
    dimension: str | None,
    samples: Sequence[Mapping[str, Any]],
) -> list[Values]:
    """A process of the environment over `samples` -> values per sample, in order.

    RuntimeError with the end of what it said where it failed; ValueError where its records are not one per sample, of
    the files that were meant (`hashes`), finite or None.
    """
    with tempfile.TemporaryDirectory() as folder:
        manifest, records = Path(folder) / "manifest.json", Path(folder) / "records.jsonl"
        asked = {
            "scorer": environment.name,
            "dimension": dimension,
            "files": {name: str(Path(file).resolve()) for name, file in files.items()},
            "device": "cuda" if torch.cuda.is_available() else "cpu",
            "samples": list(samples),
        }
        manifest.write_text(json.dumps(asked))
        runner = isolated.RECIPES / "clips.py"
        isolated.run([str(environment.python), "-I", str(runner), str(manifest), str(records)])
        rows = [json.loads(line) for line in records.read_text().splitlines()]
    return checked(rows, [sample["index"] for sample in samples], hashes, environment.name)


def checked(
    rows: Sequence[Mapping[str, Any]], indices: Sequence[int], hashes: Mapping[str, str], name: str
) -> list[Values]:
    """The values of records. ValueError as `record` raises it."""
    if [row["index"] for row in rows] != list(indices):
        raise ValueError(f"environment '{name}' scored {len(rows)} clips, asked were {len(indices)}, in order")
    for row in rows:
        for file, found in row["files"].items():
            if found != hashes.get(file):
                raise ValueError(f"environment '{name}' read {file} of sha256 {found}, meant was {hashes.get(file)}")
        for key, value in row["values"].items():
            if value is not None and not (isinstance(value, float) and math.isfinite(value)):
                raise ValueError(f"environment '{name}': clip {row['index']}: {key} is {value!r}")
    return [row["values"] for row in rows]
