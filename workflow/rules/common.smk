# What the rules ask of the configuration: paths and digests from amd.config.plan, resources from a scale's footprints.
import gc
import hashlib
import inspect
import os
import re
import shlex
import sys
from functools import cache
from pathlib import Path

from snakemake.common import overwrite_function_params
from snakemake.exceptions import WorkflowError

from amd.config import jobs, plan, published as records
from amd.config.load import ABLATION, ConfigError, load
from amd.config.schema import PROMPTED

# `python` in a rule is the one that runs Snakemake, whether or not its environment was activated.
# An own prefix replaces Snakemake's, so its strict mode is said again.
shell.prefix(f"set -euo pipefail; export PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH; ")

if unknown_keys := set(config) - {"scale", "checkpoints"}:
    raise WorkflowError(
        f"--config {', '.join(sorted(unknown_keys))}: only `scale` and `checkpoints` may be set here; the rest stands in "
        "config/*.yaml, where the jobs read it as well"
    )
try:
    LIBRARY = load(Path("config"))
    SCALE = LIBRARY.scale(config.get("scale", LIBRARY.choice.scale)).name
    CHECKPOINTS = records.chosen(LIBRARY, config.get("checkpoints"))
except ConfigError as error:
    raise WorkflowError(str(error)) from error

# The scales that this call may be about: the chosen one, and any other whose name stands in a word of the command.
# Where it is one, what depends on the scale is a number in the rules, not a function that Snakemake asks time and again.
SCALES = [name for name in LIBRARY.scales if name == SCALE or any(name in word for word in sys.argv[1:])]
DRY = not {"-n", "--dry-run", "--dryrun"}.isdisjoint(sys.argv)  # then there is no second attempt
# A graph of thousands of jobs is millions of objects that stay. By default Python looks through the young ones after each
# 700, and through all of them again and again: a tenth of the time. What a dry run throws away, its end throws away.
gc.set_threshold(100_000, 10, 10)
if DRY:
    gc.disable()
PULLED, TRAINED = records.origins()
KINDS = ("teacher", "initial", "classifier", "scorer")  # that `pretrain` makes
PRETRAINED = [n for n, system in LIBRARY.systems.items() if system.kind in KINDS]
ENVIRONMENTS = [path.parent.name for path in sorted(Path("workflow/envs").glob("*/requirements.txt"))]
RELEASED = [name for name, system in LIBRARY.systems.items() if system.kind == "released"]
STUDENTS = [
    name + stage for name, system in LIBRARY.systems.items() if system.kind == "student" for stage in ("", ABLATION)
]


def either(names):
    """A wildcard constraint: one of the names, or nothing at all when there are none."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def trained_here(names):
    """A wildcard constraint of the rules that train, and of the one that tracks what was trained."""
    return either(names if CHECKPOINTS == "train" else [])


def pulled_here(names):
    """A wildcard constraint of the rule that pulls."""
    return either(names if CHECKPOINTS == "pull" else [])


def scale_apart_from(folders):
    """A constraint of the wildcard `scale` by which a rule makes none of these checkpoints.

    For Snakemake they are then sources, which no job replaces: the choice is about who makes what is not there. Without
    it, a changed choice would be a changed rule, hence a reason to train what was pulled, or to pull over what was trained.
    """
    listed = "|".join(re.escape(folder.removeprefix("checkpoints/")) for folder in folders)
    return f"(?!(?:{listed})$)(?:{either(SCALES)})" if listed else either(SCALES)


def goal(name):
    """The files of a goal of config/config.yaml at this scale, listed when it is asked for."""

    def listed(wildcards):
        return plan.goal_targets(LIBRARY, SCALE, name)

    return listed


def log_of(verb):
    """A job's log, beside what is measured from its run; kept per attempt (the training's journal is in its state)."""
    return f"{plan.results('{scale}', '{run}', '{seed}')}/logs/{verb}.log"


def run_of(wildcards):
    """The resolved run of a job."""
    return LIBRARY.run(wildcards.run, wildcards.scale, int(wildcards.seed))


def known(function):
    """The same function with its parameters at hand: Snakemake asks for them many times a job, and is slow to find them."""
    overwrite_function_params(function, inspect.signature(function).parameters)
    return function


# --- inputs ------------------------------------------------------------------------------------------------------------


@known
def made_from(wildcards):
    """Checkpoints that a training reads: start, teacher, reward. The day on which one was pulled says nothing."""
    return [ancient(path) if path in PULLED else path for path in plan.training_inputs(run_of(wildcards))]


def published(wildcards):
    """The record of what is pulled, refused where it is of another configuration than this one."""
    try:
        return ancient(str(records.record_file(records.fitting(run_of(wildcards)).folder)))
    except ConfigError as error:
        raise WorkflowError(str(error)) from error


def tracked(name):
    """DVC's records of every checkpoint of a goal, listed when they are asked for."""

    def listed(wildcards):
        runs = records.runs(LIBRARY, SCALE, *plan.runnable(LIBRARY, name))
        return [plan.record(SCALE, run.name, run.seed) for run in runs]

    return listed


