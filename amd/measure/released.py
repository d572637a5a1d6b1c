"""Systems of kind `released`: somebody else's published model, sampled by its authors' own recipe; nothing is trained.

The recipe is the configuration's, the arithmetic diffusers'. What is ours is what our students have too: the prompts,
the noise that belongs to sample i, the way to 8 bits, the manifest. So the same rules score the samples.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from amd.config import plan
from amd.config.load import Run
from amd.config.published import ways_out
from amd.config.schema.assets import Asset
from amd.config.schema.system import Release, System
from amd.config.schema.tables import Benchmark
from amd.data.assets import locate, sha256
from amd.distill.noise import generator
from amd.measure.index_noise import IndexNoise
from amd.measure.sample import device, labels
from amd.rewards.published import state_dict
from amd.rewards.text import PRECISIONS
from amd.train.artifact import Refused, read_meta, write_artifact
from amd.train.conditions import prompts_for

LORA = "lora"  # what its file is called beside those of the pipeline's folder
UNET = "unet/diffusion_pytorch_model.safetensors"  # or, under this name, a file that torch.save wrote


def fetch(run: Run, out: Path) -> None:
    """Find every file of the release, and write `out`/meta.json: which they are, by sha256. They stay where they are.

    MissingAsset names the first that is nowhere, with its address and licence.
    """
    release = _release(run)
    assets = {
        path: {"file": release_file(release, path).file, "sha256": sha256(file)} for path, file in located(run).items()
    }
    meta = {"kind": "released", "system": run.system.name, "run": run.name, "scale": run.scale.name, "seed": run.seed}
    write_artifact(Path(out), {}, {**meta, "digest": run.digest, "domain": run.domain.name, "assets": assets})


def located(run: Run) -> dict[str, Path]:
    """Path in the pipeline's folder, or `lora` -> the file on this machine. MissingAsset names one that is nowhere."""
    release = _release(run)
    names = [*release.files, *([LORA] if release.lora else [])]
    return {name: locate(release_file(release, name), run.mirror) for name in names}


def release_file(release: Release, name: str) -> Asset:
    """The asset of a path in the pipeline's folder, or of the LoRA."""
    return release.lora if release.lora is not None and name == LORA else release.files[name]


def weights_sha(run: Run) -> str:
    """One sha256 over those of all files, as `fetch` found them; Refused where they, or the recipe, are others now."""
    folder = Path(plan.folder(run))
    meta = read_meta(folder)
    if meta.get("digest") != run.digest:
        raise Refused(
            f"{folder}: made with digest {meta.get('digest')}, the configuration now means {run.digest}. "
            f"{ways_out(folder)}"
        )
    assets = meta.get("assets")
    assert isinstance(assets, dict)
    for name, file in located(run).items():
        if (found := sha256(file)) != assets[name]["sha256"]:
            raise Refused(
                f"{file}: sha256 {found[:12]}, but {folder}/meta.json says {assets[name]['sha256'][:12]}; put the file "
                f"back, or delete the folder and `amd fetch` again"
            )
    listed = "\n".join(f"{name} {assets[name]['sha256']}" for name in sorted(assets))
    return hashlib.sha256(listed.encode()).hexdigest()


def guidance_scale(system: System) -> float:
    """What diffusers' pipelines are given: the one place where our guidance becomes theirs.

    Without an embedding it is w of Eq. 9, uncond + w (cond - uncond), in both; theirs take 1 and less, a card's 0 too,
    for none. A network with guidance as an input is told the card's number (of which diffusers makes what the network
    was trained on: an LCM reads it less 1), and asked once a step.
    """
    assert system.release is not None
    told = system.release.embedded_guidance
    return system.cfg_weight if told is None else told


def images(
    pipeline: Any,
    system: System,
    texts: Sequence[str],
    seed: int,
    indices: Sequence[int],
    device: torch.device | str = "cpu",
    output: str = "pt",
) -> Tensor:
    """b prompts by the system's recipe -> pictures (b, 3, R, R) in [0, 1], or with output="latent" what is decoded.

    Picture j depends on (seed, indices[j]), not on the batch: its first noise, at SDXL's size that of our students, and
    the fresh noise of a scheduler that draws some.
    """
    release = system.release
    assert release is not None
    more: dict[str, Any] = {}
    if release.timesteps is not None:
        more["timesteps"] = list(release.timesteps)
    if release.prompt_tokens is not None:
        more["max_sequence_length"] = release.prompt_tokens
    return pipeline(
        prompt=list(texts),
        height=release.resolution,
        width=release.resolution,
        num_inference_steps=release.steps,
        guidance_scale=guidance_scale(system),
        latents=_latents(pipeline, release, IndexNoise(seed, tuple(indices), device=device)),
        generator=[generator(seed, index, "sample", "scheduler") for index in indices],
        output_type=output,
        **more,
    ).images


