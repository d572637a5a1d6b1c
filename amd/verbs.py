"""The verbs of this repository. Thin: each reads names and paths from the command line and calls one function.

What an experiment is stands in config/, so no verb takes a hyper-parameter; the flags of `new` become a config/ of
their own. Everything heavy is imported inside a verb's function: `python -m amd --help` loads no torch. A verb's
docstring is what `--help` says of it.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amd.config.load import Library, Run
    from amd.config.schema.tables import Benchmark

Arguments = argparse.Namespace


def new(asked: Arguments) -> None:
    """Distil your own diffusers folder (Stable Diffusion 1.5 or XL) from a file of prompts, with no YAML to write."""
    from amd.config.flags import Flags
    from amd.new import Files, new

    files = Files(asked.teacher, asked.prompts, asked.out, asked.reward_weights, asked.images)
    new(Flags.of(asked), files, _library(asked), dry=asked.dry_run, budget_s=asked.budget)


def pretrain(asked: Arguments) -> None:
    """Train a teacher or a classifier, or fetch published teacher weights: whatever the scale's domain says."""
    from amd.train.pretrain import pretrain

    pretrain(_run(asked), asked.out, asked.state, asked.budget)


def distill(asked: Arguments) -> None:
    """Train a student from its start, under its method, with its teachers."""
    from amd.config.jobs import footprint
    from amd.train.loop import distill

    run = _run(asked)
    under = footprint(_library(asked), run.scale.name, "distill", run.system.track)
    distill(
        run,
        asked.out,
        asked.state,
        asked.budget,
        save_every_s=under.save_every_s,
        sharding=under.sharding,
        offload=under.offload,
    )


def fetch(asked: Arguments) -> None:
    """Find the files of a released system, by their sha256; nothing of it is trained."""
    from amd.measure.released import fetch

    fetch(_run(asked), asked.out)


def sample(asked: Arguments) -> None:
    """Draw the samples of a benchmark from a student (few steps), a teacher (many), or a released system."""
    from amd.measure.sample import sample

    library = _library(asked)
    sample(_run(asked), _benchmark(library, asked.benchmark), asked.out, shard=asked.shard, frames=asked.frames)


def gather(asked: Arguments) -> None:
    """Put the shards of a sampling together: the same folder as one job would have written."""
    from amd.measure.sample import gather

    gather(asked.shards, asked.out)


def reference(asked: Arguments) -> None:
    """Look at the real images once: the statistics that samples are compared with, and what real images score."""
    from amd.config import plan
    from amd.measure.reference import reference

    library = _library(asked)
    benchmark = _benchmark(library, asked.benchmark)
    reference(plan.judged_run(library, _scale(library, asked), asked.seed, benchmark.name), benchmark, asked.out)


def score(asked: Arguments) -> None:
    """Judge samples: per-sample records first, then the benchmark's numbers from them."""
    from amd.measure.score import score

    library = _library(asked)
    score(_run(asked), _benchmark(library, asked.benchmark), asked.samples, asked.reference, asked.out, asked.records)


def trace(asked: Arguments) -> None:
    """Measure a student at every milestone of its training."""
    from amd.measure.trace import trace

    library = _library(asked)
    trace(_run(asked), _benchmark(library, asked.benchmark), asked.reference, asked.out)


def grid(asked: Arguments) -> None:
    """Lay the first samples out as one picture."""
    from amd.report.gallery import grid

    grid(asked.samples, asked.out)


def plane(asked: Arguments) -> None:
    """Train and measure every method and seed of a 2-D problem, stacked in one process."""
    from amd.train.plane import plane

    library = _library(asked)
    plane(library, asked.problem, _scale(library, asked), asked.out, asked.state, asked.budget)


def table(asked: Arguments) -> None:
    """Write a table as Markdown, TeX, CSV, JSON and HTML, from score files."""
    from amd.config import plan
    from amd.config.read import ConfigError, unknown
    from amd.report import page
    from amd.report.table import build

    library = _library(asked)
    if asked.name not in library.tables:
        raise ConfigError(unknown(asked.name, "table", library.tables))
    scale = _scale(library, asked)
    out = Path(plan.table(scale, asked.name, "md"))
    build(library, asked.name, scale, out.with_suffix(""))
    page.write(out, out.with_suffix(".html"), library.tables[asked.name].title)


def figure(asked: Arguments) -> None:
    """Draw a figure, and write its numbers as JSON, Markdown and HTML."""
    from amd.config import plan
    from amd.config.read import ConfigError, unknown
    from amd.report import page
    from amd.report.figure import build

    library = _library(asked)
    if asked.name not in library.figures:
        raise ConfigError(unknown(asked.name, "figure", library.figures))
    scale = _scale(library, asked)
    out = Path(plan.figure(scale, asked.name, "md"))
    build(library, asked.name, scale, out.with_suffix(""))
    page.write(out, out.with_suffix(".html"), library.figures[asked.name].title, out.with_suffix(".png"))


