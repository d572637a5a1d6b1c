"""`amd new`: a diffusers folder and a file of prompts -> a few-step student that diffusers loads; no YAML to write.

The flags become a configuration (`amd.config.preset`) in a folder of their own (`amd.place`); from there on all is what
the other verbs do: the same run, the same loop, the same export. The folder's paths are those of a checkout.
"""

import gc
from contextlib import chdir
from pathlib import Path
from typing import Literal

import torch

from amd.config import plan
from amd.config.flags import Flags
from amd.config.jobs import Job, footprint
from amd.config.load import Library, Run, load
from amd.config.preset import EACH, MIRROR, NAME, PREVIEW
from amd.config.read import ConfigError
from amd.export import export, export_lora
from amd.measure.sample import build_sampler, draw
from amd.place import Files, prepare
from amd.report.gallery import beside
from amd.train.artifact import read_meta
from amd.train.cast import method_of
from amd.train.conditions import prompts_for
from amd.train.devices import leave, ranks, threads
from amd.train.estimate import GIB, estimate
from amd.train.finished import weights
from amd.train.loop import distill
from amd.train.pretrain import convert

__all__ = ["Files", "new"]


def new(flags: Flags, files: Files, shipped: Library, *, dry: bool = False, budget_s: float | None = None) -> None:
    """Distil `files.teacher` into `files.out`: pipeline/, samples.png, README.md, config/, and lora/ where asked.

    `dry`: write and print the configuration and what it would take, no more. Under several processes all call this.
    ConfigError, before anything is trained, for flags and files that will not do, and for an OUT of other flags.
    SystemExit(75) where it is stopped, with everything saved: the same call goes on.
    """
    threads()
    world = ranks()
    out = files.out.absolute()
    if world.main:
        try:
            prepare(flags, files, shipped, processes=world.world, cuda=world.device.type == "cuda", dry=dry)
        except ConfigError:
            raise
        except (ValueError, FileNotFoundError, UnicodeDecodeError) as error:  # of files that somebody else wrote
            raise ConfigError(str(error)) from error
    world.wait()
    with chdir(out):
        library = load(Path("config"))
        student = library.run("student", NAME, flags.seed)
        if world.main:
            print("\n".join(_takes(library, student)), flush=True)
        if dry:
            return
        assert student.teacher is not None
        if world.main:
            _convert(student.teacher)
        world.wait()
        under = footprint(library, NAME, "distill", "text")
        state = plan.state(NAME, student.name, student.seed, student.digest)
        distill(
            student,
            Path(plan.folder(student)),
            Path(state),
            budget_s,
            save_every_s=under.save_every_s,
            sharding=under.sharding,
            offload=under.offload,
        )
        leave()
        if world.main:
            gc.collect()  # what trained makes room for what samples
            torch.cuda.empty_cache()
            finish(library, student)
            print(_whereabouts(files.out, student), flush=True)


def _takes(library: Library, run: Run) -> list[str]:
    """Memory and time of the training, beside what there is."""
    one = estimate(library, Job("distill", plan.folder(run), run.digest, run))
    parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in one.parts)
    what, unit = ("a GPU", "GPU-hours at an H100's speed") if one.devices else ("the process", "hours of a CPU core")
    lines = [
        f"Estimate: {one.memory / GIB:.1f} GiB of {what} ({parts}); {one.device_hours:.2g} {unit}, less or more.",
    ]
    if torch.cuda.is_available():
        here = torch.cuda.get_device_properties(torch.cuda.current_device())
        lines.append(f"Here: {here.name}, {here.total_memory / GIB:.0f} GiB.")
        if one.memory > here.total_memory:
            lines.append(
                "That is more than there is. A smaller --micro-batch (and --group), --lora 64, or several GPUs "
                "(`torchrun --nproc-per-node=8 -m amd new ...`, which shares the networks out) take less."
            )
    return lines


def _convert(teacher: Run) -> None:
    """The teacher's UNet as a checkpoint of this run, once."""
    folder = Path(plan.folder(teacher))
    try:
        there = read_meta(folder).get("digest") == teacher.digest
    except (FileNotFoundError, ValueError):
        there = False
    if not there:
        convert(teacher, folder)


def finish(library: Library, run: Run) -> None:
    """The finished student as folders that diffusers loads, and pictures of it beside its teacher's."""
    rollout = dict(method_of(run).rollout.numbers)
    about = f"{run.system.title}: {run.system.about}"
    teacher = Path(MIRROR) / "teacher"
    export(weights(run), teacher, Path("pipeline"), **rollout, about=about)
    if (lora := run.system.student_lora) is not None:
        times = {key: rollout[key] for key in ("steps", "first", "shift")}
        branches = weights(run, "student_lora")
        export_lora(branches, Path("lora"), kind=_kind(run), scale=lora.scale, about=about, **times)
    benchmark = library.benchmarks[PREVIEW]
    assert run.teacher is not None
    columns = {}
    for one in (run, run.teacher):
        sampler = build_sampler(one, benchmark, weights(one))
        images, _ = draw(sampler, range(plan.sample_count(one, benchmark)), f"samples of the {one.name}")
        columns[one.system.title] = images.unflatten(0, (-1, EACH)).permute(0, 1, 3, 4, 2).numpy()
    beside(prompts_for(run, PREVIEW).texts, columns, Path("samples.png"))


def _kind(run: Run) -> Literal["sd15", "sdxl"]:
    return "sd15" if run.text.network.pooled is None else "sdxl"


def _whereabouts(out: Path, run: Run) -> str:
    lora = (
        f"\n  {out}/lora          the low-rank branches alone, for load_lora_weights" if run.system.student_lora else ""
    )
    return f"""Done:
  {out}/pipeline      DiffusionPipeline.from_pretrained("{out}/pipeline"); its README.md says how to sample{lora}
  {out}/samples.png   the first prompts, the student beside the teacher
  {out}/README.md     what lies here, and how to go on from it"""