@dataclass(frozen=True)
class Released:
    """Indices of a benchmark -> images, as `amd.measure.sample.Sampler`."""

    run: Run
    benchmark: Benchmark
    pipeline: Any
    texts: Sequence[str]
    device: torch.device

    @torch.inference_mode()
    def __call__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(b,) indices -> pixels (b, 3, R, R) float32 in [-1, 1], R the recipe's resolution, and prompts (b,)."""
        wanted = labels(self.benchmark, len(self.texts), indices)
        texts = [self.texts[index] for index in wanted.tolist()]
        found = images(self.pipeline, self.run.system, texts, self.benchmark.seed, indices, self.device)
        x = 2 * found.float().cpu() - 1
        if not bool(x.isfinite().all()):
            raise FloatingPointError(f"{self.run.name}: samples {indices[0]} to {indices[-1]} are not all finite")
        return x, wanted


def build(run: Run, benchmark: Benchmark) -> Released:
    """The pipeline from its files, on a GPU if there is one. Raises as `located` and `build_pipeline`."""
    where = device()
    pipeline = build_pipeline(run.system, located(run)).to(where)
    pipeline.set_progress_bar_config(disable=True)
    return Released(run, benchmark, pipeline, prompts_for(run, benchmark.name).texts, where)


def build_pipeline(system: System, files: Mapping[str, Path]) -> Any:
    """diffusers' pipeline from files (path in its folder, or `lora` -> file), with the recipe's scheduler, on the CPU.

    Nothing is asked of a hub and nothing is unpickled. ValueError names the system and the setting, file or guidance
    that does not fit.
    """
    import diffusers  # seconds to import

    assert system.release is not None
    release, here = system.release, f"systems/{system.name}.yaml: release"
    dtype = PRECISIONS[release.precision]
    own: dict[str, Any] = {"scheduler": _scheduler(release, here)}
    if release.pipeline == "StableDiffusionXLPipeline":
        own["add_watermarker"] = False  # else it would depend on whether another package is installed
    with _folder(files) as folder:
        if UNET in files and files[UNET].suffix != ".safetensors":
            own["unet"] = _unet(folder, files[UNET], dtype)
        try:
            pipeline = getattr(diffusers, release.pipeline).from_pretrained(
                folder, torch_dtype=dtype, local_files_only=True, use_safetensors=True, **own
            )
        except (OSError, RuntimeError) as error:
            raise ValueError(f"{here}: files are no {release.pipeline}: {error}") from error
    _check_guidance(pipeline, release, here)
    if LORA in files:
        pipeline.load_lora_weights(load_file(files[LORA]))
        pipeline.fuse_lora()
        pipeline.unload_lora_weights()
    return pipeline


def _release(run: Run) -> Release:
    if run.system.release is None:
        raise ValueError(f"{run.name}: kind {run.system.kind}; only what is released is fetched")
    return run.system.release


def _latents(pipeline: Any, release: Release, noise: IndexNoise) -> Tensor:
    """Standard normal latents of the recipe's resolution, (b, C, s, s); of a FLUX in its patches of 2 x 2."""
    side, dtype = release.resolution // pipeline.vae_scale_factor, PRECISIONS[release.precision]
    if release.pipeline == "StableDiffusionXLPipeline":
        return noise.normal("z", (pipeline.unet.config.in_channels, side, side)).to(dtype)
    z = noise.normal("z", (pipeline.transformer.config.in_channels // 4, side, side)).to(dtype)
    return pipeline._pack_latents(z, *z.shape)


def _scheduler(release: Release, here: str) -> Any:
    import diffusers

    family = getattr(diffusers, release.scheduler.name)
    try:
        return family(**release.scheduler.settings)
    except TypeError as error:
        raise ValueError(f"{here}.scheduler.settings: {release.scheduler.name} refuses them: {error}") from error


def _check_guidance(pipeline: Any, release: Release, here: str) -> None:
    """Whether the network has guidance as an input exactly where the recipe tells it some."""
    if release.pipeline == "FluxPipeline":
        embeds = bool(pipeline.transformer.config.guidance_embeds)
    else:
        embeds = pipeline.unet.config.time_cond_proj_dim is not None
    if embeds != (release.embedded_guidance is not None):
        has = "has guidance as an input: set" if embeds else "has no guidance as an input: leave out"
        raise ValueError(f"{here}: the network {has} embedded_guidance")


@contextmanager
def _folder(files: Mapping[str, Path]) -> Iterator[Path]:
    """The pipeline's folder as diffusers lays it out, of links; a UNet that torch.save wrote is read by `_unet`."""
    with tempfile.TemporaryDirectory() as name:
        for path, file in files.items():
            if path != LORA and file.suffix == Path(path).suffix:
                link = Path(name) / path
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.resolve())
        yield Path(name)


def _unet(folder: Path, file: Path, dtype: torch.dtype) -> Any:
    """A UNet of the folder's configuration with the tensors of a file that torch.save wrote."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        network = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder / "unet"))
    try:
        network.load_state_dict(state_dict(file), assign=True)
    except RuntimeError as error:
        raise ValueError(f"{file}: not the weights of {folder / 'unet' / 'config.json'}: {error}") from error
    return network.to(dtype).eval()
