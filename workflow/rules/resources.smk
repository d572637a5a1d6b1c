# What jobs ask of a machine: a scale's footprints as Snakemake's resources.
from amd.config import jobs


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
