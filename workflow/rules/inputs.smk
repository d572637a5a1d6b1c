# What jobs read: files that depend on the configuration, asked for by the job's wildcards.


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
