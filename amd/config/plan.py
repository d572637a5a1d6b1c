"""What there is to do: tables and figures -> cells -> score, sample and student paths. The one path grammar.

Snakemake's rules and amd's verbs both ask here, so a path is spelt in one place. Without torch: a dry run reads this.
All paths are relative to the repository's root and use forward slashes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from amd.config import digest as digests
from amd.config.check import EVERYTHING, RULES
from amd.config.load import Library, Run
from amd.config.read import ConfigError, unknown
from amd.config.schema import Benchmark, Column, Domain, Figure, Table

TABLE_FILES = ("md", "tex", "csv", "json")
FIGURE_FILES = ("png", "json", "md")
PUBLISHED = "results/published"  # what git keeps; no rule makes a file there

# --- paths -----------------------------------------------------------------------------------------------------------


def checkpoint(scale: str, run: str, seed: int | str) -> str:
    """Folder of a finished student, teacher or classifier."""
    return f"checkpoints/{scale}/{run}/seed{seed}"


def state(scale: str, run: str, seed: int | str, digest: str) -> str:
    """Folder of a training that may still resume; keyed by what defines it, never a declared output."""
    return f"state/{scale}/{run}/seed{seed}-{digest}"


def results(scale: str, run: str, seed: int | str) -> str:
    """Folder of everything measured from one checkpoint."""
    return f"results/{scale}/{run}/seed{seed}"


def samples(scale: str, run: str, seed: int | str, benchmark: str) -> str:
    """Folder with samples.npz and manifest.json."""
    return f"{results(scale, run, seed)}/samples/{benchmark}"


def shard(scale: str, run: str, seed: int | str, benchmark: str, part: int | str, parts: int | str) -> str:
    """Folder with one of `parts` consecutive parts of the samples; part counts from 0."""
    return f"{results(scale, run, seed)}/shards/{benchmark}/{part}-of-{parts}"


def records(scale: str, run: str, seed: int | str, benchmark: str, judge: str) -> str:
    """Raw measurements per sample."""
    return f"{results(scale, run, seed)}/records/{benchmark}/{judge}.parquet"


def score(scale: str, run: str, seed: int | str, benchmark: str, judge: str) -> str:
    """Aggregated numbers of one checkpoint under one benchmark and judge."""
    return f"{results(scale, run, seed)}/scores/{benchmark}/{judge}.json"


def reference(scale: str, seed: int | str, benchmark: str, judge: str) -> str:
    """Folder with what all samples of a benchmark are compared with; seed: that of the judge's training."""
    return f"{results(scale, 'reference', seed)}/{benchmark}/{judge}"


def trace(scale: str, run: str, seed: int | str, benchmark: str) -> str:
    """Numbers at every milestone of a run."""
    return f"{results(scale, run, seed)}/trace/{benchmark}.json"


def grid(scale: str, run: str, seed: int | str) -> str:
    """Picture of a run's first samples."""
    return f"{results(scale, run, seed)}/grid.png"


def plane(scale: str, problem: str) -> str:
    """Folder with measurements.json and samples.npz of all systems and seeds of a 2-D problem."""
    return f"results/{scale}/plane/{problem}"


def record(scale: str, run: str, seed: int | str) -> str:
    """DVC's record of a published checkpoint: in git, beside the folder."""
    return f"{checkpoint(scale, run, seed)}.dvc"


def published(scale: str, run: str, seed: int | str) -> str:
    """Folder of the scores and the journal of a checkpoint that git keeps."""
    return f"{PUBLISHED}/{scale}/{run}/seed{seed}"


def table(scale: str, name: str, ext: str = "md") -> str:
    """A table; ext is one of TABLE_FILES."""
    return f"results/{scale}/tables/{name}.{ext}"


def figure(scale: str, name: str, ext: str = "png") -> str:
    """A figure; ext is one of FIGURE_FILES."""
    return f"results/{scale}/figures/{name}.{ext}"


# --- what a table or a figure reads ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """A measured cell: one row's number in one column, one score file per seed."""

    row: int  # index in Table.rows
    column: str  # Column.key
    system: str
    benchmark: str
    metric: str
    seeds: tuple[int, ...]
    scores: tuple[str, ...]  # paths, in the order of seeds


def known_table(library: Library, name: str) -> Table:
    """A table by name or by number ("4" is table4). Raises ConfigError listing the known."""
    for key in (name, f"table{name}"):
        if key in library.tables:
            return library.tables[key]
    raise ConfigError(unknown(name, "table", library.tables))


def reason_not_runnable(library: Library, entry: Table | Figure) -> str | None:
    """Why a table or figure cannot be built yet, or None."""
    if isinstance(entry, Figure) and entry.track == "plane":
        return None if entry.problems else "it names no problems"
    if all(system.track != entry.track for system in library.systems.values()):
        return f"track {entry.track} has no systems yet"
    if isinstance(entry, Table) and all(row.system is None for row in entry.rows):
        return "none of its rows names a system"
    return None


def runnable(library: Library, goal: str) -> tuple[list[str], list[str]]:
    """Tables and figures of a goal; `*` stands for every one that can be built."""
    if goal not in library.choice.goals:
        raise ConfigError(f"{library.root}/config.yaml: goals: {unknown(goal, 'goal', library.choice.goals)}")
    wanted = library.choice.goals[goal]
    return expand(library, wanted.tables, library.tables), expand(library, wanted.figures, library.figures)


def expand(library: Library, names: Iterable[str], known: dict[str, Table] | dict[str, Figure]) -> list[str]:
    """The names that can be built; `*` stands for all of `known`."""
    names = list(names)
    if EVERYTHING in names:
        names = list(known)
    return [name for name in names if reason_not_runnable(library, known[name]) is None]


