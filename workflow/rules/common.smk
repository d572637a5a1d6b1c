# What the rules ask of the configuration: paths and digests from amd.config.plan, resources from a scale's footprints.
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from amd.config import plan
from amd.config.load import ABLATION, ConfigError, load

# `python` in a rule is the one that runs Snakemake, whether or not its environment was activated.
# An own prefix replaces Snakemake's, so its strict mode is said again.
shell.prefix(f"set -euo pipefail; export PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH; ")

if unknown_keys := set(config) - {"scale"}:
    raise WorkflowError(
        f"--config {', '.join(sorted(unknown_keys))}: only `scale` may be set here; the rest stands in config/*.yaml, "
        "where the jobs read it as well"
    )
try:
    LIBRARY = load(Path("config"))
    SCALE = LIBRARY.scale(config.get("scale", LIBRARY.choice.scale)).name
except ConfigError as error:
    raise WorkflowError(str(error)) from error

PRETRAINED = [name for name, system in LIBRARY.systems.items() if system.kind in ("teacher", "classifier")]
STUDENTS = [
    name + stage for name, system in LIBRARY.systems.items() if system.kind == "student" for stage in ("", ABLATION)
]


def either(names):
    """A wildcard constraint: one of the names, or nothing at all when there are none."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def goal(name):
    """The files of a goal of config/config.yaml at this scale."""
    return plan.goal_targets(LIBRARY, SCALE, name)


def log_of(verb):
    """A job's log, beside what is measured from its run; kept per attempt (the training's journal is in its state)."""
    return f"{plan.results('{scale}', '{run}', '{seed}')}/logs/{verb}.log"


def run_of(wildcards):
    """The resolved run of a job."""
    return LIBRARY.run(wildcards.run, wildcards.scale, int(wildcards.seed))


# --- inputs ------------------------------------------------------------------------------------------------------------


def made_from(wildcards):
    """Checkpoints that a training reads: start, teacher, reward."""
    return plan.training_inputs(run_of(wildcards))


def scorers(wildcards):
    """Checkpoints of the judge and the reward, where they are trained here."""
    return plan.score_inputs(run_of(wildcards), "")[1:]


def traced(wildcards):
    """Checkpoints that a trace reads: the milestones, the start they began from, judge and reward."""
    return plan.trace_inputs(run_of(wildcards))


def first_samples(wildcards):
    """The samples of a run that its grid shows: those of its track's first benchmark."""
    track = run_of(wildcards).system.track
    benchmark = next(name for name, entry in LIBRARY.benchmarks.items() if entry.track == track)
    return plan.samples(wildcards.scale, wildcards.run, wildcards.seed, benchmark)


def scores(wildcards):
    """Every score file of a table."""
    return plan.table_inputs(LIBRARY, wildcards.name, wildcards.scale)


def measurements(wildcards):
    """What a figure reads."""
    return plan.figure_inputs(LIBRARY, wildcards.name, wildcards.scale)


# --- parameters ----------------------------------------------------------------------------------------------------------


def digest(verb):
    """Digest of everything in config/ that a job's result depends on: a change reruns it, a comment does not."""

    def digest_of(wildcards):
        return plan.job_digest(
            LIBRARY,
            verb,
            wildcards.scale,
            system=wildcards.get("run"),
            seed=int(wildcards.get("seed", 0)),
            benchmark=wildcards.get("benchmark"),
            problem=wildcards.get("problem"),
            name=wildcards.get("name"),
        )

    return digest_of


def state_of_run(wildcards):
    """Where a training keeps what it needs to resume: never an output, since outputs are deleted before an attempt."""
    return plan.state(wildcards.scale, wildcards.run, wildcards.seed, run_of(wildcards).digest)


def state_of_problem(wildcards):
    """As `state_of_run`, for all runs of a problem of the plane."""
    key = plan.job_digest(LIBRARY, "plane", wildcards.scale, problem=wildcards.problem)
    return f"state/{wildcards.scale}/plane/{wildcards.problem}-{key}"


