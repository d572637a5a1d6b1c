"""What a table or a figure reads: tables and figures of a goal -> cells -> score files, traces, grids."""

from collections.abc import Iterable
from dataclasses import dataclass

from amd.config.load import Library, Run
from amd.config.paths import figure, grid, plane, records, score, table, trace
from amd.config.read import ConfigError, unknown
from amd.config.schema.choice import EVERYTHING
from amd.config.schema.tables import Column, Figure, Table


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
    """The files that a goal asks for: each figure, each table, and a grid of samples for each row of a table.

    Released systems have none: a grid is of one benchmark, which a row's table may not sample.
    """
    tables, figures = runnable(library, goal)
    rows = {cell.system: cell.seeds[0] for name in tables for cell in cells(library, name, scale)}
    rows = {system: seed for system, seed in rows.items() if library.systems[system].kind != "released"}
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


def sampled(library: Library, system: str, scale: str) -> bool:
    """Whether a row of this system is measured at a scale: a released one only where the scale's domain says so."""
    entry = library.systems[system]
    return entry.kind != "released" or library.domain(scale, entry.track).released


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
        if row.system is None or not sampled(library, row.system, scale):
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