def plan(asked: Arguments) -> None:
    """Say what there is to build, what cannot be built yet and why, and what it would cost."""
    library = _library(asked)
    if asked.checkpoints:
        from amd.publish import listing

        print("\n".join(listing(library, _scale(library, asked), asked.table)))
        return
    from amd.train.estimate import text

    print(text(library, _scale(library, asked), asked.table))


def track(asked: Arguments) -> None:
    """Put a finished checkpoint into DVC's cache, and its record (.dvc) beside it for git."""
    from amd.storage import track

    track(_run(asked))


def pull(asked: Arguments) -> None:
    """Fetch a published checkpoint by its record, if it is of the configuration of now."""
    from amd.storage import pull

    pull(_run(asked))


def publish(asked: Arguments) -> None:
    """Track every finished checkpoint; copy scores, tables and journals to results/published; write dvc.yaml."""
    from amd.publish import publish

    library = _library(asked)
    for complaint in publish(library, _scale(library, asked)):
        print(f"left out: {complaint}")


def build(asked: Arguments) -> int:
    """Make a goal of config.yaml with a progress display, then the HTML report."""
    from amd.build import build
    from amd.config.read import ConfigError, unknown

    library = _library(asked)
    if asked.goal not in library.choice.goals:
        raise ConfigError(unknown(asked.goal, "goal", library.choice.goals))
    return build(library, asked.goal, _scale(library, asked), asked.cores)


def doctor(asked: Arguments) -> int:
    """Say what this machine can run, and which files are missing and where to put them."""
    library = _library(asked)
    if asked.cluster:
        from amd.cluster import examine as examine_cluster

        return examine_cluster(library, _scale(library, asked))
    from amd.doctor import examine

    return examine(library, _scale(library, asked))


def status(asked: Arguments) -> None:
    """Say what is running, failed, queued and waiting, what each job last said, and how long the rest may take."""
    from amd.config.read import ConfigError, unknown
    from amd.status.text import failures, status

    library = _library(asked)
    if asked.goal is not None and asked.goal not in library.choice.goals:
        raise ConfigError(unknown(asked.goal, "goal", library.choice.goals))
    scale = _scale(library, asked)
    said = failures(library, scale, asked.by) if asked.failed else status(library, scale, asked.goal, asked.by)
    print(said)


def stale(asked: Arguments) -> None:
    """List what was made by older code than this checkout's, and which files of it changed since."""
    from amd.status.stale import text

    library = _library(asked)
    print(text(library, _scale(library, asked)))


def environment(asked: Arguments) -> None:
    """Make the environment of a published scorer's own package anew, under .envs/ (minutes, gigabytes)."""
    from amd.measure.isolated import make

    made = make(asked.name)
    print(f"{made.name}: {made.python}")


def export(asked: Arguments) -> None:
    """Write a finished text student as a folder (or LoRA files) that diffusers loads and samples."""
    from amd.export import export, export_lora, read_pipeline
    from amd.train.cast import method_of
    from amd.train.finished import weights

    run = _run(asked)
    numbers = dict(method_of(run).rollout.numbers)
    about = f"{run.system.title}: {run.system.about}"
    if asked.lora:
        lora = run.system.student_lora
        if lora is None:
            raise ValueError(f"systems/{run.system.name}.yaml: its student is a whole network; leave out --lora")
        kind = read_pipeline(asked.teacher).kind
        export_lora(
            weights(run, "student_lora"),
            asked.out,
            kind=kind,
            steps=numbers["steps"],
            first=numbers["first"],
            shift=numbers["shift"],
            scale=lora.scale,
            about=about,
        )
        return
    export(weights(run), asked.teacher, asked.out, **numbers, about=about)


# --- what they have in common -----------------------------------------------------------------------------------------


def _library(asked: Arguments) -> "Library":
    from amd.config.load import load

    return load(asked.config)


def _scale(library: "Library", asked: Arguments) -> str:
    return library.scale(asked.scale or library.choice.scale).name


def _run(asked: Arguments) -> "Run":
    library = _library(asked)
    return library.run(asked.system, _scale(library, asked), asked.seed, getattr(asked, "stage", None))


def _benchmark(library: "Library", name: str) -> "Benchmark":
    from amd.config.read import ConfigError, unknown

    if name not in library.benchmarks:
        raise ConfigError(unknown(name, "benchmark", library.benchmarks))
    return library.benchmarks[name]