def budget(wildcards, resources):
    """Seconds after which a training saves and exits 75: its time limit less two minutes, or half of a short one.

    It depends on `resources`, so Snakemake does not count a changed limit as a reason to train anew.
    """
    return max(resources.runtime * 60 - 120, resources.runtime * 30)


def launcher(verb):
    """`python`, or what starts one process per GPU under the rule's footprint. Not a reason to train anew either."""

    def command(wildcards, resources):
        asked = footprint_of(verb, wildcards.scale)
        if asked.nodes * asked.gpus <= 1:
            return "python"
        return f"workflow/launch.sh {asked.nodes} {asked.gpus} {asked.cpus}"

    return command


def entry_of(wildcards):
    """The table or figure of a job."""
    return {**LIBRARY.tables, **LIBRARY.figures}[wildcards.name]


def title(wildcards):
    """Printed over a table or figure in the report."""
    entry = entry_of(wildcards)
    return f"{entry.paper}: {entry.title}" if entry.paper else entry.title


def shown_as(picture):
    """How a table or figure is listed in the report; a figure twice, as a picture and with its numbers."""

    def labels(wildcards):
        entry = entry_of(wildcards)
        listed = {"name": entry.paper or wildcards.name, "title": entry.title}
        return listed | ({"shows": picture} if picture else {})

    return labels


def shown_system(wildcards):
    """How a grid of samples is listed in the report."""
    return {"system": run_of(wildcards).system.title, "seed": wildcards.seed}


def about(wildcards):
    """The first sentence of a caption: what is shown."""
    return entry_of(wildcards).caption


def drawn(wildcards):
    """The second sentence of a caption: at which scale, from how many samples and seeds."""
    scale, entry = LIBRARY.scales[wildcards.scale], entry_of(wildcards)
    if entry.track == "plane":
        count = f"{scale.plane.samples} samples per measurement"
    elif getattr(entry, "kind", "") in ("curves", "coevolution"):
        count = f"{scale.klass.trace_samples} samples per milestone"
    else:
        count = f"{scale.klass.samples} samples per student"
    return f"Scale {scale.name}, {count}, {len(scale.seeds)} training seeds."


# --- resources -----------------------------------------------------------------------------------------------------------


def footprint_of(verb, scale):
    """What a scale says of a rule's jobs."""
    footprints = LIBRARY.scales[scale].footprints
    return footprints.get(verb, footprints["default"])


def cores(verb):
    """Threads of a rule's jobs."""

    def threads(wildcards):
        return footprint_of(verb, wildcards.scale).cpus

    return threads


def footprint(verb):
    """The resources of a verb, as functions of its job's scale and of the attempt: memory grows by half each time.

    A resource that is None is not asked for. GPUs go by gres, which counts per node; several nodes need an own srun.
    """

    def mem_mb(wildcards, attempt):
        return footprint_of(verb, wildcards.scale).mem_mb * (attempt + 1) // 2

    def runtime(wildcards):
        return footprint_of(verb, wildcards.scale).runtime_min

    def gres(wildcards):
        asked = footprint_of(verb, wildcards.scale)
        return ":".join(["gpu", *filter(None, [asked.gpu_model]), str(asked.gpus)]) if asked.gpus else None

    def nodes(wildcards):
        return footprint_of(verb, wildcards.scale).nodes

    def mpi(wildcards):
        return "srun" if nodes(wildcards) > 1 else None

    def tasks(wildcards):
        return nodes(wildcards) if nodes(wildcards) > 1 else None

    def tasks_per_gpu(wildcards):
        return 0 if nodes(wildcards) > 1 else None

    return dict(
        mem_mb=mem_mb,
        runtime=runtime,
        gres=gres,
        nodes=nodes,
        mpi=mpi,
        tasks=tasks,
        tasks_per_gpu=tasks_per_gpu,
    )