@known
def scorers(wildcards):
    """Checkpoints of the judge and the reward, where they are trained here."""
    return plan.scorers(run_of(wildcards))


@known
def packages(wildcards):
    """The environments of the authors' packages that a run's panel asks for."""
    return environments_of(run_of(wildcards), wildcards.benchmark)


def all_packages(wildcards):
    """As `packages`, of a benchmark rather than of a run."""
    run = plan.judged_run(LIBRARY, wildcards.scale, int(wildcards.seed), wildcards.benchmark)
    return environments_of(run, wildcards.benchmark)


def environments_of(run, benchmark):
    """Each environment's last file. It is made once, and the day on which says nothing about a score."""
    names = plan.environments(run, LIBRARY.benchmarks[benchmark])
    return [ancient(f".envs/{name}/environment.json") for name in names]


def all_scorers(wildcards):
    """As `scorers`, of a benchmark rather than of a run."""
    return plan.scorers(plan.judged_run(LIBRARY, wildcards.scale, int(wildcards.seed), wildcards.benchmark))


def drawn_by(one_job):
    """The scales whose samples one job draws per student, or those that share them between several."""
    return [name for name in SCALES if (LIBRARY.scales[name].klass.sample_shards == 1) == one_job]


@known
def shards(wildcards):
    """The parts of a student's samples."""
    return plan.shards(run_of(wildcards), wildcards.benchmark)


@known
def compared_with(wildcards):
    """The folder that says what the real images are like to the judge."""
    return plan.reference_of(run_of(wildcards), wildcards.benchmark)


@known
def traced(wildcards):
    """Checkpoints that a trace measures: the milestones, and the start that they began from."""
    return plan.traced(run_of(wildcards))


@known
def first_samples(wildcards):
    """The samples of a run that its grid shows: those of its track's first benchmark."""
    benchmark = plan.grid_benchmark(LIBRARY, run_of(wildcards).system.track)
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

    @cache
    def of(scale, run, seed, benchmark, problem, name):
        return plan.job_digest(
            LIBRARY, verb, scale, system=run, seed=int(seed), benchmark=benchmark, problem=problem, name=name
        )

    @known
    def digest_of(wildcards):
        others = (wildcards.get(key) for key in ("benchmark", "problem", "name"))
        return of(wildcards.scale, wildcards.get("run"), wildcards.get("seed", 0), *others)

    return digest_of


def recipe(wildcards):
    """Digest of what an environment of an isolated scorer is made of; the scorer itself refuses one of another recipe."""
    folder, own = Path("workflow/envs"), ("requirements.txt", "finish.py")
    files = [folder / "build.txt", *(folder / wildcards.environment / name for name in own)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files if file.is_file())).hexdigest()[:12]


def published_bytes(wildcards):
    """What DVC calls the bytes that are pulled: other ones are pulled anew, whatever the time of the record."""
    record = records.read_record(plan.folder(run_of(wildcards)))
    return record and record.md5


@known
def state_of_run(wildcards):
    """Where a training keeps what it needs to resume: never an output, since outputs are deleted before an attempt."""
    return plan.state(wildcards.scale, wildcards.run, wildcards.seed, run_of(wildcards).digest)


@known
def state_of_problem(wildcards):
    """As `state_of_run`, for all runs of a problem of the plane."""
    key = plan.job_digest(LIBRARY, "plane", wildcards.scale, problem=wildcards.problem)
    return f"state/{wildcards.scale}/plane/{wildcards.problem}-{key}"


