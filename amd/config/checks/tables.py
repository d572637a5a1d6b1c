"""What is wrong with a table or a figure."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from amd.config.methods import TAKES
from amd.config.read import unknown
from amd.config.schema.tables import Figure, Table

if TYPE_CHECKING:
    from amd.config.load import Library


def of_table(library: "Library", table: Table) -> Iterator[str]:
    """A table: its columns and rows."""
    document = library.documents["tables"][table.name]
    tracks = {system.track for system in library.systems.values()}
    keys = [column.key for column in table.columns]
    for i, column in enumerate(table.columns):
        if keys.count(column.key) > 1:
            yield f"{document.at('columns', i, 'key')}: {column.key!r} names two columns"
        if (column.benchmark is None) != (column.metric is None):
            yield f"{document.at('columns', i)}: benchmark and metric go together; a descriptor has neither"
        if column.benchmark is not None and table.track in tracks:
            here = document.at("columns", i, "benchmark")
            benchmark = library.benchmarks.get(column.benchmark)
            if benchmark is None:
                yield f"{here}: {unknown(column.benchmark, 'benchmark', library.benchmarks)}"
            elif column.metric not in benchmark.metrics:
                kind = f"metric of benchmark '{benchmark.name}'"
                yield f"{document.at('columns', i, 'metric')}: {unknown(column.metric, kind, benchmark.metrics)}"
        for j, method in enumerate(column.trained_on):
            if method not in TAKES and table.track in tracks:
                yield f"{document.at('columns', i, 'trained_on', j)}: {unknown(method, 'method', TAKES)}"
    for i, row in enumerate(table.rows):
        if row.system is not None:
            here = document.at("rows", i, "system")
            if row.system not in library.systems:
                yield f"{here}: {unknown(row.system, 'system', library.systems)}"
            elif (found := library.systems[row.system]).track != table.track or found.kind in (
                "classifier",
                "scorer",
            ):
                yield f"{here}: '{row.system}' is a {found.kind} of track {found.track}; this table is of {table.track}"
            if row.quoted_from is not None and getattr(library.systems.get(row.system), "kind", "") != "released":
                here = document.at("rows", i, "quoted_from")
                yield f"{here}: a row is measured (system) or quoted, not both; a released system's may be both"
        for where in ("printed", "descriptors"):
            for key in getattr(row, where):
                if key not in keys:
                    yield f"{document.at('rows', i, where, key)}: {unknown(key, 'column', keys)}"
    titles = [row.title for row in table.rows]
    if table.baseline is not None and table.baseline not in titles:
        yield f"{document.at('baseline')}: {unknown(table.baseline, 'row', titles)}"


def of_figure(library: "Library", figure: Figure) -> Iterator[str]:
    """A figure: what its kind shows."""
    document = library.documents["figures"][figure.name]
    for title, name in figure.systems.items():
        here = document.at("systems", title)
        if name not in library.systems:
            yield f"{here}: {unknown(name, 'system', library.systems)}"
        elif library.systems[name].track != figure.track:
            yield f"{here}: '{name}' is of track {library.systems[name].track}; this figure is of {figure.track}"
        elif library.systems[name].kind == "released":
            yield f"{here}: '{name}' is a released system: at some scales only quoted, so that tables alone show it"
    for i, name in enumerate(figure.problems):
        if name not in library.problems:
            yield f"{document.at('problems', i)}: {unknown(name, 'problem', library.problems)}"
    if (figure.kind in ("plane", "law")) != (figure.track == "plane"):
        yield f"{document.at('kind')}: no figure of track {figure.track} is of kind '{figure.kind}'"
        return
    if figure.track == "plane" and not figure.problems:
        yield f"{document.at('problems')}: missing; a figure of kind '{figure.kind}' shows problems of the plane"
    if figure.track != "plane" and not figure.systems:
        yield f"{document.at('systems')}: missing; a figure of kind '{figure.kind}' shows systems"
    if figure.kind in ("curves", "coevolution", "dose"):
        for title, name in figure.systems.items():
            if name in library.systems and library.systems[name].kind != "student":
                here = document.at("systems", title)
                yield f"{here}: '{name}' is a {library.systems[name].kind}; only students have a training to show"
        benchmark = library.benchmarks.get(figure.benchmark or "")
        if benchmark is None:
            yield f"{document.at('benchmark')}: {unknown(figure.benchmark, 'benchmark', library.benchmarks)}"
        else:
            for i, metric in enumerate(figure.metrics):
                if metric not in benchmark.metrics:
                    kind = f"metric of benchmark '{benchmark.name}'"
                    yield f"{document.at('metrics', i)}: {unknown(metric, kind, benchmark.metrics)}"
    if figure.kind == "winrate":
        for i, metric in enumerate(figure.metrics):
            for domain in library.domains.values():
                if domain.track == figure.track and metric not in domain.panel:
                    kind = f"member of the panel of domain '{domain.name}'"
                    yield f"{document.at('metrics', i)}: {unknown(metric, kind, domain.panel)}"
        if figure.baseline not in figure.systems:
            yield f"{document.at('baseline')}: {unknown(figure.baseline, 'title in systems', figure.systems)}"
        for i, name in enumerate(figure.benchmarks):
            if name not in library.benchmarks:
                yield f"{document.at('benchmarks', i)}: {unknown(name, 'benchmark', library.benchmarks)}"
        if not figure.benchmarks:
            yield f"{document.at('benchmarks')}: missing; a figure of kind 'winrate' counts wins on their prompts"
    if figure.kind == "dose":
        for title in sorted(set(figure.systems) ^ set(figure.options)):
            yield f"{document.at('options')}: {title!r} must stand in both systems and options, where its dose is"
