"""Cross-references and combinations: what no single file can know is wrong. A problem is one line of a ConfigError."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from amd.config.checks.domains import of_domain
from amd.config.checks.fit import of_domains
from amd.config.checks.plane import of_problem
from amd.config.checks.scales import of_scale
from amd.config.checks.systems import of_system
from amd.config.checks.tables import of_figure, of_table
from amd.config.read import unknown
from amd.config.schema.choice import EVERYTHING

if TYPE_CHECKING:
    from amd.config.load import Library


def problems(library: "Library") -> Iterator[str]:
    """Every problem found in a library whose files are each valid."""
    for scale in library.scales.values():
        yield from of_scale(library, scale)
    for domain in library.domains.values():
        yield from of_domain(library, domain)
    for system in library.systems.values():
        yield from of_system(library, system)
    for problem in library.problems.values():
        yield from of_problem(library, problem)
    for name, benchmark in library.benchmarks.items():
        judged = {metric for d in library.domains.values() if d.track == benchmark.track for metric in d.metrics}
        for i, metric in enumerate(benchmark.metrics):
            if metric not in judged:
                here = library.documents["benchmarks"][name].at("metrics", i)
                yield f"{here}: {unknown(metric, f'metric of a domain of track {benchmark.track}', judged)}"
    for table in library.tables.values():
        yield from of_table(library, table)
    for figure in library.figures.values():
        yield from of_figure(library, figure)
    yield from of_choice(library)


def of_choice(library: "Library") -> Iterator[str]:
    """config/config.yaml."""
    document, choice = library.documents["config"]["config"], library.choice
    if choice.scale not in library.scales:
        yield f"{document.at('scale')}: {unknown(choice.scale, 'scale', library.scales)}"
        return
    scale = library.scales[choice.scale]
    yield from of_domains(library, document, scale, choice.domains, f"does not fit scale '{choice.scale}'")
    for goal, wanted in choice.goals.items():
        for kind, noun, known in (("tables", "table", library.tables), ("figures", "figure", library.figures)):
            for i, name in enumerate(getattr(wanted, kind)):
                if name not in known and name != EVERYTHING:
                    yield f"{document.at('goals', goal, kind, i)}: {unknown(name, noun, known)}"
