"""Every job that some tables and figures take, as Snakemake will find them: what `amd plan` prints and tests count."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from amd.config import plan
from amd.config.load import Library, Run
from amd.config.schema.closed import Track
from amd.config.schema.scale import Footprint

MAKES = {"student": "distill", "released": "fetch"}  # kind of a system -> the rule of its folder; others: pretrain
ORDER = (
    "pretrain",
    "distill",
    "fetch",
    "reference",
    "shard",
    "gather",
    "sample",
    "score",
    "trace",
    "grid",
    "plane",
    "figure",
    "table",
)


@dataclass(frozen=True)
class Job:
    """One execution of a rule."""

    rule: str  # one of ORDER
    output: str
    digest: str
    run: Run | None = None  # a reference has one that its judge judges; planes, tables and figures none
    benchmark: str | None = None  # reference, shard, gather, sample, score, trace
    name: str | None = None  # problem of a plane, name of a table or figure

    @property
    def what(self) -> str:
        """Its row in a plan: the system, problem, table or figure, seeds taken together."""
        assert self.run is not None or self.name is not None
        return self.run.name if self.run is not None else str(self.name)


def jobs(library: Library, scale: str, tables: Iterable[str], figures: Iterable[str]) -> list[Job]:
    """Each job once, in an order that could be executed on an empty checkout."""
    found: dict[str, Job] = {}

    def add(job: Job) -> None:
        found.setdefault(job.output, job)

    def train(run: Run) -> None:
        for other in run.reads:
            train(other)
        add(Job(MAKES.get(run.system.kind, "pretrain"), plan.folder(run), run.digest, run))

    def sample(run: Run, benchmark: str) -> None:
        train(run)
        for shard in plan.shards(run, benchmark):
            add(Job("shard", shard, key("shard", run, benchmark), run, benchmark))
        output = plan.samples(scale, run.name, run.seed, benchmark)
        rule = "gather" if plan.shards(run, benchmark) else "sample"
        add(Job(rule, output, key(rule, run, benchmark), run, benchmark))

    def measure(rule: str, run: Run, benchmark: str) -> None:
        for scorer in (run.judge, run.reward, *run.panel):
            if scorer is not None:
                train(scorer)
        compared, seed = plan.reference_of(run, benchmark), plan.judge_seed(run)
        digest = plan.job_digest(library, "reference", scale, seed=seed, benchmark=benchmark)
        add(Job("reference", compared, digest, plan.judged_run(library, scale, seed, benchmark), benchmark))
        place = (scale, run.name, run.seed, benchmark)
        if rule == "trace":
            train(run)
            output = plan.trace(*place)
        else:
            sample(run, benchmark)
            output = plan.score(*place, run.domain.judge.name)
        add(Job(rule, output, key(rule, run, benchmark), run, benchmark))

    def picture(run: Run, benchmark: str) -> None:
        sample(run, benchmark)
        add(Job("grid", plan.grid(scale, run.name, run.seed), key("grid", run, benchmark), run))

    def key(rule: str, run: Run, benchmark: str) -> str:
        return plan.job_digest(library, rule, scale, system=run.name, seed=run.seed, benchmark=benchmark)

    def cells(table: str) -> list[plan.Cell]:
        return plan.cells(library, table, scale)

    for name in figures:
        entry = library.figures[name]
        for problem in entry.problems:
            digest = plan.job_digest(library, "plane", scale, problem=problem)
            add(Job("plane", plan.plane(scale, problem), digest, name=problem))
        for runs in plan.figure_runs(library, name, scale).values():
            if entry.kind == "gallery":
                picture(runs[0], plan.grid_benchmark(library, entry.track))
                continue
            if entry.kind == "winrate":
                for run, benchmark in product(runs, entry.benchmarks):
                    measure("score", run, benchmark)
                continue
            assert entry.benchmark is not None  # checked at load
            for run in runs:
                measure("score" if entry.kind == "dose" else "trace", run, entry.benchmark)
        digest = plan.job_digest(library, "figure", scale, name=name)
        add(Job("figure", plan.figure(scale, name), digest, name=name))
    for name in tables:
        for system, benchmark, seeds in dict.fromkeys((c.system, c.benchmark, c.seeds) for c in cells(name)):
            for seed in seeds:
                measure("score", library.run(system, scale, seed), benchmark)
            first = library.run(system, scale, seeds[0])
            if first.system.kind != "released":
                picture(first, plan.grid_benchmark(library, first.system.track))
        digest = plan.job_digest(library, "table", scale, name=name)
        add(Job("table", plan.table(scale, name), digest, name=name))
    return sorted(found.values(), key=lambda job: ORDER.index(job.rule))  # stable: starts stay before what they start


def footprint(library: Library, scale: str, rule: str, track: Track | None = None) -> Footprint:
    """What the scale asks the scheduler for, for one job of a rule: that of its track, of the rule, or the default."""
    known = library.scale(scale).footprints
    return known.get(f"{rule}.{track}") or known.get(rule, known["default"])