def goal_targets(library: Library, scale: str, goal: str) -> list[str]:
    """The files that a goal asks for: each figure, each table, and a grid of samples for each row of a table."""
    tables, figures = runnable(library, goal)
    rows = {cell.system: cell.seeds[0] for name in tables for cell in cells(library, name, scale)}
    return [
        *(figure(scale, name) for name in figures),
        *(table(scale, name) for name in tables),
        *(grid(scale, system, seed) for system, seed in rows.items()),
    ]


def metrics(library: Library, benchmark: str, scale: str) -> list[str]:
    """Keys that are measured: the benchmark's, as far as the domain has a judge for them."""
    entry = library.benchmarks[benchmark]
    return [key for key in entry.metrics if key in library.domain(scale, entry.track).metrics]


def columns(library: Library, entry: Table, scale: str) -> list[Column]:
    """The columns that a scale can fill: descriptors, and the metrics that its domain measures."""
    return [c for c in entry.columns if c.benchmark is None or c.metric in metrics(library, c.benchmark, scale)]


def seeds(library: Library, system: str, scale: str, beside: Iterable[str] = ()) -> tuple[int, ...]:
    """Training seeds of a row: the scale's for a student; for a teacher those that students beside it learn from."""
    entry = library.systems[system]
    if entry.kind == "student":
        return tuple(library.scales[scale].seeds)
    students = [library.systems[name] for name in beside if library.systems[name].kind == "student"]
    return tuple(sorted({s.teacher_seed for s in students if s.teacher == system} or {entry.teacher_seed}))


def cells(library: Library, name: str, scale: str) -> list[Cell]:
    """Every measured cell of a table at a scale, row by row. A table that is not runnable has none."""
    entry = library.tables[name]
    if reason_not_runnable(library, entry) is not None:
        return []
    judge = library.domain(scale, entry.track).judge.name
    shown = [column for column in columns(library, entry, scale) if column.benchmark is not None]
    beside = [row.system for row in entry.rows if row.system is not None]
    found: list[Cell] = []
    for i, row in enumerate(entry.rows):
        if row.system is None:
            continue
        each = seeds(library, row.system, scale, beside)
        for column in shown:
            assert column.benchmark is not None
            assert column.metric is not None, "benchmark and metric go together: checked at load"
            files = tuple(score(scale, row.system, seed, column.benchmark, judge) for seed in each)
            found.append(Cell(i, column.key, row.system, column.benchmark, column.metric, each, files))
    return found


def table_inputs(library: Library, name: str, scale: str) -> list[str]:
    """Score files that a table reads, each once."""
    return list(dict.fromkeys(path for cell in cells(library, name, scale) for path in cell.scores))


def figure_inputs(library: Library, name: str, scale: str) -> list[str]:
    """What a figure reads: trace files, score files, grids, or folders of the plane, each once."""
    entry = library.figures[name]
    if entry.track == "plane":
        return [plane(scale, problem) for problem in entry.problems]
    found: list[str] = []
    for runs in figure_runs(library, name, scale).values():
        if entry.kind == "gallery":
            found.append(grid(scale, runs[0].name, runs[0].seed))
            continue
        if entry.kind == "winrate":  # the numbers say of which configuration the records are
            places = [(scale, r.name, r.seed, name, r.domain.judge.name) for name in entry.benchmarks for r in runs]
            found += [path for place in places for path in (score(*place), records(*place))]
            continue
        assert entry.benchmark is not None  # checked at load
        for run in runs:
            if entry.kind == "dose":
                found.append(score(scale, run.name, run.seed, entry.benchmark, run.domain.judge.name))
            else:
                found.append(trace(scale, run.name, run.seed, entry.benchmark))
    return list(dict.fromkeys(found))


def figure_runs(library: Library, name: str, scale: str) -> dict[str, list[Run]]:
    """Printed title -> the runs that a figure of the class track shows, one per seed, at the figure's stage."""
    entry = library.figures[name]
    shown: dict[str, list[Run]] = {}
    if entry.track == "plane":  # its runs are stacked by problem
        return shown
    for title, system in entry.systems.items():
        stage = entry.stage if library.systems[system].stage == "finetune" else None
        each = seeds(library, system, scale, entry.systems.values())
        shown[title] = [library.run(system, scale, seed, stage) for seed in each]
    return shown


def grid_benchmark(library: Library, track: str) -> str:
    """Whose samples a grid shows: the first benchmark of a track."""
    return next(name for name, benchmark in library.benchmarks.items() if benchmark.track == track)


# --- what a job reads, and its digest --------------------------------------------------------------------------------


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
    if run.system.track == "text":
        return run.text.prompts.get(benchmark.name, 0) * benchmark.per_prompt
    return run.scale.klass.samples


def shards(run: Run, benchmark: str) -> list[str]:
    """The parts that a run's samples are put together from; none where one job draws them all."""
    parts = run.sizes.sample_shards
    place = (run.scale.name, run.name, run.seed, benchmark)
    return [shard(*place, part, parts) for part in range(parts)] if parts > 1 else []


def scorers(run: Run) -> list[str]:
    """Checkpoints of the judges and the reward, where they are trained here."""
    return list(dict.fromkeys(folder(other) for other in (run.judge, run.reward, *run.panel) if other is not None))


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

    rule, and what it needs: pretrain, distill, grid (system, seed); reference (seed, benchmark); shard, gather, sample,
    score, trace (system, seed, benchmark); plane (problem); table, figure (name). `system` may be a run's name. The
    files themselves are the rule's inputs; this covers what is no file.
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
    if rule in ("pretrain", "distill", "track", "pull"):
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
