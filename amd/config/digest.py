"""Digests of resolved content: sha256[:12] of canonical JSON. Whatever a job's result depends on goes in, nothing else.

Left out on purpose: names, titles and sources; seeds (they stand in the path); micro_batch, sample_batch, footprints
and world size (how a result is computed, not which).
"""

import hashlib
import json
from typing import Any

from pydantic import BaseModel

from amd.config.methods import DATA_READERS, REWARDED, TETHERED
from amd.config.schema.assets import Encoder, Scorer
from amd.config.schema.closed import PROMPTED
from amd.config.schema.domain import Domain
from amd.config.schema.problem import Problem
from amd.config.schema.scale import Scale
from amd.config.schema.sizes import ClassSizes, TextSizes, VideoSizes
from amd.config.schema.system import Release, System
from amd.config.schema.tables import Benchmark

WORDS = {"name", "title", "about", "sources"}  # of a system: what it is called, not what it does
STUDENT = {"teacher_seed"}  # keys that only a student means something by


def digest(content: Any) -> str:
    """12 hex digits over `content`, independent of the order of keys."""
    text = json.dumps(_plain(content), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _plain(content: Any) -> Any:
    if isinstance(content, BaseModel):
        return content.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    return content


def run_digest(
    system: System, scale: Scale, domain: Domain, iterations: int, start: str = "", teacher: str = "", reward: str = ""
) -> str:
    """What a student, a teacher, a classifier or a scorer becomes; the last three are digests of those runs."""
    content: dict[str, Any] = {"precision": scale.precision, "pixels": domain.pixels}
    sizes = scale.sizes(system.track)
    if isinstance(sizes, TextSizes):
        content |= {"encoder": _encoder(domain.encoder), "images": sizes.images}
    elif isinstance(sizes, VideoSizes):
        content |= {"encoder": _encoder(domain.encoder), "clips": sizes.clips, "clip": _clip(domain)}
        if domain.begins:
            content |= {"begins": True, "image_encoder": domain.image_encoder}
    else:
        content |= {"classes": domain.classes}
    network: Any = sizes.network  # type: ignore[attr-defined]
    if system.kind == "classifier":
        content |= {"system": system.model_dump(exclude=WORDS | STUDENT, exclude_none=True), "data": domain.data}
        assert isinstance(sizes, ClassSizes)
        return digest(content | {"pretraining": sizes.classifier})
    if system.release is not None:
        return digest({"released": _release(system.release), "cfg_weight": system.cfg_weight})
    if system.kind == "scorer":
        assert isinstance(sizes, TextSizes | VideoSizes)
        content |= {"system": system.model_dump(exclude=WORDS | STUDENT, exclude_none=True), "data": domain.data}
        return digest(content | {"pretraining": sizes.scorers.get(_architecture(system))})
    content |= {"latents": domain.latents, "network": network, "autoencoder": domain.autoencoder}
    if system.kind == "teacher":
        # cfg_weight is how it is sampled, see sample_digest: the weights do not know it
        unknown = WORDS | STUDENT | {"cfg_weight", "start"}
        content |= {"system": system.model_dump(exclude=unknown, exclude_none=True)}
        if domain.teacher is not None:
            return digest(content | {"published": domain.teacher})
        begun = {"start": start} if start else {}
        return digest(content | {"data": domain.data, "pretraining": sizes.teacher} | begun)
    if system.kind == "initial":
        assert isinstance(sizes, VideoSizes)
        content |= {"system": system.model_dump(exclude=WORDS | {"teacher"}, exclude_none=True)}
        content |= {"teacher": teacher, "streaming": sizes.streaming}
        if domain.initial is not None:
            return digest(content | {"published": domain.initial})
        made = {"prompts": domain.prompts.get("train"), "pairs": sizes.tether_pairs, "steps": sizes.teacher_steps}
        return digest(content | made | {"shift": domain.shift, "pretraining": sizes.initial})
    if isinstance(sizes, ClassSizes) and sizes.compiled:
        content |= {"compiled": True}  # fused kernels round otherwise
    content |= {
        "system": system.model_dump(exclude=WORDS | {"start", "teacher", "stage", "batch"}, exclude_none=True),
        "start": start,
        "teacher": teacher,
        "iterations": iterations,
        "batch": sizes.batch if system.batch == "full" else sizes.small_batch,
        **{key: getattr(sizes, key) for key in ("group", "lr", "fake_lr", "milestones")},
    }
    if domain.cfg_weight is not None:
        content |= {"cfg_weight": domain.cfg_weight}
    if domain.force != 1:
        content |= {"force": domain.force}
    if domain.shift != 1:
        content |= {"shift": domain.shift}
    if isinstance(sizes, TextSizes | VideoSizes):
        content |= {"prompts": domain.prompts.get("train"), "count": sizes.prompts.get("train")}
    if isinstance(sizes, VideoSizes):
        content |= {"streaming": sizes.streaming}
        content |= {"optimiser": sizes.optimiser} if sizes.optimiser else {}
    if system.method in REWARDED:
        content |= {"reward": scorer_content(domain.reward, reward)}
    if system.method in TETHERED:
        content |= {"tether_pairs": sizes.tether_pairs, "teacher_steps": sizes.teacher_steps}
    if system.method in DATA_READERS:
        content |= {"data": domain.data}
    return digest(content)


def _release(release: Release) -> dict[str, Any]:
    """The recipe, and which files: not where they may be fetched, nor under which licence."""
    told = {"url", "license"}
    content = release.model_dump(exclude={"files", "lora"}, exclude_none=True)
    content["files"] = {path: asset.model_dump(exclude=told) for path, asset in release.files.items()}
    return content | {"lora": release.lora and release.lora.model_dump(exclude=told)}


def _encoder(encoder: Encoder | None) -> dict[str, Any]:
    """Which states a prompt becomes; not whether they are kept."""
    return {} if encoder is None else encoder.model_dump(exclude={"kept"})


def _clip(domain: Domain) -> dict[str, Any]:
    """The shape of a video; not how samples of it are drawn and kept."""
    return {} if domain.clip is None else domain.clip.model_dump(exclude={"stored", "drawn_in"})


def _architecture(system: System) -> Any:
    assert system.architecture is not None, "checked at load"
    return system.architecture


def scorer_content(scorer: Scorer, run: str) -> dict[str, Any]:
    """A reward or judge: its code, its published files, or the digest of the run that trained it."""
    content = {"name": scorer.name, "assets": scorer.assets, "run": run}
    if scorer.scorer != "own":
        content |= {"scorer": scorer.scorer}
    return content if not scorer.settings else content | {"settings": scorer.settings}


def sample_digest(run: str, system: System, scale: Scale, domain: Domain, benchmark: Benchmark, count: int) -> str:
    """The images of a benchmark: which noise and labels, how many, decoded by what."""
    content: dict[str, Any] = {"run": run, "labels": benchmark.labels, "seed": benchmark.seed, "count": count}
    content |= {"autoencoder": domain.autoencoder, "version": benchmark.version}
    if domain.clip is not None:
        content |= {"stored": domain.clip.stored}
        content |= {} if domain.clip.drawn_in == "float32" else {"drawn_in": domain.clip.drawn_in}
    if system.track in PROMPTED:
        prompts = domain.prompts.get(benchmark.name)
        left_out = {"categories", "variant"}  # which texts is said by source and assets
        left_out |= set() if prompts and prompts.eight_bits else {"eight_bits"}
        content |= {"prompts": prompts and prompts.model_dump(exclude=left_out), "each": benchmark.per_prompt}
    if system.kind == "teacher":
        content |= {
            "steps": scale.sizes(system.track).teacher_steps,
            "cfg_weight": domain.cfg_weight or system.cfg_weight,
        }
        if domain.shift != 1:
            content |= {"shift": domain.shift}
    if system.kind == "initial":
        content |= {"sampled": "as students"}  # and no longer as teachers
    return digest(content)


def score_digest(
    samples: str, benchmark: Benchmark, domain: Domain, judge: str, reward: str, panel: dict[str, str]
) -> str:
    """The numbers of a benchmark: the images, who judged them (`panel`: system -> digest), and against what."""
    content = {
        "samples": samples,
        "metrics": benchmark.metrics,
        "splits": benchmark.splits,
        "version": benchmark.version,
        "data": domain.data,
        "judge": scorer_content(domain.judge, judge),
        "reward": scorer_content(domain.reward, reward),
    }
    if domain.panel:
        members = {key: scorer_content(each, panel.get(each.system or "", "")) for key, each in domain.panel.items()}
        times = {key: each.times for key, each in domain.panel.items()}
        prompts = domain.prompts.get(benchmark.name)
        content |= {"panel": members, "times": times, "categories": prompts.categories if prompts else {}}
        content |= {"real": domain.real}
    return digest(content)


def plane_digest(problem: Problem, systems: dict[str, System], scale: Scale) -> str:
    """All runs of a problem: they are stacked in one process, so they stand and fall together, seeds included."""
    return digest(
        {
            "problem": problem.model_dump(exclude={"name", "title", "about"}),
            "systems": {title: system.model_dump(exclude=WORDS | {"release"}) for title, system in systems.items()},
            "sizes": scale.plane,
            "seeds": scale.seeds,
        }
    )
