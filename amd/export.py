"""A student as a folder that stock diffusers loads and samples, or as a LoRA file on its teacher.

The folder has the teacher's other parts, and a scheduler that does what our rollout did: LCMScheduler predicts x0 and
noises it anew at the next step, which is backward simulation with eta = 1.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from diffusers import LCMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from amd.backbones.adapters import merged
from amd.backbones.base import fill
from amd.backbones.pipeline import Kind, Pipeline, read_json, read_pipeline
from amd.backbones.unet import FIRST, LAST, LEVELS, stable_diffusion_path
from amd.distill.rollout import grid

__all__ = ["Pipeline", "export", "export_lora", "read_pipeline", "scheduler", "timesteps"]

COMPONENTS = {  # of these pipelines, besides the UNet and the scheduler
    "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "feature_extractor", "safety_checker",
    "image_encoder",
}  # fmt: skip
LORA = "pytorch_lora_weights.safetensors"  # the name that load_lora_weights looks for in a folder
COPIED = {".json", ".txt", ".model", ".safetensors"}  # of a component; nothing that would have to be unpickled


def timesteps(steps: int, first: float = 0.0, shift: float = 1.0) -> list[int]:
    """The levels at which a student of so many steps is asked: 4 -> [999, 749, 499, 249]."""
    times = torch.tensor([first, *grid(steps, shift)[1:]], dtype=torch.float64)
    return stable_diffusion_path().index(times).tolist()


def scheduler() -> LCMScheduler:
    """Its x_{t'} = alpha' x0 + sigma' z is our rollout's; asked for S steps it takes 1000 - 1, 1000 - 1000 / S - 1, ...

    `original_inference_steps` of 1,000 lets it begin at 999 and divide evenly (50, its default, gives 759 for 749).
    """
    return LCMScheduler(
        num_train_timesteps=LEVELS,
        beta_start=FIRST,
        beta_end=LAST,
        beta_schedule="scaled_linear",
        original_inference_steps=LEVELS,
        prediction_type="epsilon",
        clip_sample=False,
        steps_offset=1,  # not read by this scheduler; SD1.5's pipeline complains of another
    )


def export(
    student: Mapping[str, Tensor],
    teacher: Path,
    out: Path,
    *,
    steps: int,
    eta: float = 1.0,
    first: float = 0.0,
    shift: float = 1.0,
    scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
    about: str = "",
) -> None:
    """Write `out`, which DiffusionPipeline.from_pretrained loads: beside, then renamed; an older one is replaced.

    `student`: a UNetBackbone's state dict; low-rank branches in it are merged at `scale`. `teacher`: the folder whose
    text encoders, tokenizers and autoencoder go with it. `steps`, `eta`, `first`, `shift`: of its own rollout.
    ValueError for a rollout that no stock scheduler does, or weights that are not those of the teacher's UNet.
    """
    asked = timesteps(steps, first, shift)
    if steps > 1 and eta != 1:
        raise ValueError(f"eta {eta}: LCMScheduler draws fresh noise at every step, which is eta 1")
    teacher, out = Path(teacher), Path(out)
    pipeline = read_pipeline(teacher)
    index = read_json(teacher / "model_index.json")
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list) or value[0] is None or name in ("unet", "scheduler"):
            continue
        if name not in COMPONENTS:
            raise ValueError(f"{teacher / 'model_index.json'}: {name} is no part of {index['_class_name']}")
        _copy(teacher / name, part / name)
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(read_json(teacher / "unet" / "config.json"))
    fill(unet, {name: tensor.to(dtype) for name, tensor in unet_tensors(student, scale).items()}, "the student")
    unet.save_pretrained(part / "unet")
    scheduler().save_pretrained(part / "scheduler")
    index["scheduler"] = ["diffusers", "LCMScheduler"]
    (part / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    (part / "README.md").write_text(_readme(pipeline.kind, asked, about, "folder"))
    shutil.rmtree(out, ignore_errors=True)
    os.replace(part, out)


def export_lora(
    student: Mapping[str, Tensor],
    out: Path,
    *,
    kind: Kind,
    steps: int,
    first: float = 0.0,
    shift: float = 1.0,
    scale: float = 1.0,
    about: str = "",
) -> None:
    """Write `out`, a folder with the low-rank branches alone, which `load_lora_weights` loads on the teacher.

    `student`: a state dict with branches, or the branches alone; the rest of it is not read. `scale` is multiplied
    into B, so that the adapter's own weight of 1 is the student. ValueError where there is no branch.
    """
    tensors = {}
    for module, (a, b) in branches(student).items():
        tensors[f"unet.{module}.lora_A.weight"] = a.float().contiguous()
        tensors[f"unet.{module}.lora_B.weight"] = (scale * b.float()).contiguous()
    if not tensors:
        raise ValueError("the student has no low-rank branch; `export` writes a whole network")
    out = Path(out)
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file(tensors, part / LORA, metadata={"format": "pt"})
    scheduler().save_pretrained(part / "scheduler")
    (part / "README.md").write_text(_readme(kind, timesteps(steps, first, shift), about, "lora"))
    shutil.rmtree(out, ignore_errors=True)
    os.replace(part, out)


def branches(student: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Module, in diffusers' names -> (A (rank, in), B (out, rank)) of its branch."""
    found = {}
    for name, a in student.items():
        if name.endswith(".lora_a"):
            module = name.removesuffix(".lora_a")
            found[module.removeprefix("network.")] = (a, student[f"{module}.lora_b"])
    return found


def unet_tensors(student: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """A backbone's state dict -> diffusers' names and values, on the CPU; W + scale B A where there is a branch."""
    tensors = {name.removeprefix("network."): tensor.detach().cpu() for name, tensor in student.items()}
    return merged(tensors, scale)


def _copy(component: Path, to: Path) -> None:
    """Configuration, vocabulary and safetensors of a component; an fp16 variant where there is no other."""
    if not component.is_dir():
        raise FileNotFoundError(f"{component}: no such folder, though model_index.json names it")
    to.mkdir()
    files = sorted(file for file in component.iterdir() if file.suffix in COPIED and file.is_file())
    names = {file.name for file in files}
    for file in files:
        plain = file.name.replace(".fp16.", ".")
        if plain == file.name or plain not in names:
            shutil.copyfile(file, to / plain)
    if any(component.glob("*.bin")) and not any(to.glob("*.safetensors")):
        raise FileNotFoundError(f"{component}: no safetensors file; save it anew with safe_serialization=True")


def _readme(kind: Kind, asked: list[int], about: str, form: Literal["folder", "lora"]) -> str:
    """How to sample, in the few lines that a model card has."""
    steps = len(asked)
    even = asked == timesteps(steps) and LEVELS % steps == 0
    how = f"num_inference_steps={steps}" if even else f"timesteps={asked}"
    base = {"sd15": "stable-diffusion-v1-5", "sdxl": "stable-diffusion-xl-base-1.0"}[kind]
    load = {
        "folder": 'pipe = DiffusionPipeline.from_pretrained("path/of/this/folder")',
        "lora": f'pipe = DiffusionPipeline.from_pretrained("path/of/{base}")  # the teacher it was trained from\n'
        'pipe.load_lora_weights("path/of/this/folder")\n'
        'pipe.scheduler = LCMScheduler.from_pretrained("path/of/this/folder", subfolder="scheduler")',
    }[form]
    names = "DiffusionPipeline" if form == "folder" else "DiffusionPipeline, LCMScheduler"
    return f"""---
library_name: diffusers
pipeline_tag: text-to-image
---
{about or "A distilled text-to-image student."}

It makes an image in {steps} step{"s" if steps > 1 else ""}, at the levels {", ".join(map(str, asked))}:

```python
from diffusers import {names}

{load}
image = pipe("a red apple", {how}, guidance_scale=1).images[0]
```

`guidance_scale=1` switches guidance off: it is in the student already. Another number of steps, or the pipeline's
default guidance, gives other and worse images.
"""
