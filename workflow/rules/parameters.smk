# What jobs are told: digests, states, budgets, and what the report prints beside a table or figure.
import hashlib
from functools import cache

from amd.config.schema.closed import PROMPTED


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
