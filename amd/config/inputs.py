"""What a job reads, and the digest of what its result depends on."""

from amd.config import digest as digests
from amd.config.cells import figure_inputs, table_inputs
from amd.config.load import Library, Run
from amd.config.paths import checkpoint, reference, samples, shard
from amd.config.read import ConfigError, unknown
from amd.config.schema.closed import PROMPTED
from amd.config.schema.domain import Domain
from amd.config.schema.scale import RULES
from amd.config.schema.tables import Benchmark, Figure, Table
from amd.config.served import PACKAGES, served


def folder(run: Run) -> str:
    """The checkpoint folder of a run."""
    return checkpoint(run.scale.name, run.name, run.seed)


def training_inputs(run: Run) -> list[str]:
    """Checkpoint folders that training reads: start, teacher, reward."""
    return list(dict.fromkeys(folder(other) for other in run.reads))


def judge_seed(run: Run) -> int:
    """The seed that the run's judge was trained with; 0 for a published one."""
    return 0 if run.judge is None else run.judge.seed


def reference_of(run: Run, benchmark: str) -> str:
    """The reference that a run's samples are compared with."""
    return reference(run.scale.name, judge_seed(run), benchmark, run.domain.judge.name)


def judged_run(library: Library, scale: str, seed: int, benchmark: str) -> Run:
    """A run that names the judge and the reward of a benchmark, trained with `seed`: the track's teacher."""
    track = library.benchmarks[benchmark].track
    teachers = [s.name for s in library.systems.values() if (s.kind, s.track) == ("teacher", track)]
    if not teachers:
        raise ConfigError(f"benchmarks/{benchmark}.yaml: track {track} has no teacher yet")
    return library.run(teachers[0], scale, seed)


def sample_count(run: Run, benchmark: Benchmark) -> int:
    """How many samples a benchmark has at the run's scale; 0: as many as its prompts' source has."""
    if run.system.track in PROMPTED:
        return run.prompted.prompts.get(benchmark.name, 0) * benchmark.per_prompt
    return run.klass.samples


def shards(run: Run, benchmark: str) -> list[str]:
    """The parts that a run's samples are put together from; none where one job draws them all."""
    parts = run.sizes.sample_shards
    place = (run.scale.name, run.name, run.seed, benchmark)
    return [shard(*place, part, parts) for part in range(parts)] if parts > 1 else []


def scorers(run: Run) -> list[str]:
    """Checkpoints of the judges and the reward, where they are trained here."""
    return list(dict.fromkeys(folder(other) for other in (run.judge, run.reward, *run.panel) if other is not None))


def environments(run: Run, benchmark: Benchmark) -> list[str]:
    """The environments (workflow/envs/) that hold the packages a benchmark's panel asks for."""
    parts, panel = served(run.domain, benchmark.name), run.domain.panel
    stems = dict.fromkeys(parts[key].stem for key in benchmark.metrics if key in parts and key in run.domain.metrics)
    return [PACKAGES[panel[stem].name] for stem in stems if panel[stem].scorer == "package"]


def score_inputs(run: Run, benchmark: str) -> list[str]:
    """What scoring reads: the samples, the reference, and the classifiers that were trained here."""
    return [samples(run.scale.name, run.name, run.seed, benchmark), reference_of(run, benchmark), *scorers(run)]


def traced(run: Run) -> list[str]:
    """Checkpoints of a curve: the student's milestones, and the start that they began from (iteration 0)."""
    return [folder(run), *([folder(run.start)] if run.start else [])]


def trace_inputs(run: Run, benchmark: str) -> list[str]:
    """What tracing reads: the checkpoints, the reference, and the classifiers that were trained here."""
    return [*traced(run), reference_of(run, benchmark), *scorers(run)]


def job_digest(
    library: Library,
    rule: str,
    scale: str,
    *,
    system: str | None = None,
    seed: int = 0,
    benchmark: str | None = None,
    problem: str | None = None,
    name: str | None = None,
) -> str:
    """Digest of what a job's result depends on, as a rule's parameter: a change reruns it and all that follows.

    rule, and what it needs: pretrain, distill, fetch, grid (system, seed); reference (seed, benchmark); shard, gather,
    sample, score, trace (system, seed, benchmark); plane (problem); table, figure (name). `system` may be a run's name.
    The files themselves are the rule's inputs; this covers what is no file.
    """
    if rule == "plane":
        mixture = library.problems[_given(problem, rule, "problem")]
        systems = {title: library.systems[each] for title, each in mixture.methods.items()}
        return digests.plane_digest(mixture, systems, library.scales[scale])
    if rule in ("table", "figure"):
        return _report_digest(library, rule, scale, _given(name, rule, "name"))
    if rule == "reference":
        name = _given(benchmark, rule, "benchmark")
        return reference_digest(judged_run(library, scale, seed, name), library.benchmarks[name])
    run = library.run(_given(system, rule, "system"), scale, seed)
    if rule in ("pretrain", "distill", "fetch", "track", "pull"):
        return run.digest
    if rule == "grid":
        return digests.digest(["grid", run.digest])
    entry = library.benchmarks[_given(benchmark, rule, "benchmark")]
    count = run.sizes.trace_samples if rule == "trace" else sample_count(run, entry)
    drawn = digests.sample_digest(run.digest, run.system, run.scale, run.domain, entry, count)
    if rule in ("shard", "gather", "sample"):
        return drawn
    if rule in ("score", "trace"):
        return digests.digest([rule, _judged(drawn, run, entry)])
    raise ConfigError(unknown(rule, "rule with a digest", RULES))


def reference_digest(run: Run, benchmark: Benchmark) -> str:
    """What samples of a benchmark are compared with, and what real images score: the same for every run of a track."""
    drawn = digests.digest(["real", benchmark.seed, sample_count(run, benchmark)])
    return digests.digest(["reference", _judged(drawn, run, benchmark)])


def _judged(drawn: str, run: Run, benchmark: Benchmark) -> str:
    judge = run.judge.digest if run.judge else ""
    reward = run.reward.digest if run.reward else ""
    panel = {each.system.name: each.digest for each in run.panel}
    return digests.score_digest(drawn, benchmark, run.domain, judge, reward, panel)


def _report_digest(library: Library, rule: str, scale: str, name: str) -> str:
    entry: Table | Figure = library.tables[name] if rule == "table" else library.figures[name]
    domain: Domain | None = None if entry.track == "plane" else library.domain(scale, entry.track)
    said = {"title": domain.title, "stand_in": domain.stand_in, "metrics": domain.metrics} if domain else {}
    inputs = table_inputs(library, name, scale) if rule == "table" else figure_inputs(library, name, scale)
    return digests.digest([entry, library.scales[scale].banner, said, inputs])


def _given(value: str | None, rule: str, key: str) -> str:
    if value is None:
        raise ConfigError(f"a digest of rule '{rule}' needs {key}")
    return value