@known
def budget(wildcards, resources):
    """Seconds after which a training saves and exits 75: its time limit less two minutes, or half of a short one.

    It depends on `resources`, so Snakemake does not count a changed limit as a reason to train anew.
    """
    return max(resources.runtime * 60 - 120, resources.runtime * 30)


def launcher(verb):
    """`python`, or what starts one process per GPU under the rule's footprint. Not a reason to train anew either."""

    @known
    def command(wildcards, resources):
        asked = asked_for(verb, wildcards)
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
        sizes = scale.sizes(entry.track)
        count = f"{sizes.trace_samples} samples per milestone"
    elif entry.track in PROMPTED:
        count = "samples per student as each benchmark has prompts"
    else:
        count = f"{scale.klass.samples} samples per student"
    return f"Scale {scale.name}, {count}, {len(scale.seeds)} training seeds."


# --- resources -----------------------------------------------------------------------------------------------------------


def footprint_of(verb, scale, track=None):
    """What a scale says of a rule's jobs, those of a track where it differs."""
    return jobs.footprint(LIBRARY, scale, verb, track)


def asked_for(verb, wildcards):
    """What is asked for a job: its track is that of its run, else of its benchmark."""
    track = None
    if run := wildcards.get("run"):
        track = LIBRARY.systems[run.removesuffix(ABLATION)].track
    elif benchmark := wildcards.get("benchmark"):
        track = LIBRARY.benchmarks[benchmark].track
    return footprint_of(verb, wildcards.scale, track)


def every_footprint(verb, scales):
    """All that these scales say of a rule, whatever the track."""
    tracks = [None, *{system.track for system in LIBRARY.systems.values()}]
    return [footprint_of(verb, scale, track) for scale in scales for track in tracks]


def plainly(verb, ask):
    """A number of a footprint: itself where all jobs of this call have the same one, else a function of the job."""
    said = {ask(asked) for asked in every_footprint(verb, SCALES)}
    if len(said) == 1:
        return said.pop()

    @known
    def of(wildcards):
        return ask(asked_for(verb, wildcards))

    return of


def growing(verb, ask):
    """A number of a footprint on the first attempt, and half as much more on each that follows."""

    @known
    def at(wildcards, attempt):
        return ask(asked_for(verb, wildcards)) * (attempt + 1) // 2

    return at


def cores(verb):
    """Threads of a rule's jobs."""

    def cpus(asked):
        return asked.cpus

    return plainly(verb, cpus)


def measured_together(verb):
    """The group of measuring jobs that ask for no GPU at this scale, since they are shorter than their start-up.

    The profile says how many go into one submission. Jobs on GPUs are never grouped: a group adds up what its members
    ask for. They go out as job arrays instead.
    """
    return None if any(asked.gpus for asked in every_footprint(verb, [SCALE])) else "measured"


def footprint(verb):
    """The resources of a verb, by its job's scale and track and the attempt: memory and time grow by half each.

    A resource that is None is not asked for. GPUs go by gres, which counts per node; several nodes need an own srun.
    The profile's `set-resources` replaces any of them for a rule.
    """

    def mem_mb(asked):
        return asked.mem_mb

    def runtime(asked):
        return asked.runtime_min

    def gres(asked):
        return ":".join(["gpu", *filter(None, [asked.gpu_model]), str(asked.gpus)]) if asked.gpus else None

    def nodes(asked):
        # A job of one task is on one node anyway; said for GPUs, left out elsewhere so that a group does not add it up.
        return asked.nodes if asked.gpus or asked.nodes > 1 else None

    def mpi(asked):
        return "srun" if asked.nodes > 1 else None

    def tasks(asked):
        return asked.nodes if asked.nodes > 1 else None

    def tasks_per_gpu(asked):
        return 0 if asked.nodes > 1 else None

    plain = {ask.__name__: plainly(verb, ask) for ask in (gres, nodes, mpi, tasks, tasks_per_gpu)}
    grown = {ask.__name__: plainly(verb, ask) if DRY else growing(verb, ask) for ask in (mem_mb, runtime)}
    return grown | {name: what for name, what in plain.items() if what is not None}
