"""Scores of the prompted tracks: samples -> the panel's records per image -> numbers; and what they are compared with.

The floor of a metric is what real images get: of distances, half of them against the other half; of scorers, real
images of the benchmark's own prompts, where the data can show what a prompt asks for.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from amd.config import plan
from amd.config.load import Run
from amd.config.schema.tables import Benchmark
from amd.data.captioned import FILMS, RENDERERS
from amd.data.prompts import PromptSet
from amd.distill.noise import generator
from amd.measure.fidelity import Moments, finite, frechet, moments
from amd.measure.identity import check, identity
from amd.measure.panel import Asked, Columns, Panel, build_panel
from amd.measure.sample import device, read_manifest, read_samples
from amd.measure.video import Rendered
from amd.train.artifact import Refused, read_artifact, read_meta, write_artifact, write_json
from amd.train.conditions import prompts_for
from amd.train.threads import threads

if TYPE_CHECKING:
    from amd.measure.films import Films

FILE = "reference"  # .safetensors within the folder


def score(run: Run, benchmark: Benchmark, samples: Path, reference: Path, out: Path, records: Path) -> None:
    """As `amd.measure.score.score`, for a benchmark of prompts."""
    threads()
    images, index, manifest = _samples(run, Path(samples))
    check(run, benchmark, Path(samples), manifest, len(images))
    panel, asked = _panel(run, benchmark), Asked(prompts_for(run, benchmark.name), index)
    real, floor = read(Path(reference), run, benchmark, panel)
    if panel.distance is not None:
        panel.distance.reference = real
    columns = panel.look(images, asked)
    write_records(Path(records), asked, columns, panel.preprocessing)
    content = {
        "metrics": _finite(panel.numbers(columns, asked)),
        "floor": floor,
        "n": len(images),
        **identity(run, benchmark, panel.sha256),
        "preprocessing": panel.preprocessing,
        "student_sha256": manifest["weights_sha256"],
        "samples_sha256": manifest["sha256"],
    }
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    write_json(Path(out), content)


def reference(run: Run, benchmark: Benchmark, out: Path) -> None:
    """Look at the real images; write the folder `out`: their moments, the floor in its meta.json."""
    threads()
    panel, prompts = _panel(run, benchmark), prompts_for(run, benchmark.name)
    tensors: dict[str, Tensor] = {}
    floor: dict[str, dict[str, float]] = {}
    if panel.distance is not None:
        features = panel.distance.real()
        whole = moments(features)
        tensors = {"mean": whole.mean, "covariance": whole.covariance, "root": whole.root}
        panel.distance.reference = whole
        shuffled = features[torch.randperm(len(features), generator=generator("floor order", benchmark.seed))]
        one, other = shuffled.chunk(2)
        key = next(part.key for part in panel.parts if panel.members[part.stem] is panel.distance)
        floor["half"] = {key: frechet(moments(one), moments(other))}
    if (shown := _shown(run, benchmark, prompts)) is not None:
        images, asked = shown
        floor["at_n"] = _finite(panel.numbers(panel.look(images, asked), asked))
    meta = {
        "kind": FILE,
        "digest": plan.reference_digest(run, benchmark),
        "benchmark": benchmark.name,
        "judge": run.domain.judge.name,
        "judge_sha256": panel.sha256,
        "floor": floor,
    }
    write_artifact(Path(out), {FILE: tensors or {"none": torch.zeros(0)}}, meta)


def _samples(run: Run, folder: Path) -> "tuple[Tensor | Films, Tensor, dict[str, Any]]":
    """Images uint8 (n, 3, H, W), or the films of a video track; their prompts (n,); the manifest."""
    if run.domain.clip is None:
        return read_samples(folder)
    from amd.measure.films import read_films

    manifest = read_manifest(folder)
    films, index = read_films(folder, manifest)
    if run.domain.begins:
        from amd.train.first_frame import pictures_of

        pictures = pictures_of(run, manifest["benchmark"])
        films = replace(films, begins=lambda places: pictures.take(index[list(places)].tolist()))
    return films, index, manifest


def _panel(run: Run, benchmark: Benchmark) -> Panel[Any]:
    """Of images, or of clips."""
    if run.domain.clip is None:
        return build_panel(run, benchmark, device())
    from amd.measure.video_panel import build_video_panel

    return build_video_panel(run, benchmark, device())


def read(folder: Path, run: Run, benchmark: Benchmark, panel: Panel[Any]) -> tuple[Moments | None, Mapping[str, Any]]:
    """(moments of the real images, the floor). Refused where it is not the one that this run's scores mean."""
    meta = read_meta(folder)
    said = {"digest": plan.reference_digest(run, benchmark), "judge_sha256": panel.sha256}
    for key, value in said.items():
        if meta.get(key) != value:
            raise Refused(f"{folder}: {key} is {meta.get(key)}, wanted is {value}; delete the folder and make it again")
    floor, tensors = meta["floor"], read_artifact(folder, FILE)
    assert isinstance(floor, dict)
    known = Moments.known(tensors["mean"], tensors["covariance"], tensors["root"]) if "mean" in tensors else None
    return known, floor


def _shown(run: Run, benchmark: Benchmark, prompts: PromptSet) -> tuple[Tensor | Rendered, Asked] | None:
    """Real images or clips of the benchmark's own prompts, as many as there are samples; None where nobody can make
    them."""
    data = run.domain.data
    if data is None or data.source not in {**RENDERERS, **FILMS} or prompts.rows is None:
        return None
    index = torch.arange(len(prompts)).repeat_interleave(benchmark.per_prompt)
    seed = int(generator("real images of", benchmark.name, benchmark.seed).initial_seed() % 2**31)
    if run.domain.clip is not None:
        _, frames, height, width = run.domain.pixel_shape
        make, rows = FILMS[data.source], prompts.rows
        every = [partial(make, rows[i], seed + k, frames, height, width) for k, i in enumerate(index.tolist())]
        return Rendered(every), Asked(prompts, index)
    render, side = RENDERERS[data.source], run.domain.pixels[1]
    made = [render(prompts.rows[i], seed + k, side) for k, i in enumerate(index.tolist())]
    return torch.stack([torch.from_numpy(pixels) for pixels, _ in made]), Asked(prompts, index)


def write_records(out: Path, asked: Asked, columns: Columns, preprocessing: Mapping[str, str]) -> None:
    """A row per image: index, prompt, category, and each member's columns. Atomic.

    The file's metadata say under b"preprocessing" what each member's images went through, as JSON.
    """
    count = len(asked.index)
    table = pa.table(
        {
            "index": pa.array(range(count), pa.int64()),
            "prompt": pa.array(asked.index.tolist(), pa.int64()),
            "text": pa.array(asked.texts, pa.string()),
            "category": pa.array(list[str | None](asked.categories) or [None] * count, pa.string()),
            **{name: pa.array(values) for name, values in columns.items()},
        }
    )
    table = table.replace_schema_metadata({"preprocessing": json.dumps(preprocessing, sort_keys=True)})
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    pq.write_table(table, part)
    os.replace(part, out)


def _finite(numbers: dict[str, float]) -> dict[str, float]:
    for key, value in numbers.items():
        finite(torch.tensor(value), key)
    return numbers
